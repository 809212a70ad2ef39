// SPDX-License-Identifier: MIT
#pragma once

// What the files of rotorquant_micro share: shapes, codes to work on, and the measured limits that
// figures stand beside.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "rotorquant/aligned.h"
#include "rotorquant/code_store.h"
#include "rotorquant/codec.h"
#include "simd/kernels.h"

namespace rotorquant::bench {

/// GloVe, SIFT, MiniLM, and large embeddings.
inline const std::vector<size_t> dimensions = {100, 128, 384, 1536};

struct CodecChoice {
  int bits;
  bool signs;
  FrameKind frame;
};

/// Ready for use; a learned one is trained on a few thousand correlated Gaussian vectors.
Codec make_codec(size_t d, const CodecChoice& choice);

/// n x d independent N(0, 1).
std::vector<float> gaussian(size_t n, size_t d, uint64_t seed);

/// n canonical codes with random nibbles and plausible factors: what they mean is of no matter to
/// the time that a kernel takes.
std::vector<uint8_t> random_codes(const CodeLayout& layout, size_t n, uint64_t seed);

/// A store in the order of `kernels`.
CodeStore random_store(const simd::KernelTable& kernels, const CodeLayout& layout, size_t n);

// ---- limits: measured once, when first asked for --------------------------------------------

/// Bytes a second that one thread reads from memory.
double memory_limit();
/// Byte look-ups a second of the set's table instruction on registers (vpermb, vpshufb); 0 where
/// none is known.
double lookup_limit(const simd::KernelTable& kernels);

/// In avx2_limit.cpp and avx512vbmi_limit.cpp, compiled for their sets: that many look-ups, as fast
/// as the instruction goes.
constexpr size_t lookups_a_run = size_t{1} << 24;
uint32_t run_vpshufb();
uint32_t run_vpermb();

// ---- reports --------------------------------------------------------------------------------

/// Made before a benchmark's loop, asked after it. Processor time: what others do on the machine
/// counts as little as it can.
class Report {
 public:
  explicit Report(benchmark::State& state);

  /// Bytes read in one iteration: adds bytes a second and its share of memory_limit(). Above 100 %:
  /// from cache.
  void bytes(size_t count) const;
  /// Look-ups of one iteration, and their rate's share of lookup_limit().
  void lookups(const simd::KernelTable& kernels, size_t count) const;

 private:
  benchmark::State& state_;
  std::clock_t start_ = 0;

  /// In percent: `count` an iteration over `limit` a second.
  double share(size_t count, double limit) const;
};

// ---- the parts: each adds its benchmarks ----------------------------------------------------

void register_limits();
void register_scan(const simd::KernelTable& kernels);
void register_refine(const simd::KernelTable& kernels);
void register_encode(const simd::KernelTable& kernels);
void register_frame(const simd::KernelTable& kernels);
/// Shares of whole searches; with the kernels in force (ROTORQUANT_SIMD).
void register_searches(const std::vector<std::string>& datasets);

}  // namespace rotorquant::bench
