// SPDX-License-Identifier: MIT
#include "half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "test_data.h"

namespace rotorquant {
namespace {

constexpr uint32_t infinite_half = 0x7C00U;

/// binary16 by its definition.
double half_value(uint32_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>((bits >> 10U) & 0x1FU);
  const auto mantissa = static_cast<double>(bits & 0x3FFU);
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024.0 + mantissa, exponent - 25);
}

TEST(Half, EveryFiniteHalfHasItsValueAndComesBack) {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    if ((bits & infinite_half) == infinite_half) {
      continue;
    }
    const float value = half_to_float(static_cast<uint16_t>(bits));
    ASSERT_EQ(static_cast<double>(value), half_value(bits)) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000U) != 0) << bits;
    ASSERT_EQ(float_to_half(value), bits);
  }
}

TEST(Half, InfinityAndNanStayThemselves) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(half_to_float(0x7C00U), infinity);
  EXPECT_EQ(half_to_float(0xFC00U), -infinity);
  EXPECT_EQ(float_to_half(infinity), 0x7C00U);
  EXPECT_EQ(float_to_half(-infinity), 0xFC00U);
  for (uint32_t bits = infinite_half + 1; bits < 0x8000U; ++bits) {
    ASSERT_TRUE(std::isnan(half_to_float(static_cast<uint16_t>(bits)))) << bits;
  }
  const uint16_t nan = float_to_half(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(std::isnan(half_to_float(nan)));
}

TEST(Half, RoundsToNearestAndTiesToEven) {
  for (uint32_t low = 0; low + 1 < infinite_half; ++low) {
    const double a = half_value(low);
    const double b = half_value(low + 1);
    const auto middle = static_cast<float>(0.5 * (a + b));  // exact: one more bit than a half
    ASSERT_EQ(float_to_half(middle), low + (low & 1U)) << low;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0F)), low) << low;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9F)), low + 1) << low;
    ASSERT_EQ(float_to_half(-middle), 0x8000U | (low + (low & 1U))) << low;
  }
}

TEST(Half, OverflowGivesInfinityFromTheMiddleOn) {
  EXPECT_EQ(float_to_half(std::nextafter(65520.0F, 0.0F)), 0x7BFFU);
  EXPECT_EQ(float_to_half(65520.0F), 0x7C00U);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::max()), 0x7C00U);
  EXPECT_EQ(float_to_half(-1e30F), 0xFC00U);
}

TEST(Half, UnderflowGivesASignedZero) {
  EXPECT_EQ(float_to_half(0x1p-25F), 0U);  // a tie with the least subnormal: to even
  EXPECT_EQ(float_to_half(-0x1p-26F), 0x8000U);
  EXPECT_EQ(float_to_half(std::numeric_limits<float>::denorm_min()), 0U);
}

constexpr uint32_t largest_factor = 0xFEFFU;

TEST(Factor, EveryFactorComesBackAndIsAboveTheOneBefore) {
  float before = -1.0F;
  for (uint32_t bits = 0; bits <= largest_factor; ++bits) {
    const float value = decode_factor(static_cast<uint16_t>(bits));
    ASSERT_TRUE(std::isfinite(value)) << bits;
    ASSERT_GT(value, before) << bits;
    ASSERT_EQ(encode_factor(value), bits);
    before = value;
  }
}

TEST(Factor, RoundsToNearestAndTiesToEven) {
  for (uint32_t low = 0; low < largest_factor; ++low) {
    const float a = decode_factor(static_cast<uint16_t>(low));
    const float b = decode_factor(static_cast<uint16_t>(low + 1));
    const auto middle = static_cast<float>(0.5 * (static_cast<double>(a) + static_cast<double>(b)));
    ASSERT_EQ(encode_factor(middle), low + (low & 1U)) << low;
    ASSERT_EQ(encode_factor(std::nextafter(middle, 0.0F)), low) << low;
    ASSERT_EQ(encode_factor(std::nextafter(middle, std::numeric_limits<float>::max())), low + 1)
        << low;
  }
}

TEST(Factor, NeverBecomesInfinite) {
  const float largest = decode_factor(static_cast<uint16_t>(largest_factor));
  EXPECT_EQ(encode_factor(std::numeric_limits<float>::max()), largest_factor);
  EXPECT_TRUE(std::isfinite(largest));
  EXPECT_EQ(encode_factor(0.0F), 0U);
}

TEST(Factor, KeepsNineBitsAtEveryScale) {
  Rng rng(5);
  for (int i = 0; i < 20000; ++i) {
    const auto value = static_cast<float>(std::exp((rng.uniform() - 0.5) * 160.0));
    const float back = decode_factor(encode_factor(value));
    ASSERT_LE(std::abs(back - value), value * 0x1p-9F) << value;
  }
}

}  // namespace
}  // namespace rotorquant
