// SPDX-License-Identifier: MIT
#pragma once

// What the tests of kernels compare them on, and the tests of every kernel set by name.

#include <cstring>
#include <string>
#include <vector>

#include "codec_access.h"
#include "half.h"
#include "rotorquant/code_store.h"
#include "test_data.h"

namespace rotorquant::test_data {

using Lanes = AlignedVector<float>;

/// What encode, refine and decode are compared on: every code, odd shapes, shared and own trees.
/// Built once: a codec measures itself when it is made.
inline const std::vector<Codec>& codecs_to_compare() {
  static const std::vector<Codec> codecs = [] {
    std::vector<Codec> made;
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool signs : {false, true}) {
        for (const size_t d : {1U, 3U, 100U, 129U}) {
          made.emplace_back(codec_params(d, bits, signs));
        }
      }
    }
    made.emplace_back(codec_params(1536, 4, true));
    for (const int bits : {1, 2, 4, 8}) {
      made.push_back(test_data::ready_codec(codec_params(13, bits, true, FrameKind::learned)));
      made.push_back(test_data::ready_codec(codec_params(13, bits, false, FrameKind::learned)));
    }
    return made;
  }();
  return codecs;
}

inline std::string described(const Codec& codec) {
  return codec.name() + " d=" + std::to_string(codec.dim());
}

/// rows x 16 Gaussians.
inline Lanes random_lanes(size_t rows, uint64_t seed) {
  const Floats x = gaussian(rows, simd::lanes, seed);
  return {x.begin(), x.end()};
}

/// n codes with random nibbles and sensible factors.
inline Bytes random_codes(const CodeLayout& layout, size_t n, uint64_t seed) {
  Rng rng(seed);
  Bytes codes(n * layout.code_bytes());
  for (uint8_t& byte : codes) {
    byte = static_cast<uint8_t>(rng.bits());
  }
  for (size_t i = 0; i < n; ++i) {
    uint8_t* code = codes.data() + i * layout.code_bytes();
    for (size_t plane = 0; layout.quads % 2 == 1 && plane < layout.planes; ++plane) {
      code[(plane + 1) * layout.plane_bytes - 1] &= 0xFU;  // the last half byte is 0
    }
    uint8_t* factors = code + layout.scan_factor_offset();
    const uint16_t alpha = encode_factor(static_cast<float>(rng.uniform()));
    const auto additive = static_cast<float>(100.0 * rng.gaussian());
    std::memcpy(factors, &alpha, sizeof(alpha));
    std::memcpy(factors + sizeof(alpha), &additive, sizeof(additive));
  }
  return codes;
}

inline CodeStore store_of(const simd::KernelTable& kernels, const CodeLayout& layout,
                          const Bytes& codes) {
  const simd::ScopedKernels scoped(kernels);
  CodeStore store(layout);
  store.append(codes.data(), codes.size() / layout.code_bytes());
  return store;
}

}  // namespace rotorquant::test_data

#define RQ_FOR_EVERY_KERNEL_SET(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, testing::ValuesIn(test_data::built_kernel_sets()), \
                           test_data::kernel_set_name)
