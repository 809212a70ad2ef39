// SPDX-License-Identifier: MIT
#pragma once

// Cases of the GPU parts. They run twice: rotorquant_gpu_tests on a CUDA device,
// rotorquant_gpu_emulation_tests on the CPU, kernels included.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "on_device.h"
#include "rotorquant/gpu.h"
#include "test_data.h"

namespace rotorquant::test_data {

struct Answers {
  Floats distances;
  std::vector<int64_t> ids;
  bool operator==(const Answers&) const = default;
};

/// Codec, vectors and both kinds of store, with the same codes.
struct Stores {
  Codec codec;
  Space space;
  CodeStore cpu;
  GpuResources resources;
  GpuCodec gpu_codec;
  GpuCodeStore gpu;

  Stores(const CodecParams& params, size_t n, Metric metric = Metric::l2, uint64_t seed = 3)
      : codec(ready_codec(params)),
        space{metric, gaussian(1, params.d, 17, 0.3F)},
        cpu(codec.layout()),
        gpu_codec(resources, codec, space),
        gpu(resources, codec.layout()) {
    const Bytes codes = encoded_on_cpu(clustered(n, params.d, 20, seed));
    cpu.append(codes.data(), n);
    gpu.append(codes.data(), n);
  }

  size_t d() const { return codec.dim(); }

  Bytes encoded_on_cpu(const Floats& x, EncodeEffort effort = EncodeEffort::standard) const {
    const size_t n = x.size() / d();
    Floats residuals(x.size());
    Floats additive(n);
    Bytes codes(n * codec.code_bytes());
    space.split(x.data(), n, d(), residuals.data(), additive.data());
    codec.encode(residuals.data(), additive.data(), n, codes.data(), effort);
    return codes;
  }

  /// Queries near the stored vectors.
  Floats queries(size_t n) const { return clustered(n, d(), 20, 3); }

  Answers on_cpu(const Floats& queries, size_t k, const SearchParams& params = {}) const {
    const size_t n = queries.size() / d();
    Answers found{Floats(n * k), std::vector<int64_t>(n * k)};
    search(codec, space, cpu, queries.data(), n, k, params, found.distances.data(),
           found.ids.data());
    return found;
  }
  Answers on_gpu(const Floats& queries, size_t k, const SearchParams& params = {},
                 const GpuSearchOptions& options = {}) const {
    const size_t n = queries.size() / d();
    Answers found{Floats(n * k), std::vector<int64_t>(n * k)};
    search(gpu_codec, gpu, queries.data(), n, k, params, found.distances.data(), found.ids.data(),
           options);
    return found;
  }
};

/// Distances within `tolerance` of the largest one; ids equal except where a neighbour's distance
/// is that close.
inline void expect_close(const Answers& expected, const Answers& received, float tolerance) {
  ASSERT_EQ(expected.ids.size(), received.ids.size());
  float largest = 0.0F;
  for (const float v : expected.distances) {
    largest = std::isfinite(v) ? std::max(largest, std::fabs(v)) : largest;
  }
  const size_t n = expected.ids.size();
  const float near = tolerance * largest;
  const auto ties = [&](size_t i, size_t j) {
    return std::fabs(expected.distances[i] - expected.distances[j]) <= 2 * near;
  };
  for (size_t i = 0; i < n; ++i) {
    if (!std::isfinite(expected.distances[i])) {
      EXPECT_EQ(expected.distances[i], received.distances[i]) << i;
      EXPECT_EQ(expected.ids[i], received.ids[i]) << i;
      continue;
    }
    EXPECT_NEAR(expected.distances[i], received.distances[i], near) << i;
    // The last of a query may tie with one that is not among the results.
    const bool tied = i + 1 == n || ties(i, i + 1) || (i > 0 && ties(i - 1, i)) ||
                      expected.distances[i + 1] < expected.distances[i];
    if (!tied) {
      EXPECT_EQ(expected.ids[i], received.ids[i]) << i;
    }
  }
}

inline std::string codec_name(const CodecParams& params) {
  std::string name = params.frame == FrameKind::learned ? "ORQ" : "RQ";
  return name + std::to_string(params.bits) + (params.signs ? "" : "mse") + "_d" +
         std::to_string(params.d);
}

inline std::string codec_param_name(const testing::TestParamInfo<CodecParams>& info) {
  return codec_name(info.param);
}

}  // namespace rotorquant::test_data
