// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "filter.h"

namespace rotorquant::python {

/// What Python's SearchParameters holds: everything a call may set, for any kind of index. What is
/// not set stays the index's own.
struct SearchOptions {
  Filters filters;
  std::optional<float> refine_error_scale;
  std::optional<size_t> k_factor;
  std::optional<size_t> levels;
  std::optional<Estimator> estimator;
  std::optional<int> threads;
  std::optional<size_t> nprobe;
  std::optional<size_t> max_codes;
  std::optional<int> ef_search;
  std::shared_ptr<SearchStats> stats;

  /// The names that were set, filter aside.
  std::vector<std::string> names() const;
  bool nothing_set() const { return filters.each.empty() && names().empty(); }
};

/// Searches `index`, which may be a tree of wrappers; x: n x d, distances and labels: n x k, as in
/// faiss::Index::search. Throws faiss::FaissException when an option that was set means nothing to
/// the index.
void search(const faiss::Index& index, size_t n, const float* x, size_t k,
            const SearchOptions& options, float* distances, int64_t* labels);

void range_search(const faiss::Index& index, size_t n, const float* x, float radius,
                  const SearchOptions& options, faiss::RangeSearchResult& result);

}  // namespace rotorquant::python
