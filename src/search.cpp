// SPDX-License-Identifier: MIT
#include "rotorquant/search.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "rotorquant/error.h"
#include "store_scan.h"
#include "top_k.h"

namespace rotorquant {
namespace {

/// Queries that share a pass over the blocks: their minima have to stay in cache, and beyond this
/// the scan no longer waits for memory.
constexpr size_t queries_per_pass = 32;
static_assert(queries_per_pass <= simd::most_select_queries);

void check_layout(const Codec& codec, const CodeStore& store) {
  const CodeLayout& own = codec.layout();
  const CodeLayout& other = store.layout();
  require(other.quads == own.quads, "store layout: quads", own.quads, other.quads);
  require(other.planes == own.planes, "store layout: planes", own.planes, other.planes);
  require(other == own, "store layout", "that of the codec", "another");
}

void check_search(const Codec& codec, const Space& space, const CodeStore& store,
                  const float* queries, size_t n, const SearchParams& params) {
  require(codec.is_trained(), "codec", "a trained codec", "an untrained one");
  check_layout(codec, store);
  require(space.centre.empty() || space.centre.size() == codec.dim(), "centre length", codec.dim(),
          space.centre.size());
  require(std::isfinite(params.refine_error_scale), "refine_error_scale", "a finite number",
          params.refine_error_scale);
  require(params.k_factor >= 1, "k_factor", "at least 1", params.k_factor);
  require(params.levels <= codec.layout().levels, "levels", codec.layout().levels, params.levels);
  require(params.threads >= 0, "threads", "at least 0", params.threads);
  require_finite(queries, n, codec.dim(), "queries");
}

int thread_count(const SearchParams& params, size_t n) {
  if (params.threads > 0) {
    return params.threads;
  }
  return n == 1 ? 1 : omp_get_max_threads();
}

/// Runs `work(scan, first, count, threads_inside)` over passes of queries, in parallel where there
/// are enough queries; otherwise the threads go inside a pass, over blocks. make_scan(): one
/// thread's StoreScan.
template <class MakeScan, class Work>
void over_passes(size_t n, int threads, const MakeScan& make_scan, const Work& work) {
  if (threads <= 1 || n < static_cast<size_t>(threads)) {
    StoreScan scan = make_scan();
    for (size_t first = 0; first < n; first += queries_per_pass) {
      work(scan, first, std::min(queries_per_pass, n - first), threads);
    }
    return;
  }
  const size_t even_share = (n + static_cast<size_t>(threads) - 1) / static_cast<size_t>(threads);
  const size_t width = std::min(queries_per_pass, even_share);
#pragma omp parallel num_threads(threads)
  {
    StoreScan scan = make_scan();
#pragma omp for schedule(dynamic)
    for (size_t first = 0; first < n; first += width) {
      work(scan, first, std::min(width, n - first), 1);
    }
  }
}

void write_results(const std::vector<Neighbour>& found, size_t k, float* distances, int64_t* ids) {
  for (size_t i = 0; i < k; ++i) {
    const bool has = i < found.size();
    distances[i] = has ? found[i].distance : std::numeric_limits<float>::infinity();
    ids[i] = has ? found[i].id : -1;
  }
}

/// Inner product in double precision, in partial sums of a fixed order that vectors can add up.
double product(const float* a, const float* b, size_t d) {
  constexpr size_t parts = 8;
  std::array<double, parts> sums{};
  size_t j = 0;
  for (; j + parts <= d; j += parts) {
    for (size_t k = 0; k < parts; ++k) {
      sums[k] += static_cast<double>(a[j + k]) * static_cast<double>(b[j + k]);
    }
  }
  for (; j < d; ++j) {
    sums[j % parts] += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

SearchStats& SearchStats::operator+=(const SearchStats& other) {
  queries += other.queries;
  blocks_scanned += other.blocks_scanned;
  candidates += other.candidates;
  refined += other.refined;
  rescans += other.rescans;
  lists_scanned += other.lists_scanned;
  coarse_seconds += other.coarse_seconds;
  prepare_seconds += other.prepare_seconds;
  scan_seconds += other.scan_seconds;
  refine_seconds += other.refine_seconds;
  return *this;
}

bool Space::split(const float* x, size_t n, size_t d, float* residuals, float* additive) const {
  const std::vector<float> origin(centre.empty() ? d : 0, 0.0F);
  const float* mu = centre.empty() ? origin.data() : centre.data();
  const bool l2 = metric == Metric::l2;
  constexpr size_t pair = 2 * cache_line / sizeof(float);  // what is fetched together
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < d; j += pair) {  // the rows of the next call, where there is one
      __builtin_prefetch(x + (n + i) * d + j);
    }
    const double sum =
        simd::active_kernels().residual(x + i * d, mu, l2 ? nullptr : mu, d, residuals + i * d);
    finite &= std::isfinite(sum);
    additive[i] = static_cast<float>(l2 ? sum : -sum);
  }
  return finite;
}

void Space::restore(float* x, size_t n, size_t d) const {
  if (centre.empty()) {
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] += centre[j];
    }
  }
}

float Space::split_query(const float* q, size_t d, float* residual) const {
  if (centre.empty()) {
    std::copy_n(q, d, residual);
    return metric == Metric::l2 ? static_cast<float>(product(q, q, d)) : 0.0F;
  }
  const double squared = simd::active_kernels().residual(q, centre.data(), nullptr, d, residual);
  return static_cast<float>(metric == Metric::l2 ? squared : -product(centre.data(), q, d));
}

void search(const Codec& codec, const Space& space, const CodeStore& store, const float* queries,
            size_t n, size_t k, const SearchParams& params, float* distances, int64_t* ids) {
  require(k >= 1, "k", "at least 1", k);
  check_search(codec, space, store, queries, n, params);
  const AllowedBlocks allowed(store, params.filter);
  const auto make_scan = [&] { return StoreScan(codec, space, store, params, allowed); };
  over_passes(n, thread_count(params, n), make_scan,
              [&](StoreScan& scan, size_t first, size_t count, int threads) {
                const auto found = scan.nearest(queries + first * codec.dim(), count, k, threads);
                for (size_t q = 0; q < count; ++q) {
                  write_results(found[q], k, distances + (first + q) * k, ids + (first + q) * k);
                }
              });
}

std::vector<std::vector<RangeHit>> range_search(const Codec& codec, const Space& space,
                                                const CodeStore& store, const float* queries,
                                                size_t n, float radius,
                                                const SearchParams& params) {
  check_search(codec, space, store, queries, n, params);
  std::vector<std::vector<RangeHit>> hits(n);
  const AllowedBlocks allowed(store, params.filter);
  const auto make_scan = [&] { return StoreScan(codec, space, store, params, allowed); };
  over_passes(n, thread_count(params, n), make_scan,
              [&](StoreScan& scan, size_t first, size_t count, int threads) {
                const auto found =
                    scan.within(queries + first * codec.dim(), count, radius, threads);
                for (size_t q = 0; q < count; ++q) {
                  for (const Neighbour& hit : found[q]) {
                    hits[first + q].push_back({hit.id, hit.distance});
                  }
                }
              });
  return hits;
}

StoreScorer::StoreScorer(const Codec& codec, const Space& space, const CodeStore& store,
                         const SearchParams& params)
    : codec_(codec), space_(space), store_(store), params_(params) {
  check_layout(codec, store);
}

StoreScorer::~StoreScorer() = default;

void StoreScorer::set_query(const float* query) {
  require_finite(query, 1, codec_.dim(), "query");
  std::vector<float> residual(codec_.dim());
  base_ = space_.split_query(query, codec_.dim(), residual.data());
  query_ = codec_.prepare(residual.data());
  refiner_ = std::make_unique<CodeRefiner>(codec_, space_, store_, params_, query_);
}

float StoreScorer::distance(size_t i) const {
  return base_ + refiner_->distance(i);
}

float StoreScorer::between(size_t i, size_t j) const {
  const size_t d = codec_.dim();
  std::vector<uint8_t> codes(2 * codec_.code_bytes());
  store_.pack(i, 1, codes.data());
  store_.pack(j, 1, codes.data() + codec_.code_bytes());
  std::vector<float> x(2 * d);
  codec_.decode(codes.data(), 2, x.data(), params_.levels);
  space_.restore(x.data(), 2, d);
  double sum = 0.0;
  for (size_t c = 0; c < d; ++c) {
    const auto a = static_cast<double>(x[c]);
    const auto b = static_cast<double>(x[d + c]);
    sum += space_.metric == Metric::l2 ? (a - b) * (a - b) : -a * b;
  }
  return static_cast<float>(sum);
}

}  // namespace rotorquant
