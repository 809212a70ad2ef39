// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataset.h"
#include "progress.h"
#include "search_options.h"

namespace rotorquant::tools {

/// What `eval` reports of one index on one data set.
struct EvalResult {
  std::string index;
  std::string dataset;
  std::string metric;  ///< the data set's distance
  size_t n = 0;
  size_t d = 0;
  size_t queries = 0;
  size_t k = 0;
  int threads = 1;
  std::string simd;
  double recall_at_1 = 0.0;       ///< the true nearest is the one returned first
  double recall_at_k = 0.0;       ///< share of the true top k among k returned
  double bytes_per_vector = 0.0;  ///< stored bytes that grow with n, over n
  size_t index_bytes = 0;         ///< the whole written file
  double train_seconds = 0.0;
  double add_seconds = 0.0;
  double single_query_us = 0.0;      ///< median, one query a call
  double batch_qps = 0.0;            ///< best of 3
  std::optional<double> distortion;  ///< mean 1 - cos^2; none where the index cannot decode
};

struct EvalJob {
  std::string spec;  ///< factory string without placeholders
  size_t k = 10;
  int threads = 1;
  std::vector<ParamSetting> params;
};

/// Builds the index on the data set (which must hold min(k, n) true neighbours), searches it and
/// measures everything.
EvalResult evaluate(const Dataset& dataset, const EvalJob& job, Progress& progress);

/// Adds n rows of x in slices, so that progress can be shown. Returns seconds.
double add_rows(faiss::Index& index, const float* x, size_t n, Progress& progress);

struct BatchSearch {
  std::vector<int64_t> ids;      ///< queries x k, -1 where fewer were found
  std::vector<float> distances;  ///< queries x k, as FAISS gives them
  double best_seconds = 0.0;
};

/// Searches all queries in one call, `runs` times.
BatchSearch search_batch(const faiss::Index& index, const SearchSetup& setup, const float* queries,
                         size_t query_count, size_t k, int runs, Progress& progress);

/// Median microseconds of a search for one query. Takes the queries in turn, but no more than fit
/// a few seconds once 100 are done.
double single_query_us(const faiss::Index& index, const SearchSetup& setup, const float* queries,
                       size_t query_count, size_t k, Progress& progress);

/// Mean, over up to 10,000 rows spread evenly over base, of 1 - cos^2 of the angle between row and
/// decoding, both seen from the index's centre (the origin for an index that has none). Nothing
/// when the index cannot reconstruct. Rows at the centre itself have no direction and are left out.
std::optional<double> distortion(faiss::Index& index, const float* base, size_t n);

}  // namespace rotorquant::tools
