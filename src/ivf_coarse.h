// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ivf_scan.h"

namespace rotorquant {

/// Turns lists into the probes of one query after another, one thread: the nearest ones, or those
/// that somebody else has found. A probe's numbers are the same bits either way.
class CentroidRanker {
 public:
  explicit CentroidRanker(const IvfGeometry& geometry)
      : geometry_(geometry), products_(geometry.blocks() * IvfGeometry::block_lists) {}

  /// The nearest `probes` lists, nearest first, into query.probes; what comes before is set.
  void nearest(IvfQuery& query, size_t probes);
  /// lists: `count` of them, below geometry.lists(); negative ones are left out.
  void take(const int64_t* lists, size_t count, IvfQuery& query);

 private:
  const IvfGeometry& geometry_;
  AlignedVector<float> products_;  ///< <q - g, mu_c - g>
  std::vector<float> scores_;      ///< the base, but for what all lists share
  std::vector<float> order_;
  std::vector<Neighbour> lists_;
  std::vector<size_t> known_blocks_;

  void score(const IvfQuery& query);
  /// A score that at least `probes` lists are within, and not many more.
  float limit(size_t probes);
};

}  // namespace rotorquant
