// SPDX-License-Identifier: MIT
// AVX-512 F, BW, DQ and VL, without VBMI and VNNI: Skylake-X, Cascade Lake.

#include <immintrin.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"
#include "simd/scan512.inl"
#include "simd/scan_plane_rows.inl"
#include "simd/scan_queries.inl"
#include "simd/score_stored.inl"

/// Vectors that a register of codes holds.
constexpr size_t register_vectors = 64;
using CodeBytes = __m512i;

RQ_INLINE CodeBytes load_codes(const uint8_t* codes) {
  return _mm512_load_si512(codes);
}

RQ_INLINE CodeBytes low_nibbles(CodeBytes codes) {
  return _mm512_and_si512(codes, _mm512_set1_epi8(0x0F));
}

RQ_INLINE CodeBytes high_nibbles(CodeBytes codes) {
  return low_nibbles(_mm512_srli_epi16(codes, 4));
}

RQ_INLINE CodeBytes load_table(const uint8_t* table) {
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

RQ_INLINE CodeBytes look_up(CodeBytes table, CodeBytes nibbles) {
  return _mm512_shuffle_epi8(table, nibbles);
}

/// 16-bit sums of 64 vectors, even and odd bytes apart.
struct HalfSums {
  __m512i even;  ///< holds even + 256 * odd until flush(): one operation less a look-up
  __m512i odd;
};

RQ_INLINE void clear(HalfSums& sums) {
  sums = {_mm512_setzero_si512(), _mm512_setzero_si512()};
}

RQ_INLINE void add_entries(CodeBytes entries, HalfSums& sums) {
  sums.even = _mm512_add_epi16(sums.even, entries);
  sums.odd = _mm512_add_epi16(sums.odd, _mm512_srli_epi16(entries, 8));
}

RQ_INLINE void flush(const HalfSums& sums, bool add, uint32_t* out) {
  const __m512i even = _mm512_sub_epi16(sums.even, _mm512_slli_epi16(sums.odd, 8));
  // even holds vectors 0, 2, 4 ...; interleaving with odd restores the order within 128-bit parts.
  const __m512i low = _mm512_unpacklo_epi16(even, sums.odd);   // vectors 0-7, 16-23, 32-39, 48-55
  const __m512i high = _mm512_unpackhi_epi16(even, sums.odd);  // vectors 8-15, 24-31 ...
  const __m512i first_half = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second_half = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512i ordered[2] = {_mm512_permutex2var_epi64(low, first_half, high),
                              _mm512_permutex2var_epi64(low, second_half, high)};
  for (int i = 0; i < 4; ++i) {
    uint32_t* p = out + 16 * i;
    const __m256i part = i % 2 == 0 ? _mm512_castsi512_si256(ordered[i / 2])
                                    : _mm512_extracti64x4_epi64(ordered[i / 2], 1);
    const __m512i wide = _mm512_cvtepu16_epi32(part);
    _mm512_store_si512(p, add ? _mm512_add_epi32(_mm512_load_si512(p), wide) : wide);
  }
}

#include "simd/scan_rows.inl"

template <int Q>
RQ_INLINE void sum_block(const uint8_t* block, size_t padded_quads, const uint8_t* const* tables,
                         BlockSums<Q>& sums) {
  uint32_t* places[Q];
  for (int q = 0; q < Q; ++q) {
    places[q] = reinterpret_cast<uint32_t*>(sums.sum[q]);
  }
  sum_rows<Q, 1>(block, padded_quads, tables, places);
}

}  // namespace

const KernelTable avx512bw_kernels = RQ_KERNEL_TABLE("avx512bw", row_per_quad);

}  // namespace rotorquant::simd
