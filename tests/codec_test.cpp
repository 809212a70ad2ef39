// SPDX-License-Identifier: MIT
#include "rotorquant/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "codec_access.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::codec_params;
using test_data::decoded;
using test_data::distortion;
using test_data::encoded;
using test_data::EveryKernelSet;
using test_data::Floats;
using test_data::message_of;
using test_data::ready_codec;
using test_data::same_bits;
using test_data::some_codecs;

constexpr size_t bits_count = 8;

double measured_distortion(const Codec& codec, const Floats& x, size_t levels = 0) {
  return distortion(x, decoded(codec, encoded(codec, x), levels), codec.dim());
}

// ---- rate and distortion --------------------------------------------------------------------

TEST(CodecDistortion, IsTheContractsForEveryCodeWithSigns) {
  // Signs alone: 1 - 2/pi; then codec.md, section 3; from 5 bits on its section 6.
  constexpr std::array<double, bits_count> expected = {0.3634, 0.115,  0.0328, 0.0087,
                                                       0.0031, 0.0010, 0.0003, 0.0001};
  const Floats x = test_data::gaussian(1000, 128, 1);
  for (int bits = 1; bits <= 8; ++bits) {
    const double found = measured_distortion(Codec(codec_params(128, bits, true)), x);
    const double wanted = expected[static_cast<size_t>(bits) - 1];
    EXPECT_NEAR(found, wanted, (bits <= 4 ? 0.025 : 0.20) * wanted) << "RQ" << bits;
  }
}

TEST(CodecDistortion, IsTheContractsForEveryCodeWithoutSigns) {
  constexpr std::array<double, bits_count> expected = {0.340,  0.102,  0.0278, 0.0095,
                                                       0.0031, 0.0010, 0.0003, 0.0001};
  const Floats x = test_data::gaussian(1000, 128, 2);
  for (int bits = 1; bits <= 8; ++bits) {
    const double found = measured_distortion(Codec(codec_params(128, bits, false)), x);
    const double wanted = expected[static_cast<size_t>(bits) - 1];
    EXPECT_NEAR(found, wanted, (bits <= 4 ? 0.03 : 0.20) * wanted) << "RQ" << bits << "mse";
  }
}

TEST(CodecDistortion, DoesNotDependOnTheDimensionsRemainders) {
  // Ragged quads and triples spend their nibbles on padding: only tiny dimensions may notice.
  for (const size_t d : {97U, 98U, 99U, 100U, 129U}) {
    const Floats x = test_data::gaussian(400, d, d);
    EXPECT_NEAR(measured_distortion(Codec(codec_params(d, 3, true)), x), 0.033, 0.002) << d;
  }
}

TEST(CodecDistortion, FallsWithEveryLevelOfAPrefix) {
  const Floats x = test_data::correlated(400, 100, 3);
  for (const FrameKind frame : {FrameKind::rotor_layers, FrameKind::learned, FrameKind::haar}) {
    for (const bool signs : {true, false}) {
      const Codec codec = ready_codec(codec_params(100, 8, signs, frame));
      double before = 1.0;
      for (size_t levels = 1; levels <= codec.layout().levels; ++levels) {
        const double found = measured_distortion(codec, x, levels);
        EXPECT_LT(found, before / 2.1) << codec.name() << " " << levels;
        before = found;
      }
      EXPECT_LT(measured_distortion(codec, x), before * 1.001) << codec.name();
    }
  }
}

TEST(CodecDistortion, JointEncodingGainsWhatTheContractSays) {
  // One, two and three levels under signs: 0.122 -> 0.115, 0.0368 -> 0.0328, 0.0100 -> 0.0087.
  const std::array<double, 3> greedy = {0.122, 0.0368, 0.0100};
  const std::array<double, 3> joint = {0.115, 0.0328, 0.0087};
  const Floats x = test_data::gaussian(1000, 128, 4);
  for (size_t i = 0; i < greedy.size(); ++i) {
    CodecParams params = codec_params(128, static_cast<int>(i) + 2, true);
    const double after = measured_distortion(Codec(params), x);
    params.joint_rounds = 0;
    const double before = measured_distortion(Codec(params), x);
    EXPECT_NEAR(before, greedy[i], 0.03 * greedy[i]) << i;
    EXPECT_NEAR(after / before, joint[i] / greedy[i], 0.03) << i;
  }
}

TEST(CodecDistortion, ExpectedIsWhatIsMeasuredOnFreshData) {
  const Floats x = test_data::gaussian(1000, 128, 5);
  for (const bool signs : {true, false}) {
    const Codec codec(codec_params(128, 4, signs));
    for (size_t levels = 0; levels <= codec.layout().levels; ++levels) {
      const double found = measured_distortion(codec, x, levels);
      EXPECT_NEAR(static_cast<double>(codec.expected_distortion(levels)), found, 0.02 * found);
    }
  }
}

TEST(CodecDistortion, ALearnedCodecBeatsTheObliviousOneOnCorrelatedData) {
  constexpr size_t d = 48;
  const Floats training = test_data::correlated(4000, d, 6);
  const Floats x = test_data::correlated(500, d, 7);
  for (const int bits : {2, 3, 4}) {
    Codec learned(codec_params(d, bits, true, FrameKind::learned));
    learned.train(training.data(), 4000);
    EXPECT_LT(measured_distortion(learned, x),
              0.9 * measured_distortion(Codec(codec_params(d, bits, true)), x))
        << bits;
  }
}

TEST(CodecDistortion, DecodingIsTheLeastSquaresScaling) {
  // <x, x^> / |x^|^2 = 1: no factor would bring the reconstruction nearer on average.
  const Floats x = test_data::gaussian(1000, 64, 8);
  const Codec codec(codec_params(64, 3, true));
  for (size_t levels = 0; levels <= 2; ++levels) {
    const Floats y = decoded(codec, encoded(codec, x), levels);
    const double best =
        test_data::dot(x.data(), y.data(), x.size()) / test_data::dot(y.data(), y.data(), y.size());
    EXPECT_NEAR(best, 1.0, 0.01) << levels;
  }
}

// ---- layout ---------------------------------------------------------------------------------

TEST(CodecLayout, HasTheContractsSizes) {
  const auto bytes = [](size_t d, int bits) {
    return Codec(codec_params(d, bits, true, FrameKind::learned)).code_bytes();
  };
  EXPECT_EQ(bytes(128, 2), 42U);
  EXPECT_EQ(bytes(128, 3), 58U);
  EXPECT_EQ(bytes(128, 4), 74U);
  EXPECT_EQ(bytes(100, 2), 36U);
  EXPECT_EQ(bytes(100, 3), 49U);
  EXPECT_EQ(bytes(100, 4), 62U);
  EXPECT_EQ(bytes(384, 2), 106U);
  EXPECT_EQ(bytes(384, 3), 154U);
  EXPECT_EQ(bytes(384, 4), 202U);
}

TEST(CodecLayout, CountsAddUpForEveryCode) {
  for (const size_t d : {1U, 4U, 5U, 100U, 129U}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool signs : {true, false}) {
        const CodeLayout layout = Codec(codec_params(d, bits, signs, FrameKind::learned)).layout();
        const auto planes = static_cast<size_t>(bits);
        EXPECT_EQ(layout.quads, (d + 3) / 4);
        EXPECT_EQ(layout.plane_bytes, (layout.quads + 1) / 2);
        EXPECT_EQ(layout.planes, planes);
        EXPECT_EQ(layout.levels, planes - (signs ? 1 : 0));
        const size_t factor = bits >= 6 ? 4 : 2;
        const size_t factors = bits == 1 ? 0 : (signs ? 2 : 1);
        EXPECT_EQ(layout.code_bytes(), planes * layout.plane_bytes + 6 + factors * factor);
        EXPECT_EQ(layout.row_bytes() + layout.plane_bytes + 6, layout.code_bytes());
      }
    }
  }
}

TEST(CodecLayout, NamesAreFactoryStrings) {
  EXPECT_EQ(Codec(codec_params(4, 3, true)).name(), "RQ3");
  EXPECT_EQ(Codec(codec_params(4, 8, false)).name(), "RQ8mse");
  EXPECT_EQ(Codec(codec_params(4, 1, true, FrameKind::learned)).name(), "ORQ1");
  EXPECT_EQ(Codec(codec_params(4, 2, false, FrameKind::learned)).name(), "ORQ2mse");
}

TEST(CodecLayout, TheLastHalfByteIsZeroAndTheAdditiveTermIsKept) {
  const Codec codec(codec_params(100, 3, true));  // 25 quads
  const CodeLayout& layout = codec.layout();
  const Floats x = test_data::gaussian(20, 100, 9);
  Bytes codes(20 * codec.code_bytes());
  const Floats additive = test_data::gaussian(20, 1, 10);
  codec.encode(x.data(), additive.data(), 20, codes.data());
  for (size_t i = 0; i < 20; ++i) {
    const uint8_t* code = codes.data() + i * codec.code_bytes();
    for (size_t plane = 0; plane < layout.planes; ++plane) {
      EXPECT_LT(code[(plane + 1) * layout.plane_bytes - 1], 16);
    }
    float stored = 0.0F;
    std::memcpy(&stored, code + layout.scan_factor_offset() + 2, sizeof(stored));
    EXPECT_EQ(stored, additive[i]);
  }
}

// ---- what codes depend on -------------------------------------------------------------------

TEST(CodecEncode, DoesNotDependOnNBatchOrThreads) {
  constexpr size_t n = 133;
  for (const size_t d : {3U, 37U}) {
    const Floats x = test_data::gaussian(n, d, 11);
    for (const Codec& codec : some_codecs(d)) {
      const Bytes whole = encoded(codec, x);
      for (const int threads : {1, 2, 3}) {
        const test_data::ScopedThreads scoped(threads);
        EXPECT_EQ(encoded(codec, x), whole) << codec.name() << " threads " << threads;
      }
      for (const size_t batch : {1U, 7U, 15U, 16U, 17U, 65U}) {
        Bytes parts;
        for (size_t first = 0; first < n; first += batch) {
          const size_t last = std::min(n, first + batch);
          const Bytes part = encoded(codec, Floats(x.begin() + static_cast<ptrdiff_t>(first * d),
                                                   x.begin() + static_cast<ptrdiff_t>(last * d)));
          parts.insert(parts.end(), part.begin(), part.end());
        }
        EXPECT_EQ(parts, whole) << codec.name() << " batch " << batch;
      }
    }
  }
}

TEST(CodecEncode, AnySourceAndStrideGiveTheSameCodes) {
  constexpr size_t n = 77;
  const Codec codec(codec_params(20, 3, true));
  const Floats x = test_data::gaussian(n, 20, 43);
  const Floats additive = test_data::gaussian(1, n, 44);
  Bytes whole(n * codec.code_bytes());
  codec.encode(x.data(), additive.data(), n, whole.data());
  const size_t stride = codec.code_bytes() + 5;
  Bytes apart(n * stride, 0xA5);
  const auto source = [&](size_t first, size_t count, float* residuals, float* terms) {
    std::copy_n(x.data() + first * 20, count * 20, residuals);
    std::copy_n(additive.data() + first, count, terms);
    return true;
  };
  ASSERT_TRUE(codec.encode(source, n, apart.data(), stride, EncodeEffort::standard));
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* code = apart.data() + i * stride;
    ASSERT_TRUE(std::equal(code, code + codec.code_bytes(), whole.data() + i * codec.code_bytes()));
    ASSERT_EQ(std::count(code + codec.code_bytes(), code + stride, 0xA5), 5);
  }
  const auto refuses = [&](size_t first, size_t count, float* residuals, float* terms) {
    return source(first, count, residuals, terms) && first + count < n;
  };
  EXPECT_FALSE(codec.encode(refuses, n, apart.data(), stride, EncodeEffort::standard));
  EXPECT_NE(message_of([&] {
              (void)codec.encode(source, n, apart.data(), 3, EncodeEffort::standard);
            }).find("stride"),
            std::string::npos);
}

TEST(CodecEncode, MoreEffortMeansLessDistortion) {
  const Floats x = test_data::gaussian(500, 128, 41);
  for (const int bits : {2, 3, 4, 6}) {
    const Codec codec(codec_params(128, bits, true));
    std::array<double, 3> found{};
    for (const EncodeEffort effort :
         {EncodeEffort::fast, EncodeEffort::standard, EncodeEffort::best}) {
      const Floats additive(500, 0.0F);
      Bytes codes(500 * codec.code_bytes());
      codec.encode(x.data(), additive.data(), 500, codes.data(), effort);
      found[static_cast<size_t>(effort)] = distortion(x, decoded(codec, codes), 128);
    }
    EXPECT_LT(found[1], 0.98 * found[0]) << codec.name();
    EXPECT_LE(found[2], found[1]) << codec.name();
    EXPECT_GT(found[2], 0.9 * found[1]) << codec.name() << ": more than rounds can give";
  }
}

TEST(CodecEncode, RoundsThatStopEarlyStopAtWhatMoreRoundsWouldGive) {
  // Far more rounds than it takes for nothing to change, against as many as `best` allows.
  const Floats x = test_data::gaussian(64, 32, 42);
  CodecParams params = codec_params(32, 3, true);
  params.joint_rounds = 60;
  const Bytes codes = encoded(Codec(params), x);
  params.joint_rounds = 40;
  EXPECT_EQ(encoded(Codec(params), x), codes);
}

TEST(CodecPrepare, ManyQueriesAreEachWhatOneIs) {
  for (const FrameKind frame : {FrameKind::rotor_layers, FrameKind::haar}) {
    for (const size_t d : {3U, 100U, 129U}) {
      const Codec codec = ready_codec(codec_params(d, 3, true, frame));
      const Floats x = test_data::gaussian(37, d, 43);
      std::vector<CodecQuery> together(37);
      codec.prepare(x.data(), 37, together.data());
      for (size_t i = 0; i < 37; ++i) {
        const CodecQuery alone = codec.prepare(x.data() + i * d);
        ASSERT_TRUE(same_bits(together[i].frame_query, alone.frame_query)) << d << " " << i;
        ASSERT_TRUE(same_bits(together[i].sign_query, alone.sign_query)) << d << " " << i;
        ASSERT_EQ(together[i].fixed.frame, alone.fixed.frame);
        ASSERT_EQ(together[i].fixed.sign, alone.fixed.sign);
        ASSERT_EQ(together[i].fixed.level_step, alone.fixed.level_step);
        ASSERT_EQ(together[i].fixed.sign_step, alone.fixed.sign_step);
        ASSERT_EQ(together[i].scan_variance, alone.scan_variance);
      }
    }
  }
}

TEST(CodecPrepare, FixedPointSumsStayWithin32Bits) {
  // All in one coordinate, all coordinates alike, and nothing: what a step must be chosen for.
  constexpr size_t d = 1536;
  const Codec codec(codec_params(d, 8, true));
  for (const float value : {0.0F, 1e-30F, 1.0F, 1e20F}) {
    for (const bool alike : {false, true}) {
      Floats query(d, alike ? value : 0.0F);
      query[7] = value;
      const CodecQuery prepared = codec.prepare(query.data());
      int64_t worst = 0;
      for (const int16_t q : prepared.fixed.frame) {
        worst += std::abs(static_cast<int64_t>(q));
      }
      EXPECT_LE(worst * CodecAccess::largest_coordinate(codec),
                int64_t{std::numeric_limits<int32_t>::max()});
      EXPECT_GT(prepared.fixed.level_step, 0.0F);
    }
  }
}

TEST(CodecDecode, DoesNotDependOnNBatchOrThreads) {
  constexpr size_t d = 37;
  for (const Codec& codec : some_codecs(d)) {
    const Bytes codes = encoded(codec, test_data::gaussian(101, d, 12));
    const Floats whole = decoded(codec, codes);
    for (size_t i = 0; i < 101; ++i) {
      Floats one(d);
      codec.decode(codes.data() + i * codec.code_bytes(), 1, one.data());
      ASSERT_TRUE(same_bits(one.data(), whole.data() + i * d, d)) << codec.name() << " " << i;
    }
    const test_data::ScopedThreads scoped(3);
    EXPECT_TRUE(same_bits(decoded(codec, codes), whole)) << codec.name();
  }
}

using CodecKernels = EveryKernelSet;

TEST_P(CodecKernels, ObliviousCodesAndDecodingsAreTheScalarOnes) {
  for (const size_t d : {1U, 13U, 100U}) {
    const Floats x = test_data::gaussian(50, d, 13);
    for (int bits = 1; bits <= 8; ++bits) {
      const Codec codec(codec_params(d, bits, bits % 2 == 0));
      Bytes expected;
      Floats expected_decoding;
      {
        const simd::ScopedKernels scalar(simd::scalar_kernels);
        expected = encoded(codec, x);
        expected_decoding = decoded(codec, expected);
      }
      const simd::ScopedKernels scoped(kernels());
      EXPECT_EQ(encoded(codec, x), expected) << codec.name() << " d " << d;
      EXPECT_TRUE(same_bits(decoded(codec, expected), expected_decoding)) << codec.name();
    }
  }
}

TEST_P(CodecKernels, AnObliviousCodecMeasuresItselfAlikeEverywhere) {
  const auto file = [](const simd::KernelTable& kernels) {
    const simd::ScopedKernels scoped(kernels);
    ByteWriter out;
    Codec(codec_params(50, 4, true)).write(out);
    return out.take();
  };
  EXPECT_EQ(file(kernels()), file(simd::scalar_kernels));
}

INSTANTIATE_TEST_SUITE_P(Targets, CodecKernels, testing::ValuesIn(test_data::built_kernel_sets()),
                         test_data::kernel_set_name);

TEST(CodecEncode, OnlyNearAZeroOfTheDataDoesScaleMatter) {
  // Powers of two change nothing but the factors' exponents; other scales round differently.
  constexpr size_t d = 64;
  const Floats x = test_data::gaussian(300, d, 14);
  const Codec codec(codec_params(d, 3, true));
  const double at_one = measured_distortion(codec, x);
  for (const float scale : {1e-6F, 1e6F, 1e-12F, 1e12F}) {
    Floats scaled = x;
    std::for_each(scaled.begin(), scaled.end(), [scale](float& v) { v *= scale; });
    EXPECT_NEAR(measured_distortion(codec, scaled), at_one, 1e-3 * at_one) << scale;
  }
  Floats shifted = x;
  std::for_each(shifted.begin(), shifted.end(), [](float& v) { v *= 0x1p20F; });
  const Bytes before = encoded(codec, x);
  const Bytes after = encoded(codec, shifted);
  const size_t planes = codec.layout().scan_factor_offset();
  for (size_t i = 0; i < 300; ++i) {
    const auto first = static_cast<ptrdiff_t>(i * codec.code_bytes());
    ASSERT_TRUE(std::equal(before.begin() + first,
                           before.begin() + first + static_cast<ptrdiff_t>(planes),
                           after.begin() + first));
  }
}

// ---- corner cases ---------------------------------------------------------------------------

TEST(CodecCorners, ZeroVectorsDecodeToZeroAndEstimateZero) {
  for (const Codec& codec : some_codecs(10)) {
    const Bytes codes = encoded(codec, Floats(20, 0.0F));
    for (const float v : decoded(codec, codes)) {
      EXPECT_EQ(v, 0.0F) << codec.name();
    }
    const CodecQuery query = codec.prepare(test_data::gaussian(1, 10, 15).data());
    EXPECT_EQ(codec.estimate(query, codes.data()), 0.0F) << codec.name();
    const CodecQuery nothing = codec.prepare(Floats(10, 0.0F).data());
    const Bytes some = encoded(codec, test_data::gaussian(1, 10, 16));
    EXPECT_EQ(codec.estimate(nothing, some.data()), 0.0F) << codec.name();
  }
}

TEST(CodecCorners, NothingToDoIsFine) {
  for (const Codec& codec : some_codecs(10)) {
    codec.encode(nullptr, nullptr, 0, nullptr);
    codec.decode(nullptr, 0, nullptr);
  }
}

TEST(CodecCorners, OneDimensionWorksForEveryCode) {
  const Floats x = test_data::gaussian(200, 1, 17);
  for (const FrameKind frame : {FrameKind::rotor_layers, FrameKind::learned, FrameKind::haar}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool signs : {true, false}) {
        const Codec codec = ready_codec(codec_params(1, bits, signs, frame));
        const Floats y = decoded(codec, encoded(codec, x));
        for (size_t i = 0; i < x.size(); ++i) {
          ASSERT_TRUE(std::isfinite(y[i])) << codec.name() << " " << x[i];
          ASSERT_GE(x[i] * y[i], 0.0F) << codec.name() << " " << x[i];
        }
      }
    }
  }
}

TEST(CodecCorners, NotANumberIsRefusedWithItsRow) {
  const Codec codec(codec_params(6, 2, true));
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Floats x = test_data::gaussian(40, 6, 18);
    x[33 * 6 + 5] = bad;
    Bytes codes(40 * codec.code_bytes());
    const Floats additive(40, 0.0F);
    const std::string message =
        message_of([&] { codec.encode(x.data(), additive.data(), 40, codes.data()); });
    EXPECT_NE(message.find("row 33"), std::string::npos) << message;
    Codec learned(codec_params(6, 2, true, FrameKind::learned));
    EXPECT_THROW(learned.train(x.data(), 40), Error);
    EXPECT_FALSE(learned.is_trained());
  }
}

TEST(CodecCorners, AnUntrainedLearnedCodecThrows) {
  Codec codec(codec_params(6, 2, true, FrameKind::learned));
  EXPECT_FALSE(codec.is_trained());
  const Floats x(6, 1.0F);
  Bytes code(codec.code_bytes());
  Floats y(6);
  EXPECT_THROW(codec.encode(x.data(), x.data(), 1, code.data()), Error);
  EXPECT_THROW(codec.decode(code.data(), 1, y.data()), Error);
  EXPECT_THROW(codec.prepare(x.data()), Error);
  EXPECT_THROW(codec.expected_distortion(), Error);
  EXPECT_THROW(codec.train(x.data(), 0), Error);
  codec.train(x.data(), 1);
  EXPECT_TRUE(codec.is_trained());
  EXPECT_TRUE(Codec(codec_params(6, 2, true)).is_trained());
}

TEST(CodecCorners, BadParametersAreRefusedByName) {
  const auto message_for = [](size_t d, int bits, int rounds) {
    return message_of([&] {
      CodecParams params = codec_params(d, bits, true);
      params.joint_rounds = rounds;
      const Codec codec(params);
    });
  };
  EXPECT_NE(message_for(0, 3, 3).find("d: expected at least 1, received 0"), std::string::npos);
  EXPECT_NE(message_for(4, 0, 3).find("bits: expected 1 to 8, received 0"), std::string::npos);
  EXPECT_NE(message_for(4, 9, 3).find("received 9"), std::string::npos);
  EXPECT_NE(message_for(4, 3, -1).find("joint_rounds"), std::string::npos);
}

TEST(CodecCorners, TrainingWithFewRowsOrConstantDataWorks) {
  for (const size_t n : {1U, 2U, 5U}) {
    for (const int bits : {1, 3, 8}) {
      Codec codec(codec_params(20, bits, true, FrameKind::learned));
      const Floats x = test_data::gaussian(n, 20, 19);
      codec.train(x.data(), n);
      const double found = measured_distortion(codec, test_data::gaussian(100, 20, 20));
      EXPECT_TRUE(std::isfinite(found)) << n << " rows, " << bits << " bits";
    }
  }
  for (const float constant : {0.0F, 3.0F}) {
    Codec codec(codec_params(20, 3, true, FrameKind::learned));
    codec.train(Floats(50 * 20, constant).data(), 50);
    const Floats x = test_data::gaussian(100, 20, 21);
    EXPECT_LT(measured_distortion(codec, x), 0.5) << constant;
  }
}

}  // namespace
}  // namespace rotorquant
