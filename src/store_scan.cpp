// SPDX-License-Identifier: MIT
#include "store_scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "stage_timer.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Scan data that all queries of a pass work through before moving on: a share of L2.
constexpr size_t chunk_bytes = size_t{64} << 10U;
/// One block in this many is searched first, to guess the limit; fewer are skipped in small stores,
/// whose sample must still have this many blocks. Below two, sampling would cost more than it
/// saves.
constexpr size_t widest_sample_step = 8;
constexpr size_t least_sampled_blocks = 40;
/// Candidates refined first, to settle the threshold, as a multiple of k (about).
constexpr size_t seed_factor = 8;

/// Moves the `count` least to the front, in no order.
void least_first(std::vector<Neighbour>& candidates, size_t count) {
  if (count < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count),
                     candidates.end());
  }
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

std::vector<uint64_t> AllowedBlocks::every(size_t step) const {
  std::vector<uint64_t> result;
  for (size_t b = 0; b < masks_.size(); b += step) {
    result.push_back(masks_[b]);
  }
  return result;
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
  std::vector<float> residuals(count * d);
  std::vector<CodecQuery> prepared(count);
  queries_.resize(std::max(queries_.size(), count));
  count_ = count;
  scans_.resize(count);
  limits_.assign(count, no_limit);
  for (size_t q = 0; q < count; ++q) {
    queries_[q].base = space_.split_query(queries + q * d, d, residuals.data() + q * d);
  }
  codec_.prepare(residuals.data(), count, prepared.data());
  for (size_t q = 0; q < count; ++q) {
    Query& query = queries_[q];
    query.seed_edge = infinity;
    query.candidates.clear();
    query.codec_query = std::move(prepared[q]);
    CodecAccess::fill_scan_table(codec_, query.codec_query, store_.padded_quads(), query.table);
    scans_[q] = {query.table.entries.data(), weight * query.table.step,
                 weight * (query.table.bias + error_margin(query.table))};
  }
  stats_.queries += count;
}

void StoreScan::guess_limits(size_t k) {
  const size_t blocks = store_.blocks();
  const size_t sample_step = std::min(widest_sample_step, blocks / least_sampled_blocks);
  if (sample_step < 2) {
    return;
  }
  const size_t sampled = (blocks + sample_step - 1) / sample_step;
  const std::vector<uint64_t> masks = allowed_.every(sample_step);
  minima_.resize(std::max(minima_.size(), count_ * sampled));
  {
    const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
    store_.kernels().block_minima(store_.block(0), sampled, store_.block_bytes() * sample_step,
                                  store_.padded_quads(), scans_.data(), scans_.size(),
                                  masks.empty() ? nullptr : masks.data(), minima_.data(), sampled);
    stats_.blocks_scanned += count_ * sampled;
  }
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  for (size_t q = 0; q < count_; ++q) {
    limits_[q] = sampled_limit(q, k, minima_.data() + q * sampled, sampled, sample_step);
  }
}

/// The bound of the candidate with that rank, counted from 0; +infinity where there are fewer.
float StoreScan::bound_of_rank(const CandidateList& candidates, size_t rank) {
  if (rank >= candidates.size()) {
    return infinity;
  }
  bounds_.resize(candidates.size());
  for (size_t i = 0; i < bounds_.size(); ++i) {
    bounds_[i] = candidates[i].bound;
  }
  const auto at = bounds_.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(bounds_.begin(), at, bounds_.end());
  return *at;
}

float StoreScan::sampled_limit(size_t q, size_t k, const float* minima, size_t blocks,
                               size_t step) {
  const size_t rank = safe_rank(k, step);
  const size_t seeds = std::max<size_t>(4 * rank, 16);
  if (blocks < seeds) {
    return no_limit;
  }
  // The best blocks of the sample hold every vector of the sample with a bound up to `edge`.
  best_blocks_.resize(blocks);
  for (size_t b = 0; b < blocks; ++b) {
    best_blocks_[b] = {minima[b], static_cast<int64_t>(b * step)};
  }
  least_first(best_blocks_, seeds - 1);
  const float edge = std::min(best_blocks_[seeds - 1].distance, no_limit);
  for (size_t i = 0; i < seeds; ++i) {
    select_block(q, static_cast<size_t>(best_blocks_[i].id), edge);
  }
  CandidateList& candidates = queries_[q].candidates;
  TopK top(rank);
  if (by_bound_) {
    queries_[q].seed_edge = bound_of_rank(candidates, std::max<size_t>(1, seed_factor * k / step));
    refine_candidates(q, -infinity, infinity, top);
  } else {
    for (size_t i = 0; i < candidates.size(); ++i) {
      top.push({candidates[i].bound, candidates[i].id});
    }
  }
  candidates.clear();
  return std::min(top.threshold(), no_limit);
}

void StoreScan::select_block(size_t q, size_t block, float limit) {
  const uint64_t* masks = allowed_.masks();
  std::array<float, block_vectors + 16> bounds{};
  std::array<uint32_t, block_vectors + 16> ids{};
  simd::Selection found{bounds.data(), ids.data(), 0};
  store_.kernels().select(store_.block(block), 1, store_.block_bytes(), store_.padded_quads(),
                          &scans_[q], 1, &limit, masks == nullptr ? nullptr : masks + block,
                          static_cast<uint32_t>(block * block_vectors), &found);
  queries_[q].candidates.append(store_, found);
}

void StoreScan::select(size_t first, size_t count, size_t first_block, size_t last_block,
                       int threads) {
  const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
  const size_t chunk = std::max<size_t>(1, chunk_bytes / store_.block_bytes());
  stats_.blocks_scanned += count * (last_block - first_block);
  if (threads <= 1) {
    for (size_t b = first_block; b < last_block; b += chunk) {
      select_chunk(first, count, b, std::min(chunk, last_block - b), selection_,
                   [this](size_t q) -> CandidateList& { return queries_[q].candidates; });
    }
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    ChunkSelection selection;
    std::vector<CandidateList> own(count);
#pragma omp for schedule(dynamic)
    for (size_t b = first_block; b < last_block; b += chunk) {
      select_chunk(first, count, b, std::min(chunk, last_block - b), selection,
                   [&own, first](size_t q) -> CandidateList& { return own[q - first]; });
    }
#pragma omp critical(rotorquant_candidates)
    for (size_t q = 0; q < count; ++q) {
      queries_[first + q].candidates.append(own[q]);
    }
  }
}

template <class ListOf>
void StoreScan::select_chunk(size_t first, size_t count, size_t block, size_t blocks,
                             ChunkSelection& selection, const ListOf& list_of) {
  const uint64_t* masks = allowed_.masks();
  selection.reset(count, blocks);
  store_.kernels().select(store_.block(block), blocks, store_.block_bytes(), store_.padded_quads(),
                          scans_.data() + first, count, limits_.data() + first,
                          masks == nullptr ? nullptr : masks + block,
                          static_cast<uint32_t>(block * block_vectors), selection.out.data());
  for (size_t q = 0; q < count; ++q) {
    list_of(first + q).append(store_, selection.out[q]);
  }
}

void StoreScan::refine_candidates(size_t q, float from, float to, TopK& top) {
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

void StoreScan::rank_candidates(size_t q) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  Query& query = queries_[q];
  stats_.candidates += query.candidates.size();
  // Best first: the least bounds all but settle the threshold.
  const float edge = query.seed_edge < infinity
                         ? query.seed_edge
                         : bound_of_rank(query.candidates, seed_factor * query.top.k());
  refine_candidates(q, -infinity, edge, query.top);
  refine_candidates(q, edge, infinity, query.top);
  query.candidates.clear();
}

void StoreScan::rank_by_bound(size_t count, size_t k, int threads) {
  const size_t blocks = store_.blocks();
  select(0, count, 0, blocks, threads);
  for (size_t q = 0; q < count; ++q) {
    queries_[q].top = TopK(k);
    rank_candidates(q);
    const float reached = queries_[q].top.threshold();
    if (reached > limits_[q] && limits_[q] < no_limit) {
      ++stats_.rescans;
      queries_[q].top = TopK(k);
      limits_[q] = std::min(reached, no_limit);  // cannot be too low
      select(q, 1, 0, blocks, threads);
      rank_candidates(q);
    }
  }
}

void StoreScan::rank_shortlist(size_t q, size_t k, int threads) {
  const size_t length = params_.k_factor * k;
  CandidateList& candidates = queries_[q].candidates;
  if (candidates.size() < length && limits_[q] < no_limit) {
    ++stats_.rescans;
    limits_[q] = no_limit;
    candidates.clear();
    select(q, 1, 0, store_.blocks(), threads);
  }
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  stats_.candidates += candidates.size();
  // Ties by id: what is in the list must not depend on the order of candidates.
  std::vector<std::pair<Neighbour, size_t>> order(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    order[i] = {{candidates[i].bound, candidates[i].id}, i};
  }
  if (length < order.size()) {
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(length),
                     order.end());
    order.resize(length);
  }
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  TopK top(k);
  for (const auto& [neighbour, i] : order) {
    ++stats_.refined;
    top.push({refiner.distance(candidates[i], candidates.plane(i)), neighbour.id});
  }
  queries_[q].top = std::move(top);
}

std::vector<std::vector<Neighbour>> StoreScan::nearest(const float* queries, size_t count, size_t k,
                                                       int threads) {
  const size_t possible = std::min(k, store_.size());
  std::vector<std::vector<Neighbour>> results(count);
  if (possible == 0) {
    return results;
  }
  prepare(queries, count);
  if (by_bound_) {
    guess_limits(possible);
    rank_by_bound(count, possible, threads);
  } else {
    guess_limits(std::min(params_.k_factor * possible, store_.size()));
    select(0, count, 0, store_.blocks(), threads);
    for (size_t q = 0; q < count; ++q) {
      rank_shortlist(q, possible, threads);
    }
  }
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
    select(0, count, 0, store_.blocks(), threads);
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
