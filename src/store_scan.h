// SPDX-License-Identifier: MIT
#pragma once

// The two stages of a search over one store: bounds from level 1 for every block, then the whole
// code for whatever the bounds cannot rule out.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec_access.h"
#include "rotorquant/code_store.h"
#include "rotorquant/search.h"
#include "top_k.h"

namespace rotorquant {

/// A filter as one 64-bit mask a block, evaluated once a search; empty without a filter.
class AllowedBlocks {
 public:
  AllowedBlocks(const CodeStore& store, const IdFilter* filter);
  const uint64_t* masks() const { return masks_.empty() ? nullptr : masks_.data(); }
  uint64_t mask(size_t block) const { return masks_.empty() ? ~uint64_t{0} : masks_[block]; }

 private:
  std::vector<uint64_t> masks_;
};

/// Distances of stored vectors from one query through their whole codes, without the query's base.
class CodeRefiner {
 public:
  CodeRefiner(const Codec& codec, const Space& space, const CodeStore& store,
              const SearchParams& params, const CodecQuery& query);

  float distance(size_t i) const;
  /// Starts loading what distance(i) will read.
  void prefetch(size_t i) const;

 private:
  const Codec& codec_;
  const CodeStore& store_;
  const SearchParams& params_;
  simd::RefineView view_;
  float weight_;
  bool norm_from_additive_;
  mutable std::vector<uint8_t> plane_;
};

/// One pass of queries over a store.
///
/// A vector's lower bound is its level-1 distance less refine_error_scale standard deviations of
/// the scan's error. Results are exact under max(refined distance, bound): a vector whose bound
/// exceeds the k-th best of that measure can be dropped no matter in which order the others are
/// met, which is what makes results independent of threads and batches.
class StoreScan {
 public:
  StoreScan(const Codec& codec, const Space& space, const CodeStore& store,
            const SearchParams& params, const AllowedBlocks& allowed);
  ~StoreScan();
  StoreScan(const StoreScan&) = delete;
  StoreScan& operator=(const StoreScan&) = delete;

  /// Prepares `count` queries and computes the least bound of every block for each.
  void run(const float* queries, size_t count, int threads);
  float base(size_t q) const { return queries_[q].base; }
  /// The k best of query q, ascending, distances without base.
  std::vector<Neighbour> best(size_t q, size_t k);
  /// Everything of query q below `radius` (without base), ascending by id.
  std::vector<Neighbour> within(size_t q, float radius);

 private:
  struct Query {
    CodecQuery codec_query;
    ScanTable table;
    simd::ScanQuery scan;
    float base;
  };

  const Codec& codec_;
  const Space& space_;
  const CodeStore& store_;
  const SearchParams& params_;
  const AllowedBlocks& allowed_;
  std::vector<Query> queries_;
  std::vector<float> minima_;  ///< query x block
  std::vector<Neighbour> candidates_;
  SearchStats stats_;

  void prepare(const float* query, Query& out) const;
  /// What the bound allows for, in units of <q', a_1>.
  float error_margin(const ScanTable& table) const;
  void compute_minima(int threads);
  const float* minima_of(size_t q) const { return minima_.data() + q * store_.blocks(); }

  /// The `count` blocks of least bound, unordered; returns the largest of their bounds, or
  /// +infinity when there are no more than `count` blocks.
  float best_blocks(size_t q, size_t count, std::vector<uint32_t>& blocks) const;
  /// Appends the vectors of a block with above < bound <= limit to candidates_.
  void collect(size_t q, size_t block, float above, float limit);
  /// Refines candidates_ and empties it; stops early where they are sorted and out of reach.
  void refine_candidates(const CodeRefiner& refiner, TopK& top, bool sorted);
  std::vector<Neighbour> best_by_bound(size_t q, size_t k);
  std::vector<Neighbour> best_of_shortlist(size_t q, size_t k);
};

}  // namespace rotorquant
