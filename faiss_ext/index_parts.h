// SPDX-License-Identifier: MIT
#pragma once

// What our flat index and our inverted file share: checks, samples, selectors, signs of distances.

#include <faiss/Index.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "faiss_ext/compat.h"
#include "rotorquant/codec.h"
#include "rotorquant/ivf.h"
#include "rotorquant/search.h"

namespace rotorquant {

struct IndexIVFRotorQuant;
struct IndexRotorQuant;

/// Vectors to work on at a time: whole scan blocks, some 8 MiB of floats.
size_t block_rows(size_t d);

/// Calls f(first, rows) for consecutive blocks of 0 .. n - 1, of `step` rows.
template <class F>
void for_steps(size_t n, size_t step, F&& f) {
  for (size_t first = 0; first < n; first += step) {
    f(first, std::min(step, n - first));
  }
}
template <class F>
void for_blocks(size_t n, size_t d, F&& f) {
  for_steps(n, block_rows(d), std::forward<F>(f));
}

/// RQ{bits} or, learned, ORQ{bits}, of dimension d >= 1.
CodecParams codec_params(int d, int bits, bool learned);
int checked_dimension(const CodecParams& params);
Metric core_metric(faiss::MetricType metric);
size_t checked_count(idx_t n, const char* what = "n");

/// Throws what is wrong with rows (n x d) that could not be encoded: names the first that is not
/// finite, if there is one.
[[noreturn]] void reject_rows(const float* x, size_t n, size_t d, const char* what);

/// The mean of all rows, summed in double in order: the same for every thread count.
std::vector<float> mean_row(const float* x, size_t n, size_t d);

/// Numbers of at most as many rows as Codec::train looks at: one from each of equal strata, so that
/// sorted input is covered evenly and periodic input does not alias.
std::vector<size_t> sampled_rows(size_t n, uint64_t seed);
/// Those rows of x (n x d).
std::vector<float> rows_of(const float* x, const std::vector<size_t>& rows, size_t d);

/// Smallest is nearest in the core, FAISS wants similarities for inner products, and pads with the
/// largest finite number where the core pads with infinity.
void to_faiss_distances(Metric metric, size_t n, float* distances);

/// Fills a result with the core's hits: in FAISS's sense of distance, each query's by id.
void to_faiss_ranges(Metric metric, const std::vector<std::vector<RangeHit>>& hits,
                     faiss::RangeSearchResult& result);

/// A set of ids that is asked often: a bitmap, or, where that would be wasteful, sorted ids.
class IdSet {
 public:
  IdSet() = default;
  explicit IdSet(std::vector<int64_t> ids);
  bool holds(int64_t id) const;
  /// holds() of ids first .. first + count - 1 as bits, the least bit first; count <= 64.
  uint64_t held(int64_t first, size_t count) const;

 private:
  std::vector<int64_t> sorted_;  ///< empty where there is a bitmap
  int64_t least_ = 0;
  std::vector<uint64_t> bits_;  ///< of ids from least_ on

  uint64_t word(uint64_t i) const { return i < bits_.size() ? bits_[i] : 0; }
};

/// Index::search1 by way of range_search.
void hand_over(const faiss::Index& index, const float* x, ResultHandler& handler,
               const faiss::SearchParameters* params);

/// FAISS's selector inside the core's scan. Does not own it. What a selector of FAISS's own says of
/// many ids is told without asking it for each.
class SelectorFilter final : public IdFilter {
 public:
  explicit SelectorFilter(const faiss::IDSelector& sel);
  bool allows(int64_t id) const override;
  uint64_t allowed(int64_t first, size_t count) const override;

 private:
  const faiss::IDSelector& sel_;
  const faiss::IDSelectorRange* range_;      ///< sel_, where it is one, else null
  const faiss::IDSelectorBitmap* bitmap_;    ///< likewise
  std::unique_ptr<SelectorFilter> negated_;  ///< where sel_ is an IDSelectorNot
  const faiss::IDSelectorBatch* batch_;      ///< likewise
  std::optional<IdSet> listed_;              ///< where sel_ is an IDSelectorArray
  /// Of batch_, made by the first who asks about many: a few single questions are not worth it.
  mutable IdSet listed_of_batch_;
  mutable std::once_flag batch_listed_;

  const IdSet& of_batch() const;
};

/// The filter of a call; null without a selector. params may be null.
std::unique_ptr<SelectorFilter> filter_of(const faiss::SearchParameters* params);

/// Takes what SearchParametersRotorQuant and its IVF twin (Own) say; what they leave to the index
/// stays as it is.
template <class Own>
void take_search_fields(const Own& own, SearchParams& params) {
  if (own.refine_error_scale >= 0.0F) {
    params.refine_error_scale = own.refine_error_scale;
  }
  if (own.k_factor != 0) {
    params.k_factor = own.k_factor;
  }
  params.levels = own.levels;
  params.estimator = own.estimator;
  params.threads = own.threads;
  params.stats = own.stats;
}

/// The parameters of one call of a flat index, on a device or not, with the filter they point to.
struct FlatCall {
  FlatCall(const IndexRotorQuant& index, const faiss::SearchParameters* faiss_params);

  SearchParams params;
  std::unique_ptr<SelectorFilter> filter;
};

/// The parameters of one call of an inverted file, on a device or not: FAISS's and ours, index
/// defaults filled in, with the filter.
struct IvfCall {
  IvfCall(const IndexIVFRotorQuant& index, const faiss::SearchParameters* given);

  IvfSearchParams params;
  size_t nprobe;
  const faiss::SearchParameters* quantizer_params = nullptr;
  std::unique_ptr<SelectorFilter> filter;

 private:
  void take_ivf(const faiss::SearchParametersIVF& ivf, bool zero_is_default);
};

/// Whether no factor of a canonical code is infinite or NaN.
bool has_finite_factors(const CodeLayout& layout, const uint8_t* code);

std::vector<uint8_t> serialized(const Codec& codec);

}  // namespace rotorquant
