// SPDX-License-Identifier: MIT
#pragma once

// What one core of this machine can do at most: the measure for what kernels reach.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rotorquant::bench {

/// Twice the last-level cache, so that a pass reads memory; between 256 MB and 1 GB.
inline size_t streaming_bytes() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
  const long cache = 0;
#endif
  return std::clamp<size_t>(cache > 0 ? 2 * static_cast<size_t>(cache) : 0, size_t{1} << 28,
                            size_t{1} << 30);
}

/// Sum of the words: eight independent sums, so that loads are what it waits for.
inline uint64_t sum_words(const std::vector<uint64_t>& words) {
  constexpr size_t sums = 8;
  uint64_t partial[sums] = {};
  for (size_t i = 0; i + sums <= words.size(); i += sums) {
    for (size_t j = 0; j < sums; ++j) {
      partial[j] += words[i + j];
    }
  }
  uint64_t total = 0;
  for (const uint64_t part : partial) {
    total += part;
  }
  return total;
}

/// Bytes a second of one thread reading streaming_bytes() of memory in order, best of `passes`.
inline double read_bandwidth(int passes = 5) {
  const std::vector<uint64_t> words(streaming_bytes() / sizeof(uint64_t), 1);
  double best = 0.0;
  for (int i = 0; i < passes; ++i) {
    const auto start = std::chrono::steady_clock::now();
    volatile uint64_t sink = sum_words(words);
    (void)sink;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(words.size() * sizeof(uint64_t)) / seconds.count());
  }
  return best;
}

}  // namespace rotorquant::bench
