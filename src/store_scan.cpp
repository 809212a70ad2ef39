// SPDX-License-Identifier: MIT
#include "store_scan.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float minus_infinity = -infinity;

/// Scan data that one pass of all queries works through before moving on: a share of L2.
constexpr size_t chunk_bytes = size_t{192} << 10U;
/// Rows are asked for this many candidates ahead of their use.
constexpr size_t prefetch_distance = 6;
/// Blocks that seed the threshold, as a multiple of k.
constexpr size_t seed_factor = 3;

/// Adds the seconds it lived to a counter, where anybody counts.
class StageTimer {
 public:
  StageTimer(bool counting, double& seconds) : counting_(counting), seconds_(seconds) {
    if (counting_) {
      start_ = std::chrono::steady_clock::now();
    }
  }
  ~StageTimer() {
    if (counting_) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      seconds_ += elapsed.count();
    }
  }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  bool counting_;
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

bool by_distance(const Neighbour& a, const Neighbour& b) { return a.distance < b.distance; }

}  // namespace

AllowedBlocks::AllowedBlocks(const CodeStore& store, const IdFilter* filter) {
  if (filter == nullptr) {
    return;
  }
  masks_.assign(store.blocks(), 0);
  for (size_t i = 0; i < store.size(); ++i) {
    const uint64_t allowed = filter->allows(static_cast<int64_t>(i)) ? 1 : 0;
    masks_[i / block_vectors] |= allowed << (i % block_vectors);
  }
}

CodeRefiner::CodeRefiner(const Codec& codec, const Space& space, const CodeStore& store,
                         const SearchParams& params, const CodecQuery& query)
    : codec_(codec),
      store_(store),
      params_(params),
      view_(CodecAccess::refine_view(codec, query, params.levels)),
      weight_(space.weight()),
      norm_from_additive_(space.metric == Metric::l2 && CodecAccess::is_isometric(codec)),
      plane_(store.layout().plane_bytes) {}

float CodeRefiner::distance(size_t i) const {
  const CodeLayout& layout = store_.layout();
  const uint8_t* row = store_.row(i);
  store_.scan_nibbles(i, plane_.data());
  float level_product = 0.0F;
  float sign_product = 0.0F;
  store_.kernels().refine(view_, plane_.data(), row, &level_product, &sign_product);
  CodeFactors factors;
  factors.alpha1 = store_.scan_alpha(i);
  factors.additive = store_.additive(i);
  read_row_factors(layout, row + (layout.planes - 1) * layout.plane_bytes, factors);
  const float norm = norm_from_additive_ ? std::sqrt(factors.additive) : -1.0F;
  const float product = CodecAccess::combine(codec_, factors, level_product, sign_product,
                                             params_.levels, params_.estimator, norm);
  return factors.additive - weight_ * product;
}

void CodeRefiner::prefetch(size_t i) const {
  const uint8_t* row = store_.row(i);
  const size_t bytes = store_.layout().row_bytes();
  for (size_t at = 0; at < bytes; at += cache_line) {
    __builtin_prefetch(row + at);
  }
}

StoreScan::StoreScan(const Codec& codec, const Space& space, const CodeStore& store,
                     const SearchParams& params, const AllowedBlocks& allowed)
    : codec_(codec), space_(space), store_(store), params_(params), allowed_(allowed) {}

StoreScan::~StoreScan() {
  if (params_.stats == nullptr) {
    return;
  }
#pragma omp critical(rotorquant_search_stats)
  {
    SearchStats& total = *params_.stats;
    total.queries += stats_.queries;
    total.blocks_scanned += stats_.blocks_scanned;
    total.blocks_revisited += stats_.blocks_revisited;
    total.refined += stats_.refined;
    total.prepare_seconds += stats_.prepare_seconds;
    total.scan_seconds += stats_.scan_seconds;
    total.refine_seconds += stats_.refine_seconds;
  }
}

void StoreScan::prepare(const float* query, Query& out) const {
  std::vector<float> residual(codec_.dim());
  out.base = space_.split_query(query, codec_.dim(), residual.data());
  out.codec_query = codec_.prepare(residual.data());
  CodecAccess::fill_scan_table(codec_, out.codec_query, store_.padded_quads(), out.table);
  const float weight = space_.weight();
  out.scan.table = out.table.entries.data();
  out.scan.scale = weight * out.table.step;
  out.scan.offset = weight * (out.table.bias + error_margin(out.table));
}

float StoreScan::error_margin(const ScanTable& table) const {
  if (params_.refine_error_scale == 0.0F) {
    return 0.0F;
  }
  const CodeLayout& layout = codec_.layout();
  const bool scan_is_all = layout.planes == 1 || params_.levels == 1;
  if (scan_is_all) {  // refining undoes the table's rounding and nothing else: no need to be frugal
    constexpr float rounding_scale = 4.0F;
    return rounding_scale * table.rounding;
  }
  const float scale = params_.refine_error_scale < 0.0F ? codec_.default_error_scale()
                                                        : params_.refine_error_scale;
  return scale * table.sigma;
}

void StoreScan::run(const float* queries, size_t count, int threads) {
  const bool counting = params_.stats != nullptr;
  {
    const StageTimer timer(counting, stats_.prepare_seconds);
    queries_.resize(count);
    for (size_t q = 0; q < count; ++q) {
      prepare(queries + q * codec_.dim(), queries_[q]);
    }
  }
  const StageTimer timer(counting, stats_.scan_seconds);
  compute_minima(threads);
  stats_.queries += count;
  stats_.blocks_scanned += count * store_.blocks();
}

void StoreScan::compute_minima(int threads) {
  const size_t blocks = store_.blocks();
  minima_.resize(queries_.size() * blocks);
  std::vector<simd::ScanQuery> scans;
  scans.reserve(queries_.size());
  for (const Query& query : queries_) {
    scans.push_back(query.scan);
  }
  const size_t chunk = std::max<size_t>(1, chunk_bytes / store_.block_bytes());
  const auto scan_chunk = [&](size_t first) {
    const uint64_t* masks = allowed_.masks();
    store_.kernels().block_minima(store_.block(first), std::min(chunk, blocks - first),
                                  store_.block_bytes(), store_.padded_quads(), scans.data(),
                                  scans.size(), masks == nullptr ? nullptr : masks + first,
                                  minima_.data() + first, blocks);
  };
  if (threads <= 1) {
    for (size_t first = 0; first < blocks; first += chunk) {
      scan_chunk(first);
    }
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (size_t first = 0; first < blocks; first += chunk) {
    scan_chunk(first);
  }
}

float StoreScan::best_blocks(size_t q, size_t count, std::vector<uint32_t>& blocks) const {
  const float* minima = minima_of(q);
  const size_t n = store_.blocks();
  const auto less = [minima](uint32_t a, uint32_t b) { return minima[a] < minima[b]; };
  blocks.clear();
  if (n <= count) {
    for (size_t b = 0; b < n; ++b) {
      blocks.push_back(static_cast<uint32_t>(b));
    }
    return infinity;
  }
  // Keep up to 2 count blocks under a limit that falls whenever the buffer is cut back to the
  // best `count`: few blocks get past the limit, so the pass costs one compare a block.
  float limit = infinity;
  const auto cut = [&]() {
    std::nth_element(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(count - 1),
                     blocks.end(), less);
    blocks.resize(count);
    limit = minima[blocks[count - 1]];
  };
  for (size_t b = 0; b < n; ++b) {
    if (minima[b] < limit) {
      blocks.push_back(static_cast<uint32_t>(b));
      if (blocks.size() == 2 * count) {
        cut();
      }
    }
  }
  if (blocks.size() > count) {
    cut();
  }
  float largest = minus_infinity;
  for (const uint32_t b : blocks) {
    largest = std::max(largest, minima[b]);
  }
  return blocks.size() < count ? infinity : largest;
}

void StoreScan::collect(size_t q, size_t block, float above, float limit) {
  ++stats_.blocks_revisited;
  float bounds[block_vectors];
  store_.kernels().block_bounds(store_.block(block), store_.padded_quads(), queries_[q].scan,
                                bounds);
  uint64_t chosen = 0;
  for (size_t v = 0; v < block_vectors; ++v) {
    const uint64_t inside = (bounds[v] > above) & (bounds[v] <= limit) ? 1 : 0;
    chosen |= inside << v;
  }
  chosen &= allowed_.mask(block);
  for (; chosen != 0; chosen &= chosen - 1) {
    const auto v = static_cast<size_t>(__builtin_ctzll(chosen));
    const size_t id = block * block_vectors + v;
    if (id < store_.size()) {
      candidates_.push_back({bounds[v], static_cast<int64_t>(id)});
    }
  }
}

void StoreScan::refine_candidates(const CodeRefiner& refiner, TopK& top, bool sorted) {
  const size_t n = candidates_.size();
  for (size_t i = 0; i < std::min(prefetch_distance, n); ++i) {
    refiner.prefetch(static_cast<size_t>(candidates_[i].id));
  }
  for (size_t i = 0; i < n; ++i) {
    if (i + prefetch_distance < n) {
      refiner.prefetch(static_cast<size_t>(candidates_[i + prefetch_distance].id));
    }
    const Neighbour& candidate = candidates_[i];
    if (candidate.distance > top.threshold()) {
      if (sorted) {
        break;
      }
      continue;
    }
    ++stats_.refined;
    const float refined = refiner.distance(static_cast<size_t>(candidate.id));
    top.push({std::max(refined, candidate.distance), candidate.id});
  }
  candidates_.clear();
}

std::vector<Neighbour> StoreScan::best(size_t q, size_t k) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  const size_t possible = std::min(k, store_.size());
  if (possible == 0) {
    return {};
  }
  return params_.refine_error_scale != 0.0F ? best_by_bound(q, possible)
                                           : best_of_shortlist(q, possible);
}

std::vector<Neighbour> StoreScan::best_by_bound(size_t q, size_t k) {
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  TopK top(k);
  // Best first: the vectors under the seed blocks' bounds all but settle the threshold.
  std::vector<uint32_t> seeds;
  const float seeded = best_blocks(q, std::max<size_t>(seed_factor * k, 16), seeds);
  for (const uint32_t block : seeds) {
    collect(q, block, minus_infinity, seeded);
  }
  std::sort(candidates_.begin(), candidates_.end(), by_distance);
  refine_candidates(refiner, top, true);
  if (top.threshold() <= seeded) {
    return top.take_sorted();
  }
  const float* minima = minima_of(q);
  const size_t blocks = store_.blocks();
  for (size_t b = 0; b < blocks; ++b) {
    if (minima[b] <= top.threshold()) {
      collect(q, b, seeded, top.threshold());
      if (candidates_.size() >= 2 * prefetch_distance) {
        refine_candidates(refiner, top, false);
      }
    }
  }
  refine_candidates(refiner, top, false);
  return top.take_sorted();
}

std::vector<Neighbour> StoreScan::best_of_shortlist(size_t q, size_t k) {
  const size_t length = std::min(params_.k_factor * k, store_.size());
  TopK shortlist(length);
  const float* minima = minima_of(q);
  for (size_t b = 0; b < store_.blocks(); ++b) {
    if (minima[b] <= shortlist.threshold()) {
      collect(q, b, minus_infinity, shortlist.threshold());
      for (const Neighbour& candidate : candidates_) {
        shortlist.push(candidate);
      }
      candidates_.clear();
    }
  }
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  TopK top(k);
  const std::vector<Neighbour> listed = shortlist.take_sorted();
  for (const Neighbour& candidate : listed) {
    ++stats_.refined;
    top.push({refiner.distance(static_cast<size_t>(candidate.id)), candidate.id});
  }
  return top.take_sorted();
}

std::vector<Neighbour> StoreScan::within(size_t q, float radius) {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  const CodeRefiner refiner(codec_, space_, store_, params_, queries_[q].codec_query);
  const float* minima = minima_of(q);
  std::vector<Neighbour> hits;
  for (size_t b = 0; b < store_.blocks(); ++b) {
    if (minima[b] >= radius) {
      continue;
    }
    collect(q, b, minus_infinity, radius);
    for (const Neighbour& candidate : candidates_) {
      ++stats_.refined;
      const float refined = refiner.distance(static_cast<size_t>(candidate.id));
      const float distance = std::max(refined, candidate.distance);
      if (distance < radius) {
        hits.push_back({distance, candidate.id});
      }
    }
    candidates_.clear();
  }
  return hits;
}

}  // namespace rotorquant
