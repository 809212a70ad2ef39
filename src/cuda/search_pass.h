// SPDX-License-Identifier: MIT
#pragma once

// One pass of queries over a store on a device: the stages of src/store_scan.h, for all queries of
// the pass at once.

#include <vector>

#include "cuda/internals.h"

namespace rotorquant::gpu {

/// A filter as one mask a tile, evaluated once a search; empty without a filter.
class AllowedTiles {
 public:
  AllowedTiles(const StoreImpl& store, const IdFilter* filter);
  const uint32_t* masks() const { return masks_.data(); }

 private:
  Buffer<uint32_t> masks_;
};

/// Tiles first .. last - 1.
struct TileRange {
  unsigned first;
  unsigned last;
  unsigned count() const { return last - first; }
};

/// A scored vector as the device orders it, see make_key() in device.h.
struct ScoredId {
  float distance;
  uint32_t id;
};

class SearchPass {
 public:
  /// Prepares `count` queries (count x d, device memory). Everything must outlive the pass.
  SearchPass(const CodecImpl& codec, const StoreImpl& store, const AllowedTiles& allowed,
             const SearchParams& params, const GpuSearchOptions& options, const float* queries,
             size_t count, size_t capacity);

  /// The k best of every query, written in the order of queries; distances, ids: count x k.
  void nearest(size_t k, float* distances, int64_t* ids);
  /// Everything nearer than `radius`.
  std::vector<std::vector<RangeHit>> within(float radius);
  /// Throws Error where a query held NaN or infinity. first: number of the pass's first query.
  void check_finite(size_t first);
  const SearchStats& stats() const { return stats_; }

  /// Candidates a query for k results.
  static size_t capacity_for(const GpuSearchOptions& options, size_t k, size_t store_size);

 private:
  const CodecImpl& codec_;
  const StoreImpl& store_;
  const AllowedTiles& allowed_;
  const SearchParams& params_;
  const GpuSearchOptions& options_;
  DevicePtr device_;
  size_t count_;
  size_t capacity_;
  bool by_bound_;
  ScanTableOrder order_;
  Combination combination_;
  SearchStats stats_;

  Buffer<uint32_t> bad_row_;
  Buffer<float> base_;
  Buffer<float> frame_;
  Buffer<float> sign_;
  Buffer<int16_t> fixed_frame_;
  Buffer<int16_t> fixed_sign_;
  Buffer<float> numbers_;  ///< level_step, sign_step, scale, offset: count each
  Buffer<uint8_t> tables_;
  Buffer<float> limits_;
  Buffer<uint32_t> counts_;
  Buffer<uint64_t> candidates_;  ///< count x capacity
  QueryView queries_;

  TileRange all_tiles() const { return {0, to_unsigned(store_.used_tiles())}; }
  void prepare(const float* queries);
  void fill_tables();
  void set_limits(float limit);

  ScanArgs scan_args(TileRange tiles, unsigned step) const;
  void scan(TileRange tiles);
  /// Query q alone, with this limit.
  void scan_one(size_t q, float limit, TileRange tiles);
  /// Scores keys of `queries` rows in place, starting with query `first`.
  void refine(size_t first, size_t queries, uint64_t* keys, const uint32_t* counts,
              size_t capacity);
  void select(const uint64_t* keys, const uint32_t* counts, size_t capacity, size_t k,
              uint64_t* best, bool keep, float* reached, size_t rows);

  /// Limits from a sample of the tiles: a rank of its best that is all but sure to lie behind the
  /// k-th best of all. Leaves no_limit where there is too little to sample.
  void guess_limits(size_t k);
  /// One scan of everything, and k best a query of what it found: by score, or by bound alone.
  /// Queries for which that was not enough follow one by one.
  void rank(size_t k, bool refined, uint64_t* best);
  /// Query q part by part, with a limit that falls as results come in.
  void rank_in_parts(size_t q, size_t k, bool refined, float limit, uint64_t* best);
  /// What passes `limit` for query q; with k > 0 only the k best are kept on the way. For results
  /// too large for the device's selection.
  std::vector<ScoredId> collect(size_t q, size_t k, bool refined, float limit);
  std::vector<ScoredId> read_scores(size_t q, size_t n) const;
  void nearest_on_host(size_t k, float* distances, int64_t* ids);
  void finish(size_t k, const uint64_t* best, float* distances, int64_t* ids);
  /// Calls use(count) for parts of `tiles` that fit into the candidates, after scanning query q
  /// over each with the limit that use() returned last.
  template <class Use>
  void for_parts(size_t q, TileRange tiles, float limit, Use&& use);
};

}  // namespace rotorquant::gpu
