// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/impl/DistanceComputer.h>

#include <cstddef>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"

namespace rotorquant {

/// What IndexRotorQuant::get_distance_computer returns: distances in FAISS's sense (similarities
/// for inner products). One a thread; the index must outlive it unchanged.
class RotorQuantDistanceComputer final : public faiss::DistanceComputer {
 public:
  explicit RotorQuantDistanceComputer(const IndexRotorQuant& index);

  /// Graph searches call this inside OpenMP regions, where an exception would end the process: a
  /// query that is not finite is infinitely far from everything instead.
  void set_query(const float* x) override;
  float operator()(idx_t i) override;
  /// Between decodings. Building a graph asks for the same few vectors over and over, so the last
  /// ones decoded are kept.
  float symmetric_dis(idx_t i, idx_t j) override;

 private:
  const IndexRotorQuant& index_;
  StoreScorer scorer_;
  bool is_l2_;
  bool usable_ = false;
  std::vector<idx_t> cached_ids_;  // slot id % size holds that id's decoding, or -1
  std::vector<float> cached_rows_;
  std::vector<float> other_row_;  // for a pair that shares a slot
  std::vector<uint8_t> code_;

  const float* decoded(idx_t i);
};

}  // namespace rotorquant
