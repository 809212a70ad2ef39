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

void decode_levels(const RefineView& view, const uint8_t* plane1, const uint8_t* row, float* a) {
  for (size_t quad = 0; quad < view.layout.quads; quad += 4) {
    store_lanes(a + quad * 4, decode_four_quads(view, plane1, row, quad));
  }
}

/// +-1 for 16 coordinates from the bit string of a sign plane (a set bit is negative).
RQ_INLINE LaneFloat signs_at(const uint8_t* plane, size_t plane_bytes, size_t first) {
  const size_t byte = first / 8;
  uint32_t bits = plane[byte];
  if (byte + 1 < plane_bytes) {
    bits |= static_cast<uint32_t>(plane[byte + 1]) << 8U;
  }
  const LaneInt position = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const LaneInt set = (broadcast_int(static_cast<int32_t>(bits)) >> position) & 1;
  return __builtin_convertvector(1 - 2 * set, LaneFloat);
}

RQ_INLINE float sign_dot(const RefineView& view, const uint8_t* plane) {
  const size_t dims = view.layout.quads * 4;
  LaneFloat sum{};
  for (size_t i = 0; i < dims; i += lanes) {
    sum = sum + signs_at(plane, view.layout.plane_bytes, i) * load_lanes(view.sign_query + i);
  }
  return reduce_add(sum);
}

void refine(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
            float* level_product, float* sign_product) {
  *level_product = 0.0F;
  *sign_product = 0.0F;
  if (view.levels > 0) {
    LaneFloat sum{};
    for (size_t quad = 0; quad < view.layout.quads; quad += 4) {
      sum = sum + decode_four_quads(view, plane1, row, quad) *
                      load_lanes(view.frame_query + quad * 4);
    }
    *level_product = reduce_add(sum);
  }
  if (view.use_signs) {
    const CodeLayout& layout = view.layout;
    const uint8_t* plane =
        layout.planes == 1 ? plane1 : row + (layout.planes - 2) * layout.plane_bytes;
    *sign_product = sign_dot(view, plane);
  }
}
