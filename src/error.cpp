// SPDX-License-Identifier: MIT
#include "rotorquant/error.h"

#include <cmath>

namespace rotorquant {

void throw_error(std::string_view argument, std::string_view expected, std::string_view received) {
  std::string message = "rotorquant: ";
  message.append(argument).append(": expected ").append(expected);
  message.append(", received ").append(received);
  throw Error(message);
}

void require_finite(const float* x, size_t n, size_t d, std::string_view argument) {
  for (size_t row = 0; row < n; ++row) {
    // 0 * v is 0 for every finite v and NaN otherwise: one branch a row, not one a number.
    float poison = 0.0F;
    for (size_t j = 0; j < d; ++j) {
      poison += 0.0F * x[row * d + j];
    }
    if (poison != 0.0F) [[unlikely]] {
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
