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

void require_finite(const float* x, size_t n, size_t d, std::string_view argument) {
  for (size_t row = 0; row < n; ++row) {
    // Exponents of ones alone are not finite: integers, which compilers turn into vectors, and one
    // branch a row, not one a number.
    int32_t not_finite = 0;
    for (size_t j = 0; j < d; ++j) {
      int32_t bits = 0;
      std::memcpy(&bits, x + row * d + j, sizeof(bits));
      not_finite |= static_cast<int32_t>((bits & 0x7FFFFFFF) >= 0x7F800000);
    }
    if (not_finite != 0) [[unlikely]] {
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
