// SPDX-License-Identifier: MIT
// From sums to bounds in AVX-512 registers, for scan_queries.inl. Included inside an anonymous
// namespace, after what a target brings:
//
//   template <int Q> void sum_block(const uint8_t* block, size_t padded_quads,
//                                   const uint8_t* const* tables, BlockSums<Q>& sums)

/// Sums of one block for Q queries: 64 vectors in four registers of 16 dwords.
template <int Q>
struct BlockSums {
  __m512i sum[Q][4];
};

template <int Q>
RQ_INLINE void sum_block(const uint8_t* block, size_t padded_quads, const uint8_t* const* tables,
                         BlockSums<Q>& sums);

template <int Q>
RQ_INLINE void clear(BlockSums<Q>& sums) {
  for (int q = 0; q < Q; ++q) {
    for (int v = 0; v < 4; ++v) {
      sums.sum[q][v] = _mm512_setzero_si512();
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

using BoundLanes = __m512;

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
  FactorLanes lanes_of[4];
  for (int v = 0; v < 4; ++v) {
    lanes_of[v] = load_factors(factors, v);
  }
  for (int q = 0; q < Q; ++q) {
    const __m512 scale = _mm512_set1_ps(queries[q].scale);
    const __m512 offset = _mm512_set1_ps(queries[q].offset);
    for (int v = 0; v < 4; ++v) {
      const __m512 product = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sums.sum[q][v]), offset);
      use(q, 16 * static_cast<size_t>(v),
          _mm512_fnmadd_ps(lanes_of[v].alpha, product, lanes_of[v].additive));
    }
  }
}

RQ_INLINE void store_bounds(float* to, BoundLanes bounds) {
  _mm512_store_ps(to, bounds);
}

RQ_INLINE BoundLanes lesser(BoundLanes a, BoundLanes b) {
  return _mm512_min_ps(a, b);
}

RQ_INLINE BoundLanes infinite_unless(BoundLanes bounds, uint64_t allowed) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>(allowed), _mm512_set1_ps(__builtin_inff()),
                              bounds);
}

RQ_INLINE bool any_within(BoundLanes least, float limit) {
  return _mm512_cmp_ps_mask(least, _mm512_set1_ps(limit), _CMP_LE_OQ) != 0;
}

/// Two registers of lanes into one, lanes of a and of b in turns.
RQ_INLINE __m512 lesser_halves(__m512 a, __m512 b) {
  return _mm512_min_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}

/// Four queries' in one go, which takes a third of the shuffles.
template <int Q>
RQ_INLINE void least_of_each(const BoundLanes* least, float* to) {
  if constexpr (Q == 4) {
    const __m512d ab = _mm512_castps_pd(lesser_halves(least[0], least[1]));
    const __m512d cd = _mm512_castps_pd(lesser_halves(least[2], least[3]));
    const __m512 all = _mm512_min_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                                     _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    const __m256 half = _mm256_min_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(to, _mm_min_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  } else {
    for (int q = 0; q < Q; ++q) {
      to[q] = _mm512_reduce_min_ps(least[q]);
    }
  }
}

/// Compresses in registers: a compressing store to memory is microcoded on Zen 4.
RQ_INLINE void append_within(const float* bounds, float above, float limit, uint64_t allowed,
                             uint32_t first_id, Selection& out) {
  float* to_bounds = out.bounds;
  uint32_t* to_ids = out.ids;
  size_t count = out.count;
  const __m512 floors = _mm512_set1_ps(above);
  const __m512 limits = _mm512_set1_ps(limit);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i ids = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(first_id)));
  for (int v = 0; v < 4; ++v) {
    const __m512 found = _mm512_load_ps(bounds + 16 * v);
    const __mmask16 within = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(allowed >> (16 * v)),
                                                     found, limits, _CMP_LE_OQ);
    const __mmask16 chosen = _mm512_mask_cmp_ps_mask(within, found, floors, _CMP_GT_OQ);
    _mm512_storeu_ps(to_bounds + count, _mm512_maskz_compress_ps(chosen, found));
    _mm512_storeu_si512(to_ids + count, _mm512_maskz_compress_epi32(chosen, ids));
    count += static_cast<size_t>(__builtin_popcount(chosen));
    ids = _mm512_add_epi32(ids, _mm512_set1_epi32(16));
  }
  out.count = count;
}

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  BlockSums<1> found;
  sum_block<1>(block, padded_quads, &table, found);
  for (int v = 0; v < 4; ++v) {
    _mm512_storeu_si512(sums + v * 16, found.sum[0][v]);
  }
}
