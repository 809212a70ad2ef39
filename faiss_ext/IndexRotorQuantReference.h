// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexFlatCodes.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "faiss_ext/compat.h"
#include "rotorquant/reference.h"

namespace rotorquant {

/// Flat index over the packed codes of RotorQuantProd, the published algorithm kept for comparison
/// (docs/codec.md): no centring, no training, every search scores every vector by the strict
/// estimator. METRIC_INNER_PRODUCT, or METRIC_L2 by way of the stored norms:
/// |q|^2 + |x|^2 - 2 <q, x>, which may come out negative.
///
/// Conventions, ownership and thread safety are those of IndexRotorQuant; of the search parameters
/// only the selector (and, with SearchParametersRotorQuant, threads) is used.
struct IndexRotorQuantReference : faiss::IndexFlatCodes {
  int bits = 0;
  size_t qjl_dim = 0;
  uint64_t seed = 0;
  /// Immutable, hence shared by copies.
  std::shared_ptr<const RotorQuantProd> prod;

  /// For readers of files; nothing but assignment works on it.
  IndexRotorQuantReference() = default;
  /// Dimension dim >= 1, bits 1 to 8; sketch_dim = 0 stands for dim.
  IndexRotorQuantReference(int dim, int bits_a_dim, faiss::MetricType metric = faiss::METRIC_L2,
                           size_t sketch_dim = 0, uint64_t rng_seed = 42);

  /// Nothing to learn.
  void train(idx_t n, const float* x) override;
  /// On an exception the index is as before.
  void add(idx_t n, const float* x) override;

  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params = nullptr) const override;
  void range_search(idx_t n, const float* x, float radius, faiss::RangeSearchResult* result,
                    const faiss::SearchParameters* params = nullptr) const override;

  void sa_encode(idx_t n, const float* x, uint8_t* bytes) const override;
  void sa_decode(idx_t n, const uint8_t* bytes, float* x) const override;

  /// The caller owns it (FAISS convention); the index must outlive it.
  faiss::FlatCodesDistanceComputer* get_FlatCodesDistanceComputer() const override;

  void check_compatible_for_merge(const faiss::Index& other) const override;

  /// The factory string: "RQ3ref".
  std::string name() const { return "RQ" + std::to_string(bits) + "ref"; }
};

}  // namespace rotorquant
