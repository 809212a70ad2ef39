// SPDX-License-Identifier: MIT
#pragma once

// What kernels are written over: threads, blocks, warps of 32 lanes, shared memory, atomics, tensor
// core tiles. device_cuda.h maps each name to the hardware's own; device_emulated.h runs a block's
// threads as fibers on the CPU. Kernels compile for both from the same source, so they use nothing
// beyond these names and plain arithmetic, and never contract a * b + c (nvcc -fmad=false, g++
// -ffp-contract=off): fused operations are written as fused().
//
//   RQ_KERNEL                  a kernel: `RQ_KERNEL name(Args args)`, launched by launch()
//   RQ_DEVICE                  a function that kernels call; RQ_DEVICE_MEMBER a member function.
//                              What is constexpr runs on both sides anyhow
//   RQ_UNROLL                  before a loop of few, known rounds whose arrays belong in registers
//   thread_id(), threads()     within the block; lane_id() and warp_id() follow from it
//   block_x(), block_y(), blocks_x()
//   shared_memory()            the block's dynamic shared memory, 16-byte aligned, not initialised
//   block_barrier()            every thread of the block must come
//   shuffle(v, lane), shuffle_xor(v, mask), ballot(p), warp_barrier()
//                              every lane of the warp must come; v is 4 or 8 bytes
//   atomic_add(p, v), atomic_min(p, v)     32 bits unsigned; return the old value
//   load_streaming(p)          16 or 4 bytes that are read once: around the first-level cache
//   mma_bytes(c, a, b)         c (16 x 8, int32) += a (16 x 32) b (32 x 8), unsigned bytes, in the
//                              fragments of mma.sync.m16n8k32
//   fused(a, b, c)             a * b + c, rounded once
//   root(x), nearest_int(x)    correctly rounded; ties to even
//   count_bits(x), first_bit(x)
//   float_bits(x), bits_float(u)

#include <cstddef>
#include <cstdint>

#include "cuda/runtime.h"

namespace rotorquant::gpu {

constexpr unsigned warp_lanes = 32;

/// Words that are read and written as one.
struct alignas(16) Words4 {
  uint32_t w[4];
};
struct alignas(8) Words2 {
  uint32_t w[2];
};

}  // namespace rotorquant::gpu

#if defined(__CUDACC__)
#include "cuda/device_cuda.h"
#else
#include "cuda/device_emulated.h"
#endif

namespace rotorquant::gpu {

RQ_DEVICE unsigned lane_id() {
  return thread_id() % warp_lanes;
}
RQ_DEVICE unsigned warp_id() {
  return thread_id() / warp_lanes;
}
RQ_DEVICE unsigned warps() {
  return threads() / warp_lanes;
}

template <class T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T larger(T a, T b) {
  return a < b ? b : a;
}

/// Unsigned numbers in the order of the floats; -0 counts as 0, so that equal floats stay equal.
RQ_DEVICE uint32_t ordered_bits(float value) {
  const uint32_t bits = float_bits(value + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
RQ_DEVICE float ordered_float(uint32_t ordered) {
  return bits_float((ordered & 0x80000000U) != 0 ? ordered & 0x7FFFFFFFU : ~ordered);
}

/// A scored vector as one number: least distance first, then least id. no_key is behind them all.
RQ_DEVICE uint64_t make_key(float distance, uint32_t id) {
  return (static_cast<uint64_t>(ordered_bits(distance)) << 32U) | id;
}
RQ_DEVICE float key_distance(uint64_t key) {
  return ordered_float(static_cast<uint32_t>(key >> 32U));
}
RQ_DEVICE uint32_t key_id(uint64_t key) {
  return static_cast<uint32_t>(key);
}
constexpr uint64_t no_key = ~uint64_t{0};

}  // namespace rotorquant::gpu
