// SPDX-License-Identifier: MIT
// Scoring codes where they lie, one after the other. Included inside an anonymous namespace, after
// scan_plane.

void score_two_levels(const RefineView& view, size_t padded_quads, const StoredCode* codes,
                      size_t n, uint8_t* plane, int32_t* sums) {
  RefineView own = view;
  for (size_t i = 0; i < n; ++i) {
    const StoredCode& code = codes[i];
    scan_plane(code.block, padded_quads, code.place, plane);
    own.fixed_frame = code.query;
    sums[i] = score_two_planes(own, plane, code.row);
  }
}
