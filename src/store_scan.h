// SPDX-License-Identifier: MIT
#pragma once

// The stages of a search over one store: level-1 bounds pick candidates, the whole code ranks them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec_access.h"
#include "rotorquant/code_store.h"
#include "rotorquant/search.h"
#include "scan_limits.h"
#include "top_k.h"

namespace rotorquant {

/// A filter as one 64-bit mask a block, evaluated once a search; empty without a filter.
class AllowedBlocks {
 public:
  AllowedBlocks(const CodeStore& store, const IdFilter* filter);
  const uint64_t* masks() const { return masks_.empty() ? nullptr : masks_.data(); }
  /// The masks of every `step`-th block.
  std::vector<uint64_t> every(size_t step) const;

 private:
  std::vector<uint64_t> masks_;
};

/// A vector that a scan found, with what of its block the refine reads: taken while the block is in
/// cache, where it lies on a line a group of quads.
struct Candidate {
  float bound;
  uint32_t id;
  float additive;
  float alpha1;
};

/// Candidates of one query and their level-1 nibbles.
class CandidateList {
 public:
  size_t size() const { return size_; }
  const Candidate& operator[](size_t i) const { return entries_[i]; }
  const uint8_t* plane(size_t i) const { return planes_.data() + i * plane_bytes_; }

  void append(const CodeStore& store, const simd::Selection& found);
  void append(const CandidateList& other);
  void clear() { size_ = 0; }

 private:
  size_t size_ = 0;
  size_t plane_bytes_ = 0;
  std::vector<Candidate> entries_;
  std::vector<uint8_t> planes_;

  void make_room(size_t more);
};

/// Distances of stored vectors from one query through their whole codes, without the query's base.
class CodeRefiner {
 public:
  CodeRefiner(const Codec& codec, const Space& space, const CodeStore& store,
              const SearchParams& params, const CodecQuery& query);

  float distance(size_t i) const;
  /// The same, of a candidate whose level-1 nibbles are at hand.
  float distance(const Candidate& candidate, const uint8_t* plane) const;
  /// Of several, up to `most_at_once`: candidates `which` of a list.
  static constexpr size_t most_at_once = 16;
  void distances(const CandidateList& candidates, const uint32_t* which, size_t count,
                 float* to) const;

 private:
  const Codec& codec_;
  const CodeStore& store_;
  const SearchParams& params_;
  simd::RefineView view_;
  const FixedQuery& fixed_;
  float weight_;
  bool whole_and_rescaled_;  ///< the common case: nothing but two multiply-adds
  bool norm_from_additive_;
  mutable std::vector<uint8_t> plane_;

  float combine(const Candidate& candidate, const uint8_t* row, const CodeProducts& products) const;
};

/// Buffers that one thread's kernel calls write to: one chunk of blocks, several queries.
struct ChunkSelection {
  std::vector<float> bounds;
  std::vector<uint32_t> ids;
  std::vector<simd::Selection> out;

  /// Empties it, with room for so many.
  void reset(size_t queries, size_t chunk_blocks) {
    const size_t room = chunk_blocks * block_vectors + simd::lanes;
    bounds.resize(std::max(bounds.size(), queries * room));
    ids.resize(bounds.size());
    out.resize(std::max(out.size(), queries));
    for (size_t q = 0; q < queries; ++q) {
      out[q] = {bounds.data() + q * room, ids.data() + q * room, 0};
    }
  }
};

/// Passes of queries over a store, one thread's, or one's that shares blocks with others. Buffers
/// are kept from pass to pass.
///
/// A vector's lower bound is its level-1 distance less refine_error_scale standard deviations of
/// the scan's error. Results are exact under max(refined distance, bound): a vector whose bound
/// exceeds the k-th best of that measure can be dropped no matter in which order the others are
/// met, which is what makes results independent of threads and batches.
///
/// What keeps candidates few is a limit known before the scan: every 8th block is searched first,
/// and a rank of its result that is all but sure to lie behind the k-th best of the whole is the
/// limit of the pass over everything. Where the guess was too low after all, the k-th best found
/// so far is a limit that cannot be, and the query scans once more.
class StoreScan {
 public:
  StoreScan(const Codec& codec, const Space& space, const CodeStore& store,
            const SearchParams& params, const AllowedBlocks& allowed);
  ~StoreScan();
  StoreScan(const StoreScan&) = delete;
  StoreScan& operator=(const StoreScan&) = delete;

  /// The k best of `count` queries, each ascending, distances with base.
  std::vector<std::vector<Neighbour>> nearest(const float* queries, size_t count, size_t k,
                                              int threads);
  /// Everything nearer than `radius`, each ascending by id.
  std::vector<std::vector<Neighbour>> within(const float* queries, size_t count, float radius,
                                             int threads);

 private:
  struct Query {
    CodecQuery codec_query;
    ScanTable table;
    float base = 0.0F;
    float seed_edge = 0.0F;  ///< bounds up to here are refined first; +infinity: none is known
    CandidateList candidates;
    TopK top{0};
  };

  const Codec& codec_;
  const Space& space_;
  const CodeStore& store_;
  const SearchParams& params_;
  const AllowedBlocks& allowed_;
  bool by_bound_;  ///< refine_error_scale != 0: bounds decide, else a shortlist of fixed length
  std::vector<Query> queries_;  ///< the first count_ are those of the pass
  size_t count_ = 0;
  std::vector<simd::ScanQuery> scans_;
  std::vector<float> limits_;
  ChunkSelection selection_;
  std::vector<float> minima_;
  std::vector<Neighbour> best_blocks_;
  std::vector<float> bounds_;
  std::vector<uint32_t> order_;  ///< candidates to refine
  SearchStats stats_;

  void prepare(const float* queries, size_t count);
  /// What the bound allows for, in units of <q', a_1>.
  float error_margin(const ScanTable& table) const;
  /// A limit for each query, from a sample of the blocks; +infinity where the store is small.
  void guess_limits(size_t k);
  float bound_of_rank(const CandidateList& candidates, size_t rank);
  float sampled_limit(size_t q, size_t k, const float* minima, size_t blocks, size_t step);
  /// Adds to the candidates of queries first .. first + count - 1 the vectors of the given blocks
  /// with bounds within limits_.
  void select(size_t first, size_t count, size_t first_block, size_t last_block, int threads);
  /// list_of(q): where the candidates of query q go.
  template <class ListOf>
  void select_chunk(size_t first, size_t count, size_t block, size_t blocks,
                    ChunkSelection& selection, const ListOf& list_of);
  void select_block(size_t q, size_t block, float limit);

  /// Scans, then refines what passed; scans again where the limit proves too low.
  void rank_by_bound(size_t count, size_t k, int threads);
  void rank_candidates(size_t q);
  void rank_shortlist(size_t q, size_t k, int threads);
  /// Refines the candidates of q with bounds above `from` and up to `to` that can still enter
  /// `top`.
  void refine_candidates(size_t q, float from, float to, TopK& top);
};

}  // namespace rotorquant
