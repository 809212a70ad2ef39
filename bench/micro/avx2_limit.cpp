// SPDX-License-Identifier: MIT
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "micro.h"

namespace rotorquant::bench {

uint32_t run_vpshufb() {
  constexpr size_t chains = 8;  // more than latency times throughput
  __m256i index[chains];
  for (size_t c = 0; c < chains; ++c) {
    index[c] = _mm256_set1_epi8(static_cast<char>(c));
  }
  const __m256i table = _mm256_broadcastsi128_si256(
      _mm_set_epi8(14, 3, 12, 1, 10, 15, 8, 13, 6, 11, 4, 9, 2, 7, 0, 5));
  for (size_t i = 0; i < lookups_a_run / (chains * sizeof(__m256i)); ++i) {
    for (size_t c = 0; c < chains; ++c) {
      index[c] = _mm256_shuffle_epi8(table, index[c]);
    }
  }
  __m256i all = index[0];
  for (size_t c = 1; c < chains; ++c) {
    all = _mm256_xor_si256(all, index[c]);
  }
  return static_cast<uint32_t>(_mm256_extract_epi32(all, 0));
}

}  // namespace rotorquant::bench
