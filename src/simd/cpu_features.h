// SPDX-License-Identifier: MIT
#pragma once

namespace rotorquant::simd {

/// Every CPU bit that cmake/simd_sources.cmake compiles the AVX2 kernels with, and an operating
/// system that saves the registers (XCR0).
bool cpu_has_avx2();
/// The same for the AVX-512 BW kernels (F, BW, DQ, VL).
bool cpu_has_avx512bw();
/// The same for the AVX-512 VBMI + VNNI kernels.
bool cpu_has_avx512vbmi();

}  // namespace rotorquant::simd
