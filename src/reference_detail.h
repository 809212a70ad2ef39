// SPDX-License-Identifier: MIT
#pragma once

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

/// Helpers that reference.cpp and reference_prod.cpp share. Not installed.
namespace rotorquant::reference_detail {

/// Buffers of one thread.
struct RowScratch {
  float* floats;
  uint8_t* bytes;
};

/// Calls body(row, RowScratch) for n rows, in parallel where there are enough of them. The buffers
/// are allocated before the threads start, since an exception may not leave a parallel region; the
/// body must not throw.
template <class Body>
void for_rows(size_t n, size_t floats, size_t bytes, const Body& body) {
  constexpr size_t rows_a_thread = 64;  // fewer do not repay the start of a thread
  constexpr size_t pad = 64;            // keeps two threads off one cache line
  const int threads = static_cast<int>(
      std::clamp<size_t>(n / rows_a_thread, 1, static_cast<size_t>(omp_get_max_threads())));
  const size_t float_stride = floats + pad;
  const size_t byte_stride = bytes + pad;
  std::vector<float> float_buffer(static_cast<size_t>(threads) * float_stride);
  std::vector<uint8_t> byte_buffer(static_cast<size_t>(threads) * byte_stride);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (size_t row = 0; row < n; ++row) {
    const auto thread = static_cast<size_t>(omp_get_thread_num());
    body(row, RowScratch{float_buffer.data() + thread * float_stride,
                         byte_buffer.data() + thread * byte_stride});
  }
}

/// fp32 as four bytes, lowest first, on any host.
inline void store_float(float value, uint8_t* bytes) {
  const auto word = std::bit_cast<uint32_t>(value);
  for (unsigned i = 0; i < 4; ++i) {
    bytes[i] = static_cast<uint8_t>(word >> (8U * i));
  }
}

inline float load_float(const uint8_t* bytes) {
  uint32_t word = 0;
  for (unsigned i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(bytes[i]) << (8U * i);
  }
  return std::bit_cast<float>(word);
}

/// Writes `bits` (1..8) bits at bit `position`, lowest first; the target bits are 0 before.
inline void put_bits(uint8_t* bytes, size_t position, unsigned bits, unsigned value) {
  const unsigned offset = position % 8;
  const unsigned word = value << offset;
  bytes[position / 8] = static_cast<uint8_t>(bytes[position / 8] | (word & 0xFFU));
  if (offset + bits > 8) {
    bytes[position / 8 + 1] = static_cast<uint8_t>(bytes[position / 8 + 1] | (word >> 8U));
  }
}

inline uint8_t get_bits(const uint8_t* bytes, size_t position, unsigned bits) {
  const unsigned offset = position % 8;
  unsigned word = bytes[position / 8];
  if (offset + bits > 8) {
    word |= static_cast<unsigned>(bytes[position / 8 + 1]) << 8U;
  }
  return static_cast<uint8_t>((word >> offset) & ((1U << bits) - 1U));
}

constexpr size_t bytes_of_bits(size_t bits) {
  return (bits + 7) / 8;
}

}  // namespace rotorquant::reference_detail
