// SPDX-License-Identifier: MIT
#include "rotorquant/code_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "half.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::codec_params;
using test_data::EveryKernelSet;
using test_data::Floats;

constexpr float infinity = std::numeric_limits<float>::infinity();
const std::vector<size_t> sizes = {0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200};

/// Layouts with one plane and many, odd and even quads, narrow and wide factors.
std::vector<CodeLayout> layouts() {
  std::vector<CodeLayout> result;
  for (const size_t d : {1U, 5U, 16U, 100U, 129U}) {
    for (const int bits : {1, 2, 3, 6}) {
      for (const bool signs : {true, false}) {
        result.push_back(Codec(codec_params(d, bits, signs, FrameKind::learned)).layout());
      }
    }
  }
  return result;
}

std::string described(const CodeLayout& layout, size_t n) {
  return std::to_string(layout.quads) + " quads, " + std::to_string(layout.planes) +
         " planes, signs " + std::to_string(static_cast<int>(layout.signs)) + ", n " +
         std::to_string(n);
}

/// Canonical codes: random but for the half byte that must be 0 and factors that are numbers.
Bytes random_codes(const CodeLayout& layout, size_t n, uint64_t seed) {
  Rng rng(seed);
  Bytes codes(n * layout.code_bytes());
  std::generate(codes.begin(), codes.end(), [&] { return static_cast<uint8_t>(rng.bits()); });
  for (size_t i = 0; i < n; ++i) {
    uint8_t* code = codes.data() + i * layout.code_bytes();
    for (size_t plane = 1; layout.quads % 2 == 1 && plane <= layout.planes; ++plane) {
      code[plane * layout.plane_bytes - 1] &= 0xFU;
    }
    const uint16_t alpha = encode_factor(static_cast<float>(rng.uniform()));
    const auto additive = static_cast<float>(rng.gaussian());
    std::memcpy(code + layout.scan_factor_offset(), &alpha, sizeof(alpha));
    std::memcpy(code + layout.scan_factor_offset() + sizeof(alpha), &additive, sizeof(additive));
  }
  return codes;
}

Bytes packed(const CodeStore& store) {
  Bytes codes(store.size() * store.layout().code_bytes());
  store.pack(0, store.size(), codes.data());
  return codes;
}

Bytes code_at(const Bytes& codes, const CodeLayout& layout, size_t i) {
  const auto first = codes.begin() + static_cast<std::ptrdiff_t>(i * layout.code_bytes());
  return {first, first + static_cast<std::ptrdiff_t>(layout.code_bytes())};
}

class CodeStoreOf : public EveryKernelSet {
 protected:
  CodeStore store_of(const CodeLayout& layout, const Bytes& codes = {}) const {
    const simd::ScopedKernels scoped(kernels());
    CodeStore store(layout);
    store.append(codes.data(), codes.size() / layout.code_bytes());
    return store;
  }

  /// Places at and behind `size` in the last block must lose against any real vector.
  void expect_unselectable_padding(const CodeStore& store) const {
    if (store.blocks() == 0) {
      return;
    }
    const AlignedVector<uint8_t> table(store.padded_quads() * 16, uint8_t{255});
    const simd::ScanQuery query{table.data(), 1.0F, 1e30F};
    Floats bounds(block_vectors);
    const size_t last = store.blocks() - 1;
    store.kernels().block_bounds(store.block(last), store.padded_quads(), query, bounds.data());
    for (size_t v = store.size() - last * block_vectors; v < block_vectors; ++v) {
      ASSERT_EQ(bounds[v], infinity) << v << " of " << store.size();
    }
  }
};

TEST_P(CodeStoreOf, WhatIsAppendedIsPackedAgain) {
  for (const CodeLayout& layout : layouts()) {
    for (const size_t n : sizes) {
      const Bytes codes = random_codes(layout, n, n + layout.quads);
      const CodeStore store = store_of(layout, codes);
      ASSERT_EQ(store.size(), n);
      ASSERT_EQ(store.blocks(), (n + 63) / 64);
      ASSERT_EQ(store.layout().code_bytes(), layout.code_bytes());
      ASSERT_EQ(packed(store), codes) << described(layout, n);
      expect_unselectable_padding(store);
    }
  }
}

TEST_P(CodeStoreOf, PiecewiseAppendsAndPacksEqualWholeOnes) {
  for (const CodeLayout& layout : layouts()) {
    constexpr size_t n = 150;
    const size_t bytes = layout.code_bytes();
    const Bytes codes = random_codes(layout, n, 3);
    CodeStore store = store_of(layout);
    for (size_t first = 0; first < n; first += 29) {
      store.append(codes.data() + first * bytes, std::min<size_t>(29, n - first));
      store.append(nullptr, 0);
    }
    ASSERT_EQ(packed(store), codes) << described(layout, n);
    Bytes part(40 * bytes);
    store.pack(51, 40, part.data());
    ASSERT_TRUE(std::equal(part.begin(), part.end(),
                           codes.begin() + static_cast<std::ptrdiff_t>(51 * bytes)));
  }
}

TEST_P(CodeStoreOf, AssignReplacesOneCodeAndNoOther) {
  for (const CodeLayout& layout : layouts()) {
    Bytes codes = random_codes(layout, 130, 4);
    const Bytes others = random_codes(layout, 130, 5);
    CodeStore store = store_of(layout, codes);
    for (const size_t i : {0U, 1U, 31U, 32U, 33U, 63U, 64U, 129U}) {
      const Bytes code = code_at(others, layout, i);
      store.assign(i, code.data());
      std::copy(code.begin(), code.end(),
                codes.begin() + static_cast<std::ptrdiff_t>(i * layout.code_bytes()));
    }
    ASSERT_EQ(packed(store), codes) << described(layout, 130);
  }
}

TEST_P(CodeStoreOf, CopyWithinCopiesOneCodeAndNoOther) {
  for (const CodeLayout& layout : layouts()) {
    Bytes codes = random_codes(layout, 130, 6);
    CodeStore store = store_of(layout, codes);
    const std::vector<std::pair<size_t, size_t>> moves = {{129, 0}, {0, 129}, {5, 5},
                                                          {63, 64}, {64, 31}, {31, 32}};
    for (const auto& [from, to] : moves) {
      store.copy_within(from, to);
      const Bytes code = code_at(codes, layout, from);
      std::copy(code.begin(), code.end(),
                codes.begin() + static_cast<std::ptrdiff_t>(to * layout.code_bytes()));
    }
    ASSERT_EQ(packed(store), codes) << described(layout, 130);
  }
}

TEST_P(CodeStoreOf, TruncateKeepsTheFrontAndNothingBehindItCanBeSelected) {
  for (const CodeLayout& layout : layouts()) {
    const Bytes codes = random_codes(layout, 200, 7);
    for (const size_t n : sizes) {
      CodeStore store = store_of(layout, codes);
      store.truncate(n);
      ASSERT_EQ(store.size(), n);
      ASSERT_EQ(packed(store), Bytes(codes.begin(), codes.begin() + static_cast<std::ptrdiff_t>(
                                                                        n * layout.code_bytes())));
      expect_unselectable_padding(store);
      // Growing again finds clean places.
      store.append(codes.data() + n * layout.code_bytes(), 200 - n);
      ASSERT_EQ(packed(store), codes) << described(layout, n);
    }
  }
}

TEST_P(CodeStoreOf, TruncatedStoresScanAsIfNothingMoreHadEverBeenThere) {
  const CodeLayout layout = layouts()[3];
  const Bytes codes = random_codes(layout, 200, 8);
  for (const size_t n : {1U, 33U, 64U, 65U}) {
    CodeStore store = store_of(layout, codes);
    store.truncate(n);
    const CodeStore fresh = store_of(
        layout,
        Bytes(codes.begin(), codes.begin() + static_cast<std::ptrdiff_t>(n * layout.code_bytes())));
    ASSERT_EQ(store.block_bytes(), fresh.block_bytes());
    ASSERT_TRUE(std::equal(store.block(0), store.block(0) + store.blocks() * store.block_bytes(),
                           fresh.block(0)))
        << n;
  }
}

TEST_P(CodeStoreOf, ReadsAndWritesTheScanFactors) {
  const CodeLayout layout = layouts()[5];
  const Bytes codes = random_codes(layout, 100, 9);
  CodeStore store = store_of(layout, codes);
  for (size_t i = 0; i < 100; ++i) {
    const uint8_t* factors = codes.data() + i * layout.code_bytes() + layout.scan_factor_offset();
    uint16_t alpha = 0;
    float additive = 0.0F;
    std::memcpy(&alpha, factors, sizeof(alpha));
    std::memcpy(&additive, factors + sizeof(alpha), sizeof(additive));
    ASSERT_EQ(store.scan_alpha(i), decode_factor(alpha));
    ASSERT_EQ(store.additive(i), additive);
    Bytes plane(store.padded_quads() / 2, uint8_t{0xEE});
    store.scan_nibbles(i, plane.data());
    ASSERT_TRUE(std::equal(plane.begin(), plane.begin() + layout.plane_bytes,
                           codes.data() + i * layout.code_bytes()));
  }
  const Bytes before = packed(store);
  store.set_additive(64, -7.5F);
  EXPECT_EQ(store.additive(64), -7.5F);
  EXPECT_EQ(store.additive(63), store_of(layout, before).additive(63));
  store.set_additive(64, store_of(layout, before).additive(64));
  EXPECT_EQ(packed(store), before);
}

TEST_P(CodeStoreOf, ReserveMakesRoomOnce) {
  const CodeLayout layout = layouts()[10];
  CodeStore store = store_of(layout);
  store.reserve(500);
  EXPECT_EQ(store.size(), 0U);
  const size_t held = store.memory_bytes();
  EXPECT_GE(held, 500 * (layout.row_bytes() + layout.plane_bytes + 6));
  const Bytes codes = random_codes(layout, 500, 10);
  store.append(codes.data(), 500);
  EXPECT_EQ(store.memory_bytes(), held);
  EXPECT_EQ(packed(store), codes);
}

TEST_P(CodeStoreOf, TruncateAndClearGiveMemoryBack) {
  const CodeLayout layout = layouts()[10];
  CodeStore store = store_of(layout, random_codes(layout, 6400, 11));
  const size_t held = store.memory_bytes();
  store.truncate(640);
  EXPECT_LE(store.memory_bytes(), held / 5);
  store.clear();
  EXPECT_EQ(store.size(), 0U);
  EXPECT_EQ(store.blocks(), 0U);
  EXPECT_EQ(store.memory_bytes(), 0U);
}

TEST_P(CodeStoreOf, DropsBackAndForthCostNoMoreThanGrowth) {
  // Giving memory back at every step would copy the store for every removed vector.
  const CodeLayout layout = layouts()[10];
  CodeStore store = store_of(layout, random_codes(layout, 6400, 12));
  const uint8_t* before = store.block(0);
  store.truncate(6399);
  store.truncate(6000);
  EXPECT_EQ(store.block(0), before);
}

TEST_P(CodeStoreOf, WhatIsNotThereIsRefused) {
  const CodeLayout layout = layouts()[2];
  const Bytes codes = random_codes(layout, 10, 13);
  CodeStore store = store_of(layout, codes);
  Bytes out(20 * layout.code_bytes());
  EXPECT_THROW(store.pack(0, 11, out.data()), Error);
  EXPECT_THROW(store.pack(11, 0, out.data()), Error);
  EXPECT_THROW(store.pack(5, ~size_t{0}, out.data()), Error);
  EXPECT_THROW(store.assign(10, codes.data()), Error);
  EXPECT_THROW(store.copy_within(10, 0), Error);
  EXPECT_THROW(store.copy_within(0, 10), Error);
  EXPECT_THROW(store.truncate(11), Error);
  EXPECT_THROW(store.set_additive(10, 0.0F), Error);
  EXPECT_EQ(packed(store), codes);
  store.pack(10, 0, out.data());
}

TEST_P(CodeStoreOf, BlocksStartOnCacheLinesAndHaveTheDocumentedSize) {
  for (const CodeLayout& layout : layouts()) {
    const CodeStore store = store_of(layout, random_codes(layout, 65, 14));
    EXPECT_EQ(store.padded_quads() % 4, 0U);
    EXPECT_LT(store.padded_quads(), layout.quads + 4);
    EXPECT_EQ(store.block_bytes(), store.padded_quads() * 32 + 64 * 2 + 64 * 4);
    for (size_t b = 0; b < 2; ++b) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(store.block(b)) % cache_line, 0U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, CodeStoreOf, testing::ValuesIn(test_data::built_kernel_sets()),
                         test_data::kernel_set_name);

TEST(CodeStore, KeepsTheKernelsItWasMadeWith) {
  const CodeLayout layout = layouts()[4];
  const Bytes codes = random_codes(layout, 70, 15);
  CodeStore store;
  {
    const simd::ScopedKernels scoped(simd::scalar_kernels);
    store = CodeStore(layout);
  }
  store.append(codes.data(), 70);  // under whatever is active now
  EXPECT_EQ(store.kernels().name, "scalar");
  EXPECT_EQ(packed(store), codes);
}

}  // namespace
}  // namespace rotorquant
