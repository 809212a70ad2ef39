// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace rotorquant {

struct ValueRange {
  float low;
  float high;
};

/// The least and the greatest of n values; +infinity and -infinity of none. Loops over 16 partial
/// results: what compilers turn into vectors.
inline ValueRange range_of(const float* values, size_t n) {
  constexpr size_t parts = 16;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::array<float, parts> low;
  std::array<float, parts> high;
  low.fill(infinity);
  high.fill(-infinity);
  size_t i = 0;
  for (; i + parts <= n; i += parts) {
    for (size_t part = 0; part < parts; ++part) {
      const float value = values[i + part];
      low[part] = value < low[part] ? value : low[part];
      high[part] = value > high[part] ? value : high[part];
    }
  }
  for (; i < n; ++i) {
    low[0] = std::min(low[0], values[i]);
    high[0] = std::max(high[0], values[i]);
  }
  return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
}

}  // namespace rotorquant
