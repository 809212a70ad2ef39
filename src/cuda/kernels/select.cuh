// SPDX-License-Identifier: MIT
#pragma once

// The k least of many keys, by 64-bit keys (ordered distance, id): neither ties nor the order of
// atomics can change a result.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

constexpr unsigned most_selected = 2048;  ///< k of select_best
constexpr unsigned least_room = 256;      ///< at least the threads of a block

/// Room for the best so far; as many again for newcomers. A power of two.
constexpr unsigned select_room(unsigned k) {
  unsigned room = least_room;
  while (room < k) {
    room *= 2;
  }
  return room;
}

/// Sorts `size` keys (a power of two) in shared memory, ascending. Starts and ends with a barrier.
RQ_DEVICE void bitonic_sort(uint64_t* keys, unsigned size) {
  for (unsigned run = 2; run <= size; run *= 2) {
    for (unsigned step = run / 2; step > 0; step /= 2) {
      block_barrier();
      for (unsigned i = thread_id(); i < size / 2; i += threads()) {
        const unsigned low = i / step * step * 2 + i % step;
        const unsigned high = low + step;
        const bool ascending = (low & run) == 0;
        const uint64_t a = keys[low];
        const uint64_t b = keys[high];
        if ((b < a) == ascending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  block_barrier();
}

/// A block a row: keys below the k-th least so far gather behind the best ones; when there is no
/// room for another round, all are sorted and the k least stay.
RQ_KERNEL select_best(SelectArgs args) {
  const unsigned room = select_room(args.k);
  auto* keys = reinterpret_cast<uint64_t*>(shared_memory());
  auto* fresh = reinterpret_cast<uint32_t*>(keys + 2 * room);
  const size_t row = block_x();
  const uint64_t* from = args.keys + row * args.capacity;
  uint64_t* best = args.best + row * args.k;
  const unsigned count =
      args.counts == nullptr ? args.capacity : smaller(args.counts[row], args.capacity);
  for (unsigned i = thread_id(); i < 2 * room; i += threads()) {
    keys[i] = args.keep && i < args.k ? best[i] : no_key;
  }
  if (thread_id() == 0) {
    *fresh = 0;
  }
  block_barrier();
  for (unsigned base = 0; base < count; base += threads()) {
    const unsigned i = base + thread_id();
    const uint64_t key = i < count ? from[i] : no_key;
    if (key < keys[args.k - 1]) {
      keys[room + atomic_add(fresh, 1)] = key;
    }
    block_barrier();
    const bool last = base + threads() >= count;
    if (*fresh + threads() > room || (last && *fresh > 0)) {
      bitonic_sort(keys, 2 * room);
      for (unsigned j = args.k + thread_id(); j < 2 * room; j += threads()) {
        keys[j] = no_key;
      }
      if (thread_id() == 0) {
        *fresh = 0;
      }
    }
    block_barrier();
  }
  for (unsigned i = thread_id(); i < args.k; i += threads()) {
    best[i] = keys[i];
  }
  if (thread_id() == 0 && args.reached != nullptr) {
    const uint64_t last = keys[args.k - 1];
    args.reached[row] = last == no_key ? bits_float(0x7F800000U) : key_distance(last);
  }
}

/// A block a row: adds the query's base, which rounds and can make equals of two distances, sorts
/// again and writes distances and ids.
RQ_KERNEL finish_results(FinishArgs args) {
  auto* keys = reinterpret_cast<uint64_t*>(shared_memory());
  const size_t row = block_x();
  const uint64_t* best = args.best + row * args.k;
  for (unsigned i = thread_id(); i < args.padded_k; i += threads()) {
    const uint64_t key = i < args.k ? best[i] : no_key;
    keys[i] = key == no_key ? no_key : make_key(key_distance(key) + args.base[row], key_id(key));
  }
  bitonic_sort(keys, args.padded_k);
  for (unsigned i = thread_id(); i < args.k; i += threads()) {
    const uint64_t key = keys[i];
    args.distances[row * args.k + i] = key == no_key ? args.missing : args.sign * key_distance(key);
    const uint32_t id = key_id(key);
    args.ids[row * args.k + i] = key == no_key               ? -1
                                 : args.label_ids == nullptr ? static_cast<int64_t>(id)
                                                             : args.label_ids[id];
  }
}

}  // namespace rotorquant::gpu
