// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rotorquant/code_store.h"
#include "rotorquant/codec.h"

namespace rotorquant {

/// Distances are "smaller is nearer" throughout the core: squared L2, or the negated inner product.
enum class Metric : uint8_t { l2 = 0, inner_product = 1 };

/// Which ids a search may return. allows() is called concurrently.
class IdFilter {
 public:
  virtual ~IdFilter() = default;
  virtual bool allows(int64_t id) const = 0;
  /// allows() of ids first .. first + count - 1 as bits, the least bit first; count <= 64. For
  /// filters that can tell many at once.
  virtual uint64_t allowed(int64_t first, size_t count) const {
    uint64_t bits = 0;
    for (size_t i = 0; i < count; ++i) {
      bits |= static_cast<uint64_t>(allows(first + static_cast<int64_t>(i)) ? 1 : 0) << i;
    }
    return bits;
  }
};

/// What searches did, summed over queries (and threads, for the seconds); for benchmarks and tests.
struct SearchStats {
  size_t queries = 0;
  size_t blocks_scanned = 0;
  size_t candidates = 0;     ///< vectors whose bound was within the limit of the scan
  size_t refined = 0;        ///< vectors scored from their whole code
  size_t rescans = 0;        ///< GPUs: queries whose limit had been guessed too low
  size_t lists_scanned = 0;  ///< inverted lists, summed over queries
  double coarse_seconds = 0.0;
  double prepare_seconds = 0.0;
  double scan_seconds = 0.0;
  double refine_seconds = 0.0;

  SearchStats& operator+=(const SearchStats& other);
};

struct SearchParams {
  /// Standard deviations of the scan's error that a vector may be behind the k-th best and still
  /// be refined; negative: Codec::default_error_scale(). 0: no bound, a fixed shortlist of
  /// k_factor * k by scan score instead.
  float refine_error_scale = -1.0F;
  size_t k_factor = 10;
  /// Rank by the first `levels` levels only (no signs); 0 = the whole code.
  size_t levels = 0;
  Estimator estimator = Estimator::rescaled;
  const IdFilter* filter = nullptr;
  /// Threads for this call; 0: what OpenMP would use, over queries, and one for a single query.
  /// More than one with fewer queries than threads: a query is split over blocks.
  int threads = 0;
  SearchStats* stats = nullptr;  ///< added to when not null
};

/// The centre and metric of one store: turns vectors into residuals and additive terms, and
/// queries into residuals and base terms, so that
///   distance(q, x) = base(q) + additive(x) - weight * <q - mu, x - mu>.
/// L2: base = |q - mu|^2, additive = |x - mu|^2, weight = 2. Inner product (negated):
/// base = -<q, mu>, additive = -<mu, x - mu>, weight = 1.
struct Space {
  Metric metric = Metric::l2;
  std::vector<float> centre;  ///< d floats; empty stands for the origin

  float weight() const { return metric == Metric::l2 ? 2.0F : 1.0F; }
  /// x: n x d -> residuals: n x d, additive: n. Returns whether all residuals are finite.
  bool split(const float* x, size_t n, size_t d, float* residuals, float* additive) const;
  /// x += mu for n rows.
  void restore(float* x, size_t n, size_t d) const;
  /// q: d -> residual: d; returns base.
  float split_query(const float* q, size_t d, float* residual) const;
};

/// k nearest of `store` for n queries (n x d, row-major). distances, ids: n x k, ascending by
/// (distance, id), padded with +infinity and -1. Ids are positions in the store.
///
/// The result is the exact top k under max(refined distance, level-1 lower bound), so it does not
/// depend on threads, batch size or the order in which candidates were met (docs/codec.md).
void search(const Codec& codec, const Space& space, const CodeStore& store, const float* queries,
            size_t n, size_t k, const SearchParams& params, float* distances, int64_t* ids);

struct RangeHit {
  int64_t id;
  float distance;
};
/// Every vector with distance < radius (in the core's sense: L2 below radius; negated inner
/// product below radius), for each query ascending by id.
std::vector<std::vector<RangeHit>> range_search(const Codec& codec, const Space& space,
                                                const CodeStore& store, const float* queries,
                                                size_t n, float radius, const SearchParams& params);

class CodeRefiner;  // src/store_scan.h

/// Distances from one query to chosen vectors of a store, through the whole code (or `levels`).
/// Used by graph searches. Holds references: codec, space and store must outlive it. One a thread.
class StoreScorer {
 public:
  StoreScorer(const Codec& codec, const Space& space, const CodeStore& store,
              const SearchParams& params = {});
  ~StoreScorer();
  StoreScorer(const StoreScorer&) = delete;
  StoreScorer& operator=(const StoreScorer&) = delete;

  /// To be called before distance().
  void set_query(const float* query);
  float distance(size_t i) const;
  /// Distance between two stored vectors, from their decodings.
  float between(size_t i, size_t j) const;

 private:
  const Codec& codec_;
  const Space& space_;
  const CodeStore& store_;
  SearchParams params_;
  CodecQuery query_;
  std::unique_ptr<CodeRefiner> refiner_;
  float base_ = 0.0F;
};

}  // namespace rotorquant
