// SPDX-License-Identifier: MIT
#pragma once

// Runs the blocks of a launch on the calling thread. Not thread-safe with itself on one thread's
// launches nested; different threads are independent.

#include <cstddef>
#include <cstdint>
#include <functional>

#include "cuda/runtime.h"

namespace rotorquant::gpu::emulator {

/// Where the running fiber is.
struct Position {
  unsigned thread;
  unsigned threads;
  unsigned block_x;
  unsigned block_y;
  unsigned blocks_x;
  uint8_t* shared;
};

/// What one lane shows the others of its warp.
struct Slot {
  alignas(8) unsigned char bytes[32];
};

/// The order in which runnable threads, and blocks, get their turn. A kernel whose result depends
/// on it has a race.
enum class Schedule : uint8_t { forward, backward, shuffled };
void set_schedule(Schedule schedule);

/// Runs body() once for every thread of every block. Throws Error when threads wait for each other
/// in vain: a barrier or warp operation that not all threads come to.
void run(const LaunchShape& shape, const std::function<void()>& body);

const Position& position();
/// Returns once every thread of the block has called it.
void wait_for_block();
/// Returns, once every lane of the warp has called it, what the 32 lanes brought; valid until the
/// next but one call.
const Slot* exchange(const void* data, size_t bytes);

}  // namespace rotorquant::gpu::emulator
