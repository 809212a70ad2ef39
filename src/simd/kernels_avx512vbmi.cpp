// SPDX-License-Identifier: MIT
// AVX-512 with VBMI and VNNI: Ice Lake, Sapphire Rapids, Zen 4 and later.

#include <immintrin.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"

constexpr size_t group_bytes = 128;  ///< four quads of a block: 32 dwords

/// Sums of one block for Q queries: 64 vectors in four registers of 16 dwords.
template <int Q>
struct BlockSums {
  __m512i sum[Q][4];
};

/// Four tables share a register: byte index = nibble + 16 * (quad mod 4); vpdpbusd then adds the
/// four entries of a vector's dword into its 32-bit sum.
template <int Q>
RQ_INLINE void add_groups(const uint8_t* block, size_t groups, const uint8_t* const* tables,
                          BlockSums<Q>& sums) {
  const __m512i low_nibbles = _mm512_set1_epi8(0x0F);
  const __m512i table_of_byte = _mm512_set1_epi32(0x30201000);
  const __m512i ones = _mm512_set1_epi8(1);
  constexpr int and_or = 0xEA;  // (a & b) | c
  for (size_t g = 0; g < groups; ++g) {
    const __m512i a = _mm512_load_si512(block + g * group_bytes);
    const __m512i b = _mm512_load_si512(block + g * group_bytes + 64);
    const __m512i index[4] = {
        _mm512_ternarylogic_epi32(a, low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(b, low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(a, 4), low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(b, 4), low_nibbles, table_of_byte, and_or),
    };
    for (int q = 0; q < Q; ++q) {
      const __m512i table = _mm512_load_si512(tables[q] + g * 64);
      for (int v = 0; v < 4; ++v) {
        sums.sum[q][v] =
            _mm512_dpbusd_epi32(sums.sum[q][v], _mm512_permutexvar_epi8(index[v], table), ones);
      }
    }
  }
}

/// alpha_1 and additive term of 16 vectors.
struct FactorLanes {
  __m512 alpha;
  __m512 additive;
};

RQ_INLINE FactorLanes load_factors(const uint8_t* factors, int v) {
  const __m256i bits = _mm256_load_si256(reinterpret_cast<const __m256i*>(factors + v * 32));
  const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 15);
  return {_mm512_castsi512_ps(wide), _mm512_load_ps(factors + 128 + v * 64)};
}

RQ_INLINE __m512 bounds_of(__m512i sum, const FactorLanes& factors, __m512 scale, __m512 offset) {
  const __m512 product = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), offset);
  return _mm512_fnmadd_ps(factors.alpha, product, factors.additive);
}

template <int Q>
RQ_INLINE void clear(BlockSums<Q>& sums) {
  for (int q = 0; q < Q; ++q) {
    for (int v = 0; v < 4; ++v) {
      sums.sum[q][v] = _mm512_setzero_si512();
    }
  }
}

template <int Q>
void minima_of_queries(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                       size_t padded_quads, const ScanQuery* queries, const uint64_t* allowed,
                       float* minima, size_t stride) {
  const uint8_t* tables[Q];
  __m512 scale[Q];
  __m512 offset[Q];
  for (int q = 0; q < Q; ++q) {
    tables[q] = queries[q].table;
    scale[q] = _mm512_set1_ps(queries[q].scale);
    offset[q] = _mm512_set1_ps(queries[q].offset);
  }
  const __m512 infinity = _mm512_set1_ps(__builtin_inff());
  for (size_t b = 0; b < n_blocks; ++b) {
    const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
    if (mask == 0) {
      for (int q = 0; q < Q; ++q) {
        minima[static_cast<size_t>(q) * stride + b] = __builtin_inff();
      }
      continue;
    }
    const uint8_t* block = blocks + b * block_bytes;
    BlockSums<Q> sums;
    clear(sums);
    add_groups<Q>(block, padded_quads / 4, tables, sums);
    const uint8_t* factors = block + padded_quads * block_vectors / 2;
    __m512 least[Q];
    for (int v = 0; v < 4; ++v) {
      const FactorLanes lanes_of_v = load_factors(factors, v);
      const auto mask_of_v = static_cast<__mmask16>(mask >> (16 * v));
      for (int q = 0; q < Q; ++q) {
        __m512 bounds = bounds_of(sums.sum[q][v], lanes_of_v, scale[q], offset[q]);
        bounds = _mm512_mask_mov_ps(infinity, mask_of_v, bounds);
        least[q] = v == 0 ? bounds : _mm512_min_ps(least[q], bounds);
      }
    }
    for (int q = 0; q < Q; ++q) {
      minima[static_cast<size_t>(q) * stride + b] = _mm512_reduce_min_ps(least[q]);
    }
  }
}

void block_minima(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const uint64_t* allowed,
                  float* minima, size_t stride) {
  size_t q = 0;
  for (; q + 4 <= n_queries; q += 4) {
    minima_of_queries<4>(blocks, n_blocks, block_bytes, padded_quads, queries + q, allowed,
                         minima + q * stride, stride);
  }
  if (q + 2 <= n_queries) {
    minima_of_queries<2>(blocks, n_blocks, block_bytes, padded_quads, queries + q, allowed,
                         minima + q * stride, stride);
    q += 2;
  }
  if (q < n_queries) {
    minima_of_queries<1>(blocks, n_blocks, block_bytes, padded_quads, queries + q, allowed,
                         minima + q * stride, stride);
  }
}

/// Blocks whose bounds are kept until the ones worth keeping are picked out.
constexpr size_t strip_blocks = 8;

/// Blocks of a strip with a bound within one query's limit. Filled without a branch on what was
/// found, which would be mispredicted for every other candidate.
struct StripHits {
  alignas(64) float bounds[strip_blocks + 1][block_vectors];
  uint32_t block[strip_blocks + 1];
  size_t count;
};

/// Appends the lanes of `bounds` that `chosen` marks. Compresses in registers: a compressing store
/// to memory is microcoded on Zen 4.
RQ_INLINE void append_chosen(__m512 bounds, __mmask16 chosen, __m512i ids, Selection& out) {
  _mm512_storeu_ps(out.bounds + out.count, _mm512_maskz_compress_ps(chosen, bounds));
  _mm512_storeu_si512(out.ids + out.count, _mm512_maskz_compress_epi32(chosen, ids));
  out.count += static_cast<size_t>(__builtin_popcount(chosen));
}

RQ_INLINE void pick_hits(const StripHits& hits, float limit, const uint64_t* allowed,
                         uint32_t first_id, Selection& out) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 limits = _mm512_set1_ps(limit);
  for (size_t i = 0; i < hits.count; ++i) {
    const uint32_t b = hits.block[i];
    const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
    __m512i ids = _mm512_add_epi32(
        lane, _mm512_set1_epi32(static_cast<int>(first_id + b * uint32_t{block_vectors})));
    for (int v = 0; v < 4; ++v) {
      const __m512 bounds = _mm512_load_ps(hits.bounds[i] + 16 * v);
      const __mmask16 chosen = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(mask >> (16 * v)),
                                                       bounds, limits, _CMP_LE_OQ);
      append_chosen(bounds, chosen, ids, out);
      ids = _mm512_add_epi32(ids, _mm512_set1_epi32(16));
    }
  }
}

template <int Q>
void select_for_queries(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                        size_t padded_quads, const ScanQuery* queries, const float* limits,
                        const uint64_t* allowed, uint32_t first_id, Selection* out) {
  const uint8_t* tables[Q];
  for (int q = 0; q < Q; ++q) {
    tables[q] = queries[q].table;
  }
  StripHits hits[Q];
  for (size_t first = 0; first < n_blocks; first += strip_blocks) {
    const size_t last = first + strip_blocks < n_blocks ? first + strip_blocks : n_blocks;
    for (int q = 0; q < Q; ++q) {
      hits[q].count = 0;
    }
    for (size_t b = first; b < last; ++b) {
      if (allowed != nullptr && allowed[b] == 0) {
        continue;
      }
      const uint8_t* block = blocks + b * block_bytes;
      BlockSums<Q> sums;
      clear(sums);
      add_groups<Q>(block, padded_quads / 4, tables, sums);
      const uint8_t* factors = block + padded_quads * block_vectors / 2;
      FactorLanes lanes_of[4];
      for (int v = 0; v < 4; ++v) {
        lanes_of[v] = load_factors(factors, v);
      }
      for (int q = 0; q < Q; ++q) {
        const __m512 scale = _mm512_set1_ps(queries[q].scale);
        const __m512 offset = _mm512_set1_ps(queries[q].offset);
        float* kept = hits[q].bounds[hits[q].count];
        __m512 least;
        for (int v = 0; v < 4; ++v) {
          const __m512 bounds = bounds_of(sums.sum[q][v], lanes_of[v], scale, offset);
          _mm512_store_ps(kept + 16 * v, bounds);
          least = v == 0 ? bounds : _mm512_min_ps(least, bounds);
        }
        hits[q].block[hits[q].count] = static_cast<uint32_t>(b);
        const bool any = _mm512_cmp_ps_mask(least, _mm512_set1_ps(limits[q]), _CMP_LE_OQ) != 0;
        hits[q].count += any ? 1 : 0;
      }
    }
    for (int q = 0; q < Q; ++q) {
      pick_hits(hits[q], limits[q], allowed, first_id, out[q]);
    }
  }
}

void select(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
            const ScanQuery* queries, size_t n_queries, const float* limits,
            const uint64_t* allowed, uint32_t first_id, Selection* out) {
  size_t q = 0;
  for (; q + 4 <= n_queries; q += 4) {
    select_for_queries<4>(blocks, n_blocks, block_bytes, padded_quads, queries + q, limits + q,
                          allowed, first_id, out + q);
  }
  if (q + 2 <= n_queries) {
    select_for_queries<2>(blocks, n_blocks, block_bytes, padded_quads, queries + q, limits + q,
                          allowed, first_id, out + q);
    q += 2;
  }
  if (q < n_queries) {
    select_for_queries<1>(blocks, n_blocks, block_bytes, padded_quads, queries + q, limits + q,
                          allowed, first_id, out + q);
  }
}

void block_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                  float* bounds) {
  BlockSums<1> sums;
  clear(sums);
  add_groups<1>(block, padded_quads / 4, &query.table, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  for (int v = 0; v < 4; ++v) {
    _mm512_storeu_ps(bounds + v * 16,
                     bounds_of(sums.sum[0][v], load_factors(factors, v),
                               _mm512_set1_ps(query.scale), _mm512_set1_ps(query.offset)));
  }
}

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  BlockSums<1> found;
  clear(found);
  add_groups<1>(block, padded_quads / 4, &table, found);
  for (int v = 0; v < 4; ++v) {
    _mm512_storeu_si512(sums + v * 16, found.sum[0][v]);
  }
}

void scan_plane(const uint8_t* block, size_t padded_quads, size_t v, uint8_t* plane) {
  const size_t groups = padded_quads / 4;
  const uint8_t* first = block + v % (block_vectors / 2) * sizeof(uint32_t);
  const __m128i shift = _mm_cvtsi32_si128(v < block_vectors / 2 ? 0 : 4);
  const __m512i steps = _mm512_mullo_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
      _mm512_set1_epi32(static_cast<int>(group_bytes)));
  for (size_t g = 0; g < groups; g += 16) {
    const auto valid = static_cast<__mmask16>(groups - g >= 16 ? 0xFFFFU : (1U << (groups - g)) - 1);
    const __m512i dwords = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), valid, steps,
                                                       first + g * group_bytes, 1);
    const __m512i nibbles =
        _mm512_and_si512(_mm512_srl_epi32(dwords, shift), _mm512_set1_epi8(0x0F));
    // Two bytes of one nibble each into one byte of two.
    const __m512i pairs = _mm512_or_si512(nibbles, _mm512_srli_epi16(nibbles, 4));
    const __mmask32 bytes = groups - g >= 16 ? ~__mmask32{0} : (__mmask32{1} << (2 * (groups - g))) - 1;
    _mm256_mask_storeu_epi8(plane + 2 * g, bytes, _mm512_cvtepi16_epi8(pairs));
  }
}

}  // namespace

const KernelTable avx512vbmi_kernels = {
    "avx512vbmi",  ScanLayout::dword_per_vector,
    rotor_forward, rotor_inverse,
    matrix_block,  matrix_vector,
    encode_block,  block_minima,
    select,        block_bounds,
    block_sums,    scan_plane,
    refine,        score,
    decode_levels,
};

}  // namespace rotorquant::simd
