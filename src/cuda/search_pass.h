// SPDX-License-Identifier: MIT
#pragma once

// One pass of queries on a device: the stages of src/store_scan.h, for all queries of the pass at
// once. What is scanned is a store's tiles (store_pass.h) or those of the lists that each query
// visits (lists_pass.h).

#include <vector>

#include "cuda/internals.h"

namespace rotorquant::gpu {

/// Tiles first .. last - 1 of those that a query scans.
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

/// What a search of any kind is asked for; borrowed for the length of a pass.
struct PassRequest {
  const SearchParams& params;
  const GpuSearchOptions& options;
  const float* queries;  ///< count x d, device memory
  size_t count;
  size_t capacity;  ///< candidates a query
};

/// Keys name vectors by their place until they are refined, then by their label: in a store the
/// place too, in lists what stands for the id.
class SearchPass {
 public:
  virtual ~SearchPass() = default;
  SearchPass(const SearchPass&) = delete;
  SearchPass& operator=(const SearchPass&) = delete;

  /// The k best of every query, written in the order of queries; distances, ids: count x k.
  void nearest(size_t k, float* distances, int64_t* ids);
  /// Everything nearer than `radius`.
  std::vector<std::vector<RangeHit>> within(float radius);
  /// Throws Error where a query held NaN or infinity. first: number of the pass's first query.
  void check_finite(size_t first);
  const SearchStats& stats() const { return stats_; }

  /// Candidates a query for k results.
  static size_t capacity_for(const GpuSearchOptions& options, size_t k, size_t vectors);

 protected:
  /// vectors: how many there are to be found. Everything must outlive the pass.
  SearchPass(const CodecImpl& codec, const StoreImpl& store, size_t vectors,
             const PassRequest& request, ScanTableOrder order);

  /// What query q scans.
  virtual TileRange tiles_of(size_t q) const = 0;
  /// Everything that every query scans, against the limits.
  virtual void scan() = 0;
  /// Query q alone, with this limit.
  virtual void scan_one(size_t q, float limit, TileRange tiles) = 0;
  /// Limits for the k best, or no_limit where there is too little to tell; they may be too low if
  /// only rarely.
  virtual void guess_limits(size_t k) = 0;
  /// What a refine needs beyond codec, store and queries.
  virtual void complete(RefineArgs& /*args*/, size_t /*first*/) const {}
  /// The ids that labels stand for, ascending; null: labels are ids.
  virtual const std::vector<int64_t>* label_ids() const { return nullptr; }
  virtual const int64_t* device_label_ids() const { return nullptr; }

  /// Residuals, frames, fixed point and tables, from the queries. rounding_only: the bound allows
  /// for the table's rounding alone; error_scale: for how much of it.
  void prepare(const float* queries, float error_scale, float* bias, float* rounding);
  void set_limits(float limit);
  CandidateView candidates(size_t first = 0);
  void clear_counts();
  /// Scores keys of `queries` rows in place, starting with query `first`.
  void refine(size_t first, size_t queries, uint64_t* keys, const uint32_t* counts,
              size_t capacity);
  /// The same for rows that are `capacity` long, all of them.
  void refine_rows(Buffer<uint64_t>& rows, size_t capacity);
  void select(const uint64_t* keys, const uint32_t* counts, size_t capacity, size_t k,
              uint64_t* best, bool keep, float* reached, size_t rows);

  const CodecImpl& codec_;
  const StoreImpl& store_;
  size_t vectors_;
  const SearchParams& params_;
  const GpuSearchOptions& options_;
  DevicePtr device_;
  size_t count_;
  size_t capacity_;
  bool by_bound_;
  /// Refining undoes the rounding of the scan table and nothing else.
  bool rounding_only_;
  ScanTableOrder order_;
  Combination combination_;
  SearchStats stats_;

  Buffer<uint32_t> bad_row_;
  Buffer<float> base_;  ///< what is added to a key's distance at last
  Buffer<float> residual_;
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

 private:
  void fill_tables(float error_scale, float* bias, float* rounding);
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
  int64_t id_of(uint32_t label) const;
  /// Calls use(count) for parts of `tiles` that fit into the candidates, after scanning query q
  /// over each with the limit that use() returned last.
  template <class Use>
  void for_parts(size_t q, TileRange tiles, float limit, Use&& use);
};

}  // namespace rotorquant::gpu
