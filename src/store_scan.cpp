// SPDX-License-Identifier: MIT
#include "store_scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "stage_timer.h"
#include "value_range.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Scan data that all queries of a pass work through before moving on: a share of L2.
constexpr size_t chunk_bytes = size_t{64} << 10U;
constexpr size_t most_chunk_bytes = size_t{1} << 20U;
/// Blocks whose minima a pass notes before it picks candidates, for each thread: few enough to be
/// in the cache still when they are looked at again, enough vectors (100,000) to know a limit that
/// lets few of them pass.
constexpr size_t part_blocks = 1600;
/// Vectors refined first, to settle the threshold, as a multiple of k (about); fewer where that
/// would be many of the blocks, each of which is scanned again.
constexpr size_t seed_factor = 6;
constexpr size_t least_seed_factor = 2;
constexpr size_t seeded_share = 12;  ///< one block in so many
/// The rank, as a multiple of the seeds, of a bound that is all but sure to lie beyond the
/// threshold.
constexpr size_t taken_factor = 16;
/// A part with so many blocks within the limit already, as a multiple of the seeds, needs none.
constexpr size_t unseeded_factor = 4;

size_t count_within(const float* values, size_t n, float limit) {
  uint32_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    count += values[i] <= limit ? 1 : 0;
  }
  return count;
}

}  // namespace

AllowedBlocks::AllowedBlocks(const CodeStore& store, const IdFilter* filter) {
  if (filter == nullptr) {
    return;
  }
  masks_.assign(store.blocks(), 0);
  for (size_t b = 0; b < masks_.size(); ++b) {
    const size_t first = b * block_vectors;
    masks_[b] =
        filter->allowed(static_cast<int64_t>(first), std::min(block_vectors, store.size() - first));
  }
}

CodeRefiner::CodeRefiner(const Codec& codec, const Space& space, const CodeStore& store,
                         const SearchParams& params, const CodecQuery& query)
    : codec_(codec),
      store_(store),
      params_(params),
      view_(CodecAccess::refine_view(codec, query, params.levels)),
      fixed_(query.fixed),
      weight_(space.weight()),
      whole_and_rescaled_(params.levels == 0 && params.estimator == Estimator::rescaled),
      norm_from_additive_(space.metric == Metric::l2 && CodecAccess::is_isometric(codec)),
      plane_(store.padded_quads() / 2) {}

float CodeRefiner::distance(size_t i) const {
  store_.scan_nibbles(i, plane_.data());
  return distance({0.0F, static_cast<uint32_t>(i), store_.additive(i), store_.scan_alpha(i)},
                  plane_.data());
}

float CodeRefiner::distance(const Candidate& candidate, const uint8_t* plane) const {
  const uint8_t* row = store_.row(candidate.id);
  return combine(candidate, row, score(store_.kernels(), view_, fixed_, plane, row));
}

void CodeRefiner::distances(const CandidateList& candidates, const uint32_t* which, size_t count,
                            float* to) const {
  std::array<simd::CodePlaces, most_at_once> places{};
  std::array<simd::RefineSums, most_at_once> sums;
  for (size_t i = 0; i < count; ++i) {
    places[i] = {candidates.plane(which[i]), store_.row(candidates[which[i]].id)};
  }
  store_.kernels().score_codes(view_, places.data(), count, sums.data());
  for (size_t i = 0; i < count; ++i) {
    to[i] = combine(candidates[which[i]], places[i].row, products_of(sums[i], fixed_));
  }
}

float CodeRefiner::combine(const Candidate& candidate, const uint8_t* row,
                           const CodeProducts& products) const {
  const CodeLayout& layout = store_.layout();
  CodeFactors factors;
  factors.alpha1 = candidate.alpha1;
  factors.additive = candidate.additive;
  read_row_factors(layout, row + (layout.planes - 1) * layout.plane_bytes, factors);
  if (whole_and_rescaled_) {
    return factors.additive - weight_ * products.whole(factors);
  }
  const float norm = norm_from_additive_ ? std::sqrt(factors.additive) : -1.0F;
  const float product = CodecAccess::combine(codec_, factors, products.level, products.sign,
                                             params_.levels, params_.estimator, norm);
  return factors.additive - weight_ * product;
}

void CandidateList::make_room(size_t more) {
  const size_t room = size_ + more;
  if (room > entries_.size()) {
    const size_t fresh = std::max<size_t>(2 * room, 256);
    entries_.resize(fresh);
    planes_.resize(fresh * plane_bytes_);
  }
}

void CandidateList::append(const CodeStore& store, const simd::Selection& found) {
  if (found.count == 0) {
    return;
  }
  plane_bytes_ = store.padded_quads() / 2;
  make_room(found.count);
  for (size_t i = 0; i < found.count; ++i) {
    const uint32_t id = found.ids[i];
    entries_[size_] = {found.bounds[i], id, store.additive(id), store.scan_alpha(id)};
    store.scan_nibbles(id, planes_.data() + size_ * plane_bytes_);
    ++size_;
  }
}

void CandidateList::keep(std::vector<uint32_t>& kept) {
  std::sort(kept.begin(), kept.end());  // so that none is overwritten before it has moved
  for (size_t i = 0; i < kept.size(); ++i) {
    entries_[i] = entries_[kept[i]];
    std::copy_n(planes_.begin() + static_cast<std::ptrdiff_t>(kept[i] * plane_bytes_), plane_bytes_,
                planes_.begin() + static_cast<std::ptrdiff_t>(i * plane_bytes_));
  }
  size_ = kept.size();
}

void CandidateList::append(const CandidateList& other) {
  plane_bytes_ = std::max(plane_bytes_, other.plane_bytes_);
  make_room(other.size_);
  std::copy_n(other.entries_.begin(), other.size_, entries_.begin() + size_);
  std::copy_n(other.planes_.begin(), other.size_ * plane_bytes_,
              planes_.begin() + size_ * plane_bytes_);
  size_ += other.size_;
}

StoreScan::StoreScan(const Codec& codec, const Space& space, const CodeStore& store,
                     const SearchParams& params, const AllowedBlocks& allowed)
    : codec_(codec),
      space_(space),
      store_(store),
      params_(params),
      allowed_(allowed),
      by_bound_(params.refine_error_scale != 0.0F) {}

StoreScan::~StoreScan() {
  add_shared(stats_, params_.stats);
}

float StoreScan::error_margin(const ScanTable& table) const {
  if (!by_bound_) {
    return 0.0F;
  }
  const bool scan_is_all = codec_.layout().planes == 1 || params_.levels == 1;
  if (scan_is_all) {
    return rounding_error_scale * table.rounding;
  }
  const float scale =
      params_.refine_error_scale < 0.0F ? codec_.default_error_scale() : params_.refine_error_scale;
  return scale * table.sigma;
}

void StoreScan::prepare(const float* queries, size_t count) {
  const StageTimer timer(params_.stats != nullptr, stats_.prepare_seconds);
  const float weight = space_.weight();
  const size_t d = codec_.dim();
  residuals_.resize(count * d);
  prepared_.resize(std::max(prepared_.size(), count));
  queries_.resize(std::max(queries_.size(), count));
  count_ = count;
  scans_.resize(count);
  limits_.assign(count, no_limit);
  ranges_.resize(count);
  for (size_t q = 0; q < count; ++q) {
    queries_[q].base = space_.split_query(queries + q * d, d, residuals_.data() + q * d);
  }
  codec_.prepare(residuals_.data(), count, prepared_.data());
  for (size_t q = 0; q < count; ++q) {
    Query& query = queries_[q];
    query.candidates.clear();
    std::swap(query.codec_query, prepared_[q]);  // both keep their memory for the next pass
    CodecAccess::fill_scan_table(codec_, query.codec_query, store_.padded_quads(), query.table,
                                 table_scratch_);
    scans_[q] = {query.table.entries.data(), weight * query.table.step,
                 weight * (query.table.bias + error_margin(query.table))};
  }
  stats_.queries += count;
}

void StoreScan::scan_minima(const Part& part, int threads) {
  const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
  stats_.blocks_scanned += count_ * part.blocks;
  minima_.resize(std::max(minima_.size(), count_ * part.blocks));
  const size_t chunk = std::max<size_t>(1, chunk_bytes / store_.block_bytes());
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
  for (size_t b = 0; b < part.blocks; b += chunk) {
    store_.kernels().block_minima(
        store_.block(part.first_block + b), std::min(chunk, part.blocks - b), store_.block_bytes(),
        store_.padded_quads(), scans_.data(), count_, allowed_.masks(part.first_block + b),
        minima_.data() + b, part.blocks);
  }
}

float StoreScan::bound_of_rank(const float* minima, size_t blocks, size_t rank) {
  // 16 groups of blocks, spread over all of them and each so large that one of its blocks on
  // average is wanted: 1 - 1/e of the groups' minima, ten, should be within the bound.
  constexpr size_t groups = 16;
  constexpr size_t groups_within = 10;
  const size_t sampled = std::max<size_t>(blocks / rank, 1) * groups;
  if (sampled <= blocks) {
    const size_t step = blocks / sampled;
    std::array<float, groups> least;
    least.fill(infinity);
    for (size_t i = 0; i < sampled; ++i) {
      least[i % groups] = std::min(least[i % groups], minima[i * step]);
    }
    std::nth_element(least.begin(), least.begin() + groups_within - 1, least.end());
    if (least[groups_within - 1] < infinity) {
      return least[groups_within - 1];
    }
  }
  // Small stores, and filtered ones with few blocks left, are looked at in full.
  sample_.clear();
  std::copy_if(minima, minima + blocks, std::back_inserter(sample_),
               [](float bound) { return bound < infinity; });
  if (sample_.empty()) {
    return infinity;
  }
  const size_t place = std::min(rank, sample_.size() * 3 / 4);
  const auto at = sample_.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(sample_.begin(), at, sample_.end());
  return *at;
}

template <class Pick>
void StoreScan::over_chunks(size_t blocks, size_t queries, int threads, const Pick& pick) {
  // One query of many finds few blocks: small chunks would be calls for nothing.
  const size_t bytes = queries < count_ ? most_chunk_bytes : chunk_bytes;
  const size_t chunk = std::max<size_t>(1, bytes / store_.block_bytes());
  if (threads <= 1) {
    for (size_t b = 0; b < blocks; b += chunk) {
      pick(b, std::min(chunk, blocks - b), selection_,
           [this](size_t q) -> CandidateList& { return queries_[q].candidates; });
    }
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    ChunkSelection selection;
    std::vector<CandidateList> own(count_);
#pragma omp for schedule(dynamic)
    for (size_t b = 0; b < blocks; b += chunk) {
      pick(b, std::min(chunk, blocks - b), selection,
           [&own](size_t q) -> CandidateList& { return own[q]; });
    }
#pragma omp critical(rotorquant_candidates)
    for (size_t q = 0; q < count_; ++q) {
      queries_[q].candidates.append(own[q]);
    }
  }
}

void StoreScan::select_all(int threads) {
  const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
  stats_.blocks_scanned += count_ * store_.blocks();
  over_chunks(store_.blocks(), count_, threads,
              [this](size_t block, size_t blocks, ChunkSelection& selection, auto list_of) {
                selection.reset(count_, blocks);
                store_.kernels().select(
                    store_.block(block), blocks, store_.block_bytes(), store_.padded_quads(),
                    scans_.data(), count_, limits_.data(), allowed_.masks(block),
                    static_cast<uint32_t>(block * block_vectors), selection.out.data());
                for (size_t q = 0; q < count_; ++q) {
                  list_of(q).append(store_, selection.out[q]);
                }
              });
}

void StoreScan::select_again(const Part& part, size_t first, size_t count, int threads) {
  const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
  over_chunks(part.blocks, count, threads,
              [&](size_t block, size_t blocks, ChunkSelection& selection, auto list_of) {
                selection.reset(count, blocks);
                const size_t at = part.first_block + block;
                store_.kernels().select_again(
                    store_.block(at), blocks, store_.block_bytes(), store_.padded_quads(),
                    scans_.data() + first, count, minima_.data() + first * part.blocks + block,
                    part.blocks, ranges_.data() + first, allowed_.masks(at),
                    static_cast<uint32_t>(at * block_vectors), selection.out.data());
                for (size_t q = 0; q < count; ++q) {
                  list_of(first + q).append(store_, selection.out[q]);
                }
              });
}

void StoreScan::refine_candidates(size_t q, float from, float to) {
  TopK& top = queries_[q].top;
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  const CandidateList& candidates = queries_[q].candidates;
  // Gathered without a branch on each bound, which would be mispredicted every other time.
  order_.resize(candidates.size() + 1);
  const float last = std::min(to, top.threshold());
  size_t count = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const float bound = candidates[i].bound;
    order_[count] = static_cast<uint32_t>(i);
    count += static_cast<size_t>(bound > from) & static_cast<size_t>(bound <= last);
  }
  // Always inlined, as CodeStore::prefetch_row.
  const auto prefetch = [&](size_t begin, size_t end) __attribute__((always_inline)) {
    for (size_t i = begin; i < std::min(end, count); ++i) {
      store_.prefetch_row(candidates[order_[i]].id);
    }
  };
  // Scored some at a time, none waiting for what came of another; rows of the next are on their
  // way meanwhile.
  constexpr size_t group = CodeRefiner::most_at_once;
  std::array<float, group> refined;
  prefetch(0, group);
  for (size_t first = 0; first < count; first += group) {
    prefetch(first + group, first + 2 * group);
    const float threshold = top.threshold();
    size_t some = 0;
    std::array<uint32_t, group + 1> which;
    for (size_t i = first; i < std::min(count, first + group); ++i) {
      which[some] = order_[i];
      some += candidates[order_[i]].bound <= threshold ? 1 : 0;
    }
    refiner.distances(candidates, which.data(), some, refined.data());
    for (size_t i = 0; i < some; ++i) {
      const Candidate& candidate = candidates[which[i]];
      top.push({std::max(refined[i], candidate.bound), candidate.id});
    }
    stats_.refined += some;
  }
}

/// Refines the vectors with the least bounds of the part: their k-th best is the limit for the
/// others. What else the blocks looked at hold within `query.taken`, beyond which hardly any limit
/// lies, stays a candidate.
void StoreScan::rank_seeds(size_t q, const Part& part) {
  Query& query = queries_[q];
  const float* minima = minima_.data() + q * part.blocks;
  query.least = range_of(minima, part.blocks).low;
  query.seeded = -infinity;
  query.taken = -infinity;
  const size_t k = query.top.k();
  const size_t seeds =
      std::clamp(part.blocks / seeded_share, least_seed_factor * k, seed_factor * k);
  const float reached = std::min(query.top.threshold(), no_limit);
  if (reached < no_limit && count_within(minima, part.blocks, reached) <= unseeded_factor * seeds) {
    return;
  }
  const float seeded = bound_of_rank(minima, part.blocks, seeds);
  if (seeded >= reached) {
    return;
  }
  query.seeded = seeded;
  query.taken =
      std::min(std::max(bound_of_rank(minima, part.blocks, taken_factor * seeds), seeded), reached);
  ranges_[q] = {-infinity, seeded, -infinity, query.taken};
  select_again(part, q, 1, 1);
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  refine_candidates(q, -infinity, seeded);
}

/// What rank_seeds() has left: nearly always that of blocks it has not seen.
void StoreScan::select_rest(const Part& part, int threads) {
  for (size_t q = 0; q < count_; ++q) {
    const float limit = std::min(queries_[q].top.threshold(), no_limit);
    ranges_[q] = {queries_[q].seeded, limit, -infinity, limit};
  }
  select_again(part, 0, count_, threads);
  for (size_t q = 0; q < count_; ++q) {
    Query& query = queries_[q];
    const float limit = ranges_[q].to;
    if (query.taken < limit && query.seeded > -infinity) {
      ranges_[q] = {-infinity, query.seeded, query.taken, limit};
      select_again(part, q, 1, threads);
    }
  }
}

void StoreScan::rank_candidates(size_t q) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  Query& query = queries_[q];
  stats_.candidates += query.candidates.size();
  // The nearer half by bound first: it lowers the threshold for the other.
  const float middle = 0.5F * (std::max(query.seeded, query.least) + query.top.threshold());
  refine_candidates(q, query.seeded, middle);
  refine_candidates(q, middle, infinity);
  query.candidates.clear();
}

void StoreScan::rank_part(const Part& part, int threads) {
  scan_minima(part, threads);
  for (size_t q = 0; q < count_; ++q) {
    rank_seeds(q, part);
  }
  select_rest(part, threads);
  for (size_t q = 0; q < count_; ++q) {
    rank_candidates(q);
  }
}

/// The least bounds so far stay candidates: at least `length` of them, where there are as many.
void StoreScan::shortlist_part(const Part& part, size_t length, int threads) {
  scan_minima(part, threads);
  for (size_t q = 0; q < count_; ++q) {
    // So many blocks hold as many vectors within the bound of this rank.
    if (length <= part.blocks) {
      const float* minima = minima_.data() + q * part.blocks;
      sample_.assign(minima, minima + part.blocks);
      const auto at = sample_.begin() + static_cast<std::ptrdiff_t>(length - 1);
      std::nth_element(sample_.begin(), at, sample_.end());
      limits_[q] = std::min(limits_[q], *at);
    }
    ranges_[q] = {-infinity, limits_[q], -infinity, limits_[q]};
  }
  select_again(part, 0, count_, threads);
  for (size_t q = 0; q < count_; ++q) {
    shorten(q, length);
  }
}

/// Cuts the candidates of q to the `length` least by bound; ties by id, so that what is in the list
/// does not depend on the order of candidates.
void StoreScan::shorten(size_t q, size_t length) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  CandidateList& candidates = queries_[q].candidates;
  if (candidates.size() <= length) {
    return;
  }
  std::vector<std::pair<Neighbour, uint32_t>> order(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    order[i] = {{candidates[i].bound, candidates[i].id}, static_cast<uint32_t>(i)};
  }
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(length - 1);
  std::nth_element(order.begin(), last, order.end());
  limits_[q] = std::min(limits_[q], last->first.distance);
  order_.clear();
  for (size_t i = 0; i < length; ++i) {
    order_.push_back(order[i].second);
  }
  candidates.keep(order_);
}

void StoreScan::rank_shortlist(size_t q) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  const CandidateList& candidates = queries_[q].candidates;
  stats_.candidates += candidates.size();
  stats_.refined += candidates.size();
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  for (size_t i = 0; i < candidates.size(); ++i) {
    queries_[q].top.push({refiner.distance(candidates[i], candidates.plane(i)), candidates[i].id});
  }
}

void StoreScan::rank(size_t k, int threads) {
  const size_t most = part_blocks * static_cast<size_t>(std::max(threads, 1));
  const size_t parts = (store_.blocks() + most - 1) / most;
  const size_t length = params_.k_factor * k;
  for (size_t q = 0; q < count_; ++q) {
    queries_[q].top = TopK(k);
  }
  for (size_t p = 0; p < parts; ++p) {
    const size_t first = store_.blocks() * p / parts;
    const Part part = {first, store_.blocks() * (p + 1) / parts - first};
    if (by_bound_) {
      rank_part(part, threads);
    } else {
      shortlist_part(part, length, threads);
    }
  }
  for (size_t q = 0; !by_bound_ && q < count_; ++q) {
    rank_shortlist(q);
  }
}

std::vector<std::vector<Neighbour>> StoreScan::nearest(const float* queries, size_t count, size_t k,
                                                       int threads) {
  const size_t possible = std::min(k, store_.size());
  std::vector<std::vector<Neighbour>> results(count);
  if (possible == 0) {
    return results;
  }
  prepare(queries, count);
  rank(possible, threads);
  for (size_t q = 0; q < count; ++q) {
    results[q] = queries_[q].top.take_sorted();
    for (Neighbour& neighbour : results[q]) {
      neighbour.distance += queries_[q].base;
    }
    // Adding the base rounds, and can make equals of two distances: their ids are to decide then.
    std::sort(results[q].begin(), results[q].end());
  }
  return results;
}

std::vector<std::vector<Neighbour>> StoreScan::within(const float* queries, size_t count,
                                                      float radius, int threads) {
  prepare(queries, count);
  for (size_t q = 0; q < count; ++q) {
    // The subtraction rounds: look one step further in and let the final distance decide.
    limits_[q] = std::min(std::nextafter(radius - queries_[q].base, infinity), no_limit);
  }
  if (store_.size() > 0) {
    select_all(threads);
  }
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  std::vector<std::vector<Neighbour>> results(count);
  for (size_t q = 0; q < count; ++q) {
    const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
    const CandidateList& candidates = queries_[q].candidates;
    for (size_t i = 0; i < candidates.size(); ++i) {
      ++stats_.refined;
      const Candidate& candidate = candidates[i];
      const float refined = refiner.distance(candidate, candidates.plane(i));
      const float distance = queries_[q].base + std::max(refined, candidate.bound);
      if (distance < radius) {
        results[q].push_back({distance, candidate.id});
      }
    }
    std::sort(results[q].begin(), results[q].end(),
              [](const Neighbour& a, const Neighbour& b) { return a.id < b.id; });
  }
  return results;
}

}  // namespace rotorquant
