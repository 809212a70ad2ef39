// SPDX-License-Identifier: MIT
// The kernels written on compiler vectors, shared in source (not in object code) by every target.
#include "simd/frame.inl"
// encode uses the rotor layers of frame.inl
#include "simd/encode.inl"
#include "simd/refine.inl"
#include "simd/scan_table.inl"
#include "simd/score.inl"
