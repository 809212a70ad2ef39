// SPDX-License-Identifier: MIT
#include "progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

namespace rotorquant::tools {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::step(const std::string& what) {
  what_ = what;
  if (terminal_) {
    show(what_);
  } else {
    fmt::print(stderr, "[{:7.1f} s] {}\n", since_start_.seconds(), what_);
  }
}

void Progress::update(size_t done, size_t total) {
  constexpr double interval = 0.1;
  if (!terminal_ || total == 0 || since_start_.seconds() - last_shown_ < interval) {
    return;
  }
  show(fmt::format("{} {}%", what_, done * 100 / total));
}

void Progress::note(const std::string& text) {
  clear();
  fmt::print(stderr, "{}\n", text);
}

void Progress::clear() {
  if (shown_) {
    fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
    shown_ = false;
  }
}

void Progress::show(const std::string& text) {
  fmt::print(stderr, "\r\033[K{}", text);
  std::fflush(stderr);
  shown_ = true;
  last_shown_ = since_start_.seconds();
}

}  // namespace rotorquant::tools
