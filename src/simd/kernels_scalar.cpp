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

const KernelTable scalar_kernels = RQ_KERNEL_TABLE("scalar", row_per_quad);

}  // namespace rotorquant::simd
