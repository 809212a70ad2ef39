// SPDX-License-Identifier: MIT
// The specification of every kernel, and the fallback of any machine.

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"
#include "simd/scan_scalar.inl"
#include "simd/score_stored.inl"

}  // namespace

const KernelTable scalar_kernels = {
    "scalar",
    ScanLayout::row_per_quad,
    rotor_forward,
    rotor_inverse,
    matrix_block,
    matrix_vector,
    half_matrix_vector,
    matrix_vectors,
    encode_block,
    scan_table,
    block_minima,
    select,
    block_bounds,
    block_sums,
    scan_plane,
    refine,
    score,
    score_codes,
    score_two_levels,
    decode_levels,
};

}  // namespace rotorquant::simd
