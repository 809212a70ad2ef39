// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace rotorquant {

/// A small generator whose every number is the same on every machine, compiler and instruction
/// set: SplitMix64 (Steele, Lea, Flood 2014) for bits; uniforms and Gaussians use only operations
/// that IEEE 754 rounds exactly (no libm), so frames and codebooks can be frozen by golden hashes.
/// A value type; not shared between threads.
class Rng {
 public:
  /// Independent sequences: the same seed with different streams does not overlap in practice.
  explicit Rng(uint64_t seed, uint64_t stream = 0);

  uint64_t bits();                 ///< 64 uniform bits
  double uniform();                ///< uniform in [0, 1), 53 bits
  double gaussian();               ///< N(0, 1), Marsaglia's polar method
  uint64_t below(uint64_t bound);  ///< uniform in [0, bound); bound >= 1

  /// A uniform random permutation of 0..n-1 (Fisher-Yates).
  std::vector<uint32_t> permutation(size_t n);

 private:
  uint64_t state_;
  double spare_ = 0.0;
  bool has_spare_ = false;
};

/// Natural logarithm of a positive, normal double from IEEE basic operations alone (accurate to a
/// few units in the last place), hence the same bits everywhere.
double portable_log(double x);

}  // namespace rotorquant
