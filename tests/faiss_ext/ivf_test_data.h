// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexFlat.h>

#include <memory>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "test_data.h"

namespace rotorquant {

/// An untrained inverted file by its factory string, with short k-means.
inline std::unique_ptr<IndexIVFRotorQuant> make_ivf(size_t d, const std::string& description,
                                                    faiss::MetricType metric = faiss::METRIC_L2) {
  auto made = index_factory(static_cast<int>(d), description, metric);
  std::unique_ptr<IndexIVFRotorQuant> index(dynamic_cast<IndexIVFRotorQuant*>(made.release()));
  index->cp.niter = 4;
  index->cp.min_points_per_centroid = 1;
  return index;
}

inline std::unique_ptr<IndexIVFRotorQuant> filled_ivf(size_t d, const std::string& description,
                                                      size_t n,
                                                      faiss::MetricType metric = faiss::METRIC_L2) {
  auto index = make_ivf(d, description, metric);
  train(*index, vectors(n, d));
  add(*index, vectors(n, d));
  return index;
}

}  // namespace rotorquant
