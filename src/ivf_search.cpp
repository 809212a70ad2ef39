// SPDX-License-Identifier: MIT
// Searches through inverted lists: checks, preparation of queries, threads.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ivf_coarse.h"
#include "ivf_scan.h"
#include "rotorquant/error.h"
#include "stage_timer.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

void check_search(const IvfGeometry& geometry, const float* queries, size_t n, size_t probes,
                  const IvfSearchParams& params) {
  require(probes >= 1, "probes", "at least 1", probes);
  require(std::isfinite(params.refine_error_scale), "refine_error_scale", "a finite number",
          params.refine_error_scale);
  require(params.k_factor >= 1, "k_factor", "at least 1", params.k_factor);
  const size_t levels = geometry.codec().layout().levels;
  require(params.levels <= levels, "levels", levels, params.levels);
  require(params.threads >= 0, "threads", "at least 0", params.threads);
  require_finite(queries, n, geometry.dim(), "queries");
}

/// The filter as masks, where a batch visits so many lists that each is met about once: else only
/// the vectors that pass the bound are asked for.
ListMasks make_masks(const InvertedFile& file, size_t visits, const IdFilter* filter) {
  ListMasks masks;
  if (filter == nullptr || visits < file.lists()) {
    return masks;
  }
  masks.resize(file.lists());
#pragma omp parallel for schedule(dynamic, 16)
  for (size_t list = 0; list < file.lists(); ++list) {
    const IdArray& ids = file.ids(list);
    masks[list].assign(file.codes(list).blocks(), 0);
    for (size_t i = 0; i < ids.size(); ++i) {
      const uint64_t allowed = filter->allows(ids[i]) ? 1 : 0;
      masks[list][i / block_vectors] |= allowed << (i % block_vectors);
    }
  }
  return masks;
}

/// One thread's searches: everything that is kept from one query to the next.
class IvfSearcher {
 public:
  IvfSearcher(const InvertedFile& file, const IvfSearchParams& params, const ListMasks* masks)
      : file_(file),
        geometry_(file.geometry()),
        params_(params),
        masks_(masks),
        scan_(file, params, masks),
        ranker_(file.geometry()) {}

  ~IvfSearcher() { add_shared(scan_.stats(), params_.stats); }
  IvfSearcher(const IvfSearcher&) = delete;
  IvfSearcher& operator=(const IvfSearcher&) = delete;

  /// Takes `count` queries; probed: count x probes lists, or null: the nearest centroids say which
  /// lists to visit.
  void prepare(const float* queries, size_t count, const int64_t* probed, size_t probes) {
    const size_t d = geometry_.dim();
    centred_.resize(count * d);
    states_.resize(std::max(states_.size(), count));
    count_ = count;
    for (size_t first = 0; first < count; first += prepared_at_once) {
      const size_t some = std::min(prepared_at_once, count - first);
      prepare_some(queries, first, some);
      const StageTimer timer(params_.stats != nullptr, scan_.stats().coarse_seconds);
      if (probed == nullptr) {
        ranker_.nearest(states_.data() + first, some, probes);
      } else {
        for (size_t i = first; i < first + some; ++i) {
          ranker_.take(probed + i * probes, probes, states_[i]);
        }
      }
      std::for_each_n(states_.begin() + static_cast<std::ptrdiff_t>(first), some,
                      [this](IvfQuery& query) { drop_probes(query); });
    }
    scan_.stats().queries += count;
  }

  /// The k best of every query, count x k.
  void nearest(size_t k, int threads, float* distances, int64_t* ids) {
    if (scan_.takes_turns() && threads <= 1 && lists_are_shared()) {
      search_by_list(k);
    } else {
      for (size_t i = 0; i < count_; ++i) {
        search_one(states_[i], k, threads);
      }
    }
    for (size_t i = 0; i < count_; ++i) {
      const std::vector<Neighbour> found = states_[i].top.take_sorted();
      for (size_t j = 0; j < k; ++j) {
        const bool has = j < found.size();
        distances[i * k + j] = has ? found[j].distance : infinity;
        ids[i * k + j] = has ? found[j].id : -1;
      }
    }
  }

  void within(float radius, std::vector<RangeHit>* hits) {
    for (size_t i = 0; i < count_; ++i) {
      std::vector<Neighbour> found;
      scan_.within(states_[i], radius, found);
      for (const Neighbour& hit : found) {
        hits[i].push_back({hit.id, hit.distance});
      }
    }
  }

 private:
  /// What a block of the frame's product takes.
  static constexpr size_t prepared_at_once = simd::lanes;
  /// Lists of a query that are visited before its threshold is passed on, as a multiple of those
  /// before: early ones tell most.
  static constexpr size_t round_growth = 4;

  const InvertedFile& file_;
  const IvfGeometry& geometry_;
  const IvfSearchParams& params_;
  const ListMasks* masks_;
  IvfScan scan_;
  CentroidRanker ranker_;
  std::vector<float> centred_;
  std::vector<CodecQuery> prepared_;
  AlignedVector<float> table_scratch_;
  std::vector<IvfQuery> states_;
  size_t count_ = 0;
  std::vector<Visit> visits_;
  std::vector<size_t> visits_before_;  ///< by list

  void prepare_some(const float* queries, size_t first, size_t count) {
    const StageTimer timer(params_.stats != nullptr, scan_.stats().prepare_seconds);
    const size_t d = geometry_.dim();
    const std::vector<float>& centre = geometry_.centre();
    float* centred = centred_.data() + first * d;
    for (size_t i = 0; i < count; ++i) {
      const float* query = queries + (first + i) * d;
      std::transform(query, query + d, centre.begin(), centred + i * d,
                     [](float q, float g) { return q - g; });
    }
    prepared_.resize(std::max(prepared_.size(), count));
    geometry_.codec().prepare(centred, count, prepared_.data());
    for (size_t i = 0; i < count; ++i) {
      IvfQuery& query = states_[first + i];
      query.vector = queries + (first + i) * d;
      query.centred = centred + i * d;
      query.squared = inner_product(query.centred, query.centred, d);
      query.centre_product = inner_product(query.vector, centre.data(), d);
      std::swap(query.codec_query, prepared_[i]);
      CodecAccess::fill_scan_table(geometry_.codec(), query.codec_query,
                                   file_.codes(0).padded_quads(), query.table, table_scratch_);
    }
  }

  /// Leaves empty lists and those beyond max_codes out.
  void drop_probes(IvfQuery& query) {
    size_t vectors = 0;
    size_t kept = 0;
    std::vector<Probe>& probes = query.probes;
    for (const Probe& probe : probes) {
      const size_t size = file_.size(probe.list);
      if (params_.max_codes != 0 && vectors >= params_.max_codes) {
        break;
      }
      vectors += size;
      if (size != 0) {
        probes[kept] = probe;
        ++kept;
      }
    }
    probes.resize(kept);
  }

  void search_one(IvfQuery& query, size_t k, int threads) {
    if (params_.refine_error_scale == 0.0F) {
      scan_.shortlist(query, k);
      return;
    }
    scan_.begin(query, k, infinity);
    const size_t visited = scan_.seed(query);
    if (threads <= 1) {
      scan_.visit_every(query, visited, 1);
    } else {
      share_rest(query, visited, threads);
    }
  }

  /// The lists after the first `visited` on several threads, each with a threshold of its own that
  /// starts from the common one; exactness makes the result the same.
  void share_rest(IvfQuery& query, size_t visited, int threads) {
    const size_t k = query.top.k();
    const float limit = query.threshold();
    std::vector<Neighbour> helpers_found;
#pragma omp parallel num_threads(threads)
    {
      const int me = omp_get_thread_num();
      const auto step = static_cast<size_t>(omp_get_num_threads());
      if (me == 0) {
        scan_.visit_every(query, visited, step);
      } else {
        IvfScan helper(file_, params_, masks_);
        IvfQuery own = query;
        helper.begin(own, k, limit);
        helper.visit_every(own, visited + static_cast<size_t>(me), step);
        const std::vector<Neighbour> found = own.top.take_sorted();
#pragma omp critical(rotorquant_ivf_merge)
        helpers_found.insert(helpers_found.end(), found.begin(), found.end());
        add_shared(helper.stats(), params_.stats);
      }
    }
    for (const Neighbour& neighbour : helpers_found) {
      query.top.push(neighbour);
    }
  }

  /// Whether a list is met by two queries or more, on average.
  bool lists_are_shared() const {
    size_t visits = 0;
    for (size_t i = 0; i < count_; ++i) {
      visits += states_[i].probes.size();
    }
    return visits >= 2 * file_.lists();
  }

  /// All queries list by list: a list's codes come into the cache once, and are scanned for some
  /// queries at a time. In rounds, nearest lists first, since thresholds come from those.
  void search_by_list(size_t k) {
    std::vector<size_t> visited(count_);
    size_t most = 0;
    for (const Visit& visit : by_nearest_list()) {
      const auto i = static_cast<size_t>(visit.query - states_.data());
      scan_.begin(*visit.query, k, infinity);
      visited[i] = scan_.seed(*visit.query);
      scan_.finish();
      most = std::max(most, visit.query->probes.size());
    }
    size_t first = 1;
    while (first < most) {
      const size_t last = std::max(round_growth * first, first + 1);
      collect_visits(visited, last);
      visit_lists();
      std::transform(visited.begin(), visited.end(), visited.begin(),
                     [last](size_t v) { return std::max(v, last); });
      first = last;
    }
  }

  /// The queries as visits of their first probes, by list.
  const std::vector<Visit>& by_nearest_list() {
    collect_visits(std::vector<size_t>(count_, 0), 1);
    for (size_t i = 0; i < count_; ++i) {  // those without one are begun too
      if (states_[i].probes.empty()) {
        visits_.push_back({&states_[i], {}});
      }
    }
    return visits_;
  }

  /// visits_ = probes visited[i] .. last - 1 of every query, sorted by list.
  void collect_visits(const std::vector<size_t>& visited, size_t last) {
    const auto over_probes = [&](const auto& use) {
      for (size_t i = 0; i < count_; ++i) {
        const std::vector<Probe>& probes = states_[i].probes;
        for (size_t p = visited[i]; p < std::min(last, probes.size()); ++p) {
          use(i, probes[p]);
        }
      }
    };
    visits_before_.assign(file_.lists() + 1, 0);
    over_probes(
        [&](size_t /*query*/, const Probe& probe) { ++visits_before_[probe.list + size_t{1}]; });
    std::partial_sum(visits_before_.begin(), visits_before_.end(), visits_before_.begin());
    visits_.resize(visits_before_.back());
    std::vector<size_t> next(visits_before_.begin(), visits_before_.end() - 1);
    over_probes([&](size_t query, const Probe& probe) {
      visits_[next[probe.list]] = {&states_[query], probe};
      ++next[probe.list];
    });
  }

  void visit_lists() {
    size_t next = 0;
    for (size_t first = 0; first < visits_.size(); first = next) {
      next = visits_before_[visits_[first].probe.list + size_t{1}];
      if (next < visits_.size()) {
        scan_.prefetch_list(visits_[next].probe.list);
      }
      scan_.visit(visits_.data() + first, next - first);
    }
    scan_.finish();
  }
};

/// Queries that a thread takes at a time: enough to meet lists together, few enough for their
/// tables and thresholds to stay in L2.
constexpr size_t most_queries = 512;

/// Fewer where each of them keeps much: `kept` results and lists.
size_t queries_at_once(size_t kept) {
  constexpr size_t most_kept = size_t{1} << 20U;
  return std::clamp(most_kept / std::max<size_t>(kept, 1), simd::lanes, most_queries);
}

/// Calls work(searcher with queries prepared, first query, how many, threads inside). k: results
/// that each query keeps.
template <class Work>
void over_queries(const InvertedFile& file, const float* queries, size_t n, size_t k,
                  const int64_t* probed, size_t probes, const IvfSearchParams& params,
                  const Work& work) {
  const ListMasks masks = make_masks(file, n * probes, params.filter);
  const ListMasks* used = masks.empty() ? nullptr : &masks;
  const int asked = params.threads > 0 ? params.threads : (n == 1 ? 1 : omp_get_max_threads());
  const size_t d = file.geometry().dim();
  const size_t at_once = queries_at_once(k + std::min(probes, file.lists()));
  const auto search_some = [&](IvfSearcher& searcher, size_t first, size_t count, int inside) {
    searcher.prepare(queries + first * d, count,
                     probed == nullptr ? nullptr : probed + first * probes, probes);
    work(searcher, first, count, inside);
  };
  if (asked <= 1 || n < static_cast<size_t>(asked)) {
    IvfSearcher searcher(file, params, used);
    for (size_t first = 0; first < n; first += at_once) {
      search_some(searcher, first, std::min(at_once, n - first), asked);
    }
    return;
  }
  const size_t even_share = (n + static_cast<size_t>(asked) - 1) / static_cast<size_t>(asked);
  const size_t width = std::min(at_once, even_share);
#pragma omp parallel num_threads(asked)
  {
    IvfSearcher searcher(file, params, used);
#pragma omp for schedule(dynamic)
    for (size_t first = 0; first < n; first += width) {
      search_some(searcher, first, std::min(width, n - first), 1);
    }
  }
}

void check_probed(const InvertedFile& file, const int64_t* probed, size_t count) {
  const auto lists = static_cast<int64_t>(file.lists());
  const int64_t* wrong =
      std::find_if(probed, probed + count, [lists](int64_t list) { return list >= lists; });
  require(wrong == probed + count, "list", "below " + std::to_string(lists),
          wrong == probed + count ? 0 : *wrong);
}

void nearest(const InvertedFile& file, const float* queries, size_t n, size_t k,
             const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
             int64_t* ids) {
  over_queries(file, queries, n, k, probed, probes, params,
               [&](IvfSearcher& searcher, size_t first, size_t /*count*/, int threads) {
                 searcher.nearest(k, threads, distances + first * k, ids + first * k);
               });
}

}  // namespace

void search(const InvertedFile& file, const float* queries, size_t n, size_t k,
            const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
            int64_t* ids) {
  require(k >= 1, "k", "at least 1", k);
  check_search(file.geometry(), queries, n, probes, params);
  check_probed(file, probed, n * probes);
  nearest(file, queries, n, k, probed, probes, params, distances, ids);
}

void search_nearest_lists(const InvertedFile& file, const float* queries, size_t n, size_t k,
                          size_t probes, const IvfSearchParams& params, float* distances,
                          int64_t* ids) {
  require(k >= 1, "k", "at least 1", k);
  check_search(file.geometry(), queries, n, probes, params);
  nearest(file, queries, n, k, nullptr, probes, params, distances, ids);
}

std::vector<std::vector<RangeHit>> range_search(const InvertedFile& file, const float* queries,
                                                size_t n, float radius, const int64_t* probed,
                                                size_t probes, const IvfSearchParams& params) {
  check_search(file.geometry(), queries, n, probes, params);
  check_probed(file, probed, n * probes);
  std::vector<std::vector<RangeHit>> hits(n);
  over_queries(file, queries, n, 1, probed, probes, params,
               [&](IvfSearcher& searcher, size_t first, size_t /*count*/, int /*threads*/) {
                 searcher.within(radius, hits.data() + first);
               });
  return hits;
}

void IvfScorer::set_query(const float* query) {
  const size_t d = geometry_.dim();
  require_finite(query, 1, d, "query");
  query_.assign(query, query + d);
}

void IvfScorer::set_list(size_t list) {
  require(list < geometry_.lists(), "list", "below " + std::to_string(geometry_.lists()), list);
  std::vector<float> mu(query_.size());
  geometry_.centroid(list, mu.data());
  std::vector<float> residual(query_.size());
  std::transform(query_.begin(), query_.end(), mu.begin(), residual.begin(),
                 [](float q, float m) { return q - m; });
  base_ = geometry_.metric() == Metric::l2
              ? inner_product(residual.data(), residual.data(), residual.size())
              : -inner_product(query_.data(), mu.data(), mu.size());
  residual_ = geometry_.codec().prepare(residual.data());
}

float IvfScorer::distance(const uint8_t* code) const {
  const Codec& codec = geometry_.codec();
  const float additive = read_code_factors(codec.layout(), code).additive;
  const bool knows_norm = geometry_.metric() == Metric::l2 && CodecAccess::is_isometric(codec);
  const float norm = knows_norm ? std::sqrt(std::max(additive, 0.0F)) : -1.0F;
  const float product = codec.estimate(residual_, code, levels_, estimator_, norm);
  return base_ + (additive - geometry_.weight() * product);
}

}  // namespace rotorquant
