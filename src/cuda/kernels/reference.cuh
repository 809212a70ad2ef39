// SPDX-License-Identifier: MIT
#pragma once

// The published algorithm (rotorquant/reference.h) with rotor blocks: one rotor a triple, scalar
// codebooks, QJL signs. A warp a row, a lane a triple. Norms are summed in double by lanes, in
// another order than the CPU's: that a rounded norm differs is possible and not seen.

#include "cuda/kernels/refine.cuh"

namespace rotorquant::gpu {

/// `bits` (1 .. 8) bits at bit `position`, lowest first; bytes beyond `size` count as 0.
RQ_DEVICE uint32_t packed_index(const uint8_t* bytes, unsigned size, unsigned position,
                                unsigned bits) {
  const unsigned at = position / 8;
  uint32_t word = bytes[at];
  word |= at + 1 < size ? static_cast<uint32_t>(bytes[at + 1]) << 8U : 0U;
  return (word >> (position % 8)) & ((1U << bits) - 1U);
}

RQ_DEVICE void store_wide(float value, uint8_t* p) {
  const uint32_t bits = float_bits(value);
  for (unsigned b = 0; b < 4; ++b) {
    p[b] = static_cast<uint8_t>(bits >> (8 * b));
  }
}

/// Coordinate 3 g + k of a row, 0 beyond the last: triples are padded with zeros.
RQ_DEVICE float padded(const float* x, unsigned d, unsigned j) {
  return j < d ? x[j] : 0.0F;
}

/// out = M v, or M^T v.
RQ_DEVICE void turn(const float* m, bool transposed, const float* v, float* out) {
  const unsigned row = transposed ? 1 : 3;
  const unsigned column = transposed ? 3 : 1;
  for (unsigned i = 0; i < 3; ++i) {
    out[i] = m[i * row] * v[0] + m[i * row + column] * v[1] + m[i * row + 2 * column] * v[2];
  }
}

/// The nearest centroid; a value on a boundary goes to the lower one: ScalarCodebook::encode.
RQ_DEVICE uint32_t scalar_index(const RotorMseView& mse, float value) {
  uint32_t index = 0;
  for (uint32_t step = (1U << mse.bits) / 2; step > 0; step /= 2) {
    index += mse.boundaries[index + step - 1] < value ? step : 0;
  }
  return index;
}

/// Rotation, quantisation and packing in one pass over a row; with args.residuals also x - x^ and
/// its norm.
RQ_KERNEL mse_encode(MseEncodeArgs args) {
  const RotorMseView& mse = args.mse;
  uint8_t* indices = shared_memory() + size_t{warp_id()} * mse.triples * 3;
  const unsigned step = blocks_x() * warps();
  for (unsigned i = block_x() * warps() + warp_id(); i < args.n; i += step) {
    const float* x = args.x + size_t{i} * mse.d;
    uint8_t* code = args.codes + size_t{i} * args.code_stride;
    double squared = 0.0;
    for (unsigned j = lane_id(); j < mse.d; j += warp_lanes) {
      squared += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    }
    const float norm = larger(static_cast<float>(root(warp_sum(squared))), 1e-8F);
    double residual_squared = 0.0;
    for (unsigned g = lane_id(); g < mse.triples; g += warp_lanes) {
      const float v[3] = {padded(x, mse.d, 3 * g), padded(x, mse.d, 3 * g + 1),
                          padded(x, mse.d, 3 * g + 2)};
      float rotated[3];
      turn(mse.rotors + 9 * g, false, v, rotated);
      for (unsigned k = 0; k < 3; ++k) {
        const uint32_t index = scalar_index(mse, rotated[k] / norm);
        indices[3 * g + k] = static_cast<uint8_t>(index);
        rotated[k] = mse.centroids[index];
      }
      if (args.residuals != nullptr) {
        float decoded[3];
        turn(mse.rotors + 9 * g, true, rotated, decoded);
        for (unsigned k = 0; k < 3 && 3 * g + k < mse.d; ++k) {
          const float residual = v[k] - decoded[k] * norm;
          args.residuals[size_t{i} * mse.d + 3 * g + k] = residual;
          residual_squared += static_cast<double>(residual) * static_cast<double>(residual);
        }
      }
    }
    residual_squared = warp_sum(residual_squared);
    if (lane_id() == 0) {
      store_wide(norm, code);
      if (args.residuals != nullptr) {
        store_wide(static_cast<float>(root(residual_squared)), code + 4);
      }
    }
    warp_barrier();  // indices are there
    for (unsigned b = lane_id(); b < mse.index_bytes; b += warp_lanes) {
      uint32_t byte = 0;
      // Indices that reach into bits 8 b .. 8 b + 7.
      for (unsigned c = 8 * b / mse.bits; c < 3 * mse.triples && c * mse.bits < 8 * b + 8; ++c) {
        const uint32_t wide = static_cast<uint32_t>(indices[c]) << (c * mse.bits % 8);
        byte |= c * mse.bits / 8 == b ? wide : wide >> 8U;
      }
      code[args.header + b] = static_cast<uint8_t>(byte);
    }
    warp_barrier();
  }
}

RQ_KERNEL mse_decode(MseDecodeArgs args) {
  const RotorMseView& mse = args.mse;
  const size_t size = size_t{args.n} * mse.triples;
  for (size_t i = size_t{block_x()} * threads() + thread_id(); i < size;
       i += size_t{blocks_x()} * threads()) {
    const size_t row = i / mse.triples;
    const auto g = static_cast<unsigned>(i % mse.triples);
    const uint8_t* code = args.codes + row * args.code_stride;
    const float norm = load_wide(code);
    float rotated[3];
    for (unsigned k = 0; k < 3; ++k) {
      rotated[k] = mse.centroids[packed_index(code + args.header, mse.index_bytes,
                                              (3 * g + k) * mse.bits, mse.bits)];
    }
    float decoded[3];
    turn(mse.rotors + 9 * g, true, rotated, decoded);
    for (unsigned k = 0; k < 3 && 3 * g + k < mse.d; ++k) {
      args.x[row * mse.d + 3 * g + k] = decoded[k] * norm;
    }
  }
}

/// Bits of S r, 1 where it is not negative.
RQ_KERNEL sketch_signs(SketchSignsArgs args) {
  const unsigned bytes = (args.m + 7) / 8;
  const size_t size = size_t{args.n} * bytes;
  for (size_t i = size_t{block_x()} * threads() + thread_id(); i < size;
       i += size_t{blocks_x()} * threads()) {
    const size_t row = i / bytes;
    const auto b = static_cast<unsigned>(i % bytes);
    uint32_t byte = 0;
    for (unsigned k = 8 * b; k < 8 * b + 8 && k < args.m; ++k) {
      byte |= (args.sketch[row * args.m + k] >= 0.0F ? 1U : 0U) << (k % 8);
    }
    args.codes[row * args.code_stride + args.sign_offset + b] = static_cast<uint8_t>(byte);
  }
}

/// block_y: query, rotated once a block into shared memory. A warp a key.
RQ_KERNEL attention_scores(AttentionArgs args) {
  const RotorMseView& mse = args.mse;
  auto* rotated = reinterpret_cast<float*>(shared_memory());
  const float* query = args.queries + size_t{block_y()} * mse.d;
  const float* sketch = args.sketches + size_t{block_y()} * args.m;
  for (unsigned g = thread_id(); g < mse.triples; g += threads()) {
    const float v[3] = {padded(query, mse.d, 3 * g), padded(query, mse.d, 3 * g + 1),
                        padded(query, mse.d, 3 * g + 2)};
    turn(mse.rotors + 9 * g, false, v, rotated + 3 * g);
  }
  block_barrier();
  for (unsigned i = block_x() * warps() + warp_id(); i < args.keys; i += blocks_x() * warps()) {
    const uint8_t* code = args.codes + size_t{i} * args.code_stride;
    const uint8_t* indices = code + args.header;
    float stage1 = 0.0F;
    for (unsigned c = lane_id(); c < 3 * mse.triples; c += warp_lanes) {
      const uint32_t index = packed_index(indices, mse.index_bytes, c * mse.bits, mse.bits);
      stage1 += rotated[c] * mse.centroids[index];
    }
    float signs = 0.0F;
    for (unsigned k = lane_id(); k < args.m; k += warp_lanes) {
      const bool positive = ((code[args.sign_offset + k / 8] >> (k % 8)) & 1U) != 0;
      signs += positive ? sketch[k] : -sketch[k];
    }
    stage1 = warp_sum(stage1);
    signs = warp_sum(signs);
    if (lane_id() == 0) {
      args.scores[size_t{block_y()} * args.keys + i] =
          load_wide(code) * stage1 + load_wide(code + 4) * (args.factor * signs);
    }
  }
}

}  // namespace rotorquant::gpu
