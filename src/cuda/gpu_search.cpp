// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "cuda/lists_pass.h"
#include "cuda/store_pass.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

using gpu::AllowedLists;
using gpu::AllowedTiles;
using gpu::ListsPass;
using gpu::PassRequest;
using gpu::ProbeRequest;
using gpu::SearchPass;
using gpu::StorePass;

constexpr size_t working_bytes = size_t{64} << 20U;
constexpr size_t most_queries_a_pass = 4096;  // grid rows, and tables that stay in L2
/// A range search has room for as many hits as this many neighbours; more are found in parts.
constexpr size_t usual_hits = 1024;

void check(const Codec& codec, const SearchParams& params, const GpuSearchOptions& options) {
  require(std::isfinite(params.refine_error_scale), "refine_error_scale", "a finite number",
          params.refine_error_scale);
  require(params.k_factor >= 1, "k_factor", "at least 1", params.k_factor);
  require(params.levels <= codec.layout().levels, "levels", codec.layout().levels, params.levels);
  require(options.candidate_capacity == 0 || options.candidate_capacity >= gpu::tile_vectors,
          "candidate_capacity", "0 or at least 32", options.candidate_capacity);
}

void check(const GpuCodec& codec, const GpuCodeStore& store, const SearchParams& params,
           const GpuSearchOptions& options) {
  require(store.layout() == codec.codec().layout(), "store layout", "that of the codec", "another");
  require(store.impl().device == codec.impl().device, "store's resources", "those of the codec",
          "others");
  check(codec.codec(), params, options);
}

void check(const GpuInvertedFile& file, size_t n, const int64_t* probed, size_t probes,
           const IvfSearchParams& params, const GpuSearchOptions& options) {
  check(file.geometry().codec(), params, options);
  require(params.levels == 0, "levels on a device's inverted lists", 0, params.levels);
  require(params.estimator == Estimator::rescaled, "estimator on a device's inverted lists",
          "rescaled", "strict");
  require(!params.store_pairs, "store_pairs on a device's inverted lists", "false", "true");
  require(probes >= 1, "probes", "at least 1", probes);
  const auto lists = static_cast<int64_t>(file.lists());
  const int64_t* const end = probed == nullptr ? nullptr : probed + n * probes;
  const int64_t* wrong = std::find_if(probed, end, [&](int64_t list) { return list >= lists; });
  require(wrong == end, "list", "below " + std::to_string(lists), wrong == end ? 0 : *wrong);
}

/// What queries are asked of, and how.
struct Work {
  const gpu::CodecImpl& codec;
  size_t vectors;
  size_t bytes_a_query;  ///< of working memory, candidates aside
  const SearchParams& params;
  const GpuSearchOptions& options;
};

/// Calls use(pass, first) for passes over all queries, which make(request, first) makes.
template <class Make, class Use>
void for_passes(const Work& work, const float* queries, size_t n, size_t k, const Make& make,
                const Use& use) {
  const size_t d = work.codec.codec.dim();
  const size_t capacity = SearchPass::capacity_for(work.options, k, work.vectors);
  const size_t bytes = capacity * sizeof(uint64_t) + work.bytes_a_query;
  const size_t affordable = std::max<size_t>(1, working_bytes / bytes);
  const size_t asked = work.options.queries_a_pass;
  const size_t width =
      std::min({asked > 0 ? asked : affordable, most_queries_a_pass, std::max<size_t>(n, 1)});
  for (size_t first = 0; first < n; first += width) {
    const size_t count = std::min(width, n - first);
    const gpu::Input<float> input(work.codec.device, queries + first * d, count * d);
    auto pass = make(PassRequest{work.params, work.options, input.data(), count, capacity}, first);
    pass.check_finite(first);
    use(pass, first);
    if (work.params.stats != nullptr) {
      *work.params.stats += pass.stats();
    }
  }
}

void append_hits(SearchPass& pass, float radius, std::vector<std::vector<RangeHit>>& hits) {
  for (std::vector<RangeHit>& of_query : pass.within(radius)) {
    hits.push_back(std::move(of_query));
  }
}

template <class Use>
void over_store(const GpuCodec& codec, const GpuCodeStore& store, const float* queries, size_t n,
                size_t k, const SearchParams& params, const GpuSearchOptions& options,
                const Use& use) {
  const auto lock = codec.impl().device->lock();
  const AllowedTiles allowed(store.impl(), params.filter);
  for_passes(
      Work{codec.impl(), store.size(), 0, params, options}, queries, n, k,
      [&](const PassRequest& request, size_t /*first*/) {
        return StorePass(codec.impl(), store.impl(), allowed, request);
      },
      use);
}

template <class Use>
void over_lists(const GpuInvertedFile& file, const float* queries, size_t n, size_t k,
                const int64_t* probed, size_t probes, const IvfSearchParams& params,
                const GpuSearchOptions& options, const Use& use) {
  const gpu::ListsImpl& lists = file.impl();
  const auto lock = lists.device->lock();
  AllowedLists allowed(lists, params.filter);
  for_passes(
      Work{lists.codec, lists.total(), ListsPass::bytes_a_query(lists), params, options}, queries,
      n, k,
      [&](const PassRequest& request, size_t first) {
        const int64_t* given = probed == nullptr ? nullptr : probed + first * probes;
        return ListsPass(lists, allowed, ProbeRequest{given, probes, params.max_codes}, request);
      },
      use);
}

}  // namespace

void search(const GpuCodec& codec, const GpuCodeStore& store, const float* queries, size_t n,
            size_t k, const SearchParams& params, float* distances, int64_t* ids,
            const GpuSearchOptions& options) {
  require(k >= 1, "k", "at least 1", k);
  check(codec, store, params, options);
  over_store(codec, store, queries, n, k, params, options, [&](StorePass& pass, size_t first) {
    pass.nearest(k, distances + first * k, ids + first * k);
  });
}

std::vector<std::vector<RangeHit>> range_search(const GpuCodec& codec, const GpuCodeStore& store,
                                                const float* queries, size_t n, float radius,
                                                const SearchParams& params,
                                                const GpuSearchOptions& options) {
  check(codec, store, params, options);
  require(!std::isnan(radius), "radius", "a number", radius);
  std::vector<std::vector<RangeHit>> hits;
  over_store(codec, store, queries, n, usual_hits, params, options,
             [&](StorePass& pass, size_t /*first*/) { append_hits(pass, radius, hits); });
  return hits;
}

void search(const GpuInvertedFile& file, const float* queries, size_t n, size_t k,
            const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
            int64_t* ids, const GpuSearchOptions& options) {
  require(k >= 1, "k", "at least 1", k);
  check(file, n, probed, probes, params, options);
  over_lists(file, queries, n, k, probed, probes, params, options,
             [&](ListsPass& pass, size_t first) {
               pass.nearest(k, distances + first * k, ids + first * k);
             });
}

std::vector<std::vector<RangeHit>> range_search(const GpuInvertedFile& file, const float* queries,
                                                size_t n, float radius, const int64_t* probed,
                                                size_t probes, const IvfSearchParams& params,
                                                const GpuSearchOptions& options) {
  check(file, n, probed, probes, params, options);
  require(!std::isnan(radius), "radius", "a number", radius);
  std::vector<std::vector<RangeHit>> hits;
  over_lists(file, queries, n, usual_hits, probed, probes, params, options,
             [&](ListsPass& pass, size_t /*first*/) { append_hits(pass, radius, hits); });
  return hits;
}

}  // namespace rotorquant
