// SPDX-License-Identifier: MIT
// AVX2 with FMA: Haswell, Zen and later.

#include <immintrin.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"

/// Quads whose entries fit 16-bit sums: 256 * 255 < 2^16.
constexpr size_t quads_per_flush = 256;

/// 16-bit sums of 32 vectors, even and odd bytes apart.
struct HalfSums {
  __m256i even;  ///< holds even + 256 * odd until split(): one add less a look-up
  __m256i odd;
};

RQ_INLINE void add_entries(__m256i entries, HalfSums& sums) {
  sums.even = _mm256_add_epi16(sums.even, entries);
  sums.odd = _mm256_add_epi16(sums.odd, _mm256_srli_epi16(entries, 8));
}

RQ_INLINE __m256i broadcast_table(const uint8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

/// Adds the 16-bit sums of 32 vectors to 32-bit ones in vector order.
RQ_INLINE void flush(const HalfSums& sums, uint32_t* out) {
  const __m256i even = _mm256_sub_epi16(sums.even, _mm256_slli_epi16(sums.odd, 8));
  // even holds vectors 0, 2, 4 ...; interleaving with odd restores the order within 128-bit halves.
  const __m256i low = _mm256_unpacklo_epi16(even, sums.odd);   // vectors 0-7 and 16-23
  const __m256i high = _mm256_unpackhi_epi16(even, sums.odd);  // vectors 8-15 and 24-31
  const __m128i parts[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high),
                            _mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1)};
  for (int i = 0; i < 4; ++i) {
    auto* p = reinterpret_cast<__m256i*>(out + 8 * i);
    const __m256i wide = _mm256_cvtepu16_epi32(parts[i]);
    _mm256_store_si256(p, _mm256_add_epi32(_mm256_load_si256(p), wide));
  }
}

/// sums: 64, 32-byte aligned.
RQ_INLINE void sum_block(const uint8_t* block, size_t padded_quads, const uint8_t* table,
                         uint32_t* sums) {
  const __m256i low_nibbles = _mm256_set1_epi8(0x0F);
  __builtin_memset(sums, 0, block_vectors * sizeof(uint32_t));
  for (size_t first = 0; first < padded_quads; first += quads_per_flush) {
    const size_t last =
        first + quads_per_flush < padded_quads ? first + quads_per_flush : padded_quads;
    HalfSums half[2] = {{_mm256_setzero_si256(), _mm256_setzero_si256()},
                        {_mm256_setzero_si256(), _mm256_setzero_si256()}};
    for (size_t quad = first; quad < last; quad += 2) {
      const __m256i even_table = broadcast_table(table + quad * fanout);
      const __m256i odd_table = broadcast_table(table + (quad + 1) * fanout);
      for (int h = 0; h < 2; ++h) {
        const __m256i codes = _mm256_load_si256(reinterpret_cast<const __m256i*>(
            block + quad / 2 * block_vectors + static_cast<size_t>(h) * 32));
        const __m256i low = _mm256_and_si256(codes, low_nibbles);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low_nibbles);
        add_entries(_mm256_shuffle_epi8(even_table, low), half[h]);
        add_entries(_mm256_shuffle_epi8(odd_table, high), half[h]);
      }
    }
    flush(half[0], sums);
    flush(half[1], sums + 32);
  }
}

/// Bounds of 8 vectors from their sums.
RQ_INLINE __m256 bounds8(const uint32_t* sums, const uint8_t* factors, size_t first,
                         const ScanQuery& query) {
  const __m256 sum =
      _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums + first)));
  const __m128i bits =
      _mm_load_si128(reinterpret_cast<const __m128i*>(factors + first * sizeof(uint16_t)));
  const __m256 alpha = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 15));
  const __m256 additive = _mm256_load_ps(reinterpret_cast<const float*>(
      factors + block_vectors * sizeof(uint16_t) + first * sizeof(float)));
  const __m256 product =
      _mm256_fmadd_ps(_mm256_set1_ps(query.scale), sum, _mm256_set1_ps(query.offset));
  return _mm256_fnmadd_ps(alpha, product, additive);
}

void block_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                  float* bounds) {
  alignas(32) uint32_t sums[block_vectors];
  sum_block(block, padded_quads, query.table, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  for (size_t v = 0; v < block_vectors; v += 8) {
    _mm256_storeu_ps(bounds + v, bounds8(sums, factors, v, query));
  }
}

RQ_INLINE float least_of(__m256 v) {
  __m128 half = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_min_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
}

RQ_INLINE float least_bound(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                            uint64_t mask) {
  alignas(32) uint32_t sums[block_vectors];
  sum_block(block, padded_quads, query.table, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  const __m256i bit_of_lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256 infinity = _mm256_set1_ps(__builtin_inff());
  __m256 least = infinity;
  for (size_t v = 0; v < block_vectors; v += 8) {
    __m256 bounds = bounds8(sums, factors, v, query);
    if (mask != ~uint64_t{0}) {
      const __m256i bits = _mm256_set1_epi32(static_cast<int>((mask >> v) & 0xFFU));
      const __m256i keep = _mm256_cmpeq_epi32(_mm256_and_si256(bits, bit_of_lane), bit_of_lane);
      bounds = _mm256_blendv_ps(infinity, bounds, _mm256_castsi256_ps(keep));
    }
    least = _mm256_min_ps(least, bounds);
  }
  return least_of(least);
}

void block_minima(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const uint64_t* allowed,
                  float* minima, size_t stride) {
  for (size_t q = 0; q < n_queries; ++q) {
    for (size_t b = 0; b < n_blocks; ++b) {
      const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
      minima[q * stride + b] =
          mask == 0 ? __builtin_inff()
                    : least_bound(blocks + b * block_bytes, padded_quads, queries[q], mask);
    }
  }
}

void select(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
            const ScanQuery* queries, size_t n_queries, const float* limits,
            const uint64_t* allowed, uint32_t first_id, Selection* out) {
  for (size_t q = 0; q < n_queries; ++q) {
    const __m256 limit = _mm256_set1_ps(limits[q]);
    Selection found = out[q];
    for (size_t b = 0; b < n_blocks; ++b) {
      const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
      if (mask == 0) {
        continue;
      }
      const uint8_t* block = blocks + b * block_bytes;
      alignas(32) uint32_t sums[block_vectors];
      sum_block(block, padded_quads, queries[q].table, sums);
      const uint8_t* factors = block + padded_quads * block_vectors / 2;
      for (size_t v = 0; v < block_vectors; v += 8) {
        const __m256 bounds = bounds8(sums, factors, v, queries[q]);
        auto chosen =
            static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(bounds, limit, _CMP_LE_OQ)));
        chosen &= static_cast<uint32_t>(mask >> v) & 0xFFU;
        if (chosen == 0) {
          continue;
        }
        float values[8];
        _mm256_storeu_ps(values, bounds);
        for (; chosen != 0; chosen &= chosen - 1) {
          const auto lane = static_cast<uint32_t>(__builtin_ctz(chosen));
          found.bounds[found.count] = values[lane];
          found.ids[found.count] = first_id + static_cast<uint32_t>(b * block_vectors + v) + lane;
          ++found.count;
        }
      }
    }
    out[q] = found;
  }
}

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  alignas(32) uint32_t found[block_vectors];
  sum_block(block, padded_quads, table, found);
  __builtin_memcpy(sums, found, sizeof(found));
}

void scan_plane(const uint8_t* block, size_t padded_quads, size_t v, uint8_t* plane) {
  for (size_t pair = 0; pair < padded_quads / 2; ++pair) {  // a pair of quads is a canonical byte
    plane[pair] = block[pair * block_vectors + v];
  }
}

}  // namespace

const KernelTable avx2_kernels = {
    "avx2",        ScanLayout::row_per_quad,
    rotor_forward, rotor_inverse,
    matrix_block,  matrix_vector,
    encode_block,  block_minima,
    select,        block_bounds,
    block_sums,    scan_plane,
    refine,        score,
    decode_levels,
};

}  // namespace rotorquant::simd
