// SPDX-License-Identifier: MIT
// What encoders are made of: every kernel set against the scalar one, which is the specification.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codec_access.h"
#include "kernel_test_data.h"
#include "simd/kernels.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using simd::lanes;
using test_data::codecs_to_compare;
using test_data::described;
using test_data::EveryKernelSet;
using test_data::Floats;
using test_data::Lanes;
using test_data::random_lanes;
using test_data::same_bits;

// ---- blocks ---------------------------------------------------------------------------------

/// One encoded lane block with its memory.
struct Encoded {
  Lanes rows;
  AlignedVector<uint8_t> nibbles;
  simd::EncodeBlock block{};

  Encoded(const simd::KernelTable& kernels, const simd::EncodeView& view, const Lanes& y)
      : rows(5 * view.dims * lanes), nibbles(view.layout.planes * view.layout.quads * lanes) {
    std::copy(y.begin(), y.end(), rows.begin());
    const size_t step = view.dims * lanes;
    block.y = rows.data();
    block.decoded = rows.data() + step;
    block.sign_part = rows.data() + 2 * step;
    block.residual = rows.data() + 3 * step;
    block.scratch = rows.data() + 4 * step;
    block.nibbles = nibbles.data();
    kernels.encode_block(view, block);
  }
};

/// 16 vectors: a zero one, a tiny and a huge one, one with a single coordinate, Gaussians.
Lanes vectors_to_encode(size_t dims, uint64_t seed) {
  Lanes y = random_lanes(dims, seed);
  for (size_t j = 0; j < dims; ++j) {
    y[j * lanes + 1] = 0.0F;
    y[j * lanes + 2] *= 1e-12F;
    y[j * lanes + 3] *= 1e12F;
    y[j * lanes + 4] = j == 0 ? -1.0F : 0.0F;
  }
  return y;
}

void expect_same_encoding(const Encoded& found, const Encoded& expected, const std::string& what) {
  EXPECT_EQ(found.nibbles, expected.nibbles) << what;
  const simd::EncodeBlock& a = found.block;
  const simd::EncodeBlock& b = expected.block;
  const size_t decoded = found.rows.size() / 5;
  EXPECT_TRUE(same_bits(a.decoded, b.decoded, decoded)) << what;
  EXPECT_TRUE(same_bits(a.alpha1, b.alpha1, lanes)) << what;
  EXPECT_TRUE(same_bits(a.alpha, b.alpha, lanes)) << what;
  EXPECT_TRUE(same_bits(a.beta, b.beta, lanes)) << what;
  EXPECT_TRUE(same_bits(a.cos2, b.cos2, lanes)) << what;
}

using EncodeKernel = EveryKernelSet;

TEST_P(EncodeKernel, HasTheScalarNibblesAndFloats) {
  for (const Codec& codec : codecs_to_compare()) {
    const simd::EncodeView view = CodecAccess::encode_view(codec);
    const Lanes y = vectors_to_encode(view.dims, 9);
    expect_same_encoding(Encoded(kernels(), view, y), Encoded(simd::scalar_kernels, view, y),
                         described(codec));
  }
}

TEST_P(EncodeKernel, ALaneDoesNotDependOnItsCompany) {
  for (const Codec& codec : codecs_to_compare()) {
    const simd::EncodeView view = CodecAccess::encode_view(codec);
    const Lanes y = vectors_to_encode(view.dims, 10);
    Lanes alone(y.size(), 0.0F);  // lane 0 moves to lane 15, all others vanish
    for (size_t j = 0; j < view.dims; ++j) {
      alone[j * lanes + 15] = y[j * lanes];
    }
    const Encoded many(kernels(), view, y);
    const Encoded one(kernels(), view, alone);
    for (size_t i = 0; i < many.nibbles.size(); i += lanes) {
      ASSERT_EQ(many.nibbles[i], one.nibbles[i + 15]) << described(codec);
    }
    ASSERT_TRUE(same_bits(many.block.alpha, one.block.alpha + 15, 1)) << described(codec);
    ASSERT_TRUE(same_bits(many.block.alpha1, one.block.alpha1 + 15, 1)) << described(codec);
  }
}

// ---- residuals ------------------------------------------------------------------------------

using ResidualKernel = EveryKernelSet;

TEST_P(ResidualKernel, HasTheScalarBitsAndIsTheProduct) {
  for (const size_t d : {1U, 7U, 8U, 9U, 100U, 129U}) {
    const Floats x = test_data::gaussian(1, d, 50 + d);
    const Floats centre = test_data::gaussian(1, d, 51 + d);
    for (const float* weights : {static_cast<const float*>(nullptr), centre.data()}) {
      Floats found(d + 1, 7.0F);
      Floats expected(d + 1, 7.0F);
      const double sum = kernels().residual(x.data(), centre.data(), weights, d, found.data());
      const double scalar_sum =
          simd::scalar_kernels.residual(x.data(), centre.data(), weights, d, expected.data());
      ASSERT_EQ(sum, scalar_sum) << d;
      ASSERT_TRUE(same_bits(found, expected)) << d;
      double wanted = 0.0;
      for (size_t j = 0; j < d; ++j) {
        ASSERT_EQ(found[j], x[j] - centre[j]);
        const float factor = weights == nullptr ? found[j] : weights[j];
        wanted += static_cast<double>(factor) * static_cast<double>(found[j]);
      }
      ASSERT_NEAR(sum, wanted, 1e-9 * (1.0 + std::fabs(wanted)));
    }
  }
}

TEST_P(ResidualKernel, TheSumTellsWhetherAllAreFinite) {
  constexpr float largest = std::numeric_limits<float>::max();
  constexpr size_t d = 19;
  const Floats zeros(d, 0.0F);
  for (size_t at = 0; at < d; ++at) {
    for (const float* weights : {static_cast<const float*>(nullptr), zeros.data()}) {
      const auto sum_with = [&](float value, float centre_value) {
        Floats x(d, 1.0F);
        Floats centre(d, 0.0F);
        x[at] = value;
        centre[at] = centre_value;
        Floats residual(d);
        return kernels().residual(x.data(), centre.data(), weights, d, residual.data());
      };
      EXPECT_TRUE(std::isfinite(sum_with(largest, 0.0F)));
      EXPECT_FALSE(std::isfinite(sum_with(largest, -largest)));
      EXPECT_FALSE(std::isfinite(sum_with(std::numeric_limits<float>::quiet_NaN(), 0.0F)));
    }
  }
}

RQ_FOR_EVERY_KERNEL_SET(EncodeKernel);
RQ_FOR_EVERY_KERNEL_SET(ResidualKernel);

}  // namespace
}  // namespace rotorquant
