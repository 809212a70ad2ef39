// SPDX-License-Identifier: MIT
#pragma once

// Inverted lists for the tests of the GPU parts.

#include <algorithm>
#include <memory>
#include <vector>

#include "gpu_test.h"
#include "rotorquant/ivf.h"

namespace rotorquant::test_data {

/// Centroids are multiplied with queries in fused steps on the device, and so on the CPU but for
/// its scalar kernels; everything else is integers or has one order.
constexpr float list_rounding = 1e-5F;

/// Inverted lists on both sides, with the same codes.
struct Lists {
  std::shared_ptr<const IvfGeometry> geometry;
  InvertedFile cpu;
  GpuResources resources;
  GpuInvertedFile gpu;

  Lists(const CodecParams& params, size_t n, size_t lists, Metric metric = Metric::l2,
        int64_t first_id = 0, bool by_residual = true)
      : geometry(make_geometry(params, lists, metric, by_residual)),
        cpu(geometry),
        gpu(resources, geometry) {
    const Floats x = vectors(n, 3);
    std::vector<int64_t> ids(n);
    for (size_t i = 0; i < n; ++i) {  // not in the order of places
      ids[i] = first_id + static_cast<int64_t>((i * 7919) % std::max<size_t>(n, 1));
    }
    add_on_cpu(x, ids);
    gpu.append(cpu);
  }

  size_t d() const { return geometry->dim(); }
  Floats vectors(size_t n, uint64_t seed) const { return clustered(n, d(), 20, seed); }
  Floats queries(size_t n) const { return vectors(n, 3); }

  static std::shared_ptr<const IvfGeometry> make_geometry(const CodecParams& params, size_t lists,
                                                          Metric metric, bool by_residual) {
    const auto codec = std::make_shared<const Codec>(ready_codec(params));
    const Floats residuals = gaussian(50, params.d, 5, 0.4F);
    return std::make_shared<const IvfGeometry>(
        metric, codec, gaussian(1, params.d, 17, 0.3F),
        by_residual ? gaussian(lists, params.d, 4) : Floats{}, lists,
        IvfGeometry::measure_error_ratio(*codec, residuals.data(), 50));
  }

  /// Lists in no order, some of them empty.
  std::vector<int64_t> lists_of(size_t n) const {
    std::vector<int64_t> lists(n);
    Rng rng(9, 9);
    for (int64_t& list : lists) {
      list = static_cast<int64_t>(rng.below((geometry->lists() + 1) / 2 * 2) / 2 * 2);
      list = std::min(list, static_cast<int64_t>(geometry->lists()) - 1);
    }
    return lists;
  }

  void add_on_cpu(const Floats& x, const std::vector<int64_t>& ids) {
    const size_t n = ids.size();
    const std::vector<int64_t> lists = lists_of(n);
    Floats residuals(x.size());
    Floats additive(n);
    geometry->split(x.data(), lists.data(), n, residuals.data(), additive.data());
    Bytes codes(n * geometry->codec().code_bytes());
    geometry->codec().encode(residuals.data(), additive.data(), n, codes.data());
    for (size_t i = 0; i < n; ++i) {
      cpu.append(static_cast<size_t>(lists[i]), 1, ids.data() + i,
                 codes.data() + i * geometry->codec().code_bytes());
    }
  }

  Answers on_cpu(const Floats& queries, size_t k, size_t probes,
                 const IvfSearchParams& params = {}) const {
    const size_t n = queries.size() / d();
    Answers found{Floats(n * k), std::vector<int64_t>(n * k)};
    search_nearest_lists(cpu, queries.data(), n, k, probes, params, found.distances.data(),
                         found.ids.data());
    return found;
  }
  Answers on_gpu(const Floats& queries, size_t k, size_t probes, const IvfSearchParams& params = {},
                 const GpuSearchOptions& options = {}, const int64_t* probed = nullptr) const {
    const size_t n = queries.size() / d();
    Answers found{Floats(n * k), std::vector<int64_t>(n * k)};
    search(gpu, queries.data(), n, k, probed, probes, params, found.distances.data(),
           found.ids.data(), options);
    return found;
  }
  void expect_same(size_t k, size_t probes, const IvfSearchParams& params = {},
                   const GpuSearchOptions& options = {}, size_t n = 5) const {
    const Floats q = queries(n);
    expect_close(on_cpu(q, k, probes, params), on_gpu(q, k, probes, params, options),
                 list_rounding);
  }
};

}  // namespace rotorquant::test_data
