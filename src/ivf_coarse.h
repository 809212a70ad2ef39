// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ivf_scan.h"

namespace rotorquant {

/// The least of many scores in ascending order, in time linear in their number: scores fall into
/// buckets by value, and only the lowest buckets are looked at again.
class LeastOf {
 public:
  /// least: the `count` <= n least as (score, index), ties by index.
  void find(const float* scores, size_t n, size_t count, std::vector<Neighbour>& least);

 private:
  std::vector<int32_t> bucket_;
  std::vector<uint32_t> indices_;

  /// Fills bucket_; false where the scores' range is none.
  bool fill_buckets(const float* scores, size_t n);
};

/// Turns lists into the probes of queries, one thread: the nearest ones, or those that somebody
/// else has found. A probe's numbers are the same bits either way, and however many queries there
/// are.
class CentroidRanker {
 public:
  explicit CentroidRanker(const IvfGeometry& geometry) : geometry_(geometry) {}

  /// The nearest `probes` lists of `count` queries, nearest first, into their probes; what comes
  /// before is set. Their centred vectors stand one behind the other.
  void nearest(IvfQuery* queries, size_t count, size_t probes);
  /// lists: `count` of them, below geometry.lists(); negative ones are left out.
  void take(const int64_t* lists, size_t count, IvfQuery& query);

 private:
  const IvfGeometry& geometry_;
  AlignedVector<float> products_;  ///< <q - g, mu_c - g>, a row a query
  std::vector<float> scores_;      ///< the base, but for what all lists share
  std::vector<Neighbour> lists_;
  std::vector<size_t> known_blocks_;
  LeastOf least_;

  void score(const float* products);
};

}  // namespace rotorquant
