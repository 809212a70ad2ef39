// SPDX-License-Identifier: MIT
// Frozen hashes: codes, the Gaussian tree and rotor frames must never change, on any machine, since
// files hold them. A failing test prints what it found, ready to paste, for the day when a new
// format version changes them on purpose (docs/hacking.md).
#include <gtest/gtest.h>

#include <array>
#include <cinttypes>
#include <cstdio>

#include "rotorquant/codebook.h"
#include "rotorquant/frame.h"
#include "test_data.h"

namespace rotorquant {
namespace {

/// FNV-1a over bytes: small, and independent of what the library links.
uint64_t hash_of(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
  }
  return hash;
}

template <class T>
uint64_t hash_of(const std::vector<T>& values) {
  return hash_of(values.data(), values.size() * sizeof(T));
}

std::string as_literal(uint64_t hash) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "0x%016" PRIX64 "ULL", hash);
  return text.data();
}

struct GoldenCode {
  size_t d;
  int bits;
  bool signs;
  uint64_t hash;
};

constexpr GoldenCode golden_codes[] = {
#include "data/golden_codes.inc"
};

TEST(Golden, CodesOfEveryObliviousCodec) {
  std::string table;
  bool equal = true;
  size_t row = 0;
  for (const size_t d : {size_t{100}, size_t{128}}) {
    const test_data::Floats x = test_data::gaussian(100, d, 2026);
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool signs : {true, false}) {
        const Codec codec(test_data::codec_params(d, bits, signs));
        const uint64_t hash = hash_of(test_data::encoded(codec, x));
        const GoldenCode golden = row < std::size(golden_codes) ? golden_codes[row] : GoldenCode{};
        ++row;
        equal = equal && golden.d == d && golden.bits == bits && golden.signs == signs &&
                golden.hash == hash;
        table += "    {" + std::to_string(d) + ", " + std::to_string(bits) + ", " +
                 (signs ? "true" : "false") + ", " + as_literal(hash) + "},\n";
      }
    }
  }
  EXPECT_EQ(row, std::size(golden_codes));
  EXPECT_TRUE(equal) << "tests/data/golden_codes.inc would now be:\n" << table;
}

TEST(Golden, GaussianTree) {
  const QuadTrees tree = QuadTrees::gaussian(3);
  EXPECT_EQ(as_literal(hash_of(tree.centroids[0])), "0xE2F21D2892A34835ULL");
  EXPECT_EQ(as_literal(hash_of(tree.centroids[1])), "0xE66E840D45B4C677ULL");
  EXPECT_EQ(as_literal(hash_of(tree.centroids[2])), "0x0074D77D699D038DULL");
  EXPECT_EQ(as_literal(hash_of(tree.aligned_offsets)), "0xF96BA9A52C972EEBULL");
  EXPECT_EQ(as_literal(hash_of(tree.leaf_scales)), "0x282B9D836A522374ULL");
}

TEST(Golden, RotorFrames) {
  const RotorLayers even(128, RotorLayers::default_layers(128), 43);
  EXPECT_EQ(as_literal(hash_of(even.permutation())), "0x5183046F9A4A09C5ULL");
  EXPECT_EQ(as_literal(hash_of(even.matrices())), "0x491E9DE35C6B1119ULL");
  const RotorLayers odd(101, 5, 7);
  EXPECT_EQ(as_literal(hash_of(odd.permutation())), "0xB6C9F506B829BF01ULL");
  EXPECT_EQ(as_literal(hash_of(odd.matrices())), "0x8FA3996FA3F51591ULL");
}

}  // namespace
}  // namespace rotorquant
