// SPDX-License-Identifier: MIT
#include "rotorquant/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

TEST(Rng, GoldenValues) {
  // Frozen: a change here changes every frame, codebook and code.
  Rng bits(42);
  EXPECT_EQ(bits.bits(), 0x48642CFC3102D057ULL);
  EXPECT_EQ(bits.bits(), 0xFA5A2A6AEC409ADDULL);
  Rng gaussians(42);
  EXPECT_EQ(gaussians.gaussian(), -0x1.77df837e3cd21p-1);
  EXPECT_EQ(gaussians.gaussian(), 0x1.d4506f2870b4ep-1);
  EXPECT_EQ(gaussians.gaussian(), 0x1.df5a95da91257p-2);
  EXPECT_EQ(Rng(42).permutation(8), (std::vector<uint32_t>{4, 5, 1, 2, 3, 0, 6, 7}));
}

TEST(Rng, SeedsAndStreamsGiveOtherSequences) {
  EXPECT_EQ(Rng(1).bits(), Rng(1).bits());
  EXPECT_NE(Rng(1).bits(), Rng(2).bits());
  EXPECT_NE(Rng(1).bits(), Rng(1, 1).bits());
  EXPECT_NE(Rng(1, 2).bits(), Rng(2, 1).bits());
}

TEST(Rng, UniformMoments) {
  Rng rng(3);
  constexpr int n = 200000;
  double mean = 0.0;
  double square = 0.0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    mean += u / n;
    square += u * u / n;
  }
  EXPECT_NEAR(mean, 0.5, 4.0 * std::sqrt(1.0 / 12.0 / n));
  EXPECT_NEAR(square, 1.0 / 3.0, 4.0 * std::sqrt(4.0 / 45.0 / n));
}

TEST(Rng, GaussianMoments) {
  // Variances of the first four powers of N(0, 1): 1, 2, 15, 96.
  Rng rng(4);
  constexpr int n = 400000;
  std::vector<double> moments(4);
  double neighbours = 0.0;  // the polar method makes pairs: they must not be correlated
  double before = 0.0;
  for (int i = 0; i < n; ++i) {
    const double g = rng.gaussian();
    for (size_t k = 0; k < 4; ++k) {
      moments[k] += std::pow(g, static_cast<double>(k + 1)) / n;
    }
    neighbours += g * before / n;
    before = g;
  }
  const double unit = 4.0 / std::sqrt(1.0 * n);
  EXPECT_NEAR(moments[0], 0.0, unit);
  EXPECT_NEAR(moments[1], 1.0, unit * std::sqrt(2.0));
  EXPECT_NEAR(moments[2], 0.0, unit * std::sqrt(15.0));
  EXPECT_NEAR(moments[3], 3.0, unit * std::sqrt(96.0));
  EXPECT_NEAR(neighbours, 0.0, unit);
}

TEST(Rng, GaussianTails) {
  Rng rng(5);
  constexpr int n = 400000;
  std::vector<double> above(4);
  for (int i = 0; i < n; ++i) {
    const double g = rng.gaussian();
    for (size_t t = 0; t < 4; ++t) {
      above[t] += g > static_cast<double>(t) ? 1.0 : 0.0;
    }
  }
  for (size_t t = 0; t < 4; ++t) {
    const double p = 0.5 * std::erfc(static_cast<double>(t) / std::sqrt(2.0));
    EXPECT_NEAR(above[t] / n, p, 4.0 * std::sqrt(p * (1.0 - p) / n)) << t;
  }
}

TEST(Rng, BelowIsUniform) {
  Rng rng(6);
  constexpr uint64_t bound = 7;
  constexpr int n = 140000;
  std::vector<double> counts(bound);
  for (int i = 0; i < n; ++i) {
    const uint64_t v = rng.below(bound);
    ASSERT_LT(v, bound);
    counts[v] += 1.0;
  }
  double chi_square = 0.0;
  for (const double count : counts) {
    const double expected = 1.0 * n / bound;
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 22.46);  // 6 degrees of freedom, p = 0.001
  EXPECT_EQ(rng.below(1), 0U);
  EXPECT_THROW(rng.below(0), Error);
}

TEST(Rng, BelowHasNoBiasAtAHugeBound) {
  // 3/4 of 2^64: plain `bits % bound` would put half of the mass on the lowest third.
  Rng rng(7);
  constexpr uint64_t bound = 3ULL << 62U;
  constexpr int n = 30000;
  double lowest_third = 0.0;
  for (int i = 0; i < n; ++i) {
    lowest_third += rng.below(bound) < bound / 3 ? 1.0 / n : 0.0;
  }
  EXPECT_NEAR(lowest_third, 1.0 / 3.0, 4.0 * std::sqrt(2.0 / 9.0 / n));
}

TEST(Rng, PermutationsArePermutations) {
  Rng rng(8);
  for (const size_t n : {0U, 1U, 2U, 5U, 129U}) {
    std::vector<uint32_t> order = rng.permutation(n);
    ASSERT_EQ(order.size(), n);
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(order[i], i);
    }
  }
}

TEST(Rng, PermutationsAreUniform) {
  Rng rng(9);
  constexpr int n = 60000;
  std::vector<double> counts(27);
  for (int i = 0; i < n; ++i) {
    const std::vector<uint32_t> order = rng.permutation(3);
    counts[9 * order[0] + 3 * order[1] + order[2]] += 1.0;
  }
  double chi_square = 0.0;
  int seen = 0;
  for (const double count : counts) {
    seen += count > 0.0 ? 1 : 0;
    chi_square += count > 0.0 ? std::pow(count - n / 6.0, 2) / (n / 6.0) : 0.0;
  }
  EXPECT_EQ(seen, 6);
  EXPECT_LT(chi_square, 20.52);  // 5 degrees of freedom, p = 0.001
}

TEST(PortableLog, AgreesWithTheLibrary) {
  Rng rng(10);
  for (int i = 0; i < 20000; ++i) {
    const double x = std::exp((rng.uniform() - 0.5) * 1400.0);
    const double exact = std::log(x);
    EXPECT_NEAR(portable_log(x), exact, 8e-16 * std::max(1.0, std::abs(exact))) << x;
  }
  // Near 1 the relative error matters: the polar method divides by its argument's logarithm.
  for (int i = 1; i < 2000; ++i) {
    const double x = 1.0 + (rng.uniform() - 0.5) * std::pow(0.98, i);
    EXPECT_NEAR(portable_log(x), std::log(x), 8e-16 * std::abs(std::log(x))) << x;
  }
  EXPECT_EQ(portable_log(1.0), 0.0);
}

}  // namespace
}  // namespace rotorquant
