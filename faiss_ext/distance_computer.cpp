// SPDX-License-Identifier: MIT
#include "faiss_ext/distance_computer.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

namespace rotorquant {
namespace {

constexpr size_t cached_floats = size_t{1} << 17;  // half a megabyte a thread
constexpr size_t most_slots = 1024;
constexpr size_t partial_sums = 8;  // so that the compiler may use vectors, in a fixed order

template <class Term>
float sum_over(size_t n, const Term& term) {
  std::array<float, partial_sums> sums{};
  size_t i = 0;
  for (; i + partial_sums <= n; i += partial_sums) {
    for (size_t lane = 0; lane < partial_sums; ++lane) {
      sums[lane] += term(i + lane);
    }
  }
  for (; i < n; ++i) {
    sums[i % partial_sums] += term(i);
  }
  float total = 0.0F;
  for (const float sum : sums) {
    total += sum;
  }
  return total;
}

}  // namespace

/// Decodings by id: slot id % slots holds that id's, or nothing.
struct RotorQuantDistanceComputer::DecodeCache {
  std::atomic_flag busy;
  std::vector<idx_t> ids;  // -1: empty
  std::vector<float> rows;
  std::vector<float> other_row;  // for a pair that shares a slot
  std::vector<uint8_t> code;

  size_t slot(idx_t i) const { return static_cast<size_t>(i) % ids.size(); }

  void allocate(const IndexRotorQuant& index, size_t slots) {
    ids.assign(slots, -1);
    rows.resize(slots * static_cast<size_t>(index.d));
    code.resize(index.codec.code_bytes());
  }
  const float* decoded(const IndexRotorQuant& index, idx_t i) {
    float* row = rows.data() + slot(i) * static_cast<size_t>(index.d);
    if (ids[slot(i)] != i) {
      index.store.pack(static_cast<size_t>(i), 1, code.data());
      index.codec.decode(code.data(), 1, row);
      index.space.restore(row, 1, static_cast<size_t>(index.d));
      ids[slot(i)] = i;
    }
    return row;
  }
};

RotorQuantDistanceComputer::RotorQuantDistanceComputer(const IndexRotorQuant& index)
    : index_(index),
      scorer_(index.codec, index.space, index.store),
      is_l2_(index.space.metric == Metric::l2),
      caches_(static_cast<size_t>(omp_get_max_threads())) {
  for (std::unique_ptr<DecodeCache>& cache : caches_) {
    cache = std::make_unique<DecodeCache>();
  }
}

RotorQuantDistanceComputer::~RotorQuantDistanceComputer() = default;

void RotorQuantDistanceComputer::set_query(const float* x) {
  usable_ = std::all_of(x, x + index_.d, [](float v) { return std::isfinite(v); });
  if (usable_) {
    scorer_.set_query(x);
  }
}

float RotorQuantDistanceComputer::operator()(idx_t i) {
  const float distance =
      usable_ ? scorer_.distance(static_cast<size_t>(i)) : std::numeric_limits<float>::max();
  return is_l2_ ? distance : -distance;
}

float RotorQuantDistanceComputer::between(DecodeCache& cache, idx_t i, idx_t j) const {
  const auto d = static_cast<size_t>(index_.d);
  const float* a = cache.decoded(index_, i);
  if (i != j && cache.slot(i) == cache.slot(j)) {
    cache.other_row.assign(a, a + d);
    a = cache.other_row.data();
  }
  const float* b = cache.decoded(index_, j);
  return is_l2_ ? sum_over(d, [&](size_t c) { return (a[c] - b[c]) * (a[c] - b[c]); })
                : sum_over(d, [&](size_t c) { return a[c] * b[c]; });
}

float RotorQuantDistanceComputer::symmetric_dis(idx_t i, idx_t j) {
  const auto thread = static_cast<size_t>(omp_get_thread_num());
  DecodeCache& cache = *caches_[thread % caches_.size()];
  // Threads that are not OpenMP's all have number 0: who comes second works without a cache.
  if (cache.busy.test_and_set(std::memory_order_acquire)) {
    DecodeCache temporary;
    temporary.allocate(index_, 2);
    return between(temporary, i, j);
  }
  if (cache.ids.empty()) {  // searches never come here
    const size_t slots = cached_floats / static_cast<size_t>(index_.d);
    cache.allocate(index_, std::clamp<size_t>(slots, 2, most_slots));
  }
  const float distance = between(cache, i, j);
  cache.busy.clear(std::memory_order_release);
  return distance;
}

}  // namespace rotorquant
