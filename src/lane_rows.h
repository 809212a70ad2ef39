// SPDX-License-Identifier: MIT
#pragma once

// Between rows of vectors and the lane blocks that kernels work on (simd/kernels.h).

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "rotorquant/frame.h"
#include "simd/kernels.h"

namespace rotorquant {

inline simd::RotorLayersView view_of(const RotorLayers& layers) {
  return {layers.dim(), layers.layers(), layers.permutation().data(), layers.matrices().data()};
}

/// Fewer vectors run through rotor layers one by one, more as a block, which takes as long for one
/// as for 16. The bits are the same.
constexpr size_t few_rotated = 6;

inline simd::RotorVectorView vector_view_of(const RotorLayers& layers) {
  const RotorLayers::VectorOrder& order = layers.vector_order();
  return {layers.dim(),         layers.layers(),       order.groups,
          order.sources.data(), order.matrices.data(), order.places.data()};
}

/// Floats of scratch that KernelTable::rotor_vector takes.
inline size_t vector_scratch(const RotorLayers& layers) {
  return 2 * (layers.vector_order().groups * 3 + 1) * simd::lanes;
}

using FourFloats = float __attribute__((vector_size(16)));

inline FourFloats load_four(const float* p) {
  FourFloats v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// to[j * to_stride + i] = from[i * from_stride + j] for i and j up to 3.
inline void transpose_four(const float* from, size_t from_stride, float* to, size_t to_stride) {
  const FourFloats a = load_four(from);
  const FourFloats b = load_four(from + from_stride);
  const FourFloats c = load_four(from + 2 * from_stride);
  const FourFloats d = load_four(from + 3 * from_stride);
  const FourFloats ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const FourFloats ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const FourFloats cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const FourFloats cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const FourFloats columns[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                 __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (size_t j = 0; j < 4; ++j) {
    std::memcpy(to + j * to_stride, &columns[j], sizeof(FourFloats));
  }
}

/// to[j * to_stride + i] = from[i * from_stride + j]: rows x columns -> columns x rows.
inline void transpose(const float* from, size_t from_stride, size_t rows, size_t columns, float* to,
                      size_t to_stride) {
  const size_t whole_rows = rows / 4 * 4;
  const size_t whole_columns = columns / 4 * 4;
  for (size_t j = 0; j < whole_columns; j += 4) {
    for (size_t i = 0; i < whole_rows; i += 4) {
      transpose_four(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  for (size_t j = 0; j < columns; ++j) {
    for (size_t i = j < whole_columns ? whole_rows : 0; i < rows; ++i) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

/// x: count x d rows (count <= 16) -> block: d x 16, missing lanes 0.
inline void rows_to_lanes(const float* x, size_t count, size_t d, float* block) {
  transpose(x, d, count, d, block, simd::lanes);
  for (size_t j = 0; count < simd::lanes && j < d; ++j) {
    std::fill(block + j * simd::lanes + count, block + (j + 1) * simd::lanes, 0.0F);
  }
}

/// block: d x 16 -> count rows of x.
inline void lanes_to_rows(const float* block, size_t count, size_t d, float* x) {
  transpose(block, simd::lanes, d, count, x, d);
}

}  // namespace rotorquant
