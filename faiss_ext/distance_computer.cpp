// SPDX-License-Identifier: MIT
#include "faiss_ext/distance_computer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace rotorquant {
namespace {

constexpr size_t cache_slots = 1024;  // half a megabyte at d = 128
constexpr size_t partial_sums = 8;    // so that the compiler may use vectors, in a fixed order

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

RotorQuantDistanceComputer::RotorQuantDistanceComputer(const IndexRotorQuant& index)
    : index_(index),
      scorer_(index.codec, index.space, index.store),
      is_l2_(index.space.metric == Metric::l2) {}

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

const float* RotorQuantDistanceComputer::decoded(idx_t i) {
  const auto d = static_cast<size_t>(index_.d);
  if (cached_ids_.empty()) {  // searches never come here
    cached_ids_.assign(cache_slots, -1);
    cached_rows_.resize(cache_slots * d);
    code_.resize(index_.codec.code_bytes());
  }
  const size_t slot = static_cast<size_t>(i) % cache_slots;
  float* row = cached_rows_.data() + slot * d;
  if (cached_ids_[slot] != i) {
    index_.store.pack(static_cast<size_t>(i), 1, code_.data());
    index_.codec.decode(code_.data(), 1, row);
    index_.space.restore(row, 1, d);
    cached_ids_[slot] = i;
  }
  return row;
}

float RotorQuantDistanceComputer::symmetric_dis(idx_t i, idx_t j) {
  const auto d = static_cast<size_t>(index_.d);
  const float* a = decoded(i);
  if (i != j && static_cast<size_t>(i) % cache_slots == static_cast<size_t>(j) % cache_slots) {
    other_row_.assign(a, a + d);
    a = other_row_.data();
  }
  const float* b = decoded(j);
  return is_l2_ ? sum_over(d, [&](size_t c) { return (a[c] - b[c]) * (a[c] - b[c]); })
                : sum_over(d, [&](size_t c) { return a[c] * b[c]; });
}

}  // namespace rotorquant
