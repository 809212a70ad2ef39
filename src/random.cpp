// SPDX-License-Identifier: MIT
#include "rotorquant/random.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

constexpr uint64_t golden_gamma = 0x9E3779B97F4A7C15ULL;

}  // namespace

double portable_log(double x) {
  constexpr double ln2 = 0.69314718055994530942;
  constexpr double sqrt_half = 0.70710678118654752440;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>((bits >> 52U) & 0x7FFU) - 1022;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FE0000000000000ULL);
  if (m < sqrt_half) {  // keep m in [sqrt(1/2), sqrt(2)) so that the series below converges fast
    m *= 2.0;
    --exponent;
  }
  // log m = 2 atanh(t), t = (m - 1) / (m + 1), |t| < 0.172: 13 terms reach 2^-53.
  const double t = (m - 1.0) / (m + 1.0);
  const double t2 = t * t;
  double sum = 0.0;
  for (int k = 25; k >= 1; k -= 2) {
    sum = sum * t2 + 1.0 / k;
  }
  return exponent * ln2 + 2.0 * t * sum;
}

Rng::Rng(uint64_t seed, uint64_t stream)
    : state_(mix(seed + golden_gamma) ^ mix(mix(stream + 1) + golden_gamma)) {}

uint64_t Rng::bits() {
  state_ += golden_gamma;
  return mix(state_);
}

double Rng::uniform() {
  return static_cast<double>(bits() >> 11U) * 0x1.0p-53;
}

double Rng::gaussian() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  for (;;) {
    const double u = 2.0 * uniform() - 1.0;
    const double v = 2.0 * uniform() - 1.0;
    const double s = u * u + v * v;
    if (s >= 1.0 || s == 0.0) {
      continue;
    }
    const double scale = std::sqrt(-2.0 * portable_log(s) / s);  // sqrt is exact in IEEE 754
    spare_ = v * scale;
    has_spare_ = true;
    return u * scale;
  }
}

uint64_t Rng::below(uint64_t bound) {
  require(bound >= 1, "bound", "at least 1", bound);
  // Rejection keeps it unbiased: the last, incomplete run of `bound` values is thrown away.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  uint64_t value = bits();
  while (value >= limit) {
    value = bits();
  }
  return value % bound;
}

std::vector<uint32_t> Rng::permutation(size_t n) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  for (size_t i = n; i > 1; --i) {
    std::swap(order[i - 1], order[below(i)]);
  }
  return order;
}

}  // namespace rotorquant
