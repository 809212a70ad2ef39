// SPDX-License-Identifier: MIT
// Reading one vector from a row_per_quad block (code_store.h). Included inside an anonymous
// namespace.

void scan_plane(const uint8_t* block, size_t padded_quads, size_t v, uint8_t* plane) {
  for (size_t pair = 0; pair < padded_quads / 2; ++pair) {  // a pair of quads is a canonical byte
    plane[pair] = block[pair * block_vectors + v];
  }
}
