// SPDX-License-Identifier: MIT
// Filling a query's scan table. Included inside an anonymous namespace, after lanes.inl.

struct LeastAndRange {
  float least;
  float range;
};

/// The least of 16 numbers, and how far it is from there to the greatest.
RQ_INLINE LeastAndRange least_and_range(LaneFloat v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256 low8 = _mm256_min_ps(v.part[0], v.part[1]);
  const __m256 high8 = _mm256_max_ps(v.part[0], v.part[1]);
  const __m128 low4 = _mm_min_ps(_mm256_castps256_ps128(low8), _mm256_extractf128_ps(low8, 1));
  const __m128 high4 = _mm_max_ps(_mm256_castps256_ps128(high8), _mm256_extractf128_ps(high8, 1));
  const __m128 low2 = _mm_min_ps(low4, _mm_movehl_ps(low4, low4));
  const __m128 high2 = _mm_max_ps(high4, _mm_movehl_ps(high4, high4));
  const float least = _mm_cvtss_f32(_mm_min_ss(low2, _mm_movehdup_ps(low2)));
  return {least, _mm_cvtss_f32(_mm_max_ss(high2, _mm_movehdup_ps(high2))) - least};
#elif defined(RQ_NEON)
  const float least =
      vminvq_f32(vminq_f32(vminq_f32(v.part[0], v.part[1]), vminq_f32(v.part[2], v.part[3])));
  return {least,
          vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.part[0], v.part[1]), vmaxq_f32(v.part[2], v.part[3]))) -
              least};
#else
  float least = v[0];
  float greatest = v[0];
  for (size_t lane = 1; lane < lanes; ++lane) {
    least = v[lane] < least ? v[lane] : least;
    greatest = v[lane] > greatest ? v[lane] : greatest;
  }
  return {least, greatest - least};
#endif
}

/// Products of a query's quad with the 16 centroids of its tree.
RQ_INLINE LaneFloat quad_products(const float* columns, const float* query) {
  return query[0] * load_lanes(columns) + query[1] * load_lanes(columns + fanout) +
         query[2] * load_lanes(columns + 2 * fanout) + query[3] * load_lanes(columns + 3 * fanout);
}

/// What a first pass finds of all quads.
struct TableExtent {
  float bias;    ///< sum of the least products
  float widest;  ///< range of products
};

RQ_INLINE void add_quad(TableExtent& extent, LeastAndRange quad) {
  extent.bias += quad.least;
  extent.widest = quad.range > extent.widest ? quad.range : extent.widest;
}

/// products[0 .. 15] of a quad less its least one.
RQ_INLINE void take_quad(const float* columns, const float* query, float* products,
                         TableExtent& extent) {
  const LaneFloat row = quad_products(columns, query);
  const LeastAndRange found = least_and_range(row);
  store_lanes(products, row - broadcast(found.least));
  add_quad(extent, found);
}

/// Whole parts of numbers * scale + 1/2 as bytes; numbers from 0 on, results up to 255.
RQ_INLINE void round_quad(const float* numbers, float scale, uint8_t* bytes) {
  const LaneFloat v = load_lanes(numbers) * scale + broadcast(0.5F);
#if defined(__AVX512F__)
  const __m512i whole = _mm512_cvttps_epi32(reinterpret_cast<__m512>(v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), _mm512_cvtusepi32_epi8(whole));
#elif defined(__AVX2__)
  const __m256i words =
      _mm256_packus_epi32(_mm256_cvttps_epi32(v.part[0]), _mm256_cvttps_epi32(v.part[1]));
  const __m256i in_order = _mm256_permute4x64_epi64(words, 0xD8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(bytes),
      _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1)));
#else
  for (size_t lane = 0; lane < lanes; ++lane) {
    const auto whole = static_cast<int32_t>(v[lane]);
    bytes[lane] = static_cast<uint8_t>(whole < 255 ? whole : 255);
  }
#endif
}

#if defined(__AVX512BW__)
constexpr size_t quads_a_step = 8;

/// Lanes 0 to 7: the least number of each row, 8 to 15: the greatest with its sign changed, so that
/// both halves are minima from the first step on.
RQ_INLINE __m512 row_extremes(const LaneFloat rows[quads_a_step]) {
  const __m512 sign = _mm512_set1_ps(-0.0F);
  __m512 eight[8];
  for (size_t i = 0; i < 8; ++i) {
    const auto row = reinterpret_cast<__m512>(rows[i]);
    const __m512 swapped = _mm512_shuffle_f32x4(row, row, 0x4E);
    eight[i] =
        _mm512_mask_xor_ps(_mm512_min_ps(row, swapped), 0xFF00, _mm512_max_ps(row, swapped), sign);
  }
  const __m512i crossed =
      _mm512_setr_epi32(4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
  __m512 four[4];
  for (size_t i = 0; i < 4; ++i) {
    const __m512 straight = _mm512_mask_blend_ps(0xF0F0, eight[2 * i], eight[2 * i + 1]);
    four[i] =
        _mm512_min_ps(straight, _mm512_permutex2var_ps(eight[2 * i], crossed, eight[2 * i + 1]));
  }
  __m512 two[2];
  for (size_t i = 0; i < 2; ++i) {
    const __m512d a = _mm512_castps_pd(four[2 * i]);
    const __m512d b = _mm512_castps_pd(four[2 * i + 1]);
    two[i] = _mm512_min_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                           _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 one = _mm512_min_ps(_mm512_shuffle_ps(two[0], two[1], 0x88),
                                   _mm512_shuffle_ps(two[0], two[1], 0xDD));
  return _mm512_permutexvar_ps(
      _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), one);
}

/// take_quad of as many quads.
RQ_INLINE void take_step(const float* columns, size_t tree_step, const float* query,
                         float* products, TableExtent& extent) {
  LaneFloat rows[quads_a_step];
  for (size_t i = 0; i < quads_a_step; ++i) {
    rows[i] = quad_products(columns + i * tree_step, query + i * quad_dims);
  }
  const __m512 extremes = row_extremes(rows);
  float found[16];
  __builtin_memcpy(found, &extremes, sizeof(found));
  for (size_t i = 0; i < quads_a_step; ++i) {
    store_lanes(products + i * fanout, rows[i] - broadcast(found[i]));
    add_quad(extent, {found[i], -found[8 + i] - found[i]});
  }
}

/// round_quad of as many quads.
RQ_INLINE void round_step(const float* numbers, float scale, uint8_t* bytes) {
  const __m512i by_quad = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (size_t i = 0; i < quads_a_step; i += 4) {
    __m512i whole[4];
    for (size_t k = 0; k < 4; ++k) {
      const LaneFloat v = load_lanes(numbers + (i + k) * fanout) * scale + broadcast(0.5F);
      whole[k] = _mm512_cvttps_epi32(reinterpret_cast<__m512>(v));
    }
    const __m512i packed = _mm512_packus_epi16(_mm512_packus_epi32(whole[0], whole[1]),
                                               _mm512_packus_epi32(whole[2], whole[3]));
    _mm512_storeu_si512(bytes + i * fanout, _mm512_permutexvar_epi32(by_quad, packed));
  }
}
#else
constexpr size_t quads_a_step = 1;

RQ_INLINE void take_step(const float* columns, size_t /*tree_step*/, const float* query,
                         float* products, TableExtent& extent) {
  take_quad(columns, query, products, extent);
}
RQ_INLINE void round_step(const float* numbers, float scale, uint8_t* bytes) {
  round_quad(numbers, scale, bytes);
}
#endif

TableScale scan_table(const float* columns, size_t tree_step, const float* query, size_t quads,
                      float* products, uint8_t* entries) {
  const size_t in_steps = quads / quads_a_step * quads_a_step;
  TableExtent extent{};
  for (size_t quad = 0; quad < in_steps; quad += quads_a_step) {
    take_step(columns + quad * tree_step, tree_step, query + quad * quad_dims,
              products + quad * fanout, extent);
  }
  for (size_t quad = in_steps; quad < quads; ++quad) {
    take_quad(columns + quad * tree_step, query + quad * quad_dims, products + quad * fanout,
              extent);
  }
  const float step = extent.widest / 255.0F;
  const float inverse = step > 0.0F ? 1.0F / step : 0.0F;
  for (size_t quad = 0; quad < in_steps; quad += quads_a_step) {
    round_step(products + quad * fanout, inverse, entries + quad * fanout);
  }
  for (size_t quad = in_steps; quad < quads; ++quad) {
    round_quad(products + quad * fanout, inverse, entries + quad * fanout);
  }
  return {step, extent.bias};
}
