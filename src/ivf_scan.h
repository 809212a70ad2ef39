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
  size_t list;
  float base;
  float squared_distance;  ///< |q - mu_c|^2
};

/// A vector that a scan found: its bound with base, and where it is.
struct IvfCandidate {
  float bound;
  uint32_t offset;
  uint32_t probe;  ///< index in IvfQuery::probes

  friend bool operator<(const IvfCandidate& a, const IvfCandidate& b) { return a.bound < b.bound; }
};

/// A query prepared for every list: one table, and what is behind it.
struct IvfQuery {
  const float* vector = nullptr;   ///< the query itself, borrowed
  const float* centred = nullptr;  ///< q - g, borrowed
  float squared = 0.0F;            ///< |q - g|^2
  float centre_product = 0.0F;     ///< <q, g>
  CodecQuery codec_query;          ///< of q - g
  ScanTable table;
  std::vector<Probe> probes;
};

/// The probe of a list from <q - g, mu_c - g>.
inline Probe make_probe(const IvfGeometry& geometry, const IvfQuery& query, size_t list,
                        float product) {
  const float squared = query.squared + (geometry.squared_offset(list) - 2.0F * product);
  const float base = geometry.metric() == Metric::l2
                         ? squared
                         : -(query.centre_product + (geometry.centre_product(list) + product));
  return {list, base, std::max(squared, 0.0F)};
}

/// Allowed ids as one 64-bit mask a block, for every list.
using ListMasks = std::vector<std::vector<uint64_t>>;

/// What store_pairs reports.
inline int64_t pair_label(size_t list, size_t offset) {
  return static_cast<int64_t>(static_cast<uint64_t>(list) << 32U | offset);
}

/// Searches the probes of one query, one thread. Buffers are kept from query to query.
///
/// A vector's rank is max(refined distance, level-1 bound): exact top k under that measure,
/// whatever the order of lists. seed() settles the threshold on the first lists, best bounds first;
/// scan_rest() refines a list's survivors while the lines that the next one's need are on their
/// way.
class IvfScan {
 public:
  /// masks: those of params.filter, or null: then vectors that pass the bound are asked for.
  IvfScan(const InvertedFile& file, const IvfSearchParams& params, const ListMasks* masks);

  /// Begins with a query: visits lists until there is a threshold and returns how many it was.
  /// What is behind `limit` may be left out.
  size_t seed(const IvfQuery& query, size_t k, float limit);
  /// Begins with a query whose threshold is known.
  void begin_rest(const IvfQuery& query, size_t k, float limit);
  /// Visits probes first, first + step, ...; then the k best of what was visited are in top().
  void scan_rest(size_t first, size_t step);

  /// refine_error_scale 0: the best k_factor * k by scan alone, refined, into top().
  void shortlist(const IvfQuery& query, size_t k);
  /// Everything nearer than `radius`, ascending by id.
  void within(const IvfQuery& query, float radius, std::vector<Neighbour>& found);

  TopK& top() { return top_; }
  SearchStats& stats() { return stats_; }

 private:
  static constexpr uint32_t no_probe = std::numeric_limits<uint32_t>::max();

  const InvertedFile& file_;
  const IvfGeometry& geometry_;
  const IvfSearchParams& params_;
  const ListMasks* masks_;
  bool by_bound_;
  bool scan_is_all_ = false;
  float error_scale_ = 0.0F;
  const IvfQuery* query_ = nullptr;
  TopK top_{0};
  float limit_ = 0.0F;
  simd::RefineView view_{};
  std::vector<IvfCandidate> candidates_;
  std::vector<IvfCandidate> waiting_;  ///< found, lines on their way, not refined yet
  std::vector<float> bounds_;
  std::vector<uint32_t> offsets_;
  std::vector<uint64_t> chunk_masks_;
  size_t asked_ = 0;    ///< of the filter, vector by vector, in this query
  size_t allowed_ = 0;  ///< of those
  std::vector<uint8_t> plane_;
  /// For prefixes of the code and the strict estimator: code by code, with residuals made a list.
  std::optional<IvfScorer> scorer_;
  uint32_t scored_probe_ = no_probe;
  std::vector<uint8_t> code_;
  SearchStats stats_;

  void begin(const IvfQuery& query, size_t k, float limit);
  float threshold() const { return std::min(limit_, top_.threshold()); }
  float margin(const Probe& probe) const;
  simd::ScanQuery scan_query(const Probe& probe) const;
  /// Calls use(scan query, first block, blocks) for the chunks of a list.
  template <class Use>
  void scan_list(uint32_t probe_index, const Use& use);
  void select(uint32_t probe_index, const simd::ScanQuery& scan, size_t first_block, size_t blocks,
              float threshold, std::vector<IvfCandidate>& found);
  bool is_allowed(int64_t id);
  /// Whether the filter has refused nearly all that it was asked about in this query.
  bool few_allowed() const { return asked_ >= block_vectors && allowed_ * 32 < asked_; }
  void fill_masks(const IdArray& ids, size_t first_block, size_t blocks);
  /// Refines candidates [first, last) that can still enter top().
  void refine(const std::vector<IvfCandidate>& candidates, size_t first, size_t last);
  float refined(const IvfCandidate& candidate);
  float scored(const IvfCandidate& candidate);
  void prefetch(const IvfCandidate& candidate) const;
  void prefetch_list(size_t probe) const;
  int64_t label(const IvfCandidate& candidate) const;
};

}  // namespace rotorquant
