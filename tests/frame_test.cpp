// SPDX-License-Identifier: MIT
#include "rotorquant/frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::dot;
using test_data::EveryKernelSet;
using test_data::Floats;
using test_data::message_of;
using test_data::same_bits;

const std::vector<size_t> dims = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 100, 129, 1536};
const std::vector<size_t> moderate_dims = {1, 2, 3, 4, 5, 7, 8, 13, 100, 129};

Frame learned(size_t d, const LearnedFrameParams& params = {}) {
  return Frame::learned(test_data::correlated(400, d, 31).data(), 400, d, params);
}

std::vector<Frame> frames_of_every_kind(size_t d) {
  return {Frame::rotor_layers(d, 5), Frame::haar(d, 5), learned(d)};
}

Floats applied(const Frame& frame, const Floats& x) {
  const size_t n = x.size() / frame.dim();
  Floats y(n * frame.padded());
  frame.apply(x.data(), n, y.data());
  return y;
}

Floats applied_query(const Frame& frame, const Floats& x) {
  const size_t n = x.size() / frame.dim();
  Floats y(n * frame.padded());
  frame.apply_query(x.data(), n, y.data());
  return y;
}

Floats inverted(const Frame& frame, const Floats& y) {
  const size_t n = y.size() / frame.padded();
  Floats x(n * frame.dim());
  frame.invert(y.data(), n, x.data());
  return x;
}

double relative_distance(const Floats& a, const Floats& b) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(a[i]), 2);
  }
  return std::sqrt(difference / std::max(size, 1e-300));
}

TEST(RotorLayers, DefaultLayersAreCeilLog3PlusThree) {
  const std::vector<std::pair<size_t, size_t>> expected = {
      {1, 3},   {2, 4},   {3, 4},    {4, 5},    {9, 5},     {10, 6},    {27, 6},
      {28, 7},  {81, 7},  {82, 8},   {100, 8},  {128, 8},   {243, 8},   {244, 9},
      {384, 9}, {729, 9}, {730, 10}, {768, 10}, {1536, 10}, {2187, 10}, {2188, 11}};
  for (const auto& [d, layers] : expected) {
    EXPECT_EQ(RotorLayers::default_layers(d), layers) << d;
  }
}

TEST(RotorLayers, IsAnIsometryOfItsOwnDimension) {
  // No padding to triples: 1 or 2 coordinates left over must not break it.
  for (const size_t d : dims) {
    const RotorLayers layers(d, RotorLayers::default_layers(d), 7);
    const Floats x = test_data::gaussian(2, d, d);
    Floats y(x.size());
    layers.apply(x.data(), 2, y.data());
    EXPECT_NEAR(dot(x.data(), x.data() + d, d), dot(y.data(), y.data() + d, d),
                2e-6 * static_cast<double>(d))
        << d;
    EXPECT_NEAR(dot(y.data(), y.data(), d) / dot(x.data(), x.data(), d), 1.0, 4e-6) << d;
    layers.invert(y.data(), 2, y.data());  // in place
    EXPECT_LT(relative_distance(x, y), 2e-6) << d;
  }
}

TEST(RotorLayers, OneLayerStaysInsideItsTriples) {
  const RotorLayers layers(11, 1, 7);
  Floats x(11, 0.0F);
  x[4] = 1.0F;
  layers.apply(x.data(), 1, x.data());
  for (size_t j = 0; j < 11; ++j) {
    EXPECT_EQ(x[j] != 0.0F, j >= 3 && j < 6) << j;
  }
}

TEST(RotorLayers, DefaultLayersSpreadEveryCoordinateOverAll) {
  for (const size_t d : {12U, 100U, 129U}) {
    const RotorLayers layers(d, RotorLayers::default_layers(d), 8);
    for (size_t j = 0; j < d; ++j) {
      Floats x(d, 0.0F);
      x[j] = 1.0F;
      layers.apply(x.data(), 1, x.data());
      const float largest = *std::max_element(
          x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
      ASSERT_LT(std::abs(largest), 0.97F) << d << " " << j;
      ASSERT_EQ(std::count(x.begin(), x.end(), 0.0F), 0) << d << " " << j;
    }
  }
}

TEST(RotorLayers, RefusesNothingToRotate) {
  EXPECT_THROW(RotorLayers(0, 1, 1), Error);
  EXPECT_THROW(RotorLayers(3, 0, 1), Error);
}

TEST(Frame, RotorAndHaarFramesAreIsometries) {
  for (const size_t d : moderate_dims) {
    for (const Frame& frame : {Frame::rotor_layers(d, 3), Frame::haar(d, 3)}) {
      EXPECT_EQ(frame.padded(), padded_dim(d));
      const Floats x = test_data::gaussian(3, d, 40 + d);
      const Floats y = applied(frame, x);
      for (size_t i = 0; i < 3; ++i) {
        const double before = dot(x.data() + i * d, x.data() + i * d, d);
        const float* row = y.data() + i * frame.padded();
        EXPECT_NEAR(dot(row, row, frame.padded()) / before, 1.0, 1e-5) << d;
      }
      EXPECT_TRUE(same_bits(y, applied_query(frame, x))) << d;
    }
  }
}

TEST(Frame, InvertUndoesApply) {
  for (const size_t d : moderate_dims) {
    for (const Frame& frame : frames_of_every_kind(d)) {
      const Floats x = test_data::gaussian(20, d, 50 + d);
      // A learned frame's eigenvectors are fp16, 2^-11 off each.
      const double tolerance = frame.kind() == FrameKind::learned ? 1e-3 : 1e-5;
      EXPECT_LT(relative_distance(x, inverted(frame, applied(frame, x))), tolerance)
          << d << " kind " << static_cast<int>(frame.kind());
    }
  }
}

TEST(Frame, QueriesAndDataKeepTheirInnerProducts) {
  for (const size_t d : moderate_dims) {
    for (const Frame& frame : frames_of_every_kind(d)) {
      const Floats a = test_data::gaussian(1, d, 60 + d);
      const Floats b = test_data::gaussian(1, d, 61 + d);
      const double sizes =
          std::sqrt(dot(a.data(), a.data(), d) * dot(b.data(), b.data(), d)) + 1e-12;
      const double tolerance = frame.kind() == FrameKind::learned ? 1e-3 : 1e-5;
      EXPECT_NEAR(
          dot(applied_query(frame, a).data(), applied(frame, b).data(), frame.padded()) / sizes,
          dot(a.data(), b.data(), d) / sizes, tolerance)
          << d << " kind " << static_cast<int>(frame.kind());
    }
  }
}

TEST(Frame, WorksAtTheLargestDimension) {
  const Frame frame = Frame::rotor_layers(1536, 9);
  const Floats x = test_data::gaussian(17, 1536, 70);
  EXPECT_LT(relative_distance(x, inverted(frame, applied(frame, x))), 2e-6);
}

TEST(Frame, ABatchOfOneEqualsABatchOfMany) {
  for (const size_t d : {1U, 5U, 13U, 100U}) {
    for (const Frame& frame : frames_of_every_kind(d)) {
      const size_t padded = frame.padded();
      const Floats x = test_data::gaussian(40, d, 80 + d);
      const Floats data = applied(frame, x);
      const Floats query = applied_query(frame, x);
      const Floats back = inverted(frame, data);
      for (const size_t n : {1U, 2U, 3U, 4U, 7U, 8U, 9U, 16U, 17U}) {
        Floats y(n * padded);
        Floats z(n * d);
        frame.apply(x.data() + d, n, y.data());
        EXPECT_TRUE(same_bits(y.data(), data.data() + padded, n * padded)) << d << " " << n;
        frame.invert(y.data(), n, z.data());
        EXPECT_TRUE(same_bits(z.data(), back.data() + d, n * d)) << d << " " << n;
        frame.apply_query(x.data() + d, n, y.data());
        EXPECT_TRUE(same_bits(y.data(), query.data() + padded, n * padded)) << d << " " << n;
      }
    }
  }
}

TEST(Frame, DependsOnItsSeedAlone) {
  const Floats x = test_data::gaussian(3, 100, 90);
  EXPECT_TRUE(
      same_bits(applied(Frame::rotor_layers(100, 1), x), applied(Frame::rotor_layers(100, 1), x)));
  EXPECT_FALSE(
      same_bits(applied(Frame::rotor_layers(100, 1), x), applied(Frame::rotor_layers(100, 2), x)));
  EXPECT_TRUE(same_bits(applied(Frame::rotor_layers(100, 1), x),
                        applied(Frame::rotor_layers(100, 1, 8), x)));
  EXPECT_FALSE(same_bits(applied(Frame::haar(100, 1), x), applied(Frame::haar(100, 2), x)));
}

using FrameKernels = EveryKernelSet;

TEST_P(FrameKernels, RotorFramesHaveTheSameBytes) {
  for (const size_t d : dims) {
    const Floats x = test_data::gaussian(21, d, 100 + d);
    const Frame frame = Frame::rotor_layers(d, 11);
    Floats expected;
    {
      const simd::ScopedKernels scalar(simd::scalar_kernels);
      expected = applied(frame, x);
    }
    const simd::ScopedKernels scoped(kernels());
    EXPECT_TRUE(same_bits(applied(frame, x), expected)) << d;
  }
}

TEST_P(FrameKernels, DenseFramesDifferByRoundingOnly) {
  for (const size_t d : {5U, 100U, 129U}) {
    const Floats x = test_data::gaussian(21, d, 110 + d);
    for (const Frame& frame : {Frame::haar(d, 11), learned(d)}) {
      Floats expected;
      {
        const simd::ScopedKernels scalar(simd::scalar_kernels);
        expected = applied(frame, x);
      }
      const simd::ScopedKernels scoped(kernels());
      EXPECT_LT(relative_distance(expected, applied(frame, x)), 1e-6) << d;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FrameKernels, testing::ValuesIn(test_data::built_kernel_sets()),
                         test_data::kernel_set_name);

// ---- learned frames -------------------------------------------------------------------------

/// n x d, independent coordinates with variances ratio^j.
Floats with_spectrum(size_t n, size_t d, double ratio, uint64_t seed) {
  Floats x = test_data::gaussian(n, d, seed);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] *= static_cast<float>(std::pow(ratio, 0.5 * static_cast<double>(i % d)));
  }
  return x;
}

/// Logarithm of the product of the variances of the coordinates of each quad.
std::vector<double> log_products(const Frame& frame, const Floats& x) {
  const Floats y = applied(frame, x);
  const size_t padded = frame.padded();
  const size_t n = y.size() / padded;
  std::vector<double> products(padded / quad_dims);
  for (size_t j = 0; j < padded; ++j) {
    double sum = 0.0;
    for (size_t i = 0; i < n; ++i) {
      sum += std::pow(static_cast<double>(y[i * padded + j]), 2);
    }
    products[j / quad_dims] += std::log(sum / static_cast<double>(n));
  }
  return products;
}

TEST(LearnedFrame, BalancesTheProductsOfTheQuadsVariances) {
  // Variances fall by 0.85 a coordinate, 170-fold over 32: undealt, the products would span 2e16.
  const Floats x = with_spectrum(4000, 32, 0.85, 120);
  const Frame frame = Frame::learned(x.data(), 4000, 32, {0.0F, 1e-3F});
  const std::vector<double> products = log_products(frame, x);
  const auto [least, most] = std::minmax_element(products.begin(), products.end());
  EXPECT_LT(*most - *least, std::log(3.0));
}

TEST(LearnedFrame, DecorrelatesItsTrainingData) {
  constexpr size_t d = 24;
  const Floats x = test_data::correlated(3000, d, 121);
  const Frame frame = Frame::learned(x.data(), 3000, d);
  const Floats y = applied(frame, x);
  for (size_t a = 0; a < d; ++a) {
    for (size_t b = 0; b < a; ++b) {
      double aa = 0.0;
      double bb = 0.0;
      double ab = 0.0;
      for (size_t i = 0; i < 3000; ++i) {
        const auto ya = static_cast<double>(y[i * d + a]);
        const auto yb = static_cast<double>(y[i * d + b]);
        aa += ya * ya;
        bb += yb * yb;
        ab += ya * yb;
      }
      ASSERT_LT(std::abs(ab) / std::sqrt(aa * bb), 5e-3) << a << " " << b;
    }
  }
}

TEST(LearnedFrame, QueryWeightMovesSpreadFromQueriesToData) {
  // F = L^(1/8) V^T: the spectrum of F x is that of x to the power 1.25, G's to the power 0.75.
  const Floats x = with_spectrum(6000, 16, 0.8, 122);
  const Frame frame = Frame::learned(x.data(), 6000, 16);
  const Frame plain = Frame::learned(x.data(), 6000, 16, {0.0F, 1e-3F});
  EXPECT_TRUE(same_bits(applied(plain, x), applied_query(plain, x)));
  const Floats data = applied(frame, x);
  const Floats query = applied_query(frame, x);
  const Floats flat = applied(plain, x);
  for (size_t j = 0; j < 16; ++j) {
    double f = 0.0;
    double g = 0.0;
    double v = 0.0;
    for (size_t i = 0; i < 6000; ++i) {
      f += std::pow(static_cast<double>(data[i * 16 + j]), 2);
      g += std::pow(static_cast<double>(query[i * 16 + j]), 2);
      v += std::pow(static_cast<double>(flat[i * 16 + j]), 2);
    }
    EXPECT_NEAR(std::log(f / v), -std::log(g / v), 1e-3) << j;
  }
  const auto variance_range = [](const Floats& y) {
    Floats sums(16, 0.0F);
    for (size_t i = 0; i < y.size(); ++i) {
      sums[i % 16] += y[i] * y[i];
    }
    const auto [least, most] = std::minmax_element(sums.begin(), sums.end());
    return std::log(static_cast<double>(*most / *least));
  };
  EXPECT_NEAR(variance_range(data) / variance_range(flat), 1.25, 0.02);
  EXPECT_NEAR(variance_range(query) / variance_range(flat), 0.75, 0.02);
}

void expect_usable(const Frame& frame, const Floats& x) {
  const Floats y = applied(frame, x);
  EXPECT_TRUE(std::all_of(y.begin(), y.end(), [](float v) { return std::isfinite(v); }));
  const Floats probe = test_data::gaussian(5, frame.dim(), 123);
  EXPECT_LT(relative_distance(probe, inverted(frame, applied(frame, probe))), 2e-3);
}

TEST(LearnedFrame, SurvivesDeadCoordinates) {
  constexpr size_t d = 20;
  Floats x = test_data::gaussian(500, d, 124);
  for (size_t i = 0; i < 500; ++i) {
    x[i * d + 3] = 0.0F;
    x[i * d + 11] = 0.0F;
    x[i * d + 12] = 1e-20F;
  }
  expect_usable(Frame::learned(x.data(), 500, d), x);
}

TEST(LearnedFrame, SurvivesFewerRowsThanDimensions) {
  for (const size_t n : {1U, 2U, 7U}) {
    const Floats x = test_data::gaussian(n, 50, 125);
    expect_usable(Frame::learned(x.data(), n, 50), x);
  }
}

TEST(LearnedFrame, SurvivesConstantAndZeroData) {
  expect_usable(Frame::learned(Floats(100 * 9, 0.0F).data(), 100, 9), Floats(9, 1.0F));
  expect_usable(Frame::learned(Floats(100 * 9, 2.5F).data(), 100, 9), Floats(9, 2.5F));
}

TEST(LearnedFrame, RefusesBadTrainingDataByRow) {
  Floats x = test_data::gaussian(10, 4, 126);
  EXPECT_THROW(Frame::learned(x.data(), 0, 4), Error);
  EXPECT_THROW(Frame::learned(x.data(), 10, 0), Error);
  x[4 * 7 + 1] = std::numeric_limits<float>::quiet_NaN();
  const std::string message = message_of([&] { Frame::learned(x.data(), 10, 4); });
  EXPECT_NE(message.find("row 7"), std::string::npos) << message;
}

TEST(LearnedFrame, DoesNotDependOnTheNumberOfThreads) {
  const Floats x = test_data::correlated(500, 37, 127);
  const auto fit_with = [&](int threads) {
    const test_data::ScopedThreads scoped(threads);
    return applied(Frame::learned(x.data(), 500, 37), x);
  };
  const Floats one = fit_with(1);
  EXPECT_TRUE(same_bits(one, fit_with(2)));
  EXPECT_TRUE(same_bits(one, fit_with(3)));
}

// ---- file form ------------------------------------------------------------------------------

TEST(FrameFile, EveryKindComesBackBitForBit) {
  for (const size_t d : {1U, 6U, 100U}) {
    const Floats x = test_data::gaussian(9, d, 130);
    for (const Frame& frame : frames_of_every_kind(d)) {
      ByteWriter out;
      frame.write(out);
      ByteReader in(out.bytes());
      const Frame back = Frame::read(in);
      EXPECT_EQ(in.left(), 0U);
      EXPECT_EQ(back.kind(), frame.kind());
      EXPECT_TRUE(same_bits(applied(frame, x), applied(back, x)));
      EXPECT_TRUE(same_bits(applied_query(frame, x), applied_query(back, x)));
    }
  }
}

TEST(FrameFile, EveryTruncationIsRefused) {
  for (const Frame& frame : frames_of_every_kind(6)) {
    ByteWriter out;
    frame.write(out);
    const Bytes bytes = out.take();
    for (size_t size = 0; size < bytes.size(); ++size) {
      ByteReader in(test_data::first_bytes(bytes, size));
      EXPECT_THROW(Frame::read(in), Error) << size;
    }
  }
}

TEST(FrameFile, ImpossibleNumbersAreRefused) {
  ByteWriter out;
  learned(6).write(out);
  const auto message_with = [&](size_t offset, const Bytes& patch) {
    Bytes bytes = out.bytes();
    std::copy(patch.begin(), patch.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    return message_of([&] {
      ByteReader in(bytes);
      Frame::read(in);
    });
  };
  // kind, d, seed, layers, count and eigenvectors (8 x 6 halves), count and weights.
  constexpr size_t eigenvectors = 1 + 3 * 8 + 8;
  constexpr size_t weights = eigenvectors + 8 * 6 * 2 + 8;
  EXPECT_NE(message_with(0, {3}).find("frame kind"), std::string::npos);
  EXPECT_NE(message_with(1, {0}).find("frame dimension"), std::string::npos);
  EXPECT_NE(message_with(1, {0, 0, 0, 0, 1}).find("frame dimension"), std::string::npos);
  EXPECT_NE(message_with(1, {7}).find("eigenvectors"), std::string::npos);
  EXPECT_NE(message_with(eigenvectors, {0x00, 0x7C}).find("eigenvectors"), std::string::npos);
  EXPECT_NE(message_with(weights, {0, 0, 0, 0}).find("frame weights"), std::string::npos);
  EXPECT_NE(message_with(weights, {0, 0, 0x80, 0x7F}).find("frame weights"), std::string::npos);
  EXPECT_NE(message_with(weights, {0, 0, 0x80, 0xBF}).find("frame weights"), std::string::npos);
}

}  // namespace
}  // namespace rotorquant
