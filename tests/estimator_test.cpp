// SPDX-License-Identifier: MIT
// The two estimators over random frames. A test fixes the pairs and draws the frames: the mean
// signed error of a frame over the pairs is one observation, and its mean over the frames, in
// standard errors, says whether the estimator is biased.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>

#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::codec_params;
using test_data::dot;
using test_data::encoded;
using test_data::Floats;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The claim is about a thousand frames; under a sanitizer the point is the code, not the claim.
constexpr size_t frames = 100;
constexpr double z_limit = 6.0;
constexpr double largest_error = 3e-3;
#else
constexpr size_t frames = 1000;
constexpr double z_limit = 3.0;
constexpr double largest_error = 7e-4;
#endif
constexpr size_t pairs_count = 32;
constexpr uint64_t first_seed = 1000;

/// Queries and vectors with positive products, so that a wrong factor shows as a bias.
struct Pairs {
  size_t d;
  Floats x;
  Floats q;

  double product(size_t i) const { return dot(x.data() + i * d, q.data() + i * d, d); }
  double mean_product() const {
    double sum = 0.0;
    for (size_t i = 0; i < pairs_count; ++i) {
      sum += product(i);
    }
    return sum / pairs_count;
  }
};

/// Isotropic: q = x + noise of the same size.
Pairs gaussian_pairs(size_t d) {
  Pairs pairs{d, test_data::gaussian(pairs_count, d, 201),
              test_data::gaussian(pairs_count, d, 202)};
  for (size_t i = 0; i < pairs.q.size(); ++i) {
    pairs.q[i] += pairs.x[i];
  }
  return pairs;
}

/// As image descriptors: half of the coordinates at rest, few large ones, most energy in front.
Pairs skewed_pairs(size_t d) {
  Pairs pairs = gaussian_pairs(d);
  const Floats noise = test_data::gaussian(pairs_count, d, 203);
  for (size_t i = 0; i < pairs.x.size(); ++i) {
    const float g = pairs.x[i];
    const float weight = 1.0F / (1.0F + 0.2F * static_cast<float>(i % d));
    pairs.x[i] = weight * ((g > 0.0F ? g * g : 0.0F) - 0.2F);
    pairs.q[i] = pairs.x[i] * (1.0F + 0.5F * noise[i]);
  }
  return pairs;
}

/// Queries that weigh the strong coordinates more than the vectors do: a frame that leaves energy
/// where it was gives their errors a sign.
Pairs sharpened_pairs(size_t d) {
  Pairs pairs = skewed_pairs(d);
  for (size_t i = 0; i < pairs.x.size(); ++i) {
    pairs.q[i] = pairs.x[i] * std::abs(pairs.x[i]);
  }
  return pairs;
}

/// The mean signed error of one estimator, an observation a frame.
class Bias {
 public:
  void add(double observation) {
    sum_ += observation;
    squares_ += observation * observation;
    ++count_;
  }
  double mean() const { return sum_ / static_cast<double>(count_); }
  double standard_error() const {
    const auto n = static_cast<double>(count_);
    return std::sqrt((squares_ / n - mean() * mean()) / (n - 1.0));
  }
  double z() const { return mean() / standard_error(); }

 private:
  double sum_ = 0.0;
  double squares_ = 0.0;
  size_t count_ = 0;
};

double mean_error(const Codec& codec, const Pairs& pairs, Estimator estimator) {
  const Bytes codes = encoded(codec, pairs.x);
  double sum = 0.0;
  for (size_t i = 0; i < pairs_count; ++i) {
    const float* x = pairs.x.data() + i * pairs.d;
    const CodecQuery query = codec.prepare(pairs.q.data() + i * pairs.d);
    const auto norm = static_cast<float>(std::sqrt(dot(x, x, pairs.d)));
    const float estimate =
        codec.estimate(query, codes.data() + i * codec.code_bytes(), 0, estimator, norm);
    sum += static_cast<double>(estimate) - pairs.product(i);
  }
  return sum / pairs_count;
}

CodecParams frame_params(size_t d, int bits, size_t frame) {
  CodecParams params = codec_params(d, bits, true);
  params.seed = first_seed + frame;
  return params;
}

void expect_unbiased(const Bias& bias, const Pairs& pairs, const std::string& what) {
  const double relative = bias.mean() / pairs.mean_product();
  testing::Test::RecordProperty(what + " z", std::to_string(bias.z()));
  EXPECT_LE(std::abs(bias.z()), z_limit) << what << ": relative bias " << relative;
  // Enough frames to see a bias of a thousandth or two, where a wrong factor makes hundredths.
  EXPECT_LT(bias.standard_error() / pairs.mean_product(), largest_error) << what;
}

class UnbiasedOverFrames : public testing::TestWithParam<int> {};

// d = 32 keeps this affordable: a codec measures itself when it is made, on 1,024 vectors.
constexpr size_t affordable_dim = 32;

TEST_P(UnbiasedOverFrames, RescaledEstimator) {
  const std::array<Pairs, 2> data = {gaussian_pairs(affordable_dim), skewed_pairs(affordable_dim)};
  std::array<Bias, 2> bias;
  for (size_t frame = 0; frame < frames; ++frame) {
    const Codec codec(frame_params(affordable_dim, GetParam(), frame));
    for (size_t kind = 0; kind < data.size(); ++kind) {
      bias[kind].add(mean_error(codec, data[kind], Estimator::rescaled));
    }
  }
  expect_unbiased(bias[0], data[0], "gaussian");
  expect_unbiased(bias[1], data[1], "skewed");
}

TEST_P(UnbiasedOverFrames, StrictEstimatorOnGreedyCodes) {
  const std::array<Pairs, 2> data = {gaussian_pairs(affordable_dim), skewed_pairs(affordable_dim)};
  std::array<Bias, 2> bias;
  for (size_t frame = 0; frame < frames; ++frame) {
    CodecParams params = frame_params(affordable_dim, GetParam(), frame);
    params.joint_rounds = 0;
    const Codec codec(params);
    for (size_t kind = 0; kind < data.size(); ++kind) {
      bias[kind].add(mean_error(codec, data[kind], Estimator::strict));
    }
  }
  expect_unbiased(bias[0], data[0], "gaussian");
  expect_unbiased(bias[1], data[1], "skewed");
}

INSTANTIATE_TEST_SUITE_P(Bits, UnbiasedOverFrames, testing::Values(2, 3, 4),
                         [](const auto& bits) { return "RQ" + std::to_string(bits.param); });

TEST(EstimatorBias, AtALargerDimensionItIsBelowAThousandth) {
  const Pairs pairs = skewed_pairs(128);
  Bias bias;
  for (size_t frame = 0; frame < frames / 5; ++frame) {
    bias.add(mean_error(Codec(frame_params(128, 3, frame)), pairs, Estimator::rescaled));
  }
  EXPECT_LT(std::abs(bias.mean()) / pairs.mean_product(), 1e-3);
}

TEST(EstimatorBias, OneLayerIsNotEnough) {
  // The counter-example: a single block-diagonal pass leaves a triple's energy where it was.
  const Pairs pairs = sharpened_pairs(affordable_dim);
  Bias one_layer;
  Bias default_layers;
  for (size_t frame = 0; frame < frames / 4; ++frame) {
    CodecParams params = frame_params(affordable_dim, 2, frame);
    default_layers.add(mean_error(Codec(params), pairs, Estimator::rescaled));
    params.rotor_layers = 1;
    one_layer.add(mean_error(Codec(params), pairs, Estimator::rescaled));
  }
  EXPECT_GT(std::abs(one_layer.z()), 5.0) << one_layer.mean();
  EXPECT_LE(std::abs(default_layers.z()), z_limit) << default_layers.mean();
}

TEST(EstimatorBias, TheProductWithTheDecodingIsShrunkAndShowsIt) {
  // What these tests must be able to see: least squares decoding shrinks by the distortion.
  const Pairs pairs = gaussian_pairs(affordable_dim);
  Bias bias;
  for (size_t frame = 0; frame < 100; ++frame) {
    const Codec codec(frame_params(affordable_dim, 4, frame));
    const Floats decoded = test_data::decoded(codec, encoded(codec, pairs.x));
    double sum = 0.0;
    for (size_t i = 0; i < pairs_count; ++i) {
      const size_t at = i * affordable_dim;
      sum += dot(decoded.data() + at, pairs.q.data() + at, affordable_dim) - pairs.product(i);
    }
    bias.add(sum / pairs_count);
  }
  EXPECT_LT(bias.z(), -10.0);
  EXPECT_NEAR(bias.mean() / pairs.mean_product(), -0.0087, 0.002);
}

/// estimate(x, code(x)) / |x|^2 for each vector.
std::vector<double> along_itself(const Codec& codec, const Floats& x) {
  const size_t d = codec.dim();
  const Bytes codes = encoded(codec, x);
  std::vector<double> ratios;
  for (size_t i = 0; i < x.size() / d; ++i) {
    const float* row = x.data() + i * d;
    const float estimate =
        codec.estimate(codec.prepare(row), codes.data() + i * codec.code_bytes());
    ratios.push_back(static_cast<double>(estimate) / dot(row, row, d));
  }
  return ratios;
}

TEST(EstimatorAlongTheVector, IsExactInAnIsometricFrame) {
  const Floats x = test_data::correlated(200, 50, 204);
  for (const FrameKind frame : {FrameKind::rotor_layers, FrameKind::haar}) {
    for (int bits = 1; bits <= 8; ++bits) {
      const Codec codec(codec_params(50, bits, true, frame));
      const double tolerance = bits >= 6 ? 3e-4 : 0x1p-8;  // fixed-point products or uf16 factors
      for (const double ratio : along_itself(codec, x)) {
        ASSERT_NEAR(ratio, 1.0, tolerance) << codec.name();
      }
    }
  }
}

TEST(EstimatorAlongTheVector, ErrsByLessThanTheDistortionInALearnedFrame) {
  // The weighted frame scales vectors by F and queries by G, and a code is exact along F x, not
  // G x: along x itself the estimate falls short by a part of the distortion.
  constexpr size_t d = 48;
  constexpr size_t n = 500;
  const Floats training = test_data::correlated(4000, d, 205);
  const Floats x = test_data::correlated(n, d, 206);
  for (const int bits : {2, 3, 4, 8}) {
    Codec codec(codec_params(d, bits, true, FrameKind::learned));
    codec.train(training.data(), 4000);
    double mean = 0.0;
    double square = 0.0;
    for (const double ratio : along_itself(codec, x)) {
      mean += ratio / n;
      square += (ratio - 1.0) * (ratio - 1.0) / n;
    }
    const auto distortion = static_cast<double>(codec.expected_distortion());
    RecordProperty(codec.name() + " ratio", std::to_string(mean));
    EXPECT_NEAR(mean, 1.0, 0.8 * distortion + 2e-4) << codec.name();
    EXPECT_LT(std::sqrt(square), std::sqrt(distortion / 48.0) + 2e-3) << codec.name();
  }
}

TEST(Estimator, ThePrefixOfEveryLevelEstimatesTheProduct) {
  const Pairs pairs = gaussian_pairs(128);
  const Codec codec(codec_params(128, 5, true));
  const Bytes codes = encoded(codec, pairs.x);
  double before = 1e9;
  for (size_t levels = 1; levels <= 4; ++levels) {
    double error = 0.0;
    double signed_error = 0.0;
    for (size_t i = 0; i < pairs_count; ++i) {
      const CodecQuery query = codec.prepare(pairs.q.data() + i * 128);
      const double estimate =
          static_cast<double>(codec.estimate(query, codes.data() + i * codec.code_bytes(), levels));
      signed_error += estimate - pairs.product(i);
      error += std::pow(estimate - pairs.product(i), 2);
    }
    EXPECT_LT(error, 0.6 * before) << levels;
    EXPECT_LT(std::abs(signed_error) / pairs_count,
              4.0 * std::sqrt(error / pairs_count / pairs_count))
        << levels;
    before = error;
  }
}

TEST(Estimator, StrictHasTheLargerVariance) {
  const Pairs pairs = gaussian_pairs(affordable_dim);
  std::array<double, 2> squares{};
  for (size_t frame = 0; frame < 50; ++frame) {
    CodecParams params = frame_params(affordable_dim, 3, frame);
    params.joint_rounds = 0;
    const Codec codec(params);
    for (const Estimator estimator : {Estimator::rescaled, Estimator::strict}) {
      squares[static_cast<size_t>(estimator)] += std::pow(mean_error(codec, pairs, estimator), 2);
    }
  }
  EXPECT_GT(squares[1], 1.3 * squares[0]);
  EXPECT_LT(squares[1], 20.0 * squares[0]);
}

TEST(Estimator, StrictWithoutANormInfersIt) {
  // From alpha, which knows the norm up to <u, x^> / P: about sqrt(distortion / P) off, no bias.
  const Pairs pairs = gaussian_pairs(affordable_dim);
  const Codec codec(codec_params(affordable_dim, 4, true));
  const Bytes codes = encoded(codec, pairs.x);
  const double deviation = std::sqrt(0.0087 / affordable_dim);
  double mean = 0.0;
  for (size_t i = 0; i < pairs_count; ++i) {
    const float* x = pairs.x.data() + i * affordable_dim;
    const CodecQuery query = codec.prepare(pairs.q.data() + i * affordable_dim);
    const uint8_t* code = codes.data() + i * codec.code_bytes();
    const auto norm = static_cast<float>(std::sqrt(dot(x, x, affordable_dim)));
    const float with = codec.estimate(query, code, 0, Estimator::strict, norm);
    const float without = codec.estimate(query, code, 0, Estimator::strict);
    EXPECT_NEAR(static_cast<double>(without / with), 1.0, 4.0 * deviation) << i;
    mean += static_cast<double>(without / with) / pairs_count;
  }
  EXPECT_NEAR(mean, 1.0, 4.0 * deviation / std::sqrt(1.0 * pairs_count));
}

TEST(Estimator, StrictNeedsSignsAndAllLevels) {
  const Floats x = test_data::gaussian(2, 20, 207);
  for (const bool signs : {true, false}) {
    const Codec codec(codec_params(20, 3, signs));
    const Bytes code = encoded(codec, Floats(x.begin(), x.begin() + 20));
    const CodecQuery query = codec.prepare(x.data() + 20);
    for (size_t levels = signs ? 1 : 0; levels <= codec.layout().levels; ++levels) {
      EXPECT_EQ(codec.estimate(query, code.data(), levels, Estimator::strict),
                codec.estimate(query, code.data(), levels));
    }
  }
}

}  // namespace
}  // namespace rotorquant
