// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace rotorquant {

/// Every error the core throws. The message names the argument, what was expected and what was
/// received: "rotorquant: d: expected 128, received 100".
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws Error with the message above. Out of line: the cold path stays out of callers.
[[noreturn]] void throw_error(std::string_view argument, std::string_view expected,
                              std::string_view received);

/// Throws Error("<argument>: expected <expected>, received <received>") unless ok.
/// `expected` and `received` may be anything that can be written to an ostream.
template <class Expected, class Received>
void require(bool ok, std::string_view argument, const Expected& expected,
             const Received& received) {
  if (ok) [[likely]] {
    return;
  }
  std::ostringstream wanted;
  std::ostringstream got;
  wanted << expected;
  got << received;
  throw_error(argument, wanted.str(), got.str());
}

/// Whether none of n numbers is NaN or infinite.
bool all_finite(const float* x, size_t n);
/// Throws Error naming the first row of x (n x d, row-major) that holds a NaN or an infinity.
void require_finite(const float* x, size_t n, size_t d, std::string_view argument);

}  // namespace rotorquant
