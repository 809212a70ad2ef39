// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissException.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "rotorquant/random.h"

namespace rotorquant {

using Floats = std::vector<float>;
using Ids = std::vector<int64_t>;

/// n x d Gaussian numbers, shifted and with a different spread a coordinate, so that neither centre
/// nor frame is trivial. The same on every machine.
inline Floats vectors(size_t n, size_t d, uint64_t seed = 1) {
  Rng rng(seed, 77);
  Floats x(n * d);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto j = static_cast<double>(i % d);
    x[i] = static_cast<float>(0.3 + rng.gaussian() * (0.5 + 1.0 / (1.0 + j)));
  }
  return x;
}

struct Answer {
  Floats distances;
  Ids labels;
  bool operator==(const Answer&) const = default;
};

inline Answer search(const faiss::Index& index, const Floats& queries, size_t k,
                     const faiss::SearchParameters* params = nullptr) {
  const size_t n = queries.size() / static_cast<size_t>(index.d);
  Answer answer{Floats(n * k, -123.0F), Ids(n * k, -123)};
  index.search(static_cast<int64_t>(n), queries.data(), static_cast<int64_t>(k),
               answer.distances.data(), answer.labels.data(), params);
  return answer;
}

/// The same queries in calls of `batch`.
inline Answer search_in_batches(const faiss::Index& index, const Floats& queries, size_t k,
                                size_t batch, const faiss::SearchParameters* params = nullptr) {
  const auto d = static_cast<size_t>(index.d);
  Answer all;
  for (size_t first = 0; first < queries.size(); first += batch * d) {
    const size_t last = std::min(queries.size(), first + batch * d);
    const Floats part(queries.begin() + static_cast<std::ptrdiff_t>(first),
                      queries.begin() + static_cast<std::ptrdiff_t>(last));
    const Answer answer = search(index, part, k, params);
    all.distances.insert(all.distances.end(), answer.distances.begin(), answer.distances.end());
    all.labels.insert(all.labels.end(), answer.labels.begin(), answer.labels.end());
  }
  return all;
}

inline void add(faiss::Index& index, const Floats& x) {
  index.add(static_cast<int64_t>(x.size() / static_cast<size_t>(index.d)), x.data());
}

inline void train(faiss::Index& index, const Floats& x) {
  index.train(static_cast<int64_t>(x.size() / static_cast<size_t>(index.d)), x.data());
}

inline std::vector<uint8_t> stored_codes(const IndexRotorQuant& index) {
  std::vector<uint8_t> codes(index.store.size() * index.sa_code_size());
  index.store.pack(0, index.store.size(), codes.data());
  return codes;
}

inline std::vector<uint8_t> encoded(const faiss::Index& index, const Floats& x) {
  const size_t n = x.size() / static_cast<size_t>(index.d);
  std::vector<uint8_t> codes(n * index.sa_code_size());
  index.sa_encode(static_cast<int64_t>(n), x.data(), codes.data());
  return codes;
}

/// Distances of one query to all vectors, from the index's distance computer.
inline Floats all_distances(const faiss::Index& index, const float* query) {
  const std::unique_ptr<faiss::DistanceComputer> computer(index.get_distance_computer());
  computer->set_query(query);
  Floats distances(static_cast<size_t>(index.ntotal));
  for (size_t i = 0; i < distances.size(); ++i) {
    distances[i] = (*computer)(static_cast<int64_t>(i));
  }
  return distances;
}

/// Ids in order of distance, best first.
inline Ids ranked(const Floats& distances, faiss::MetricType metric) {
  Ids ids(distances.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
    const float da = distances[static_cast<size_t>(a)];
    const float db = distances[static_cast<size_t>(b)];
    return metric == faiss::METRIC_L2 ? da < db : da > db;
  });
  return ids;
}

/// Parameters under which every vector is scored by its whole code.
inline SearchParametersRotorQuant refine_everything() {
  SearchParametersRotorQuant params;
  params.refine_error_scale = 1e6F;
  return params;
}

/// FAISS's OPQ iterates 50 times by default, which is most of the time these tests would take.
inline void shorten_training(faiss::Index& index) {
  if (auto* transformed = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
    for (faiss::VectorTransform* transform : transformed->chain) {
      if (auto* opq = dynamic_cast<faiss::OPQMatrix*>(transform)) {
        opq->niter = 2;
        opq->niter_pq = 2;
        opq->niter_pq_0 = 2;
      }
    }
  }
}

template <class F>
std::string message_of(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const faiss::FaissException& error) {
    return error.what();
  }
  return "";
}

}  // namespace rotorquant
