// SPDX-License-Identifier: MIT
#include "micro.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "half.h"
#include "machine_limits.h"
#include "rotorquant/random.h"

namespace rotorquant::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Look-ups a second, best of several runs.
double rate_of(uint32_t (*run)()) {
  double best = 0.0;
  for (int i = 0; i < 20; ++i) {
    const auto start = Clock::now();
    benchmark::DoNotOptimize(run());
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, static_cast<double>(lookups_a_run) / seconds.count());
  }
  return best;
}

/// Rows whose coordinates depend on their neighbours: something for a learned frame to learn.
std::vector<float> correlated(size_t n, size_t d) {
  std::vector<float> x = gaussian(n, d, 5);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 1; j < d; ++j) {
      x[i * d + j] = 0.7F * x[i * d + j] + 0.5F * x[i * d + j - 1];
    }
  }
  return x;
}

void limit_memory(benchmark::State& state) {
  const std::vector<uint64_t> words(streaming_bytes() / sizeof(uint64_t), 1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(sum_words(words));
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(words.size() * sizeof(uint64_t)));
}

void limit_lookups(benchmark::State& state, uint32_t (*run)()) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(run());
  }
  state.counters["lookups"] = benchmark::Counter(static_cast<double>(lookups_a_run),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

Codec make_codec(size_t d, const CodecChoice& choice) {
  CodecParams params;
  params.d = d;
  params.bits = choice.bits;
  params.signs = choice.signs;
  params.frame = choice.frame;
  Codec codec(params);
  if (choice.frame == FrameKind::learned) {
    const size_t n = std::max<size_t>(2000, 2 * d);
    codec.train(correlated(n, d).data(), n);
  }
  return codec;
}

std::vector<float> gaussian(size_t n, size_t d, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n * d);
  for (float& value : x) {
    value = static_cast<float>(rng.gaussian());
  }
  return x;
}

std::vector<uint8_t> random_codes(const CodeLayout& layout, size_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint8_t> codes(n * layout.code_bytes());
  for (uint8_t& byte : codes) {
    byte = static_cast<uint8_t>(rng.bits());
  }
  const uint16_t one = encode_factor(1.0F);
  const float wide_one = 1.0F;
  for (size_t i = 0; i < n; ++i) {
    uint8_t* code = codes.data() + i * layout.code_bytes();
    for (size_t plane = 1; layout.quads % 2 == 1 && plane <= layout.planes; ++plane) {
      code[plane * layout.plane_bytes - 1] &= 0xFU;  // the last half byte is 0
    }
    std::memcpy(code + layout.scan_factor_offset(), &one, sizeof(one));
    const auto additive = static_cast<float>(rng.gaussian());
    std::memcpy(code + layout.scan_factor_offset() + sizeof(one), &additive, sizeof(additive));
    for (size_t f = 0; f < layout.factor_count(); ++f) {
      uint8_t* factor = code + layout.factor_offset() + f * (layout.wide_factors ? 4 : 2);
      layout.wide_factors ? std::memcpy(factor, &wide_one, sizeof(wide_one))
                          : std::memcpy(factor, &one, sizeof(one));
    }
  }
  return codes;
}

CodeStore random_store(const simd::KernelTable& kernels, const CodeLayout& layout, size_t n) {
  const simd::ScopedKernels scoped(kernels);
  CodeStore store(layout);
  store.reserve(n);
  constexpr size_t slice = 4096;
  for (size_t done = 0; done < n; done += slice) {
    const size_t rows = std::min(slice, n - done);
    store.append(random_codes(layout, rows, done).data(), rows);
  }
  return store;
}

double memory_limit() {
  static const double limit = read_bandwidth();
  return limit;
}

double lookup_limit([[maybe_unused]] const simd::KernelTable& kernels) {
#ifdef ROTORQUANT_HAVE_AVX512VBMI
  if (kernels.name == "avx512vbmi") {
    static const double limit = rate_of(run_vpermb);
    return limit;
  }
#endif
#ifdef ROTORQUANT_HAVE_AVX2
  if (kernels.name == "avx2") {
    static const double limit = rate_of(run_vpshufb);
    return limit;
  }
#endif
  return 0.0;
}

Report::Report(benchmark::State& state) : state_(state) {
  memory_limit();  // measured now at the latest: not between start_ and the end of the loop
  for (const simd::KernelTable* kernels : simd::available_kernels()) {
    lookup_limit(*kernels);
  }
  start_ = std::clock();
}

double Report::share(size_t count, double limit) const {
  const double seconds =
      static_cast<double>(std::clock() - start_) / static_cast<double>(CLOCKS_PER_SEC);
  const double all = static_cast<double>(count) * static_cast<double>(state_.iterations());
  return seconds > 0.0 ? 100.0 * all / seconds / limit : 0.0;
}

void Report::bytes(size_t count) const {
  state_.counters["of_memory_%"] = share(count, memory_limit());
  state_.SetBytesProcessed(state_.iterations() * static_cast<int64_t>(count));
}

void Report::lookups(const simd::KernelTable& kernels, size_t count) const {
  const double limit = lookup_limit(kernels);
  if (limit > 0.0) {
    state_.counters["of_lookups_%"] = share(count, limit);
  }
  state_.counters["lookups"] =
      benchmark::Counter(static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate);
}

void register_limits() {
  benchmark::RegisterBenchmark("limit/memory_read", limit_memory)->Unit(benchmark::kMillisecond);
  for (const simd::KernelTable* kernels : simd::available_kernels()) {
#ifdef ROTORQUANT_HAVE_AVX512VBMI
    if (kernels->name == "avx512vbmi") {
      benchmark::RegisterBenchmark("limit/vpermb", limit_lookups, run_vpermb);
    }
#endif
#ifdef ROTORQUANT_HAVE_AVX2
    if (kernels->name == "avx2") {
      benchmark::RegisterBenchmark("limit/vpshufb", limit_lookups, run_vpshufb);
    }
#endif
  }
}

}  // namespace rotorquant::bench
