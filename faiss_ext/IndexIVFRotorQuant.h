// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexIVF.h>

#include <memory>
#include <string>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/compat.h"
#include "faiss_ext/inverted_lists.h"
#include "rotorquant/ivf.h"

namespace rotorquant {

/// Parameters of one search. A field left at its default takes what the index holds (nprobe and
/// max_codes too: both are 0 here, unlike in FAISS's own struct). `sel` is applied inside the scan.
struct SearchParametersIVFRotorQuant : faiss::SearchParametersIVF {
  SearchParametersIVFRotorQuant() { nprobe = 0; }
  /// As in SearchParametersRotorQuant.
  float refine_error_scale = -1.0F;
  size_t k_factor = 0;
  size_t levels = 0;
  Estimator estimator = Estimator::rescaled;
  /// Threads for this call; 0: what OpenMP would use, over queries. More than one with fewer
  /// queries than threads: a query's lists are split.
  int threads = 0;
  /// Added to when not null; not owned.
  SearchStats* stats = nullptr;
};

/// Inverted file over rotor-quantized codes: a faiss::IndexIVF whose lists are code stores. Vectors
/// are coded relative to their list's centroid, or to the mean of the training set where
/// by_residual is false. METRIC_L2 and METRIC_INNER_PRODUCT.
///
/// Everything IndexIVF offers works on it. search() and range_search() accept
/// SearchParametersIVFRotorQuant, faiss::SearchParametersIVF, SearchParametersRotorQuant and plain
/// faiss::SearchParameters. With a flat coarse quantizer of the same metric the lists to visit are
/// found here, from a copy of the centroids; otherwise, and for calls with quantizer_params, by
/// quantizer->search. Centroids are taken from the quantizer at the end of training: changing it
/// afterwards has no effect on codes.
///
/// IndexIVF's threading rules and ownership conventions hold: `quantizer` is deleted if own_fields
/// is set. Lists of other types (replace_invlists) are searched through FAISS's scanners.
struct IndexIVFRotorQuant : IndexIVFBase {
  /// Shared with geometry, lists and copies.
  std::shared_ptr<const Codec> codec;
  /// Codec, centre and centroids; null until trained. Shared with lists and copies; immutable.
  std::shared_ptr<const IvfGeometry> geometry;
  /// Whether the geometry finds the lists to visit; otherwise quantizer->search does.
  bool coarse_from_geometry = false;

  /// Defaults of the search parameters; a negative scale stands for Codec::default_error_scale().
  float refine_error_scale = SearchParams{}.refine_error_scale;
  size_t k_factor = SearchParams{}.k_factor;
  /// How long add() looks for good codes; not stored in files.
  EncodeEffort encode_effort = EncodeEffort::standard;

  /// For readers of files.
  IndexIVFRotorQuant();
  /// Borrows `coarse_quantizer`, of the codec's dimension; it may be trained and filled or empty.
  /// Throws faiss::FaissException on another metric and on parameters that Codec refuses.
  IndexIVFRotorQuant(faiss::Index* coarse_quantizer, const CodecParams& params, size_t lists,
                     faiss::MetricType metric = faiss::METRIC_L2);
  ~IndexIVFRotorQuant() override = default;
  IndexIVFRotorQuant(const IndexIVFRotorQuant&) = delete;
  IndexIVFRotorQuant& operator=(const IndexIVFRotorQuant&) = delete;

  /// Trains the coarse quantizer as IndexIVF does, then centre, frame and codebooks on the
  /// residuals of at most 65,536 rows. Refused unless the index is empty.
  void train(idx_t n, const float* x) override;

  /// xids: n, or null for ntotal, ntotal + 1, ... On an exception the index is as before, unless
  /// memory runs out.
  void add_with_ids(idx_t n, const float* x, const idx_t* xids) override;
  /// list_nos: -1 gives a code of zeros.
  void encode_vectors(idx_t n, const float* x, const idx_t* list_nos, uint8_t* codes,
                      bool include_listno = false) const override;
  void sa_decode(idx_t n, const uint8_t* bytes, float* x) const override;

  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params = nullptr) const override;
  /// Selectors and store_pairs may be combined.
  void search_preassigned(idx_t n, const float* x, idx_t k, const idx_t* assign,
                          const float* centroid_dis, float* distances, idx_t* labels,
                          bool store_pairs, const faiss::IVFSearchParameters* params = nullptr,
                          faiss::IndexIVFStats* stats = nullptr) const override;
  void range_search(idx_t n, const float* x, float radius, faiss::RangeSearchResult* result,
                    const faiss::SearchParameters* params = nullptr) const override;
  /// As in IndexRotorQuant.
  void search1(const float* x, ResultHandler& handler,
               faiss::SearchParameters* params = nullptr) const ROTORQUANT_SEARCH1_OVERRIDE;
  /// Scores canonical codes one by one; the caller's by FAISS convention.
  faiss::InvertedListScanner* get_InvertedListScanner(
      bool store_pairs = false,
      const faiss::IDSelector* sel = nullptr ROTORQUANT_SCANNER_PARAMS) const override;

  void reconstruct_from_offset(int64_t list_no, int64_t offset, float* recons) const override;

  /// As in IndexIVF, for any selector and any direct map but Array: later entries of a list move
  /// into the gaps, and memory is given back.
  size_t remove_ids(const faiss::IDSelector& sel) override;
  /// Needs a direct map. Vectors that stay in their list are coded anew in place.
  void update_vectors(int n, const idx_t* ids, const float* x) override;
  void check_compatible_for_merge(const faiss::Index& other) const override;

  /// The codes' factory string: "RQ3".
  std::string code_name() const { return codec->name(); }
  /// Ours, or null where somebody replaced them (or before training).
  const InvertedFile* file() const;
  InvertedFile* file();

  /// Makes the geometry of trained parts, and empty lists; for train() and readers of files.
  void set_geometry(std::shared_ptr<const IvfGeometry> trained);
};

}  // namespace rotorquant
