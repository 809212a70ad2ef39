// SPDX-License-Identifier: MIT
// Filling a query's scan table. Included inside an anonymous namespace, after lanes.inl.

RQ_INLINE float least_lane(LaneFloat v) {
#if defined(__AVX512F__)
  return _mm512_reduce_min_ps(reinterpret_cast<__m512>(v));
#else
  float least = v[0];
  for (size_t lane = 1; lane < lanes; ++lane) {
    least = v[lane] < least ? v[lane] : least;
  }
  return least;
#endif
}

RQ_INLINE float greatest_lane(LaneFloat v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v));
#else
  float greatest = v[0];
  for (size_t lane = 1; lane < lanes; ++lane) {
    greatest = v[lane] > greatest ? v[lane] : greatest;
  }
  return greatest;
#endif
}

/// Whole parts of numbers from 0 on as bytes, 255 at most.
RQ_INLINE void store_bytes(uint8_t* to, LaneFloat v) {
#if defined(__AVX512F__)
  const __m512i whole = _mm512_cvttps_epi32(reinterpret_cast<__m512>(v));
  const __m128i bytes = _mm512_cvtusepi32_epi8(whole);
  __builtin_memcpy(to, &bytes, sizeof(bytes));
#else
  for (size_t lane = 0; lane < lanes; ++lane) {
    const auto whole = static_cast<int32_t>(v[lane]);
    to[lane] = static_cast<uint8_t>(whole < 255 ? whole : 255);
  }
#endif
}

TableScale scan_table(const float* columns, size_t tree_step, const float* query, size_t quads,
                      float* products, uint8_t* entries) {
  float widest = 0.0F;
  float bias = 0.0F;
  for (size_t quad = 0; quad < quads; ++quad) {
    const float* column = columns + quad * tree_step;
    LaneFloat sums{};
    for (size_t k = 0; k < quad_dims; ++k) {
      sums = sums + query[quad * quad_dims + k] * load_lanes(column + k * fanout);
    }
    const float least = least_lane(sums);
    const float range = greatest_lane(sums) - least;
    store_lanes(products + quad * fanout, sums - broadcast(least));
    bias += least;
    widest = range > widest ? range : widest;
  }
  const float step = widest / 255.0F;
  const float inverse = step > 0.0F ? 1.0F / step : 0.0F;
  for (size_t quad = 0; quad < quads; ++quad) {
    const LaneFloat scaled = load_lanes(products + quad * fanout) * inverse + broadcast(0.5F);
    store_bytes(entries + quad * fanout, scaled);
  }
  return {step, bias};
}
