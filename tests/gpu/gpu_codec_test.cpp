// SPDX-License-Identifier: MIT
#include "gpu_test.h"

namespace rotorquant {
namespace {

using namespace test_data;  // NOLINT(google-build-using-namespace)

class GpuCodecTest : public OnDevice<testing::TestWithParam<CodecParams>> {};

TEST_P(GpuCodecTest, CodesAreTheCpuBytes) {
  const Stores stores(GetParam(), 0);
  for (const size_t n : {0, 1, 31, 32, 33, 65}) {
    const Floats x = clustered(n, stores.d(), 5, 11);
    Bytes codes(n * stores.codec.code_bytes());
    stores.gpu_codec.encode(x.data(), n, codes.data());
    EXPECT_EQ(codes, stores.encoded_on_cpu(x)) << n;
  }
}

TEST_P(GpuCodecTest, DecodesAsTheCpu) {
  const Stores stores(GetParam(), 0);
  const size_t n = 35;
  const Bytes codes = stores.encoded_on_cpu(clustered(n, stores.d(), 5, 11));
  for (size_t levels = 0; levels <= stores.codec.layout().levels; ++levels) {
    Floats expected(n * stores.d());
    Floats received(n * stores.d());
    stores.codec.decode(codes.data(), n, expected.data(), levels);
    stores.space.restore(expected.data(), n, stores.d());
    stores.gpu_codec.decode(codes.data(), n, received.data(), levels);
    EXPECT_TRUE(same_bits(expected, received)) << levels;
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, GpuCodecTest,
                         testing::Values(codec_params(100, 1, true), codec_params(100, 1, false),
                                         codec_params(100, 2, true), codec_params(100, 3, true),
                                         codec_params(100, 3, false), codec_params(100, 4, true),
                                         codec_params(100, 6, true), codec_params(100, 8, false)),
                         codec_param_name);
INSTANTIATE_TEST_SUITE_P(Dimensions, GpuCodecTest,
                         testing::Values(codec_params(1, 3, true), codec_params(3, 3, true),
                                         codec_params(129, 3, true), codec_params(1536, 2, true)),
                         codec_param_name);

using GpuCodecCase = OnDevice<>;

TEST_F(GpuCodecCase, EveryEffort) {
  const Stores stores(codec_params(36, 3, true), 0);
  const size_t n = 40;
  const Floats x = clustered(n, 36, 5, 11);
  for (const auto effort : {EncodeEffort::fast, EncodeEffort::best}) {
    Bytes codes(n * stores.codec.code_bytes());
    stores.gpu_codec.encode(x.data(), n, codes.data(), effort);
    EXPECT_EQ(codes, stores.encoded_on_cpu(x, effort));
  }
}

TEST_F(GpuCodecCase, LearnedFrameUpToRounding) {
  const Stores stores(codec_params(34, 4, true, FrameKind::learned), 0);
  const size_t n = 100;
  const Floats x = clustered(n, 34, 5, 11);
  Bytes codes(n * stores.codec.code_bytes());
  stores.gpu_codec.encode(x.data(), n, codes.data());
  const Bytes expected = stores.encoded_on_cpu(x);
  size_t different = 0;
  for (size_t i = 0; i < n; ++i) {
    const size_t at = i * stores.codec.code_bytes();
    const size_t planes = stores.codec.layout().scan_factor_offset();
    different +=
        std::equal(codes.begin() + at, codes.begin() + at + planes, expected.begin() + at) ? 0 : 1;
  }
  EXPECT_LE(different, 3U);
  Floats received(n * 34);
  Floats wanted(n * 34);
  stores.codec.decode(expected.data(), n, wanted.data());
  stores.space.restore(wanted.data(), n, 34);
  stores.gpu_codec.decode(expected.data(), n, received.data());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(wanted[i], received[i], 1e-5F);
  }
}

TEST_F(GpuCodecCase, InnerProductTermsAndNoCentre) {
  for (const bool centred : {true, false}) {
    const Codec codec = ready_codec(codec_params(20, 2, true));
    Space space{Metric::inner_product, {}};
    if (centred) {
      space.centre = gaussian(1, 20, 9);
    }
    const GpuResources resources;
    const GpuCodec gpu(resources, codec, space);
    const Floats x = gaussian(33, 20, 4);
    Floats residuals(x.size());
    Floats additive(33);
    space.split(x.data(), 33, 20, residuals.data(), additive.data());
    Bytes expected(33 * codec.code_bytes());
    codec.encode(residuals.data(), additive.data(), 33, expected.data());
    Bytes codes(expected.size());
    gpu.encode(x.data(), 33, codes.data());
    EXPECT_EQ(codes, expected);
  }
}

TEST_F(GpuCodecCase, ZeroVectors) {
  const Codec codec = ready_codec(codec_params(12, 3, true));
  const Space space;
  const GpuResources resources;
  const GpuCodec gpu(resources, codec, space);
  const Floats x(2 * 12, 0.0F);
  const Floats additive(2, 0.0F);
  Bytes expected(2 * codec.code_bytes());
  codec.encode(x.data(), additive.data(), 2, expected.data());
  Bytes codes(expected.size());
  gpu.encode(x.data(), 2, codes.data());
  EXPECT_EQ(codes, expected);
}

TEST_F(GpuCodecCase, NamesTheRowThatIsNotFinite) {
  const Stores stores(codec_params(12, 3, true), 0);
  Floats x = gaussian(70, 12, 5);
  x[67 * 12 + 3] = INFINITY;
  Bytes codes(70 * stores.codec.code_bytes());
  const std::string message =
      message_of([&] { stores.gpu_codec.encode(x.data(), 70, codes.data()); });
  EXPECT_NE(message.find("row 67"), std::string::npos) << message;
}

TEST_F(GpuCodecCase, UntrainedCodecIsRefused) {
  const GpuResources resources;
  const Codec codec(codec_params(12, 3, true, FrameKind::learned));
  EXPECT_THROW(GpuCodec(resources, codec, Space{}), Error);
}

}  // namespace
}  // namespace rotorquant
