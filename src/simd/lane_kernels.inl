// SPDX-License-Identifier: MIT
// The kernels written on compiler vectors, shared in source (not in object code) by every target.
#include "simd/frame.inl"
#include "simd/rotor_vector.inl"
// encode uses the rotor layers of frame.inl
#include "simd/encode.inl"
#include "simd/fixed_query.inl"
#include "simd/refine.inl"
#include "simd/residual.inl"
#include "simd/scan_table.inl"
#include "simd/score.inl"

/// A kernel set of the functions that the including file brings, in the order of KernelTable.
#define RQ_KERNEL_TABLE(name, layout)                                                              \
  {                                                                                                \
    name, ScanLayout::layout, rotor_forward, rotor_inverse, rotor_vector, matrix_block,            \
        matrix_vector, matrix_vectors, half_matrix_vectors, residual, encode_block,                \
        largest_magnitude, to_fixed, scan_table, block_minima, select, select_again, block_bounds, \
        block_sums, scan_plane, refine, score, score_codes, score_two_levels, decode_levels        \
  }
