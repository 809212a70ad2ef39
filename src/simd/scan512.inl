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

template <int Q>
RQ_INLINE void scan_block(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                          float* const* bounds, BoundLanes* least) {
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
      const __m512 bound = _mm512_fnmadd_ps(lanes_of[v].alpha, product, lanes_of[v].additive);
      _mm512_store_ps(bounds[q] + 16 * v, bound);
      least[q] = v == 0 ? bound : _mm512_min_ps(least[q], bound);
    }
  }
}

RQ_INLINE bool any_within(BoundLanes least, float limit) {
  return _mm512_cmp_ps_mask(least, _mm512_set1_ps(limit), _CMP_LE_OQ) != 0;
}

RQ_INLINE float least_of(BoundLanes least) {
  return _mm512_reduce_min_ps(least);
}

/// Compresses in registers: a compressing store to memory is microcoded on Zen 4.
RQ_INLINE void append_within(const float* bounds, float limit, uint64_t allowed, uint32_t first_id,
                             Selection& out) {
  const __m512 limits = _mm512_set1_ps(limit);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i ids = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(first_id)));
  for (int v = 0; v < 4; ++v) {
    const __m512 found = _mm512_load_ps(bounds + 16 * v);
    const __mmask16 chosen = _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(allowed >> (16 * v)),
                                                     found, limits, _CMP_LE_OQ);
    _mm512_storeu_ps(out.bounds + out.count, _mm512_maskz_compress_ps(chosen, found));
    _mm512_storeu_si512(out.ids + out.count, _mm512_maskz_compress_epi32(chosen, ids));
    out.count += static_cast<size_t>(__builtin_popcount(chosen));
    ids = _mm512_add_epi32(ids, _mm512_set1_epi32(16));
  }
}

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  BlockSums<1> found;
  sum_block<1>(block, padded_quads, &table, found);
  for (int v = 0; v < 4; ++v) {
    _mm512_storeu_si512(sums + v * 16, found.sum[0][v]);
  }
}
