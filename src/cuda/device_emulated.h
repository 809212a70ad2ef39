// SPDX-License-Identifier: MIT
#pragma once

// device.h on the CPU: blocks one after another, the threads of a block as fibers that give way at
// barriers and warp operations (emulator.h). For tests: every kernel runs under the address
// sanitizer, shared and device memory included, each allocation by itself.

#include <bit>
#include <cmath>
#include <cstring>

#include "cuda/emulator.h"

#define RQ_DEVICE [[maybe_unused]] static inline
#define RQ_KERNEL static void
#define RQ_DEVICE_MEMBER
#define RQ_UNROLL

namespace rotorquant::gpu {

RQ_DEVICE unsigned thread_id() {
  return emulator::position().thread;
}
RQ_DEVICE unsigned threads() {
  return emulator::position().threads;
}
RQ_DEVICE unsigned block_x() {
  return emulator::position().block_x;
}
RQ_DEVICE unsigned block_y() {
  return emulator::position().block_y;
}
RQ_DEVICE unsigned blocks_x() {
  return emulator::position().blocks_x;
}
RQ_DEVICE uint8_t* shared_memory() {
  return emulator::position().shared;
}

RQ_DEVICE void block_barrier() {
  emulator::wait_for_block();
}
RQ_DEVICE void warp_barrier() {
  emulator::exchange(nullptr, 0);
}

template <class T>
RQ_DEVICE T shuffle(T value, unsigned lane) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const emulator::Slot* slots = emulator::exchange(&value, sizeof(T));
  std::memcpy(&value, slots[lane % warp_lanes].bytes, sizeof(T));
  return value;
}
template <class T>
RQ_DEVICE T shuffle_xor(T value, unsigned mask) {
  return shuffle(value, (thread_id() % warp_lanes) ^ mask);
}
RQ_DEVICE uint32_t ballot(bool predicate) {
  const auto own = static_cast<uint32_t>(predicate);
  const emulator::Slot* slots = emulator::exchange(&own, sizeof(own));
  uint32_t all = 0;
  for (unsigned lane = 0; lane < warp_lanes; ++lane) {
    uint32_t bit = 0;
    std::memcpy(&bit, slots[lane].bytes, sizeof(bit));
    all |= bit << lane;
  }
  return all;
}

// Fibers give way only where they wait, so plain operations are atomic.
RQ_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t value) {
  const uint32_t before = *p;
  *p = before + value;
  return before;
}
RQ_DEVICE uint32_t atomic_min(uint32_t* p, uint32_t value) {
  const uint32_t before = *p;
  *p = value < before ? value : before;
  return before;
}

RQ_DEVICE Words4 load_streaming(const Words4* p) {
  return *p;
}
RQ_DEVICE uint32_t load_streaming(const uint32_t* p) {
  return *p;
}

/// Fragments of mma.sync.m16n8k32 with bytes: lane = 4 g + t holds a[row][k] for rows g (words 0,
/// 2) and g + 8 (words 1, 3), k = 4 t + byte (words 0, 1) and 16 + 4 t + byte (words 2, 3);
/// b[k][column g] for the same k in words 0 and 1; c[row][column 2 t + i] for row g (0, 1) and
/// g + 8 (2, 3).
RQ_DEVICE void mma_bytes(int32_t* c, const uint32_t* a, const uint32_t* b) {
  struct Operands {
    uint32_t a[4];
    uint32_t b[2];
  };
  Operands own{};
  std::memcpy(own.a, a, sizeof(own.a));
  std::memcpy(own.b, b, sizeof(own.b));
  const emulator::Slot* slots = emulator::exchange(&own, sizeof(own));
  const auto operands = [&](unsigned lane) {
    Operands of{};
    std::memcpy(&of, slots[lane].bytes, sizeof(of));
    return of;
  };
  const unsigned lane = thread_id() % warp_lanes;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row_group = lane / 4;
    const unsigned half = i / 2;  // rows g or g + 8
    const unsigned column = lane % 4 * 2 + i % 2;
    for (unsigned t = 0; t < 4; ++t) {
      const Operands left = operands(row_group * 4 + t);
      const Operands right = operands(column * 4 + t);
      for (unsigned byte = 0; byte < 8; ++byte) {  // k = 16 (byte / 4) + 4 t + byte % 4
        const uint32_t av = left.a[half + byte / 4 * 2] >> (byte % 4 * 8);
        const uint32_t bv = right.b[byte / 4] >> (byte % 4 * 8);
        c[i] += static_cast<int32_t>((av & 0xFFU) * (bv & 0xFFU));
      }
    }
  }
}

RQ_DEVICE float fused(float a, float b, float c) {
  return std::fma(a, b, c);
}
RQ_DEVICE float root(float x) {
  return std::sqrt(x);
}
RQ_DEVICE double root(double x) {
  return std::sqrt(x);
}
RQ_DEVICE int nearest_int(float x) {
  return static_cast<int>(std::lrintf(x));
}
RQ_DEVICE unsigned count_bits(uint32_t x) {
  return static_cast<unsigned>(std::popcount(x));
}
RQ_DEVICE unsigned first_bit(uint32_t x) {
  return static_cast<unsigned>(std::countr_zero(x));
}
RQ_DEVICE uint32_t float_bits(float x) {
  return std::bit_cast<uint32_t>(x);
}
RQ_DEVICE float bits_float(uint32_t u) {
  return std::bit_cast<float>(u);
}

template <class Args>
void launch(void (*kernel)(Args), const LaunchShape& shape, Device& /*device*/, const Args& args) {
  emulator::run(shape, [&] { kernel(args); });
}

}  // namespace rotorquant::gpu
