// SPDX-License-Identifier: MIT
#pragma once

// Residuals and rotor layers, for tiles of 32 vectors: lane = vector, rows of 32 floats a
// coordinate. Sums and products in the order of src/simd/frame.inl, hence the same bits.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

/// Swaps two buffers that every thread knows by the same names.
RQ_DEVICE void swap_rows(float*& a, float*& b) {
  float* held = a;
  a = b;
  b = held;
}

/// All layers, ping-pong between two tiles of map.dim rows; `block` names the result afterwards.
/// Starts and ends between barriers.
RQ_DEVICE void rotor_forward(const simd::RotorLayersView& map, float*& block, float*& scratch) {
  const auto dim = static_cast<unsigned>(map.dim);
  const unsigned triples = dim / 3;
  const unsigned lane = lane_id();
  for (unsigned layer = 0; layer < map.layers; ++layer) {
    const uint32_t* from = map.permutation + layer * dim;
    const float* matrices = map.matrices + layer * (triples + 1) * 9;
    for (unsigned t = warp_id(); t <= triples; t += warps()) {
      const float* m = matrices + t * 9;
      float* out = scratch + 3 * t * warp_lanes + lane;
      if (t < triples) {
        const float x0 = block[from[3 * t] * warp_lanes + lane];
        const float x1 = block[from[3 * t + 1] * warp_lanes + lane];
        const float x2 = block[from[3 * t + 2] * warp_lanes + lane];
        out[0] = m[0] * x0 + m[1] * x1 + m[2] * x2;
        out[warp_lanes] = m[3] * x0 + m[4] * x1 + m[5] * x2;
        out[2 * warp_lanes] = m[6] * x0 + m[7] * x1 + m[8] * x2;
      } else if (dim % 3 == 1) {
        out[0] = block[from[dim - 1] * warp_lanes + lane];
      } else if (dim % 3 == 2) {
        const float x0 = block[from[dim - 2] * warp_lanes + lane];
        const float x1 = block[from[dim - 1] * warp_lanes + lane];
        out[0] = m[0] * x0 + m[1] * x1;
        out[warp_lanes] = m[3] * x0 + m[4] * x1;
      }
    }
    swap_rows(block, scratch);
    block_barrier();
  }
}

/// The reverse rotors in reverse order.
RQ_DEVICE void rotor_inverse(const simd::RotorLayersView& map, float*& block, float*& scratch) {
  const auto dim = static_cast<unsigned>(map.dim);
  const unsigned triples = dim / 3;
  const unsigned lane = lane_id();
  for (auto layer = static_cast<unsigned>(map.layers); layer-- > 0;) {
    const uint32_t* to = map.permutation + layer * dim;
    const float* matrices = map.matrices + layer * (triples + 1) * 9;
    for (unsigned t = warp_id(); t <= triples; t += warps()) {
      const float* m = matrices + t * 9;
      const float* in = block + 3 * t * warp_lanes + lane;
      if (t < triples) {
        const float y0 = in[0];
        const float y1 = in[warp_lanes];
        const float y2 = in[2 * warp_lanes];
        scratch[to[3 * t] * warp_lanes + lane] = m[0] * y0 + m[3] * y1 + m[6] * y2;
        scratch[to[3 * t + 1] * warp_lanes + lane] = m[1] * y0 + m[4] * y1 + m[7] * y2;
        scratch[to[3 * t + 2] * warp_lanes + lane] = m[2] * y0 + m[5] * y1 + m[8] * y2;
      } else if (dim % 3 == 1) {
        scratch[to[dim - 1] * warp_lanes + lane] = in[0];
      } else if (dim % 3 == 2) {
        const float y0 = in[0];
        const float y1 = in[warp_lanes];
        scratch[to[dim - 2] * warp_lanes + lane] = m[0] * y0 + m[3] * y1;
        scratch[to[dim - 1] * warp_lanes + lane] = m[1] * y0 + m[4] * y1;
      }
    }
    swap_rows(block, scratch);
    block_barrier();
  }
}

/// Rows first .. first + 31 of x (n x width) into a tile of `dims` rows; what is missing is 0.
RQ_DEVICE void load_tile(const float* x, unsigned n, unsigned width, unsigned first, unsigned dims,
                         float* tile) {
  for (unsigned i = thread_id(); i < dims * tile_vectors; i += threads()) {
    const unsigned v = i / dims;
    const unsigned j = i % dims;
    const bool there = first + v < n && j < width;
    tile[j * tile_vectors + v] = there ? x[size_t{first + v} * width + j] : 0.0F;
  }
  block_barrier();
}

RQ_KERNEL rotate_rows(RotateArgs args) {
  const auto dim = static_cast<unsigned>(args.map.dim);
  const size_t tile_floats = size_t{dim} * tile_vectors;
  float* work = args.workspace == nullptr ? reinterpret_cast<float*>(shared_memory())
                                          : args.workspace + block_x() * 2 * tile_floats;
  for (unsigned first = block_x() * tile_vectors; first < args.n;
       first += blocks_x() * tile_vectors) {
    float* block = work;
    float* scratch = work + tile_floats;
    load_tile(args.in, args.n, args.in_width, first, dim, block);
    if (args.inverse) {
      rotor_inverse(args.map, block, scratch);
    } else {
      rotor_forward(args.map, block, scratch);
    }
    for (unsigned i = thread_id(); i < args.out_width * tile_vectors; i += threads()) {
      const unsigned v = i / args.out_width;
      const unsigned j = i % args.out_width;
      if (first + v < args.n) {
        const float value = block[j * tile_vectors + v];
        args.out[size_t{first + v} * args.out_stride + j] =
            args.shift == nullptr ? value : value + args.shift[j];
      }
    }
    block_barrier();
  }
}

/// Space::split and split_query: residuals, and the exact term of the distance. Eight lanes a row,
/// one for each of the core's eight partial sums.
RQ_KERNEL split_rows(ResidualArgs args) {
  constexpr unsigned parts = 8;
  const unsigned part = thread_id() % parts;
  const unsigned rows = threads() / parts;
  // Whole blocks of rows, so that no lane misses a shuffle.
  for (unsigned first = block_x() * rows; first < args.n; first += blocks_x() * rows) {
    const unsigned own = first + thread_id() / parts;
    const unsigned i = smaller(own, args.n - 1);
    const float* x = args.x + size_t{i} * args.d;
    double squared = 0.0;
    double centre_product = 0.0;
    bool finite = true;
    for (unsigned j = part; j < args.d; j += parts) {
      const float mu = args.centre == nullptr ? 0.0F : args.centre[j];
      const float r = x[j] - mu;
      finite = finite && (float_bits(x[j]) & 0x7F800000U) != 0x7F800000U;
      if (own < args.n) {
        args.residual[size_t{i} * args.d + j] = r;
      }
      squared += static_cast<double>(r) * static_cast<double>(r);
      centre_product += static_cast<double>(mu) * static_cast<double>(args.query ? x[j] : r);
    }
    const double sum = args.squared ? squared : centre_product;
    double total = 0.0;
    for (unsigned k = 0; k < parts; ++k) {
      total = total + shuffle(sum, lane_id() / parts * parts + k);
    }
    if (part == 0 && own < args.n) {
      const bool no_base = args.query && args.centre == nullptr && !args.squared;
      args.term[i] = no_base ? 0.0F : static_cast<float>(args.squared ? total : -total);
    }
    if (!finite) {
      atomic_min(args.bad_row, i);
    }
  }
}

/// x (n x d) += centre.
RQ_KERNEL add_centre(ResidualArgs args) {
  const size_t size = size_t{args.n} * args.d;
  for (size_t i = size_t{block_x()} * threads() + thread_id(); i < size;
       i += size_t{blocks_x()} * threads()) {
    args.residual[i] = args.x[i] + args.centre[i % args.d];
  }
}

}  // namespace rotorquant::gpu
