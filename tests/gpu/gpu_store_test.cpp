// SPDX-License-Identifier: MIT
#include "gpu_test.h"

namespace rotorquant {
namespace {

using namespace test_data;  // NOLINT(google-build-using-namespace)

/// Bytes that no two codes share.
Bytes random_codes(const CodeLayout& layout, size_t n) {
  Rng rng(5, n);
  Bytes codes(n * layout.code_bytes());
  for (size_t i = 0; i < n; ++i) {
    uint8_t* code = codes.data() + i * layout.code_bytes();
    for (size_t b = 0; b < layout.code_bytes(); ++b) {
      code[b] = static_cast<uint8_t>(rng.below(256));
    }
    for (size_t plane = 1; layout.quads % 2 == 1 && plane <= layout.planes; ++plane) {
      code[plane * layout.plane_bytes - 1] &= 0x0FU;
    }
  }
  return codes;
}

Bytes packed(const GpuCodeStore& store) {
  Bytes codes(store.size() * store.layout().code_bytes());
  store.pack(0, store.size(), codes.data());
  return codes;
}

class GpuCodeStoreTest : public OnDevice<testing::TestWithParam<CodecParams>> {
 protected:
  const CodeLayout& layout() const { return layout_; }

 private:
  CodeLayout layout_ = Codec(GetParam()).layout();
};

TEST_P(GpuCodeStoreTest, PacksWhatWasAppended) {
  for (const size_t n : {0, 1, 31, 32, 33, 63, 64, 65}) {
    const GpuResources resources;
    GpuCodeStore store(resources, layout());
    const Bytes codes = random_codes(layout(), n);
    store.append(codes.data(), n);
    EXPECT_EQ(store.size(), n);
    EXPECT_EQ(packed(store), codes) << n;
  }
}

TEST_P(GpuCodeStoreTest, GrowsInOddSteps) {
  const GpuResources resources;
  GpuCodeStore store(resources, layout());
  const Bytes codes = random_codes(layout(), 200);
  size_t size = 0;
  for (const size_t step : {1, 30, 2, 64, 3, 100}) {
    store.append(codes.data() + size * layout().code_bytes(), step);
    size += step;
  }
  EXPECT_EQ(packed(store), codes);
  Bytes part(7 * layout().code_bytes());
  store.pack(60, 7, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), codes.begin() + 60 * layout().code_bytes()));
}

TEST_P(GpuCodeStoreTest, KeepsPlacesInOrder) {
  const GpuResources resources;
  GpuCodeStore store(resources, layout());
  const size_t n = 150;
  const Bytes codes = random_codes(layout(), n);
  store.append(codes.data(), n);
  std::vector<uint32_t> places;
  Bytes expected;
  for (uint32_t i = 0; i < n; ++i) {
    if (i % 3 != 1 && i != 149) {
      places.push_back(i);
      const auto from = codes.begin() + i * layout().code_bytes();
      expected.insert(expected.end(), from, from + layout().code_bytes());
    }
  }
  store.keep(places);
  EXPECT_EQ(store.size(), places.size());
  EXPECT_EQ(packed(store), expected);
  store.keep({});
  EXPECT_EQ(store.size(), 0U);
  EXPECT_EQ(store.memory_bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Layouts, GpuCodeStoreTest,
                         testing::Values(codec_params(1, 1, true), codec_params(3, 3, true),
                                         codec_params(100, 1, false), codec_params(100, 4, true),
                                         codec_params(129, 6, true), codec_params(1536, 2, true)),
                         codec_param_name);

using GpuCodeStoreCase = OnDevice<>;

TEST_F(GpuCodeStoreCase, TruncateFreesMemoryAndLeavesNothingToFind) {
  Stores stores(codec_params(24, 3, true), 500);
  const size_t before = stores.gpu.memory_bytes();
  stores.gpu.truncate(40);
  stores.cpu.truncate(40);
  EXPECT_LT(stores.gpu.memory_bytes(), before / 4);
  const Floats queries = stores.queries(3);
  EXPECT_EQ(stores.on_gpu(queries, 50), stores.on_cpu(queries, 50));
}

TEST_F(GpuCodeStoreCase, RefusesWhatIsNotThere) {
  Stores stores(codec_params(24, 3, true), 10);
  Bytes codes(20 * stores.codec.code_bytes());
  EXPECT_THROW(stores.gpu.pack(5, 6, codes.data()), Error);
  EXPECT_THROW(stores.gpu.truncate(11), Error);
}

}  // namespace
}  // namespace rotorquant
