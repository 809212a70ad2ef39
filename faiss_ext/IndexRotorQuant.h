// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/DistanceComputer.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "faiss_ext/compat.h"
#include "rotorquant/code_store.h"
#include "rotorquant/codec.h"
#include "rotorquant/search.h"

namespace rotorquant {

/// Parameters of one search. A field left at its default takes what the index holds, so a call
/// changes only what it names. `sel` (from the base, not owned) is applied inside the scan.
struct SearchParametersRotorQuant : faiss::SearchParameters {
  /// Standard deviations of the scan's error that a vector may be behind the k-th best and still be
  /// refined; 0: no bound, a shortlist of k_factor * k; negative: the index's own value.
  float refine_error_scale = -1.0F;
  /// Length of that shortlist over k; 0: the index's own value.
  size_t k_factor = 0;
  /// Rank by the first `levels` levels of the code, without signs; 0: by the whole code.
  size_t levels = 0;
  Estimator estimator = Estimator::rescaled;
  /// Threads for this call; 0: what OpenMP would use, over queries.
  int threads = 0;
  /// Added to when not null; not owned.
  SearchStats* stats = nullptr;
};

/// Flat index over rotor-quantized codes (docs/codec.md): scans level 1 of every code, refines the
/// survivors from the rest. METRIC_L2 (squared distances) and METRIC_INNER_PRODUCT (similarities).
///
/// Conventions are FAISS's: x is n x d, row-major; errors are faiss::FaissException; results short
/// of k are padded with id -1 and the worst value; own_fields does not occur, the index holds
/// everything by value and is copied by its copy constructor. Selectors passed in stay the
/// caller's. Const methods may run concurrently; writing methods exclude everything else.
struct IndexRotorQuant : faiss::Index {
  Codec codec;
  Space space;      ///< metric and centre: the training mean, or the origin when never trained
  CodeStore store;  ///< canonical codes of vectors 0 .. ntotal - 1

  /// Defaults of SearchParametersRotorQuant; a negative scale stands for
  /// Codec::default_error_scale().
  float refine_error_scale = SearchParams{}.refine_error_scale;
  size_t k_factor = SearchParams{}.k_factor;
  /// How long add() looks for good codes; not stored in files.
  EncodeEffort encode_effort = EncodeEffort::standard;

  /// For readers of files; nothing but assignment works on it.
  IndexRotorQuant();
  /// Throws faiss::FaissException on another metric, d < 1 or parameters that Codec refuses.
  explicit IndexRotorQuant(const CodecParams& params, faiss::MetricType metric = faiss::METRIC_L2);
  /// Of dimension dim: RQ{bits}, rotor layers, no training needed (learned = false), or ORQ{bits}:
  /// learned frame.
  IndexRotorQuant(int dim, int bits, bool learned = false,
                  faiss::MetricType metric = faiss::METRIC_L2);

  /// Sets the centre to the mean of x and, for a learned frame, learns frame and codebooks from at
  /// most 65,536 rows of it. Optional for RQ (the centre stays the origin), required for ORQ.
  /// Refused unless the index is empty. Deterministic for any number of threads.
  void train(idx_t n, const float* x) override;

  /// Encodes block by block: beside the final codes it needs a few MB. On an exception the index is
  /// as before.
  void add(idx_t n, const float* x) override;

  /// Accepts SearchParametersRotorQuant and plain faiss::SearchParameters.
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params = nullptr) const override;

  /// Distances < radius (L2) or similarities > radius, each query's results ascending by id.
  void range_search(idx_t n, const float* x, float radius, faiss::RangeSearchResult* result,
                    const faiss::SearchParameters* params = nullptr) const override;

  /// One query, for a handler of the caller's: gives it what range_search finds within its
  /// threshold, by id, as long as that is better than the threshold of the moment.
  void search1(const float* x, ResultHandler& handler,
               faiss::SearchParameters* params = nullptr) const ROTORQUANT_SEARCH1_OVERRIDE;

  void reset() override;

  /// Later vectors move up, in order, as in faiss::IndexFlat. Returns how many were removed.
  size_t remove_ids(const faiss::IDSelector& sel) override;

  void reconstruct(idx_t key, float* recons) const override;
  void reconstruct_n(idx_t i0, idx_t ni, float* recons) const override;

  /// Scores vectors by id, whole code. The index must outlive it and not change meanwhile. The
  /// caller owns it (FAISS convention).
  faiss::DistanceComputer* get_distance_computer() const override;

  /// distances[i * k + j] = distance of query i to vector labels[i * k + j], or the worst value
  /// where that label is negative. labels, distances: n x k.
  void compute_distance_subset(idx_t n, const float* x, idx_t k, float* distances,
                               const idx_t* labels) const;

  /// Standalone codes are the stored ones, byte for byte (CodeLayout in codec.h).
  size_t sa_code_size() const override;
  void sa_encode(idx_t n, const float* x, uint8_t* bytes) const override;
  void sa_decode(idx_t n, const uint8_t* bytes, float* x) const override;
  /// codes: n x sa_code_size(), from an index with equal codec and centre. xids is ignored, as in
  /// FAISS's flat indexes. Refuses codes whose factors are not finite.
  void add_sa_codes(idx_t n, const uint8_t* codes,
                    const idx_t* xids) ROTORQUANT_ADD_SA_CODES_OVERRIDE;

  /// Moves the vectors of `other`, which must have an equal codec and centre, behind ours.
  void merge_from(faiss::Index& other, idx_t add_id = 0) override;
  void check_compatible_for_merge(const faiss::Index& other) const override;

  /// The factory string: "RQ3", "ORQ2mse".
  std::string name() const { return codec.name(); }

  /// The search parameters of a call, index defaults filled in; `filter` is left alone.
  SearchParams resolve(const faiss::SearchParameters* params) const;

 private:
  /// Codes of rows (rows x d). Returns false if one could not be encoded.
  bool encode_rows(const float* x, size_t rows, uint8_t* bytes) const;
};

}  // namespace rotorquant
