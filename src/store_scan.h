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
  /// The masks from block `first` on; null without a filter.
  const uint64_t* masks(size_t first = 0) const {
    return masks_.empty() ? nullptr : masks_.data() + first;
  }

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
  /// Drops all but those numbered in `kept`, which it sorts.
  void keep(std::vector<uint32_t>& kept);

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
/// What keeps candidates few is a limit known before they are picked. A first pass notes the least
/// bound of every block; the vectors with the least bounds of all are refined first, and their k-th
/// best is all but the final threshold: only blocks with a bound within it are looked at again.
/// Stores are searched in parts, so that blocks are in the cache still when they are.
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
    float least = 0.0F;  ///< of the part's minima
    /// Of blocks of the part with minima up to here ...
    float seeded = 0.0F;
    /// ... bounds up to here are candidates already; those up to `seeded` are refined.
    float taken = 0.0F;
    CandidateList candidates;
    TopK top{0};
  };

  /// Blocks that are searched at a time.
  struct Part {
    size_t first_block;
    size_t blocks;
  };

  const Codec& codec_;
  const Space& space_;
  const CodeStore& store_;
  const SearchParams& params_;
  const AllowedBlocks& allowed_;
  bool by_bound_;  ///< refine_error_scale != 0: bounds decide, else a shortlist of fixed length
  std::vector<Query> queries_;  ///< the first count_ are those of the pass
  std::vector<CodecQuery> prepared_;
  std::vector<float> residuals_;
  AlignedVector<float> table_scratch_;
  size_t count_ = 0;
  std::vector<simd::ScanQuery> scans_;
  std::vector<float> limits_;
  std::vector<simd::SelectRange> ranges_;
  ChunkSelection selection_;
  std::vector<float> minima_;  ///< a row a query: the least bound of each block of the part
  std::vector<float> sample_;
  std::vector<uint32_t> order_;  ///< candidates to refine
  SearchStats stats_;

  void prepare(const float* queries, size_t count);
  /// What the bound allows for, in units of <q', a_1>.
  float error_margin(const ScanTable& table) const;
  /// Notes the minima of a part's blocks for all queries.
  void scan_minima(const Part& part, int threads);
  /// A bound that about `rank` >= 1 of these minima are within; +infinity where nothing is allowed.
  float bound_of_rank(const float* minima, size_t blocks, size_t rank);
  /// Runs pick(block, blocks, selection, list_of) over chunks of `blocks` blocks; list_of(q): where
  /// the candidates of query q go.
  template <class Pick>
  void over_chunks(size_t blocks, size_t queries, int threads, const Pick& pick);
  /// Makes candidates of all vectors with bounds within limits_.
  void select_all(int threads);
  /// Makes candidates of what ranges_ asks for of one part, of `count` queries.
  void select_again(const Part& part, size_t first, size_t count, int threads);

  /// Fills the queries' `top` part by part.
  void rank(size_t k, int threads);
  void rank_part(const Part& part, int threads);
  void rank_seeds(size_t q, const Part& part);
  void select_rest(const Part& part, int threads);
  void rank_candidates(size_t q);
  /// Refines the candidates of q with bounds above `from` and up to `to` that can still enter.
  void refine_candidates(size_t q, float from, float to);
  void shortlist_part(const Part& part, size_t length, int threads);
  void shorten(size_t q, size_t length);
  void rank_shortlist(size_t q);
};

}  // namespace rotorquant
