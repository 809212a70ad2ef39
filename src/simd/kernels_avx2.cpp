// SPDX-License-Identifier: MIT
// AVX2 with FMA: Haswell, Zen and later.

#include <immintrin.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"
#include "simd/scan_plane_rows.inl"
#include "simd/score_stored.inl"

/// Vectors that a register of codes holds.
constexpr size_t register_vectors = 32;
using CodeBytes = __m256i;

RQ_INLINE CodeBytes load_codes(const uint8_t* codes) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(codes));
}

RQ_INLINE CodeBytes low_nibbles(CodeBytes codes) {
  return _mm256_and_si256(codes, _mm256_set1_epi8(0x0F));
}

RQ_INLINE CodeBytes high_nibbles(CodeBytes codes) {
  return low_nibbles(_mm256_srli_epi16(codes, 4));
}

RQ_INLINE CodeBytes load_table(const uint8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

RQ_INLINE CodeBytes look_up(CodeBytes table, CodeBytes nibbles) {
  return _mm256_shuffle_epi8(table, nibbles);
}

/// 16-bit sums of 32 vectors, even and odd bytes apart.
struct HalfSums {
  __m256i even;  ///< holds even + 256 * odd until flush(): one operation less a look-up
  __m256i odd;
};

RQ_INLINE void clear(HalfSums& sums) {
  sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
}

RQ_INLINE void add_entries(CodeBytes entries, HalfSums& sums) {
  sums.even = _mm256_add_epi16(sums.even, entries);
  sums.odd = _mm256_add_epi16(sums.odd, _mm256_srli_epi16(entries, 8));
}

RQ_INLINE void flush(const HalfSums& sums, bool add, uint32_t* out) {
  const __m256i even = _mm256_sub_epi16(sums.even, _mm256_slli_epi16(sums.odd, 8));
  // even holds vectors 0, 2, 4 ...; interleaving with odd restores the order within 128-bit halves.
  const __m256i low = _mm256_unpacklo_epi16(even, sums.odd);   // vectors 0-7 and 16-23
  const __m256i high = _mm256_unpackhi_epi16(even, sums.odd);  // vectors 8-15 and 24-31
  const __m128i parts[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high),
                            _mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1)};
  for (int i = 0; i < 4; ++i) {
    auto* p = reinterpret_cast<__m256i*>(out + 8 * i);
    const __m256i wide = _mm256_cvtepu16_epi32(parts[i]);
    _mm256_store_si256(p, add ? _mm256_add_epi32(_mm256_load_si256(p), wide) : wide);
  }
}

#include "simd/scan_rows.inl"

/// Of 16 registers eight hold sums: two queries over a whole block or four over half of one.
template <int Q>
constexpr int registers_at_once = Q <= 2 ? 2 : 1;

#include "simd/scan_stored.inl"

using BoundLanes = __m256;

template <int Q, class Use>
RQ_INLINE void for_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                          Use use) {
  const uint8_t* tables[Q];
  for (int q = 0; q < Q; ++q) {
    tables[q] = queries[q].table;
  }
  BlockSums<Q> sums;
  sum_block<Q>(block, padded_quads, tables, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  const uint8_t* additives = factors + block_vectors * sizeof(uint16_t);
  for (size_t v = 0; v < block_vectors; v += 8) {
    const __m128i bits =
        _mm_load_si128(reinterpret_cast<const __m128i*>(factors + v * sizeof(uint16_t)));
    const __m256 alpha = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 15));
    const __m256 additive =
        _mm256_load_ps(reinterpret_cast<const float*>(additives + v * sizeof(float)));
    for (int q = 0; q < Q; ++q) {
      const __m256 sum =
          _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums.sum[q] + v)));
      const __m256 product =
          _mm256_fmadd_ps(_mm256_set1_ps(queries[q].scale), sum, _mm256_set1_ps(queries[q].offset));
      use(q, v, _mm256_fnmadd_ps(alpha, product, additive));
    }
  }
}

RQ_INLINE void store_bounds(float* to, BoundLanes bounds) {
  _mm256_store_ps(to, bounds);
}

RQ_INLINE BoundLanes lesser(BoundLanes a, BoundLanes b) {
  return _mm256_min_ps(a, b);
}

RQ_INLINE BoundLanes infinite_unless(BoundLanes bounds, uint64_t allowed) {
  const __m256i bit_of_lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i bits =
      _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(allowed & 0xFFU)), bit_of_lane);
  const __m256 chosen = _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, bit_of_lane));
  return _mm256_blendv_ps(_mm256_set1_ps(__builtin_inff()), bounds, chosen);
}

RQ_INLINE bool any_within(BoundLanes least, float limit) {
  return _mm256_movemask_ps(_mm256_cmp_ps(least, _mm256_set1_ps(limit), _CMP_LE_OQ)) != 0;
}

RQ_INLINE float least_of(BoundLanes least) {
  __m128 half = _mm_min_ps(_mm256_castps256_ps128(least), _mm256_extractf128_ps(least, 1));
  half = _mm_min_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
}

template <int Q>
RQ_INLINE void least_of_each(const BoundLanes* least, float* to) {
  for (int q = 0; q < Q; ++q) {
    to[q] = least_of(least[q]);
  }
}

RQ_INLINE void append_within(const float* bounds, float above, float limit, uint64_t allowed,
                             uint32_t first_id, Selection& out) {
  const __m256 floors = _mm256_set1_ps(above);
  const __m256 limits = _mm256_set1_ps(limit);
  uint64_t chosen = 0;
  for (size_t v = 0; v < block_vectors; v += 8) {
    const __m256 found = _mm256_load_ps(bounds + v);
    const __m256 within = _mm256_and_ps(_mm256_cmp_ps(found, limits, _CMP_LE_OQ),
                                        _mm256_cmp_ps(found, floors, _CMP_GT_OQ));
    chosen |= uint64_t{static_cast<uint32_t>(_mm256_movemask_ps(within))} << v;
  }
  append_chosen(bounds, chosen & allowed, first_id, out);
}

#include "simd/scan_queries.inl"

}  // namespace

const KernelTable avx2_kernels = RQ_KERNEL_TABLE("avx2", row_per_quad);

}  // namespace rotorquant::simd
