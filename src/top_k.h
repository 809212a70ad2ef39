// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace rotorquant {

/// A candidate; ordered by distance, then id, so that ties never depend on who came first.
struct Neighbour {
  float distance;
  int64_t id;

  friend bool operator<(const Neighbour& a, const Neighbour& b) {
    return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
  }
};

/// The k least neighbours seen: a binary max-heap.
class TopK {
 public:
  explicit TopK(size_t k) : k_(k) { heap_.reserve(k); }

  /// Empty again, for the `k` least.
  void reset(size_t k) {
    k_ = k;
    heap_.clear();
    heap_.reserve(k);
  }
  size_t k() const { return k_; }
  bool full() const { return heap_.size() == k_; }
  /// Distance of the k-th best, +infinity until there are k (k >= 1). A candidate above it cannot
  /// enter; one equal to it can, by its id.
  float threshold() const {
    return full() ? heap_.front().distance : std::numeric_limits<float>::infinity();
  }

  void push(const Neighbour& candidate) {
    if (!full()) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end());
    } else if (candidate < heap_.front()) {
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end());
    }
  }

  /// Ascending; leaves the heap empty.
  std::vector<Neighbour> take_sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    std::vector<Neighbour> sorted;
    sorted.swap(heap_);
    return sorted;
  }

 private:
  size_t k_;
  std::vector<Neighbour> heap_;
};

}  // namespace rotorquant
