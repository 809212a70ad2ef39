// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <string>

#include "cuda/search_pass.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

using gpu::AllowedTiles;
using gpu::SearchPass;

constexpr size_t candidate_bytes = size_t{64} << 20U;
constexpr size_t most_queries_a_pass = 4096;  // grid rows, and tables that stay in L2

void check(const GpuCodec& codec, const GpuCodeStore& store, const SearchParams& params,
           const GpuSearchOptions& options) {
  require(store.layout() == codec.codec().layout(), "store layout", "that of the codec", "another");
  require(store.impl().device == codec.impl().device, "store's resources", "those of the codec",
          "others");
  require(std::isfinite(params.refine_error_scale), "refine_error_scale", "a finite number",
          params.refine_error_scale);
  require(params.k_factor >= 1, "k_factor", "at least 1", params.k_factor);
  require(params.levels <= codec.codec().layout().levels, "levels", codec.codec().layout().levels,
          params.levels);
  require(options.candidate_capacity == 0 || options.candidate_capacity >= gpu::tile_vectors,
          "candidate_capacity", "0 or at least 32", options.candidate_capacity);
}

/// Calls use(pass, first, count) for passes over all queries.
template <class Use>
void for_passes(const GpuCodec& codec, const GpuCodeStore& store, const float* queries, size_t n,
                size_t k, const SearchParams& params, const GpuSearchOptions& options, Use&& use) {
  const size_t d = codec.codec().dim();
  const gpu::DevicePtr& device = codec.impl().device;
  const AllowedTiles allowed(store.impl(), params.filter);
  const size_t capacity = SearchPass::capacity_for(options, k, store.size());
  const size_t affordable = std::max<size_t>(1, candidate_bytes / (capacity * sizeof(uint64_t)));
  const size_t width = std::min({options.queries_a_pass > 0 ? options.queries_a_pass : affordable,
                                 most_queries_a_pass, std::max<size_t>(n, 1)});
  for (size_t first = 0; first < n; first += width) {
    const size_t count = std::min(width, n - first);
    const gpu::Input<float> input(device, queries + first * d, count * d);
    SearchPass pass(codec.impl(), store.impl(), allowed, params, options, input.data(), count,
                    capacity);
    pass.check_finite(first);
    use(pass, first);
    if (params.stats != nullptr) {
      *params.stats += pass.stats();
    }
  }
}

}  // namespace

void search(const GpuCodec& codec, const GpuCodeStore& store, const float* queries, size_t n,
            size_t k, const SearchParams& params, float* distances, int64_t* ids,
            const GpuSearchOptions& options) {
  require(k >= 1, "k", "at least 1", k);
  check(codec, store, params, options);
  const auto lock = codec.impl().device->lock();
  for_passes(codec, store, queries, n, k, params, options, [&](SearchPass& pass, size_t first) {
    pass.nearest(k, distances + first * k, ids + first * k);
  });
}

std::vector<std::vector<RangeHit>> range_search(const GpuCodec& codec, const GpuCodeStore& store,
                                                const float* queries, size_t n, float radius,
                                                const SearchParams& params,
                                                const GpuSearchOptions& options) {
  check(codec, store, params, options);
  require(!std::isnan(radius), "radius", "a number", radius);
  const auto lock = codec.impl().device->lock();
  std::vector<std::vector<RangeHit>> hits;
  constexpr size_t usual_hits = 1024;  // more are found in parts
  for_passes(codec, store, queries, n, usual_hits, params, options,
             [&](SearchPass& pass, size_t /*first*/) {
               for (std::vector<RangeHit>& of_query : pass.within(radius)) {
                 hits.push_back(std::move(of_query));
               }
             });
  return hits;
}

}  // namespace rotorquant
