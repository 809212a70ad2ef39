// SPDX-License-Identifier: MIT
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "micro.h"

namespace rotorquant::bench {

uint32_t run_vpermb() {
  constexpr size_t chains = 8;  // more than latency times throughput
  __m512i index[chains];
  for (size_t c = 0; c < chains; ++c) {
    index[c] = _mm512_set1_epi8(static_cast<char>(c));
  }
  alignas(64) uint8_t entries[64];
  for (size_t i = 0; i < 64; ++i) {
    entries[i] = static_cast<uint8_t>((5 * i + 7) % 64);
  }
  const __m512i table = _mm512_load_si512(entries);
  for (size_t i = 0; i < lookups_a_run / (chains * sizeof(__m512i)); ++i) {
    for (size_t c = 0; c < chains; ++c) {
      index[c] = _mm512_permutexvar_epi8(index[c], table);
    }
  }
  __m512i all = index[0];
  for (size_t c = 1; c < chains; ++c) {
    all = _mm512_xor_si512(all, index[c]);
  }
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm512_castsi512_si128(all)));
}

}  // namespace rotorquant::bench
