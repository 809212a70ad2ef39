// SPDX-License-Identifier: MIT
#pragma once

// Between rows of vectors and the lane blocks that kernels work on (simd/kernels.h).

#include <cstddef>

#include "rotorquant/frame.h"
#include "simd/kernels.h"

namespace rotorquant {

inline simd::RotorLayersView view_of(const RotorLayers& layers) {
  return {layers.dim(), layers.layers(), layers.permutation().data(), layers.matrices().data()};
}

/// x: count x d rows (count <= 16) -> block: d x 16, missing lanes 0.
inline void rows_to_lanes(const float* x, size_t count, size_t d, float* block) {
  for (size_t j = 0; j < d; ++j) {
    float* row = block + j * simd::lanes;
    for (size_t lane = 0; lane < count; ++lane) {
      row[lane] = x[lane * d + j];
    }
    for (size_t lane = count; lane < simd::lanes; ++lane) {
      row[lane] = 0.0F;
    }
  }
}

/// block: d x 16 -> count rows of x.
inline void lanes_to_rows(const float* block, size_t count, size_t d, float* x) {
  for (size_t lane = 0; lane < count; ++lane) {
    for (size_t j = 0; j < d; ++j) {
      x[lane * d + j] = block[j * simd::lanes + lane];
    }
  }
}

}  // namespace rotorquant
