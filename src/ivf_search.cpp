// SPDX-License-Identifier: MIT
// Searches through inverted lists: checks, preparation of queries, threads.

#include <omp.h>

#include <algorithm>
#include <cmath>

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

  /// Prepares queries that nearest() and within() then take by their place, each once: together
  /// they share what the frame costs.
  void prepare(const float* queries, size_t count) {
    const StageTimer timer(params_.stats != nullptr, scan_.stats().prepare_seconds);
    const size_t d = geometry_.dim();
    group_ = queries;
    centred_.resize(count * d);
    for (size_t i = 0; i < count; ++i) {
      const float* query = queries + i * d;
      std::transform(query, query + d, geometry_.centre().begin(),
                     centred_.begin() + static_cast<std::ptrdiff_t>(i * d),
                     [](float q, float g) { return q - g; });
    }
    prepared_.resize(std::max(prepared_.size(), count));
    geometry_.codec().prepare(centred_.data(), count, prepared_.data());
  }

  /// Either `probed` or, where that is null, the distance of centroids says which lists to visit.
  void nearest(size_t place, const int64_t* probed, size_t probes, size_t k, int threads,
               float* distances, int64_t* ids) {
    take(place, probed, probes);
    if (params_.refine_error_scale == 0.0F) {
      scan_.shortlist(query_, k);
    } else {
      const size_t visited = scan_.seed(query_, k, infinity);
      if (threads <= 1) {
        scan_.scan_rest(visited, 1);
      } else {
        share_rest(visited, k, threads);
      }
    }
    const std::vector<Neighbour> found = scan_.top().take_sorted();
    for (size_t i = 0; i < k; ++i) {
      const bool has = i < found.size();
      distances[i] = has ? found[i].distance : infinity;
      ids[i] = has ? found[i].id : -1;
    }
  }

  void within(size_t place, const int64_t* probed, size_t probes, float radius,
              std::vector<RangeHit>& hits) {
    take(place, probed, probes);
    std::vector<Neighbour> found;
    scan_.within(query_, radius, found);
    for (const Neighbour& hit : found) {
      hits.push_back({hit.id, hit.distance});
    }
  }

 private:
  const InvertedFile& file_;
  const IvfGeometry& geometry_;
  const IvfSearchParams& params_;
  const ListMasks* masks_;
  IvfScan scan_;
  CentroidRanker ranker_;
  const float* group_ = nullptr;
  std::vector<float> centred_;
  std::vector<CodecQuery> prepared_;
  IvfQuery query_;

  /// What of the group's preparation is this query's, and the lists it visits.
  void take(size_t place, const int64_t* probed, size_t probes) {
    SearchStats& stats = scan_.stats();
    const bool counting = params_.stats != nullptr;
    const size_t d = geometry_.dim();
    ++stats.queries;
    query_.vector = group_ + place * d;
    {
      const StageTimer timer(counting, stats.prepare_seconds);
      const float* centred = centred_.data() + place * d;
      query_.centred = centred;
      query_.squared = inner_product(centred, centred, d);
      query_.centre_product = inner_product(query_.vector, geometry_.centre().data(), d);
      std::swap(query_.codec_query, prepared_[place]);
      CodecAccess::fill_scan_table(geometry_.codec(), query_.codec_query,
                                   file_.codes(0).padded_quads(), query_.table);
    }
    const StageTimer timer(counting, stats.coarse_seconds);
    if (probed == nullptr) {
      ranker_.nearest(query_, probes);
    } else {
      ranker_.take(probed, probes, query_);
    }
    drop_probes();
  }

  /// Leaves empty lists and those beyond max_codes out.
  void drop_probes() {
    size_t vectors = 0;
    size_t kept = 0;
    std::vector<Probe>& probes = query_.probes;
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

  /// The lists after the first `visited` on several threads, each with a threshold of its own that
  /// starts from the common one; exactness makes the result the same.
  void share_rest(size_t visited, size_t k, int threads) {
    const float limit = scan_.top().threshold();
#pragma omp parallel num_threads(threads)
    {
      const int me = omp_get_thread_num();
      const auto step = static_cast<size_t>(omp_get_num_threads());
      if (me == 0) {
        scan_.scan_rest(visited, step);
      } else {
        IvfScan helper(file_, params_, masks_);
        helper.begin_rest(query_, k, limit);
        helper.scan_rest(visited + static_cast<size_t>(me), step);
        std::vector<Neighbour> found = helper.top().take_sorted();
#pragma omp critical(rotorquant_ivf_merge)
        helpers_found_.insert(helpers_found_.end(), found.begin(), found.end());
        add_shared(helper.stats(), params_.stats);
      }
    }
    for (const Neighbour& neighbour : helpers_found_) {
      scan_.top().push(neighbour);
    }
    helpers_found_.clear();
  }

  std::vector<Neighbour> helpers_found_;
};

/// Queries prepared together: what a block of the frame's product takes.
constexpr size_t group_queries = simd::lanes;

/// Calls work(searcher, query, its place in the group, threads inside) for every query.
template <class Work>
void over_queries(const InvertedFile& file, const float* queries, size_t n, size_t probes,
                  const IvfSearchParams& params, const Work& work) {
  const ListMasks masks = make_masks(file, n * probes, params.filter);
  const ListMasks* used = masks.empty() ? nullptr : &masks;
  const int asked = params.threads > 0 ? params.threads : (n == 1 ? 1 : omp_get_max_threads());
  const size_t d = file.geometry().dim();
  const auto search_group = [&](IvfSearcher& searcher, size_t first, size_t count, int inside) {
    searcher.prepare(queries + first * d, count);
    for (size_t place = 0; place < count; ++place) {
      work(searcher, first + place, place, inside);
    }
  };
  if (asked <= 1 || n < static_cast<size_t>(asked)) {
    IvfSearcher searcher(file, params, used);
    for (size_t first = 0; first < n; first += group_queries) {
      search_group(searcher, first, std::min(group_queries, n - first), asked);
    }
    return;
  }
  const size_t even_share = (n + static_cast<size_t>(asked) - 1) / static_cast<size_t>(asked);
  const size_t width = std::min(group_queries, even_share);
#pragma omp parallel num_threads(asked)
  {
    IvfSearcher searcher(file, params, used);
#pragma omp for schedule(dynamic)
    for (size_t first = 0; first < n; first += width) {
      search_group(searcher, first, std::min(width, n - first), 1);
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

}  // namespace

void search(const InvertedFile& file, const float* queries, size_t n, size_t k,
            const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
            int64_t* ids) {
  require(k >= 1, "k", "at least 1", k);
  check_search(file.geometry(), queries, n, probes, params);
  check_probed(file, probed, n * probes);
  over_queries(file, queries, n, probes, params,
               [&](IvfSearcher& searcher, size_t i, size_t place, int threads) {
                 searcher.nearest(place, probed + i * probes, probes, k, threads, distances + i * k,
                                  ids + i * k);
               });
}

void search_nearest_lists(const InvertedFile& file, const float* queries, size_t n, size_t k,
                          size_t probes, const IvfSearchParams& params, float* distances,
                          int64_t* ids) {
  require(k >= 1, "k", "at least 1", k);
  check_search(file.geometry(), queries, n, probes, params);
  over_queries(file, queries, n, probes, params,
               [&](IvfSearcher& searcher, size_t i, size_t place, int threads) {
                 searcher.nearest(place, nullptr, probes, k, threads, distances + i * k,
                                  ids + i * k);
               });
}

std::vector<std::vector<RangeHit>> range_search(const InvertedFile& file, const float* queries,
                                                size_t n, float radius, const int64_t* probed,
                                                size_t probes, const IvfSearchParams& params) {
  check_search(file.geometry(), queries, n, probes, params);
  check_probed(file, probed, n * probes);
  std::vector<std::vector<RangeHit>> hits(n);
  over_queries(file, queries, n, probes, params,
               [&](IvfSearcher& searcher, size_t i, size_t place, int /*threads*/) {
                 searcher.within(place, probed + i * probes, probes, radius, hits[i]);
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
