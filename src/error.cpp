// SPDX-License-Identifier: MIT
#include "rotorquant/error.h"

#include <cmath>
#include <cstdint>
#include <cstring>

namespace rotorquant {

void throw_error(std::string_view argument, std::string_view expected, std::string_view received) {
  std::string message = "rotorquant: ";
  message.append(argument).append(": expected ").append(expected);
  message.append(", received ").append(received);
  throw Error(message);
}

bool all_finite(const float* x, size_t n) {
  // Exponents of ones alone are not finite: integers, which compilers turn into vectors.
  int32_t not_finite = 0;
  for (size_t i = 0; i < n; ++i) {
    int32_t bits = 0;
    std::memcpy(&bits, x + i, sizeof(bits));
    not_finite |= static_cast<int32_t>((bits & 0x7FFFFFFF) >= 0x7F800000);
  }
  return not_finite == 0;
}

void require_finite(const float* x, size_t n, size_t d, std::string_view argument) {
  for (size_t row = 0; row < n; ++row) {
    if (!all_finite(x + row * d, d)) [[unlikely]] {
      size_t j = 0;
      while (std::isfinite(x[row * d + j])) {
        ++j;
      }
      std::ostringstream received;
      received << x[row * d + j] << " in row " << row << ", column " << j;
      throw_error(argument, "finite numbers", received.str());
    }
  }
}

}  // namespace rotorquant
