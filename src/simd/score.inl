// SPDX-License-Identifier: MIT
// Scoring one code in 16-bit fixed point with 32-bit sums: integers, the same on every target.
// Included inside an anonymous namespace, after refine.inl.

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
  const __m512i entry = _mm512_permutexvar_epi16(index, _mm512_loadu_si512(view.fixed_entries));
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
    __m512i value = _mm512_mask_i64gather_epi64(
        _mm512_setzero_si512(), valid, _mm512_add_epi64(node, tree), view.tree.fixed[Depth - 1], 8);
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

/// Up to 64 nibbles of a canonical plane, one a byte.
RQ_INLINE __m512i spread_plane(const uint8_t* plane, size_t bytes) {
  const auto valid = static_cast<__mmask32>(bytes >= 32 ? ~0U : (1U << bytes) - 1);
  const __m512i wide = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(valid, plane));
  return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)),
                          _mm512_set1_epi8(0x0F));
}

/// Level-2 nodes of 64 quads.
struct NodeBytes {
#if defined(__AVX512VBMI__)
  __m512i bytes;
#else
  alignas(64) uint8_t bytes[64];
#endif
};

RQ_INLINE void set_nodes(NodeBytes& nodes, __m512i parents, __m512i children) {
  const __m512i bytes = _mm512_or_si512(_mm512_slli_epi16(parents, 4), children);
#if defined(__AVX512VBMI__)
  nodes.bytes = bytes;
#else
  _mm512_store_si512(nodes.bytes, bytes);
#endif
}

/// Eight of them as 64-bit numbers, from `at` on, a multiple of 8.
RQ_INLINE __m512i eight_nodes(const NodeBytes& nodes, size_t at) {
#if defined(__AVX512VBMI__)
  constexpr __mmask64 low_byte_of_lane = 0x0101010101010101U;
  const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i pick = _mm512_add_epi64(lane, _mm512_set1_epi64(static_cast<int64_t>(at)));
  return _mm512_maskz_permutexvar_epi8(low_byte_of_lane, pick, nodes.bytes);
#else
  return widen_nodes(nodes.bytes + at);
#endif
}

/// score_levels<2, false> in registers. parents(first): the level-1 nibbles of 64 quads, a byte
/// each, and 0 behind the last.
template <class Parents>
RQ_INLINE int32_t score_pairs(const RefineView& view, const Parents& parents, const uint8_t* row,
                              const int16_t* query) {
  constexpr int64_t tree_nodes = 256;
  constexpr size_t quads_at_once = 64;
  const size_t quads = view.layout.quads;
  const int64_t tree_step = view.tree.trees == 1 ? 0 : tree_nodes;
  __m512i tree =
      _mm512_mullo_epi64(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(tree_step));
  const __m512i trees_of_eight = _mm512_set1_epi64(8 * tree_step);
  __m512i sum = _mm512_setzero_si512();
  for (size_t first = 0; first < quads; first += quads_at_once) {
    NodeBytes nodes;
    set_nodes(nodes, parents(first),
              spread_plane(row + first / 2, view.layout.plane_bytes - first / 2));
    const size_t last = first + quads_at_once < quads ? first + quads_at_once : quads;
    for (size_t quad = first; quad < last; quad += scored_quads) {
      // Beyond the last quad the query is 0, but a tree of its own would lie outside the table.
      const size_t left = last - quad;
      const auto valid = static_cast<__mmask8>(left >= scored_quads ? 0xFFU : (1U << left) - 1);
      const __m512i node = _mm512_add_epi64(eight_nodes(nodes, quad - first), tree);
      const __m512i value =
          _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), valid, node, view.tree.fixed[1], 8);
      sum = add_products(sum, value, _mm512_loadu_si512(query + quad * 4));
      tree = _mm512_add_epi64(tree, trees_of_eight);
    }
  }
  return _mm512_reduce_add_epi32(sum);
}

RQ_INLINE int32_t score_two_planes(const RefineView& view, const uint8_t* plane1,
                                   const uint8_t* row) {
  const size_t bytes = view.layout.plane_bytes;
  const auto parents = [&](size_t first) {
    return spread_plane(plane1 + first / 2, bytes - first / 2);
  };
  return score_pairs(view, parents, row, view.fixed_frame);
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

/// A register of 16-bit lanes, four a quad, and one of 32-bit sums of neighbouring products.
#if defined(__AVX2__)
constexpr size_t half_bytes = 32;
#else
constexpr size_t half_bytes = 16;
#endif
constexpr size_t half_lanes = half_bytes / sizeof(int16_t);
constexpr size_t half_quads = half_lanes / 4;
using HalfInts = int16_t __attribute__((vector_size(half_bytes)));
using WideInts = int32_t __attribute__((vector_size(half_bytes)));

RQ_INLINE HalfInts load_halves(const int16_t* p) {
  HalfInts v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

RQ_INLINE WideInts add_products(WideInts sum, HalfInts a, HalfInts b) {
#if defined(__AVX2__)
  return sum + reinterpret_cast<WideInts>(
                   _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(RQ_NEON)  // pairs other lanes than elsewhere: only the total counts
  return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)), a, b);
#else
  int16_t x[half_lanes];  // GCC multiplies in pairs where it finds this loop, not vectors
  int16_t y[half_lanes];
  int32_t products[half_lanes / 2];
  __builtin_memcpy(x, &a, sizeof(x));
  __builtin_memcpy(y, &b, sizeof(y));
  for (size_t i = 0; i < half_lanes / 2; ++i) {
    products[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  }
  WideInts added;
  __builtin_memcpy(&added, products, sizeof(added));
  return sum + added;
#endif
}

RQ_INLINE int32_t sum_of(WideInts v) {
  int32_t sum = 0;
  for (size_t i = 0; i < half_lanes / 2; ++i) {
    sum += v[i];
  }
  return sum;
}

/// scaled_entry, lane by lane.
RQ_INLINE HalfInts scaled_entries(HalfInts scales, HalfInts entries) {
#if defined(__AVX2__)
  return reinterpret_cast<HalfInts>(
      _mm256_mulhrs_epi16(reinterpret_cast<__m256i>(scales), reinterpret_cast<__m256i>(entries)));
#elif defined(RQ_NEON)
  return vqrdmulhq_s16(scales, entries);
#else
  for (size_t i = 0; i < half_lanes; ++i) {
    scales[i] = scaled_entry(scales[i], entries[i]);
  }
  return scales;
#endif
}

/// entries[index[lane]] of the 2^bits first entries of 32.
RQ_INLINE HalfInts look_up_entries(const int16_t* entries, HalfInts index, size_t bits) {
#if defined(__AVX2__)
  // Eight entries a shuffle: each index becomes those of its two bytes.
  const auto wide = reinterpret_cast<__m256i>(index * 0x0202 + 0x0100);
  const auto group = reinterpret_cast<__m256i>(index >> 3);
  __m256i found = _mm256_setzero_si256();
  for (int first = 0; first < 1 << bits; first += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries + first));
    const __m256i picked = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), wide);
    const __m256i own = _mm256_cmpeq_epi16(group, _mm256_set1_epi16(static_cast<short>(first / 8)));
    found = _mm256_or_si256(found, _mm256_and_si256(picked, own));
  }
  return reinterpret_cast<HalfInts>(found);
#else
  static_cast<void>(bits);
  int16_t found[half_lanes];
  for (size_t i = 0; i < half_lanes; ++i) {
    found[i] = entries[index[i]];
  }
  return load_halves(found);
#endif
}

/// -1 in the lanes whose bits are set in a plane, else 0. The second byte may be missing.
RQ_INLINE HalfInts lanes_of_bits(const uint8_t* plane, size_t bytes_left) {
#if defined(__AVX2__)
  const HalfInts bit = {1,   2,   4,    8,    16,   32,   64,    128,
                        256, 512, 1024, 2048, 4096, 8192, 16384, -32768};
  const auto bits = static_cast<int16_t>(plane[0] | (bytes_left > 1 ? plane[1] << 8U : 0U));
#else
  const HalfInts bit = {1, 2, 4, 8, 16, 32, 64, 128};
  const int16_t bits = plane[0];
  static_cast<void>(bytes_left);
#endif
  return ((HalfInts{} + bits) & bit) != 0;
}

/// Quads whose nodes are unpacked together.
constexpr size_t node_quads = 64;

/// Tree nodes of 64 quads: level 1 and 2 as a byte, level 3 apart.
struct QuadNodes {
  uint8_t node2[node_quads];
  uint8_t child3[node_quads];
};

/// Two nibbles of a byte as the low halves of two bytes, the first one below.
RQ_INLINE uint16_t spread(uint8_t byte) {
  return static_cast<uint16_t>((byte | byte << 4U) & 0x0F0FU);
}

template <int Depth>
RQ_INLINE void unpack_quads(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                            size_t first_quad, QuadNodes& nodes) {
  const size_t stride = view.layout.plane_bytes;
  const size_t at = first_quad / 2;
  const size_t bytes = stride - at < node_quads / 2 ? stride - at : node_quads / 2;
  for (size_t i = 0; i < bytes; ++i) {
    uint16_t pair = spread(plane1[at + i]);
    if constexpr (Depth >= 2) {
      pair = static_cast<uint16_t>(pair << 4U | spread(row[at + i]));
    }
    __builtin_memcpy(nodes.node2 + 2 * i, &pair, sizeof(pair));
    if constexpr (Depth == 3) {
      const uint16_t children = spread(row[stride + at + i]);
      __builtin_memcpy(nodes.child3 + 2 * i, &children, sizeof(children));
    }
  }
}

/// Entries of 8 bytes of `quads` quads, from a table for each of them or one for all (tree_step 0).
RQ_INLINE HalfInts load_quads(const int16_t* table, size_t tree_step, const size_t* node,
                              size_t quads) {
  int64_t entry[half_quads] = {};
  for (size_t i = 0; i < half_quads && i < quads; ++i) {
    __builtin_memcpy(&entry[i], table + i * tree_step + node[i] * 4, sizeof(entry[i]));
  }
  using QuadBytes = int64_t __attribute__((vector_size(half_bytes)));
#if defined(__AVX2__)
  return reinterpret_cast<HalfInts>(QuadBytes{entry[0], entry[1], entry[2], entry[3]});
#else
  return reinterpret_cast<HalfInts>(QuadBytes{entry[0], entry[1]});
#endif
}

/// What the scalar levels add to `quads` quads.
RQ_INLINE HalfInts scored_scalars(const RefineView& view, const uint8_t* row, size_t first_quad,
                                  const size_t* node2, size_t quads) {
  const size_t stride = view.layout.plane_bytes;
  const uint8_t* plane = row + 2 * stride + first_quad / 2;
  HalfInts index{};
  for (size_t level = 3; level < view.levels; ++level, plane += stride) {
    index = index + index - lanes_of_bits(plane, stride - first_quad / 2);
  }
  const HalfInts entries = look_up_entries(view.fixed_entries, index, view.levels - 3);
  const size_t tree_step = view.tree.trees == 1 ? 0 : size_t{256} * 4;
  return scaled_entries(
      load_quads(view.tree.fixed_scales + first_quad * tree_step, tree_step, node2, quads),
      entries);
}

/// Adds a register of quads, or the `quads` that are left.
template <int Depth, bool Scalars>
RQ_INLINE WideInts add_quads(const RefineView& view, const uint8_t* row, const QuadNodes& nodes,
                             size_t first, size_t quads, WideInts sum) {
  constexpr size_t tree_numbers = (Depth == 1 ? 16 : (Depth == 2 ? 256 : 4096)) * 4;
  const size_t tree_step = view.tree.trees == 1 ? 0 : tree_numbers;
  size_t node2[half_quads] = {};
  size_t node[half_quads] = {};
  for (size_t i = 0; i < half_quads && i < quads; ++i) {
    const size_t at = first % node_quads + i;
    node2[i] = nodes.node2[at];
    node[i] = Depth == 3 ? node2[i] * fanout + nodes.child3[at] : node2[i];
  }
  HalfInts value =
      load_quads(view.tree.fixed[Depth - 1] + first * tree_step, tree_step, node, quads);
  if constexpr (Scalars) {
    value = value + scored_scalars(view, row, first, node2, quads);
  }
  return add_products(sum, value, load_halves(view.fixed_frame + first * 4));
}

template <int Depth, bool Scalars>
RQ_INLINE int32_t score_levels(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  const size_t quads = view.layout.quads;
  WideInts sum{};
  QuadNodes nodes;
  for (size_t first = 0; first < quads; first += half_quads) {
    if (first % node_quads == 0) {
      unpack_quads<Depth>(view, plane1, row, first, nodes);
    }
    sum = first + half_quads <= quads
              ? add_quads<Depth, Scalars>(view, row, nodes, first, half_quads, sum)
              : add_quads<Depth, Scalars>(view, row, nodes, first, quads - first, sum);
  }
  return sum_of(sum);
}

RQ_INLINE int32_t score_signs(const RefineView& view, const uint8_t* plane) {
  const size_t bytes = view.layout.plane_bytes;
  WideInts sum{};
  for (size_t at = 0; at < bytes; at += half_lanes / 8) {
    const HalfInts negative = lanes_of_bits(plane + at, bytes - at);
    sum = add_products(sum, load_halves(view.fixed_sign + at * 8), 1 + 2 * negative);
  }
  return sum_of(sum);
}

RQ_INLINE int32_t score_two_planes(const RefineView& view, const uint8_t* plane1,
                                   const uint8_t* row) {
  return score_levels<2, false>(view, plane1, row);
}

#endif

RQ_INLINE RefineSums score_code(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  RefineSums sums = {0, 0};
  switch (view.levels) {
    case 0:
      break;
    case 1:
      sums.level = score_levels<1, false>(view, plane1, row);
      break;
    case 2:
      sums.level = score_two_planes(view, plane1, row);
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

RefineSums score(const RefineView& view, const uint8_t* plane1, const uint8_t* row) {
  return score_code(view, plane1, row);
}

void score_codes(const RefineView& view, const CodePlaces* codes, size_t n, RefineSums* sums) {
  for (size_t i = 0; i < n; ++i) {  // independent of each other: the processor overlaps them
    sums[i] = score_code(view, codes[i].plane1, codes[i].row);
  }
}
