// SPDX-License-Identifier: MIT
// Scoring one code in 16-bit fixed point with 32-bit sums: integers, the same on every target.
// Included inside an anonymous namespace, after refine.inl.

/// Sixteen 16-bit lanes: four quads.
using HalfInts = int16_t __attribute__((vector_size(32)));

/// Entries of a scalar codebook times a node's scales: the rounded high half of the products.
RQ_INLINE int16_t scaled_entry(int16_t scale, int16_t entry) {
  return static_cast<int16_t>((static_cast<int32_t>(scale) * entry + 0x4000) >> 15);
}

#if defined(__AVX512BW__)

/// Eight quads: 32 coordinates. Tables hold 8 bytes a node, one quad's coordinates.
constexpr size_t scored_quads = 8;

RQ_INLINE __m512i widen_nodes(const uint8_t* nodes) {
  return _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(nodes)));
}

/// sum + a * b, neighbouring products added.
RQ_INLINE __m512i add_products(__m512i sum, __m512i a, __m512i b) {
#if defined(__AVX512VNNI__)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

/// What the scalar levels add to eight quads, the first of them a multiple of 8.
RQ_INLINE __m512i scored_scalars(const RefineView& view, const uint8_t* row, size_t first_quad,
                                 __m512i scale_nodes) {
  const size_t bits = view.levels - 3;
  const size_t left = view.layout.plane_bytes - first_quad / 2;
  const auto valid = static_cast<__mmask8>(left >= 4 ? 0xFU : (1U << left) - 1);
  const uint8_t* plane = row + 2 * view.layout.plane_bytes + first_quad / 2;
  const __m512i one = _mm512_set1_epi16(1);
  __m512i index = _mm512_setzero_si512();
  for (size_t level = 0; level < bits; ++level, plane += view.layout.plane_bytes) {
    const auto mask = static_cast<__mmask32>(
        _mm_cvtsi128_si32(_mm_maskz_loadu_epi8(static_cast<__mmask16>(valid), plane)));
    index = _mm512_add_epi16(index, index);
    index = _mm512_mask_add_epi16(index, mask, index, one);
  }
  const __m512i entry =
      _mm512_permutexvar_epi16(index, _mm512_loadu_si512(view.fixed_entries));
  const __m512i scale = _mm512_i64gather_epi64(scale_nodes, view.tree.fixed_scales, 8);
  return _mm512_mulhrs_epi16(scale, entry);
}

/// Depth: levels of the tree that are read; Scalars: there are more levels behind it.
template <int Depth, bool Scalars>
RQ_INLINE int32_t score_levels(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  constexpr int64_t tree_nodes = Depth == 1 ? 16 : (Depth == 2 ? 256 : 4096);
  const bool one_tree = view.tree.trees == 1;
  const __m512i quad_of_lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i tree_step = _mm512_set1_epi64(one_tree ? 0 : 8 * tree_nodes);
  const __m512i scale_step = _mm512_set1_epi64(one_tree ? 0 : 8 * 256);
  __m512i tree = _mm512_mullo_epi64(quad_of_lane, _mm512_set1_epi64(one_tree ? 0 : tree_nodes));
  __m512i scale_tree = _mm512_mullo_epi64(quad_of_lane, _mm512_set1_epi64(one_tree ? 0 : 256));
  __m512i sum = _mm512_setzero_si512();
  UnpackedNodes nodes;
  const size_t quads = view.layout.quads;
  for (size_t quad = 0; quad < quads; quad += scored_quads) {
    if (quad % unpacked_quads == 0) {
      unpack_nodes(view, plane1, row, quad, nodes);
    }
    const __m512i node2 = widen_nodes(nodes.node2 + quad % unpacked_quads);
    __m512i node = node2;
    if constexpr (Depth == 3) {
      node = _mm512_or_si512(_mm512_slli_epi64(node2, 4),
                             widen_nodes(nodes.child3 + quad % unpacked_quads));
    }
    // Beyond the last quad the query is 0, but a tree of its own would lie outside the table.
    const size_t left = quads - quad;
    const auto valid = static_cast<__mmask8>(left >= scored_quads ? 0xFFU : (1U << left) - 1);
    __m512i value = _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), valid,
                                                _mm512_add_epi64(node, tree),
                                                view.tree.fixed[Depth - 1], 8);
    if constexpr (Scalars) {
      const __m512i scale_nodes = _mm512_maskz_add_epi64(valid, node2, scale_tree);
      value = _mm512_add_epi16(value, scored_scalars(view, row, quad, scale_nodes));
    }
    sum = add_products(sum, value, _mm512_loadu_si512(view.fixed_frame + quad * 4));
    tree = _mm512_add_epi64(tree, tree_step);
    scale_tree = _mm512_add_epi64(scale_tree, scale_step);
  }
  return _mm512_reduce_add_epi32(sum);
}

RQ_INLINE int32_t score_signs(const RefineView& view, const uint8_t* plane) {
  const size_t bytes = view.layout.plane_bytes;
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sum = _mm512_setzero_si512();
  for (size_t at = 0; at < bytes; at += 4) {
    const size_t left = bytes - at;
    const auto valid = static_cast<__mmask16>(left >= 4 ? 0xFU : (1U << left) - 1);
    const auto negative =
        static_cast<__mmask32>(_mm_cvtsi128_si32(_mm_maskz_loadu_epi8(valid, plane + at)));
    const __m512i q = _mm512_loadu_si512(view.fixed_sign + at * 8);
    const __m512i sign = _mm512_mask_sub_epi16(ones, negative, _mm512_setzero_si512(), ones);
    sum = add_products(sum, q, sign);
  }
  return _mm512_reduce_add_epi32(sum);
}

#else

/// Eight 32-bit sums of neighbouring products.
using WideInts = int32_t __attribute__((vector_size(32)));

RQ_INLINE HalfInts load_halves(const int16_t* p) {
  HalfInts v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

RQ_INLINE WideInts add_products(WideInts sum, HalfInts a, HalfInts b) {
#if defined(__AVX2__)
  return sum + reinterpret_cast<WideInts>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a),
                                                            reinterpret_cast<__m256i>(b)));
#elif defined(RQ_NEON)
  int16x8_t x[2];
  int16x8_t y[2];
  int32x4_t sums[2];
  __builtin_memcpy(x, &a, sizeof(x));
  __builtin_memcpy(y, &b, sizeof(y));
  __builtin_memcpy(sums, &sum, sizeof(sums));
  for (int i = 0; i < 2; ++i) {  // in other lanes than elsewhere: only their total counts
    sums[i] = vmlal_s16(sums[i], vget_low_s16(x[i]), vget_low_s16(y[i]));
    sums[i] = vmlal_high_s16(sums[i], x[i], y[i]);
  }
  __builtin_memcpy(&sum, sums, sizeof(sum));
  return sum;
#else
  for (int i = 0; i < 8; ++i) {
    sum[i] += static_cast<int32_t>(a[2 * i]) * b[2 * i] +
              static_cast<int32_t>(a[2 * i + 1]) * b[2 * i + 1];
  }
  return sum;
#endif
}

RQ_INLINE int32_t sum_of(WideInts v) {
  int32_t sum = 0;
  for (int i = 0; i < 8; ++i) {
    sum += v[i];
  }
  return sum;
}

/// Adds to one quad's coordinates what the scalar levels say.
RQ_INLINE void add_scalars(const RefineView& view, const uint8_t* row, size_t quad,
                           const int16_t* scales, int16_t value[4]) {
  const size_t stride = view.layout.plane_bytes;
  const size_t bits = view.levels - 3;
  uint32_t nibbles[max_scalar_levels];
  for (size_t level = 0; level < bits; ++level) {
    nibbles[level] = nibble_of(row + (2 + level) * stride, quad);
  }
  for (unsigned k = 0; k < 4; ++k) {
    uint32_t index = 0;
    for (size_t level = 0; level < bits; ++level) {
      index = 2 * index + ((nibbles[level] >> k) & 1U);
    }
    value[k] = static_cast<int16_t>(value[k] + scaled_entry(scales[k], view.fixed_entries[index]));
  }
}

template <int Depth, bool Scalars>
RQ_INLINE int32_t score_levels(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  constexpr size_t tree_nodes = Depth == 1 ? 16 : (Depth == 2 ? 256 : 4096);
  const TreeView& tree = view.tree;
  const size_t quads = view.layout.quads;
  WideInts sum{};
  for (size_t first = 0; first < quads; first += 4) {
    int16_t value[16] = {};
    for (size_t i = 0; i < 4 && first + i < quads; ++i) {
      const size_t quad = first + i;
      const size_t own_tree = tree.trees == 1 ? 0 : quad;
      size_t node = nibble_of(plane1, quad);
      size_t node2 = node;
      if constexpr (Depth >= 2) {
        node2 = node * fanout + nibble_of(row, quad);
        node = node2;
      }
      if constexpr (Depth == 3) {
        node = node2 * fanout + nibble_of(row + view.layout.plane_bytes, quad);
      }
      __builtin_memcpy(value + 4 * i, tree.fixed[Depth - 1] + (own_tree * tree_nodes + node) * 4,
                       4 * sizeof(int16_t));
      if constexpr (Scalars) {
        add_scalars(view, row, quad, tree.fixed_scales + (own_tree * 256 + node2) * 4,
                    value + 4 * i);
      }
    }
    sum = add_products(sum, load_halves(value), load_halves(view.fixed_frame + first * 4));
  }
  return sum_of(sum);
}

RQ_INLINE int32_t score_signs(const RefineView& view, const uint8_t* plane) {
  const size_t bytes = view.layout.plane_bytes;
  const HalfInts bit = {1,   2,   4,   8,    16,   32,   64,   128,
                        256, 512, 1024, 2048, 4096, 8192, 16384, -32768};
  WideInts sum{};
  for (size_t at = 0; at < bytes; at += 2) {
    const uint32_t high = at + 1 < bytes ? plane[at + 1] : 0U;
    const auto bits = static_cast<int16_t>(plane[at] | high << 8U);
    const HalfInts negative = ((HalfInts{} + bits) & bit) != 0;  // 0 or -1
    sum = add_products(sum, load_halves(view.fixed_sign + at * 8), 1 + 2 * negative);
  }
  return sum_of(sum);
}

#endif

RefineSums score(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  RefineSums sums = {0, 0};
  switch (view.levels) {
    case 0:
      break;
    case 1:
      sums.level = score_levels<1, false>(view, plane1, row);
      break;
    case 2:
      sums.level = score_levels<2, false>(view, plane1, row);
      break;
    case 3:
      sums.level = score_levels<3, false>(view, plane1, row);
      break;
    default:
      sums.level = score_levels<3, true>(view, plane1, row);
  }
  if (view.use_signs) {
    const CodeLayout& layout = view.layout;
    const uint8_t* plane =
        layout.planes == 1 ? plane1 : row + (layout.planes - 2) * layout.plane_bytes;
    sums.sign = score_signs(view, plane);
  }
  return sums;
}
