// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/impl/DistanceComputer.h>

#include <memory>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"

namespace rotorquant {

/// What IndexRotorQuant::get_distance_computer returns: distances in FAISS's sense (similarities
/// for inner products). The index must outlive it unchanged. One a thread for queries;
/// symmetric_dis may be called concurrently, because FAISS's NNDescent does so.
class RotorQuantDistanceComputer final : public faiss::DistanceComputer {
 public:
  explicit RotorQuantDistanceComputer(const IndexRotorQuant& index);
  ~RotorQuantDistanceComputer() override;

  /// Graph searches call this inside OpenMP regions, where an exception would end the process: a
  /// query that is not finite is infinitely far from everything instead.
  void set_query(const float* x) override;
  float operator()(idx_t i) override;
  /// Between decodings. Building a graph asks for the same few vectors over and over, so each
  /// thread keeps the last ones it decoded.
  float symmetric_dis(idx_t i, idx_t j) override;

 private:
  struct DecodeCache;

  const IndexRotorQuant& index_;
  StoreScorer scorer_;
  bool is_l2_;
  bool usable_ = false;
  std::vector<std::unique_ptr<DecodeCache>> caches_;  // one an OpenMP thread

  float between(DecodeCache& cache, idx_t i, idx_t j) const;
};

}  // namespace rotorquant
