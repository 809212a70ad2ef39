// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>

#include "timing.h"

namespace rotorquant::tools {

/// Says on stderr what is being done. On a terminal it is one line that is written over, with a
/// percentage where the work comes in pieces; elsewhere it is one line a step.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// Begins a step.
  void step(const std::string& what);
  /// `done` of `total` pieces of the step are finished. Cheap: a terminal sees ten a second.
  void update(size_t done, size_t total);
  /// A line that stays, whatever stderr is.
  void note(const std::string& text);
  /// Takes the transient line away, so that something else can be written.
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  std::string what_;
  Stopwatch since_start_;
  double last_shown_ = 0.0;

  void show(const std::string& text);
};

}  // namespace rotorquant::tools
