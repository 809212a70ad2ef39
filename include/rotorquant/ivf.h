// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "rotorquant/aligned.h"
#include "rotorquant/code_store.h"
#include "rotorquant/codec.h"
#include "rotorquant/search.h"

namespace rotorquant {

/// What all lists of an inverted file share: one codec, one global centre g, and the point mu_c
/// that each list's codes are relative to. Lists cost a query no table of their own, because <G(q -
/// mu_c), a> = <G(q - g), a> - <G(mu_c - g), a> and the last term is known when a vector is added
/// (docs/codec.md, "Inverted lists").
///
/// Immutable; const methods are thread-safe.
class IvfGeometry {
 public:
  /// codec: trained on residuals. centre: d floats. offsets: mu_c - g, lists x d, row-major, or
  /// empty: codes of every list are then relative to the centre. error_ratio: see below. Throws
  /// Error on shapes that do not fit and on numbers that are not finite.
  IvfGeometry(Metric metric, std::shared_ptr<const Codec> codec, std::vector<float> centre,
              const std::vector<float>& offsets, size_t lists, float error_ratio);

  Metric metric() const { return metric_; }
  const Codec& codec() const { return *codec_; }
  const std::shared_ptr<const Codec>& shared_codec() const { return codec_; }
  size_t dim() const { return codec_->dim(); }
  size_t lists() const { return lists_; }
  bool by_residual() const { return !table_.empty(); }
  const std::vector<float>& centre() const { return centre_; }
  float weight() const { return metric_ == Metric::l2 ? 2.0F : 1.0F; }
  /// The variance of the scan's error for a typical residual r, over |r|^2: what the level-1 bound
  /// makes of |q - mu_c|^2.
  float error_ratio() const { return error_ratio_; }
  /// Measures it on residuals (n x d, row-major).
  static float measure_error_ratio(const Codec& codec, const float* residuals, size_t n);

  /// mu_c - g and mu_c: d floats each.
  void offset(size_t list, float* to) const;
  void centroid(size_t list, float* to) const;
  /// G(mu_c - g) and O G(mu_c - g): some microseconds.
  CodecQuery framed_offset(size_t list) const;

  /// x: n x d -> residuals x - mu_c (n x d) and the codes' additive terms (n): |x - mu_c|^2, or
  /// -<mu_c, x - mu_c> for inner products. lists: n, each below lists(). Returns whether all
  /// residuals are finite.
  bool split(const float* x, const int64_t* lists, size_t n, float* residuals,
             float* additive) const;
  /// x += mu_c for n rows.
  void restore(const int64_t* lists, size_t n, float* x) const;

  /// Lists stand in blocks of this many.
  static constexpr size_t block_lists = 64;
  size_t blocks() const { return (lists_ + block_lists - 1) / block_lists; }
  /// <q - g, mu_c - g> of n queries for one block: block_lists numbers a query, 0 for places behind
  /// the last list; rows of `stride` numbers. centred: q - g, n x d.
  void block_products(const float* centred, size_t n, size_t block, float* products,
                      size_t stride) const;
  /// |mu_c - g|^2.
  float squared_offset(size_t list) const { return squared_offsets_[list]; }
  /// <g, mu_c - g>.
  float centre_product(size_t list) const { return centre_products_[list]; }

 private:
  Metric metric_;
  std::shared_ptr<const Codec> codec_;
  size_t lists_;
  float error_ratio_;
  std::vector<float> centre_;
  AlignedVector<float> table_;  ///< mu_c - g: [block][dimension][place in the block]
  std::vector<float> squared_offsets_;
  std::vector<float> centre_products_;
};

/// Values of a list, one a vector: its own, or a read-only view of somebody else's.
template <class T>
class ListColumn {
 public:
  size_t size() const { return view_ == nullptr ? own_.size() : view_size_; }
  const T* data() const { return view_ == nullptr ? own_.data() : view_; }
  T operator[](size_t i) const { return data()[i]; }
  std::vector<T>& own() { return own_; }
  void set_view(const T* values, size_t size) {
    own_ = {};
    view_ = values;
    view_size_ = size;
  }
  void resize(size_t n) {
    own_.resize(n);
    if (own_.capacity() > 2 * n) {
      own_.shrink_to_fit();
    }
  }
  size_t memory_bytes() const { return own_.capacity() * sizeof(T); }

 private:
  std::vector<T> own_;
  const T* view_ = nullptr;
  size_t view_size_ = 0;
};

/// Ids of one list: 32 bits each as long as all of them fit.
class IdArray {
 public:
  size_t size() const { return is_wide() ? wide_.size() : narrow_.size(); }
  int64_t operator[](size_t i) const {
    return is_wide() ? wide_[i] : static_cast<int64_t>(narrow_[i]);
  }
  void append(const int64_t* ids, size_t n);
  void set(size_t i, int64_t id);
  void truncate(size_t n);
  void reserve(size_t n);
  /// Views of ids of either width.
  void set_view(const uint32_t* ids, size_t n) { narrow_.set_view(ids, n); }
  void set_view(const int64_t* ids, size_t n) { wide_.set_view(ids, n); }
  size_t memory_bytes() const { return narrow_.memory_bytes() + wide_.memory_bytes(); }
  /// Always inlined, as CodeStore::prefetch_row.
  __attribute__((always_inline)) void prefetch(size_t i) const {
    if (is_wide()) {
      __builtin_prefetch(wide_.data() + i);
    } else {
      __builtin_prefetch(narrow_.data() + i);
    }
  }

 private:
  ListColumn<uint32_t> narrow_;
  ListColumn<int64_t> wide_;  ///< used for all from the first id on that does not fit

  bool is_wide() const { return wide_.size() != 0; }
  void widen();
};

/// The parts of a list that lie in a file (docs/format.md), for InvertedFile::adopt.
struct ListParts {
  CodeStore codes;  ///< additive terms folded
  const float* refine_terms = nullptr;
  const uint32_t* narrow_ids = nullptr;  ///< one of the two
  const int64_t* wide_ids = nullptr;
};

/// Inverted lists: codes and ids by list. The lists are its only state; what decodes them is the
/// geometry, which copies share.
///
/// In memory the list's centroid is folded into the additive terms: into the scan's, in the blocks,
/// as far as level 1 goes, and for the whole code into the refine's, 4 bytes a vector beside them.
/// A query so needs nothing made for a list, in either stage. The codes' own additive terms are
/// found again from the latter, up to a rounding that does not change what they fold to: codes
/// taken out and put in again give the same answers to the last bit.
///
/// Concurrent reads, and writes to different lists, are allowed.
class InvertedFile {
 public:
  explicit InvertedFile(std::shared_ptr<const IvfGeometry> geometry);

  const IvfGeometry& geometry() const { return *geometry_; }
  const std::shared_ptr<const IvfGeometry>& shared_geometry() const { return geometry_; }
  size_t lists() const { return lists_.size(); }
  size_t size(size_t list) const { return lists_[list].codes.size(); }
  /// Vectors in all lists.
  size_t total() const;
  size_t memory_bytes() const;

  /// Appends n canonical codes; returns the offset of the first.
  size_t append(size_t list, size_t n, const int64_t* ids, const uint8_t* codes);
  /// Appends what codes(), refine_terms() and ids() of a list of an equal geometry hold: codes
  /// whose additive terms are folded already.
  void append_folded(size_t list, size_t n, const int64_t* ids, const uint8_t* codes,
                     const float* terms);
  void assign(size_t list, size_t offset, int64_t id, const uint8_t* code);
  /// Writes codes first .. first + n - 1 in canonical form.
  void pack(size_t list, size_t first, size_t n, uint8_t* codes) const;
  /// Copies entry `from` over entry `to`.
  void copy_within(size_t list, size_t from, size_t to);
  /// Drops everything from `n` on and gives the memory back.
  void truncate(size_t list, size_t n);
  void reserve(size_t list, size_t n);
  void clear();
  /// Makes all lists read-only. parts: one a list. `owner` keeps alive what the pointers lead to.
  void adopt(std::vector<ListParts> parts, std::shared_ptr<const void> owner);
  bool is_read_only() const { return read_only_; }
  /// Every id becomes to(id).
  void renumber(const std::function<int64_t(int64_t)>& to);

  const CodeStore& codes(size_t list) const { return lists_[list].codes; }
  const IdArray& ids(size_t list) const { return lists_[list].ids; }
  /// The refine's additive terms: distance = base + term - weight * <G(q - g), decoded code>.
  const float* refine_terms(size_t list) const { return lists_[list].refine_terms.data(); }

 private:
  struct List {
    CodeStore codes;
    IdArray ids;
    ListColumn<float> refine_terms;
  };

  std::shared_ptr<const IvfGeometry> geometry_;
  std::vector<List> lists_;
  bool read_only_ = false;
  std::shared_ptr<const void> owner_;  ///< of what read-only lists view

  void require_own() const;
  /// Appends as they are; the refine terms are for the caller to set.
  size_t append_unfolded(size_t list, size_t n, const int64_t* ids, const uint8_t* codes);
  /// Folds the centroid into the additive terms of entries first .. last - 1, just written.
  void fold(size_t list, size_t first, size_t last);
};

struct IvfSearchParams : SearchParams {
  /// Lists are visited, in the order given, until this many vectors have been; 0: all of them.
  size_t max_codes = 0;
  /// Report list << 32 | offset in place of ids. Filters still see ids.
  bool store_pairs = false;
};

/// k nearest among the probed lists, for n queries (n x d, row-major). probed: n x probes list
/// numbers, negative ones are skipped; each list at most once a query. distances, ids: n x k,
/// ascending by (distance, id), padded with +infinity and -1.
///
/// The result is the exact top k of the probed vectors under max(refined distance, level-1 bound),
/// so it does not depend on threads, batch size or the order of lists.
void search(const InvertedFile& file, const float* queries, size_t n, size_t k,
            const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
            int64_t* ids);

/// The same with the nearest `probes` lists of each query, found by a product of all centroids with
/// the query: the coarse quantiser of up to some thousands of lists.
void search_nearest_lists(const InvertedFile& file, const float* queries, size_t n, size_t k,
                          size_t probes, const IvfSearchParams& params, float* distances,
                          int64_t* ids);

/// Scores canonical codes one by one against a query; for callers that bring their own lists, and
/// for what is not the usual estimate. Not thread-safe; the geometry must outlive it.
class IvfScorer {
 public:
  explicit IvfScorer(const IvfGeometry& geometry, size_t levels = 0,
                     Estimator estimator = Estimator::rescaled)
      : geometry_(geometry), levels_(levels), estimator_(estimator) {}

  /// query: d floats. Throws on NaN or infinity.
  void set_query(const float* query);
  /// Codes that follow are those of `list`.
  void set_list(size_t list);
  float distance(const uint8_t* code) const;

 private:
  const IvfGeometry& geometry_;
  size_t levels_;
  Estimator estimator_;
  std::vector<float> query_;
  CodecQuery residual_;  ///< of q - mu_c
  float base_ = 0.0F;
};

/// Everything in the probed lists with distance < radius, each query's hits ascending by id.
std::vector<std::vector<RangeHit>> range_search(const InvertedFile& file, const float* queries,
                                                size_t n, float radius, const int64_t* probed,
                                                size_t probes, const IvfSearchParams& params);

}  // namespace rotorquant
