// SPDX-License-Identifier: MIT
#include "gpu_test.h"

namespace rotorquant {
namespace {

using namespace test_data;  // NOLINT(google-build-using-namespace)

using GpuReferenceCase = OnDevice<>;

TEST_F(GpuReferenceCase, MseCodesAreTheCpuBytes) {
  const GpuResources resources;
  for (const size_t d : {1, 3, 100, 128, 129}) {
    for (const int bits : {1, 3, 4, 7, 8}) {
      const RotorQuantMse mse(d, bits);
      const GpuRotorQuantMse gpu(resources, mse);
      ASSERT_EQ(gpu.code_size(), mse.code_size());
      const size_t n = 33;
      const Floats x = gaussian(n, d, 7);
      Bytes expected(n * mse.code_size());
      Bytes codes(expected.size());
      mse.encode(x.data(), n, expected.data());
      gpu.encode(x.data(), n, codes.data());
      EXPECT_EQ(codes, expected) << d << " x " << bits;
      Floats wanted(n * d);
      Floats decoded(n * d);
      mse.decode(expected.data(), n, wanted.data());
      gpu.decode(codes.data(), n, decoded.data());
      EXPECT_TRUE(same_bits(wanted, decoded)) << d << " x " << bits;
    }
  }
}

TEST_F(GpuReferenceCase, AttentionScoresOfTheCache) {
  for (const size_t d : {3, 64, 129}) {
    const GpuResources resources;
    RotorQuantKVCache cpu(d, d + 1, 3);
    GpuRotorQuantKVCache gpu(resources, d, d + 1, 3);
    EXPECT_EQ(gpu.size(), 0U);
    for (const size_t rows : {1, 40, 33}) {
      const Floats keys = gaussian(rows, d, rows);
      const Floats values = gaussian(rows, d + 1, rows + 1);
      cpu.append(keys.data(), rows, values.data(), rows);
      gpu.append(keys.data(), values.data(), rows);
    }
    ASSERT_EQ(gpu.size(), cpu.size());
    EXPECT_EQ(gpu.bytes(), cpu.bytes());
    const size_t m = 5;
    const Floats queries = gaussian(m, d, 99);
    const Floats expected = cpu.attention_scores(queries.data(), m);
    Floats scores(m * gpu.size());
    gpu.attention_scores(queries.data(), m, scores.data());
    // A score's terms are as large as |x| |q|.
    const auto tolerance = 1e-5F * static_cast<float>(d);
    for (size_t i = 0; i < scores.size(); ++i) {
      ASSERT_NEAR(scores[i], expected[i], tolerance) << i;
    }
    Floats values(gpu.size() * (d + 1));
    gpu.get_values(values.data());
    EXPECT_TRUE(same_bits(values, cpu.get_values()));
    gpu.clear();
    EXPECT_EQ(gpu.size(), 0U);
    EXPECT_EQ(gpu.bytes(), 0U);
  }
}

TEST_F(GpuReferenceCase, HaarRotationsAreRefused) {
  const GpuResources resources;
  const RotorQuantMse haar(8, 2, 42, {}, Rotation::haar);
  EXPECT_THROW(GpuRotorQuantMse(resources, haar), Error);
}

}  // namespace
}  // namespace rotorquant
