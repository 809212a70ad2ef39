// SPDX-License-Identifier: MIT
#pragma once

// The stages of one query's search through inverted lists (docs/codec.md, "Inverted lists").

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "codec_access.h"
#include "rotorquant/ivf.h"
#include "top_k.h"

namespace rotorquant {

/// Sums of d terms in 16 partial sums: fast with any vectors the compiler has, and the same bits
/// with all of them.
template <class Term>
float lane_sum(size_t d, const Term& term) {
  std::array<float, simd::lanes> sums{};
  size_t i = 0;
  for (; i + simd::lanes <= d; i += simd::lanes) {
    for (size_t lane = 0; lane < simd::lanes; ++lane) {
      sums[lane] += term(i + lane);
    }
  }
  for (; i < d; ++i) {
    sums[i % simd::lanes] += term(i);
  }
  for (size_t width = simd::lanes / 2; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) {
      sums[lane] += sums[lane + width];
    }
  }
  return sums[0];
}

inline float inner_product(const float* a, const float* b, size_t d) {
  return lane_sum(d, [&](size_t i) { return a[i] * b[i]; });
}

/// One list that a query visits. Distances are base + additive - weight * product; what the lists
/// share is in the query.
struct Probe {
  uint32_t list;
  float base;
  float squared_distance;  ///< |q - mu_c|^2
};

/// A query on its way through the lists: one table for all of them, and the best that was found.
struct IvfQuery {
  // What every visit reads.
  TopK top{0};
  float limit = 0.0F;          ///< what is behind it may be left out
  float second_margin = 0.0F;  ///< what the second bound allows for, in units of alpha
  ScanTable table;
  CodecQuery codec_query;  ///< of q - g
  simd::RefineView view{};
  size_t asked = 0;    ///< of the filter, vector by vector
  size_t allowed = 0;  ///< of those

  const float* vector = nullptr;   ///< the query itself, borrowed
  const float* centred = nullptr;  ///< q - g, borrowed
  float squared = 0.0F;            ///< |q - g|^2
  float centre_product = 0.0F;     ///< <q, g>
  std::vector<Probe> probes;

  float threshold() const { return std::min(limit, top.threshold()); }
  /// Whether the filter has refused nearly all that it was asked about.
  bool few_allowed() const { return asked >= block_vectors && allowed * 32 < asked; }
};

/// A vector that a scan found: its bound, which holds base, and where it is.
struct IvfCandidate {
  float bound;
  float base;
  uint32_t offset;
  uint32_t list;
  IvfQuery* query;

  friend bool operator<(const IvfCandidate& a, const IvfCandidate& b) { return a.bound < b.bound; }
};

/// A query and a list that it has to visit.
struct Visit {
  IvfQuery* query;
  Probe probe;
};

/// The probe of a list from <q - g, mu_c - g>.
inline Probe make_probe(const IvfGeometry& geometry, const IvfQuery& query, size_t list,
                        float product) {
  const float squared = query.squared + (geometry.squared_offset(list) - 2.0F * product);
  const float base = geometry.metric() == Metric::l2
                         ? squared
                         : -(query.centre_product + (geometry.centre_product(list) + product));
  return {static_cast<uint32_t>(list), base, std::max(squared, 0.0F)};
}

/// Allowed ids as one 64-bit mask a block, for every list.
using ListMasks = std::vector<std::vector<uint64_t>>;

/// What store_pairs reports.
inline int64_t pair_label(size_t list, size_t offset) {
  return static_cast<int64_t>(static_cast<uint64_t>(list) << 32U | offset);
}

/// The stages of searches, one thread. Buffers are kept from query to query.
///
/// A vector's rank is the greatest of its level-1 bound, its bound by two levels (of codes that
/// have more) and its refined distance: exact top k under that measure, whatever the order of lists
/// and queries. seed() settles a query's threshold on its first lists, best bounds first; visit()
/// scans a list for some queries and refines the survivors of the list before, whose lines are
/// there by then; finish() refines the last ones.
class IvfScan {
 public:
  /// Queries that a scan takes at once.
  static constexpr size_t group = 4;

  /// masks: those of params.filter, or null: then vectors that pass the bound are asked for.
  IvfScan(const InvertedFile& file, const IvfSearchParams& params, const ListMasks* masks);

  /// Begins a search: what is behind `limit` may be left out.
  void begin(IvfQuery& query, size_t k, float limit);
  /// Visits lists until there is a threshold and returns how many it was.
  size_t seed(IvfQuery& query);
  /// `count` >= 1 visits of one list. A query may meet its lists in
  /// any order, and other queries in between.
  void visit(const Visit* visits, size_t count);
  void finish();
  /// Visits probes first, first + step, ... of one query.
  void visit_every(IvfQuery& query, size_t first, size_t step);

  /// refine_error_scale 0: the best k_factor * k by scan alone, refined, into query.top.
  void shortlist(IvfQuery& query, size_t k);
  /// Everything nearer than `radius`, ascending by id.
  void within(IvfQuery& query, float radius, std::vector<Neighbour>& found);

  /// Starts loading the first lines of a list, and of the search state of a query.
  void prefetch_list(size_t list) const;
  static void prefetch_query(const IvfQuery& query);

  /// Whether searches may take turns: those that score code by code may not.
  bool takes_turns() const { return by_bound_ && !scorer_; }
  SearchStats& stats() { return stats_; }

 private:
  const InvertedFile& file_;
  const IvfGeometry& geometry_;
  const IvfSearchParams& params_;
  const ListMasks* masks_;
  bool by_bound_;
  bool scan_is_all_ = false;
  bool has_second_bound_ = false;
  float second_gain_ = 1.0F;
  float second_scale_ = 0.0F;
  float error_scale_ = 0.0F;
  std::vector<IvfCandidate> candidates_;
  std::vector<IvfCandidate> waiting_;  ///< found, lines on their way, not refined yet
  std::vector<float> bounds_;
  std::vector<uint32_t> offsets_;
  std::vector<uint64_t> chunk_masks_;
  std::vector<uint8_t> plane_;
  simd::RefineView second_view_{};  ///< two levels, no query
  std::vector<simd::StoredCode> stored_;
  std::vector<int32_t> sums_;
  /// For prefixes of the code and the strict estimator: code by code, with residuals made a list.
  std::optional<IvfScorer> scorer_;
  std::optional<size_t> scored_list_;
  std::vector<uint8_t> code_;
  SearchStats stats_;

  float margin(const IvfQuery& query, const Probe& probe) const;
  simd::ScanQuery scan_query(const IvfQuery& query, const Probe& probe) const;
  /// Calls use(first block, blocks) for the chunks of a list.
  template <class Use>
  void over_chunks(size_t list, const Use& use) const;
  /// Scans blocks of a list for up to `group` queries. threshold_of(query): what bounds must reach.
  template <class ThresholdOf>
  void select(const Visit* visits, size_t count, size_t first_block, size_t blocks,
              const ThresholdOf& threshold_of, std::vector<IvfCandidate>& found);
  bool is_allowed(IvfQuery& query, int64_t id);
  void fill_masks(const IdArray& ids, size_t first_block, size_t blocks);
  /// Raises the bounds of candidates to what two levels know: all of them at once, no branches.
  void tighten(IvfCandidate* candidates, size_t count);
  /// Refines candidates that can still enter their query's top.
  void refine(IvfCandidate* candidates, size_t count);
  float refined(const IvfCandidate& candidate);
  float scored(const IvfCandidate& candidate);
  void prefetch(const IvfCandidate& candidate) const;
  int64_t label(const IvfCandidate& candidate) const;
};

}  // namespace rotorquant
