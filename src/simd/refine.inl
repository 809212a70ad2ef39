// SPDX-License-Identifier: MIT
// Scoring and decoding one code from its planes. Included inside an anonymous namespace.

RQ_INLINE uint32_t nibble_of(const uint8_t* plane, size_t quad) {
  return (plane[quad / 2] >> (quad % 2 * 4)) & 0xFU;
}

/// The decoded levels of one quad.
RQ_INLINE QuadFloat decode_quad(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                                size_t quad) {
  const TreeView& tree = view.tree;
  const size_t stride = view.layout.plane_bytes;
  const size_t quad_tree = tree.trees == 1 ? 0 : quad;
  size_t leaf = nibble_of(plane1, quad);
  const float* table = tree.centroids[0] + quad_tree * 16 * 4;
  size_t node2 = 0;
  if (view.levels >= 2) {
    leaf = leaf * fanout + nibble_of(row, quad);
    table = tree.centroids[1] + quad_tree * 256 * 4;
    node2 = leaf;
  }
  if (view.levels >= 3) {
    leaf = leaf * fanout + nibble_of(row + stride, quad);
    table = tree.centroids[2] + quad_tree * 4096 * 4;
  }
  QuadFloat value;
  __builtin_memcpy(&value, table + leaf * 4, sizeof(value));
  if (view.levels > 3) {
    const size_t bits = view.levels - 3;
    const float* scale = tree.leaf_scales + (quad_tree * 256 + node2) * 4;
    const uint8_t* plane = row + 2 * stride;
    for (unsigned k = 0; k < 4; ++k) {
      size_t index = 0;
      for (size_t level = 0; level < bits; ++level) {
        index = 2 * index + ((nibble_of(plane + level * stride, quad) >> k) & 1U);
      }
      value[k] += scale[k] * view.scalar->centroids[bits - 1][index];
    }
  }
  return value;
}

#if defined(__AVX512BW__)

/// Quads whose nibbles are unpacked together: 32 bytes of a plane.
constexpr size_t unpacked_quads = 64;

/// Nibbles of up to 64 quads as bytes, in quad order.
RQ_INLINE __m512i unpack_nibbles(const uint8_t* plane, size_t bytes) {
  const __mmask32 valid = bytes >= 32 ? ~__mmask32{0} : (__mmask32{1} << bytes) - 1;
  const __m512i wide = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(valid, plane));
  return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)),
                          _mm512_set1_epi8(0x0F));
}

/// Tree nodes of 64 quads: level 1 and 2 as a byte, level 3 apart.
struct UnpackedNodes {
  alignas(64) uint8_t node2[unpacked_quads];
  alignas(64) uint8_t child3[unpacked_quads];
};

RQ_INLINE void unpack_nodes(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                            size_t first_quad, UnpackedNodes& nodes) {
  const size_t stride = view.layout.plane_bytes;
  const size_t at = first_quad / 2;
  __m512i node = unpack_nibbles(plane1 + at, stride - at);
  if (view.levels >= 2) {
    node = _mm512_or_si512(_mm512_slli_epi16(node, 4), unpack_nibbles(row + at, stride - at));
  }
  _mm512_store_si512(nodes.node2, node);
  if (view.levels >= 3) {
    _mm512_store_si512(nodes.child3, unpack_nibbles(row + stride + at, stride - at));
  }
}

/// Entries of four quads from tables of four floats a node, side by side.
RQ_INLINE __m512 gather_quads(const float* table, size_t quad_step, const size_t node[4]) {
  __m512 all = _mm512_castps128_ps512(_mm_loadu_ps(table + node[0] * 4));
  all = _mm512_insertf32x4(all, _mm_loadu_ps(table + quad_step + node[1] * 4), 1);
  all = _mm512_insertf32x4(all, _mm_loadu_ps(table + 2 * quad_step + node[2] * 4), 2);
  return _mm512_insertf32x4(all, _mm_loadu_ps(table + 3 * quad_step + node[3] * 4), 3);
}

/// What the scalar levels add to 16 coordinates: scale times the embedded codebook's entry.
RQ_INLINE __m512 scalar_part(const RefineView& view, const uint8_t* row, size_t first_quad,
                             const size_t node2[4]) {
  const size_t bits = view.levels - 3;
  const uint8_t* plane = row + 2 * view.layout.plane_bytes + first_quad / 2;
  const size_t left = view.layout.plane_bytes - first_quad / 2;
  __m512i index = _mm512_setzero_si512();
  for (size_t level = 0; level < bits; ++level, plane += view.layout.plane_bytes) {
    const uint32_t mask = plane[0] | (left > 1 ? static_cast<uint32_t>(plane[1]) << 8U : 0U);
    index = _mm512_slli_epi32(index, 1);
    index = _mm512_mask_add_epi32(index, static_cast<__mmask16>(mask), index, _mm512_set1_epi32(1));
  }
  const float* centroids = view.scalar->centroids[bits - 1].data();
  const __m512 entry =
      _mm512_permutex2var_ps(_mm512_loadu_ps(centroids), index, _mm512_loadu_ps(centroids + 16));
  const bool one_tree = view.tree.trees == 1;
  const size_t step = one_tree ? 0 : 256 * 4;
  const __m512 scale = gather_quads(view.tree.leaf_scales + first_quad * step, step, node2);
  return _mm512_mul_ps(scale, entry);
}

/// Decodes four whole quads, the first of them a multiple of 4.
RQ_INLINE LaneFloat decode_unpacked(const RefineView& view, const UnpackedNodes& nodes,
                                    const uint8_t* row, size_t first_quad) {
  const size_t offset = first_quad % unpacked_quads;
  const size_t depth = view.levels < 3 ? view.levels : 3;
  size_t node2[4];
  size_t leaf[4];
  for (size_t i = 0; i < 4; ++i) {
    node2[i] = nodes.node2[offset + i];
    leaf[i] = depth == 3 ? node2[i] * fanout + nodes.child3[offset + i] : node2[i];
  }
  const size_t tree_step =
      view.tree.trees == 1 ? 0 : (depth == 1 ? 16 : (depth == 2 ? 256 : 4096)) * 4;
  __m512 value =
      gather_quads(view.tree.centroids[depth - 1] + first_quad * tree_step, tree_step, leaf);
  if (view.levels > 3) {
    value = _mm512_add_ps(value, scalar_part(view, row, first_quad, node2));
  }
  return reinterpret_cast<LaneFloat>(value);
}

#endif

/// Four quads side by side; quads beyond the last are 0.
RQ_INLINE LaneFloat decode_four_quads(const RefineView& view, const uint8_t* plane1,
                                      const uint8_t* row, size_t first_quad) {
  QuadFloat part[4];
  for (size_t i = 0; i < 4; ++i) {
    part[i] = first_quad + i < view.layout.quads ? decode_quad(view, plane1, row, first_quad + i)
                                                 : QuadFloat{};
  }
  LaneFloat all;
  __builtin_memcpy(&all, part, sizeof(all));
  return all;
}

/// Calls use(first_quad, 16 decoded coordinates) for every group of four quads.
template <class Use>
RQ_INLINE void for_four_quads(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                              Use use) {
  size_t quad = 0;
#if defined(__AVX512BW__)
  UnpackedNodes nodes;
  for (; quad + 4 <= view.layout.quads; quad += 4) {
    if (quad % unpacked_quads == 0) {
      unpack_nodes(view, plane1, row, quad, nodes);
    }
    use(quad, decode_unpacked(view, nodes, row, quad));
  }
#endif
  for (; quad < view.layout.quads; quad += 4) {
    use(quad, decode_four_quads(view, plane1, row, quad));
  }
}

void decode_levels(const RefineView& view, const uint8_t* plane1, const uint8_t* row, float* a) {
  for_four_quads(view, plane1, row,
                 [&](size_t quad, LaneFloat value) { store_lanes(a + quad * 4, value); });
}

/// +-1 for 16 coordinates from the bit string of a sign plane (a set bit is negative).
RQ_INLINE LaneFloat signs_at(const uint8_t* plane, size_t plane_bytes, size_t first) {
  const size_t byte = first / 8;
  uint32_t bits = plane[byte];
  if (byte + 1 < plane_bytes) {
    bits |= static_cast<uint32_t>(plane[byte + 1]) << 8U;
  }
#if defined(__AVX512F__)
  const __m512 one = _mm512_set1_ps(1.0F);
  return reinterpret_cast<LaneFloat>(
      _mm512_mask_sub_ps(one, static_cast<__mmask16>(bits), _mm512_setzero_ps(), one));
#else
  LaneInt position;
  for (int32_t lane = 0; lane < static_cast<int32_t>(lanes); ++lane) {
    position[static_cast<size_t>(lane)] = lane;
  }
  const LaneInt set = (broadcast_int(static_cast<int32_t>(bits)) >> position) & 1;
  return to_floats(1 - 2 * set);
#endif
}

RQ_INLINE float sign_dot(const RefineView& view, const uint8_t* plane) {
  const size_t dims = view.layout.quads * 4;
  LaneFloat sum{};
  for (size_t i = 0; i < dims; i += lanes) {
    sum = sum + signs_at(plane, view.layout.plane_bytes, i) * load_lanes(view.sign_query + i);
  }
  return reduce_add(sum);
}

void refine(const RefineView& view, const uint8_t* plane1, const uint8_t* row, float* level_product,
            float* sign_product) {
  *level_product = 0.0F;
  *sign_product = 0.0F;
  if (view.levels > 0) {
    LaneFloat sum{};
    for_four_quads(view, plane1, row, [&](size_t quad, LaneFloat value) {
      sum = sum + value * load_lanes(view.frame_query + quad * 4);
    });
    *level_product = reduce_add(sum);
  }
  if (view.use_signs) {
    const CodeLayout& layout = view.layout;
    const uint8_t* plane =
        layout.planes == 1 ? plane1 : row + (layout.planes - 2) * layout.plane_bytes;
    *sign_product = sign_dot(view, plane);
  }
}
