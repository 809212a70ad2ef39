// SPDX-License-Identifier: MIT
#pragma once

// Levels, signs and joint rounds of 32 vectors a block: lane = vector, warps share the quads. Each
// vector's operations have the order of src/simd/encode.inl, so that codes are the CPU's bytes.

#include "cuda/kernels/rotate.cuh"

namespace rotorquant::gpu {

/// Working memory of one tile, in floats: four tiles of dims, eight rows of numbers a vector, and
/// nibbles, a byte each.
constexpr size_t encode_work_floats(const CodeShape& code) {
  return (size_t{4} * code.dims + 8 + size_t{code.planes} * code.quads / 4 + 1) * tile_vectors;
}

struct EncodeWork {
  float* u;
  float* decoded;
  float* sign_part;
  float* scratch;  ///< also the target of a joint round
  float* norm;
  float* to_unit;
  float* step;
  float* product;    ///< <u, x^>, |x^|^2 (unused), <u, a_1>: three rows
  uint8_t* nibbles;  ///< [plane][quad][32]

  RQ_DEVICE_MEMBER static EncodeWork in(float* memory, const CodeShape& code) {
    const size_t tile = size_t{code.dims} * tile_vectors;
    EncodeWork work;
    work.u = memory;
    work.decoded = memory + tile;
    work.sign_part = memory + 2 * tile;
    work.scratch = memory + 3 * tile;
    work.norm = memory + 4 * tile;
    work.to_unit = work.norm + tile_vectors;
    work.step = work.to_unit + tile_vectors;
    work.product = work.step + tile_vectors;
    work.nibbles = reinterpret_cast<uint8_t*>(work.product + 5 * tile_vectors);
    return work;
  }
  RQ_DEVICE_MEMBER uint8_t* plane(const CodeShape& code, unsigned p) const {
    return nibbles + size_t{p} * code.quads * tile_vectors;
  }
};

struct Child {
  uint32_t index;
  float centroid[4];
};

/// Nearest of 16 children by |c|^2/2 - <t, c>, the first on ties. Coordinate k (4: half the squared
/// norm) of child j is table[(j * 5 + k) * step].
RQ_DEVICE Child nearest_child(const float* t, const float* table, unsigned child_step,
                              unsigned step) {
  Child best{0, {0.0F, 0.0F, 0.0F, 0.0F}};
  float best_score = bits_float(0x7F800000U);
  for (unsigned j = 0; j < 16; ++j) {
    float c[4];
    float score = table[j * child_step + 4 * step];
    for (unsigned k = 0; k < 4; ++k) {
      c[k] = table[j * child_step + k * step];
      score = score - t[k] * c[k];
    }
    if (score < best_score) {
      best_score = score;
      best.index = j;
      for (unsigned k = 0; k < 4; ++k) {
        best.centroid[k] = c[k];
      }
    }
  }
  return best;
}

/// Levels beyond the tree: bits of the embedded index of each coordinate's residual.
RQ_DEVICE void scalar_levels(const CodecView& codec, const float* scale, const float* t,
                             float* centroid, uint8_t* nibbles, size_t plane_stride) {
  const auto bits = static_cast<unsigned>(codec.tree.scalar_bits);
  uint32_t heap[4];
  for (unsigned k = 0; k < 4; ++k) {
    const float value = (t[k] - centroid[k]) / scale[k];
    heap[k] = 1;
    for (unsigned level = 0; level < bits; ++level) {
      heap[k] = 2 * heap[k] + (value >= codec.scalar_thresholds[heap[k]] ? 1U : 0U);
    }
    centroid[k] += scale[k] * codec.scalar_centroids[(bits - 1) * 32 + heap[k] - (1U << bits)];
  }
  for (unsigned level = 0; level < bits; ++level) {
    uint32_t nibble = 0;
    for (unsigned k = 0; k < 4; ++k) {
      nibble |= ((heap[k] >> (bits - 1 - level)) & 1U) << k;
    }
    nibbles[level * plane_stride] = static_cast<uint8_t>(nibble);
  }
}

/// Greedy descent of every quad: target -> nibbles and their decoding.
RQ_DEVICE void encode_levels(const CodecView& codec, const float* target, const EncodeWork& work) {
  const simd::TreeView& tree = codec.tree;
  const unsigned lane = lane_id();
  const size_t plane_stride = size_t{codec.code.quads} * tile_vectors;
  for (unsigned quad = warp_id(); quad < codec.code.quads; quad += warps()) {
    const size_t own = tree.trees == 1 ? 0 : quad;
    float t[4];
    for (unsigned k = 0; k < 4; ++k) {
      t[k] = target[(quad * 4 + k) * tile_vectors + lane];
    }
    uint8_t* nibbles = work.nibbles + quad * tile_vectors + lane;
    Child child = nearest_child(t, tree.level1 + own * 80, 5, 1);
    nibbles[0] = static_cast<uint8_t>(child.index);
    uint32_t node = child.index;
    if (tree.levels >= 2) {
      child = nearest_child(t, tree.level2 + (own * 16 + node) * 80, 1, 16);
      nibbles[plane_stride] = static_cast<uint8_t>(child.index);
      node = node * 16 + child.index;
    }
    if (tree.levels >= 3) {
      child = nearest_child(t, tree.level3 + (own * 256 + node) * 80, 1, 16);
      nibbles[2 * plane_stride] = static_cast<uint8_t>(child.index);
    }
    if (tree.scalar_bits > 0) {
      scalar_levels(codec, tree.leaf_scales + (own * 256 + node) * 4, t, child.centroid,
                    nibbles + 3 * plane_stride, plane_stride);
    }
    for (unsigned k = 0; k < 4; ++k) {
      work.decoded[(quad * 4 + k) * tile_vectors + lane] = child.centroid[k];
    }
  }
  block_barrier();
}

/// Signs of O r and their step c = |O r|_1 / P; leaves O^T s in work.sign_part.
RQ_DEVICE void fit_signs(const CodecView& codec, EncodeWork& work) {
  const unsigned dims = codec.code.dims;
  const unsigned lane = lane_id();
  for (unsigned i = thread_id(); i < dims * tile_vectors; i += threads()) {
    work.sign_part[i] = work.u[i] - work.decoded[i];
  }
  block_barrier();
  rotor_forward(codec.sign_map, work.sign_part, work.scratch);
  if (warp_id() == 0) {
    float sum = 0.0F;
    for (unsigned i = 0; i < dims; ++i) {
      const float z = work.sign_part[i * tile_vectors + lane];
      sum = sum + (z < 0.0F ? -z : z);
    }
    work.step[lane] = sum / static_cast<float>(dims);
  }
  block_barrier();
  uint8_t* plane = work.plane(codec.code, codec.code.levels);
  for (unsigned quad = warp_id(); quad < codec.code.quads; quad += warps()) {
    uint32_t bits = 0;
    for (unsigned k = 0; k < 4; ++k) {
      float& z = work.sign_part[(quad * 4 + k) * tile_vectors + lane];
      const bool negative = z < 0.0F;
      bits |= (negative ? 1U : 0U) << k;
      z = negative ? -1.0F : 1.0F;
    }
    plane[quad * tile_vectors + lane] = static_cast<uint8_t>(bits);
  }
  block_barrier();
  rotor_inverse(codec.sign_map, work.sign_part, work.scratch);
}

/// Scales every vector to norm sqrt(P).
RQ_DEVICE void to_unit_variance(const CodecView& codec, const EncodeWork& work) {
  const unsigned dims = codec.code.dims;
  if (warp_id() == 0) {
    const unsigned lane = lane_id();
    float squared = 0.0F;
    for (unsigned i = 0; i < dims; ++i) {
      const float y = work.u[i * tile_vectors + lane];
      squared = squared + y * y;
    }
    const float norm = root(squared);
    work.norm[lane] = norm;
    work.to_unit[lane] = norm > 0.0F ? root(static_cast<float>(dims)) / norm : 0.0F;
  }
  block_barrier();
  for (unsigned i = thread_id(); i < dims * tile_vectors; i += threads()) {
    work.u[i] = work.u[i] * work.to_unit[i % tile_vectors];
  }
  block_barrier();
}

/// <u, x^> and <u, a_1>, each summed by one warp.
RQ_DEVICE void code_products(const CodecView& codec, const EncodeWork& work) {
  const unsigned lane = lane_id();
  for (unsigned which = warp_id(); which < 2; which += warps()) {
    float sum = 0.0F;
    for (unsigned i = 0; i < codec.code.dims; ++i) {
      const unsigned quad = i / 4;
      float other = work.decoded[i * tile_vectors + lane];
      if (which == 1) {
        const size_t own = codec.tree.trees == 1 ? 0 : quad;
        const uint32_t nibble = work.nibbles[quad * tile_vectors + lane];
        other = codec.code.levels == 0 ? 0.0F : codec.tree.level1[own * 80 + nibble * 5 + i % 4];
      }
      sum = sum + work.u[i * tile_vectors + lane] * other;
    }
    work.product[which * tile_vectors + lane] = sum;
  }
  block_barrier();
}

/// The factor that makes the estimate exact along the vector; 0 where the code points away from it.
RQ_DEVICE float exact_alpha(float norm, float product, unsigned dims) {
  return product > 0.0F ? norm * root(static_cast<float>(dims)) / product : 0.0F;
}

/// Byte `at` of vector v's canonical code.
RQ_DEVICE uint8_t code_byte(const CodeShape& code, const EncodeWork& work, float additive,
                            unsigned v, unsigned at) {
  if (at < code.scan_factor_offset) {
    const uint8_t* plane = work.plane(code, at / code.plane_bytes) + v;
    const unsigned quad = at % code.plane_bytes * 2;
    const unsigned high = quad + 1 < code.quads ? plane[(quad + 1) * tile_vectors] : 0U;
    return static_cast<uint8_t>(plane[quad * tile_vectors] | (high << 4U));
  }
  const float norm = work.norm[v];
  const float alpha = exact_alpha(norm, work.product[v], code.dims);
  const float beta = alpha * (code.signs ? work.step[v] : 0.0F);
  if (at < code.factor_offset) {
    const unsigned byte = at - code.scan_factor_offset;
    const float alpha1 =
        code.levels == 0 ? beta : exact_alpha(norm, work.product[tile_vectors + v], code.dims);
    return byte < 2 ? static_cast<uint8_t>(encode_factor(alpha1) >> (8 * byte))
                    : static_cast<uint8_t>(float_bits(additive) >> (8 * (byte - 2)));
  }
  const unsigned width = code.wide_factors ? 4 : 2;
  const unsigned byte = at - code.factor_offset;
  const float factor = byte < width ? alpha : beta;
  const uint32_t bits = code.wide_factors ? float_bits(factor) : encode_factor(factor);
  return static_cast<uint8_t>(bits >> (8 * (byte % width)));
}

RQ_DEVICE void encode_tile(const EncodeArgs& args, unsigned first, EncodeWork work) {
  const CodecView& codec = args.codec;
  const CodeShape& code = codec.code;
  load_tile(args.y, args.n, code.dims, first, code.dims, work.u);
  to_unit_variance(codec, work);
  const unsigned size = code.dims * tile_vectors;
  // One call of each, in a loop: inlined twice they double the time to compile.
  const int rounds = code.levels > 0 && code.signs ? args.joint_rounds : 0;
  for (int round = 0; round <= rounds; ++round) {
    for (unsigned i = thread_id(); i < size; i += threads()) {
      if (round > 0) {
        work.scratch[i] = work.u[i] - work.step[i % tile_vectors] * work.sign_part[i];
      }
      if (code.levels == 0) {
        work.decoded[i] = 0.0F;
      }
    }
    block_barrier();
    if (code.levels > 0) {
      encode_levels(codec, round == 0 ? work.u : work.scratch, work);
    }
    if (code.signs) {
      fit_signs(codec, work);
    }
  }
  if (code.signs) {
    for (unsigned i = thread_id(); i < size; i += threads()) {
      work.decoded[i] = work.decoded[i] + work.step[i % tile_vectors] * work.sign_part[i];
    }
    block_barrier();
  }
  code_products(codec, work);
  for (unsigned i = thread_id(); i < tile_vectors * code.code_bytes; i += threads()) {
    const unsigned v = i / code.code_bytes;
    if (first + v < args.n) {
      args.codes[size_t{first} * code.code_bytes + i] =
          code_byte(code, work, args.additive[first + v], v, i % code.code_bytes);
    }
  }
  block_barrier();
}

RQ_KERNEL encode_rows(EncodeArgs args) {
  float* memory = args.workspace == nullptr
                      ? reinterpret_cast<float*>(shared_memory())
                      : args.workspace + block_x() * encode_work_floats(args.codec.code);
  const EncodeWork work = EncodeWork::in(memory, args.codec.code);
  for (unsigned first = block_x() * tile_vectors; first < args.n;
       first += blocks_x() * tile_vectors) {
    encode_tile(args, first, work);
  }
}

/// Levels and signs of canonical codes as scaled rows; rotate_rows or a GEMM undo O and the frame.
RQ_KERNEL decode_rows(DecodeArgs args) {
  const CodeShape& code = args.codec.code;
  const size_t size = size_t{args.n} * code.dims;
  for (size_t i = size_t{block_x()} * threads() + thread_id(); i < size;
       i += size_t{blocks_x()} * threads()) {
    const uint8_t* bytes = args.codes + i / code.dims * code.code_bytes;
    const auto j = static_cast<unsigned>(i % code.dims);
    const Factors factors = read_factors(code, load_narrow(bytes + code.scan_factor_offset),
                                         bytes + code.factor_offset);
    float level_part = 0.0F;
    if (args.combination.levels > 0) {
      const float alpha = combine(args.combination, factors, 1.0F, 0.0F, -1.0F, code.dims);
      const float a =
          decode_coordinate(args.codec, args.combination.levels, nibble_of(bytes, j / 4),
                            bytes + code.plane_bytes, j / 4, j % 4);
      level_part = args.shrink * alpha * a;
    }
    args.level_part[i] = level_part;
    if (args.sign_part != nullptr) {
      const uint8_t* plane = bytes + (code.planes - 1) * code.plane_bytes;
      const bool negative = ((plane[j / 8] >> (j % 8)) & 1U) != 0;
      args.sign_part[i] = args.shrink * (negative ? -factors.beta : factors.beta);
    }
  }
}

/// a += b.
RQ_KERNEL add_rows(ResidualArgs args) {
  const size_t size = size_t{args.n} * args.d;
  for (size_t i = size_t{block_x()} * threads() + thread_id(); i < size;
       i += size_t{blocks_x()} * threads()) {
    args.residual[i] += args.x[i];
  }
}

}  // namespace rotorquant::gpu
