// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

#include "rotorquant/search.h"

namespace rotorquant {

/// Adds the seconds it lived to a counter, where anybody counts.
class StageTimer {
 public:
  StageTimer(bool counting, double& seconds) : counting_(counting), seconds_(seconds) {
    if (counting_) {
      start_ = std::chrono::steady_clock::now();
    }
  }
  ~StageTimer() {
    if (counting_) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      seconds_ += elapsed.count();
    }
  }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  bool counting_;
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

/// Adds what one thread counted to what all of them share, where anybody counts.
inline void add_shared(const SearchStats& own, SearchStats* total) {
  if (total == nullptr) {
    return;
  }
#pragma omp critical(rotorquant_search_stats)
  *total += own;
}

}  // namespace rotorquant
