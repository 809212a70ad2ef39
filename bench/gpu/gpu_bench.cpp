// SPDX-License-Identifier: MIT
//
// Flat search and encoding on a CUDA device, beside a copy of device memory measured in the same
// run. Codes are drawn at random: a scan's time does not depend on them, and 100M need no data set.
//
// Usage: gpu_bench [--n 1000000 ...] [--d 128] [--bits 3] [--k 10] [--batch 1000] [--rounds 20]
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <vector>

#include "cuda/internals.h"
#include "half.h"
#include "rotorquant/gpu.h"
#include "rotorquant/random.h"

namespace {

using rotorquant::Codec;
using rotorquant::CodecParams;
using rotorquant::CodeLayout;
using rotorquant::GpuCodec;
using rotorquant::GpuCodeStore;
using rotorquant::GpuResources;
using rotorquant::Rng;

struct Options {
  std::vector<size_t> sizes{1000000, 10000000};
  size_t d = 128;
  int bits = 3;
  size_t k = 10;
  size_t batch = 1000;
  int rounds = 20;
};

/// Seconds of the fastest round; the first warms up.
double fastest(const GpuResources& resources, int rounds, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i <= rounds; ++i) {
    resources.synchronize();
    const auto start = std::chrono::steady_clock::now();
    work();
    resources.synchronize();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = i == 0 ? best : std::min(best, taken.count());
  }
  return best;
}

std::vector<float> gaussian(size_t size, uint64_t seed) {
  Rng rng(seed, 1);
  std::vector<float> values(size);
  for (float& v : values) {
    v = static_cast<float>(rng.gaussian());
  }
  return values;
}

/// Bytes a second that a copy within the device reads and writes together.
double copy_bandwidth(const GpuResources& resources, int rounds) {
  constexpr size_t bytes = size_t{1} << 30U;
  rotorquant::gpu::Buffer<uint8_t> from(resources.handle(), bytes);
  rotorquant::gpu::Buffer<uint8_t> to(resources.handle(), bytes);
  resources.handle()->fill(from.data(), 1, bytes);
  return 2.0 * bytes / fastest(resources, rounds, [&] {
           resources.handle()->copy(to.data(), from.data(), bytes);
         });
}

/// n codes of random nibbles whose factors are those of vectors of norm about sqrt(d).
void fill(GpuCodeStore& store, size_t n, size_t d) {
  const CodeLayout& layout = store.layout();
  constexpr size_t chunk = size_t{1} << 20U;
  std::vector<uint8_t> codes(std::min(chunk, n) * layout.code_bytes());
  Rng rng(7, 3);
  store.reserve(n);
  for (size_t first = 0; first < n; first += chunk) {
    const size_t count = std::min(chunk, n - first);
    for (size_t at = 0; at + 8 <= codes.size(); at += 8) {
      const uint64_t bits = rng.bits();
      std::memcpy(codes.data() + at, &bits, sizeof(bits));
    }
    for (size_t i = 0; i < count; ++i) {
      uint8_t* code = codes.data() + i * layout.code_bytes();
      const float additive = static_cast<float>(d) * static_cast<float>(0.9 + 0.2 * rng.uniform());
      const uint16_t alpha1 = rotorquant::encode_factor(1.2F);
      std::memcpy(code + layout.scan_factor_offset(), &alpha1, sizeof(alpha1));
      std::memcpy(code + layout.scan_factor_offset() + 2, &additive, sizeof(additive));
      for (size_t f = 0; f < layout.factor_count(); ++f) {
        const float factor = f == 0 ? 1.05F : 0.2F;
        uint8_t* to = code + layout.factor_offset();
        if (layout.wide_factors) {
          std::memcpy(to + 4 * f, &factor, sizeof(factor));
        } else {
          const uint16_t narrow = rotorquant::encode_factor(factor);
          std::memcpy(to + 2 * f, &narrow, sizeof(narrow));
        }
      }
    }
    store.append(codes.data(), count);
  }
}

void bench_size(const GpuResources& resources, const Options& options, size_t n, double bandwidth) {
  CodecParams params;
  params.d = options.d;
  params.bits = options.bits;
  const Codec codec(params);
  const GpuCodec gpu_codec(resources, codec, {});
  GpuCodeStore store(resources, codec.layout());
  fill(store, n, options.d);
  const std::vector<float> queries = gaussian(options.batch * options.d, 5);
  const rotorquant::gpu::Buffer<float> x(resources.handle(), queries.data(), queries.size());
  rotorquant::gpu::Buffer<float> distances(resources.handle(), options.batch * options.k);
  rotorquant::gpu::Buffer<int64_t> ids(resources.handle(), options.batch * options.k);
  rotorquant::SearchStats stats;
  const auto search = [&](size_t count) {
    rotorquant::SearchParams search_params;
    search_params.stats = &stats;
    rotorquant::search(gpu_codec, store, x.data(), count, options.k, search_params,
                       distances.data(), ids.data());
  };
  const auto tiles = static_cast<double>(store.impl().used_tiles());
  const double scan_bytes = tiles * static_cast<double>(store.impl().view.tile.bytes());
  const double one = fastest(resources, options.rounds, [&] { search(1); });
  fmt::print("n = {:>10}: one query  {:>9.1f} us, {:.0f} MB of scan data at {:.0f} % of the copy\n",
             n, 1e6 * one, scan_bytes * 1e-6, 100.0 * scan_bytes / one / bandwidth);
  stats = {};
  const double all = fastest(resources, options.rounds, [&] { search(options.batch); });
  const auto mean = [&](size_t count) {
    return static_cast<double>(count) / static_cast<double>(stats.queries);
  };
  fmt::print(
      "{:>16} {} queries {:>9.1f} us a query, {:.3g} query-vector products a second; {:.0f} "
      "candidates, {:.0f} refined, {:.3f} rescans a query\n",
      "", options.batch, 1e6 * all / static_cast<double>(options.batch),
      static_cast<double>(options.batch) * static_cast<double>(n) / all, mean(stats.candidates),
      mean(stats.refined), mean(stats.rescans));
}

void bench_encode(const GpuResources& resources, const Options& options, double bandwidth) {
  CodecParams params;
  params.d = options.d;
  params.bits = options.bits;
  const Codec codec(params);
  const GpuCodec gpu_codec(resources, codec, {});
  constexpr size_t n = size_t{1} << 17U;
  const std::vector<float> vectors = gaussian(n * options.d, 6);
  const rotorquant::gpu::Buffer<float> x(resources.handle(), vectors.data(), vectors.size());
  rotorquant::gpu::Buffer<uint8_t> codes(resources.handle(), n * codec.code_bytes());
  const double seconds =
      fastest(resources, options.rounds, [&] { gpu_codec.encode(x.data(), n, codes.data()); });
  const double bytes = static_cast<double>(n * (options.d * sizeof(float) + codec.code_bytes()));
  fmt::print("encode: {:.3g} vectors a second, {:.1f} % of the copy\n",
             static_cast<double>(n) / seconds, 100.0 * bytes / seconds / bandwidth);
}

void run(const Options& options) {
  const GpuResources resources;
  const double bandwidth = copy_bandwidth(resources, options.rounds);
  fmt::print("{}; RQ{}, d = {}, k = {}; device copy {:.0f} GB/s (read and written)\n",
             resources.name(), options.bits, options.d, options.k, bandwidth * 1e-9);
  bench_encode(resources, options, bandwidth);
  for (const size_t n : options.sizes) {
    bench_size(resources, options, n, bandwidth);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Search and encoding on a CUDA device");
  Options options;
  app.add_option("--n", options.sizes, "vectors")->capture_default_str();
  app.add_option("--d", options.d, "dimension")->capture_default_str();
  app.add_option("--bits", options.bits, "bits a dimension")->capture_default_str();
  app.add_option("--k", options.k, "neighbours")->capture_default_str();
  app.add_option("--batch", options.batch, "queries of a batch")->capture_default_str();
  app.add_option("--rounds", options.rounds, "timed rounds; the fastest counts")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
