// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rotorquant/search.h"

namespace rotorquant::tools {

/// What an ann-benchmarks file says in its attribute `distance`.
enum class Distance : uint8_t { euclidean, angular, ip };

/// "euclidean", "angular", "ip".
std::string_view to_string(Distance distance);

/// Takes the names above and their synonyms: l2; cosine; dot, inner_product. Throws Error naming
/// `argument` for any other word.
Distance parse_distance(std::string_view word, std::string_view argument);

/// How an index searches such vectors: angular ones are normalised and compared by inner product.
Metric search_metric(Distance distance);

/// What a file holds, read without its vectors.
struct DatasetShape {
  std::string name;  ///< the file's name without folder and ending
  Distance distance = Distance::euclidean;
  size_t n = 0;
  size_t d = 0;
  size_t query_count = 0;
};

/// Vectors, queries and their true neighbours, as float32. Angular vectors are normalised (zero
/// vectors stay zero).
struct Dataset {
  std::string name;
  Distance distance = Distance::euclidean;
  size_t n = 0;
  size_t d = 0;
  size_t query_count = 0;
  std::vector<float> base;     ///< n x d, row-major
  std::vector<float> queries;  ///< query_count x d
  size_t truth_k = 0;          ///< columns of truth; 0: none known
  std::vector<int64_t> truth;  ///< query_count x truth_k rows of base, nearest first

  Metric metric() const { return search_metric(distance); }
};

enum class Parts : uint8_t { everything, queries_and_truth };

/// Reads the header of an ann-benchmarks HDF5 file. Throws Error.
DatasetShape read_shape(const std::string& path);

/// Reads an ann-benchmarks HDF5 file: `train`, `test`, attribute `distance` and, where there,
/// `neighbors`; of any integer or float type (16-bit floats included). Only the first `rows` rows
/// and `queries` queries are read; 0, or more than there are, stands for all. The file's truth is
/// dropped when `rows` cuts the base. Throws Error naming file, data set, expected and received for
/// what is missing, misshapen, not numeric, not finite or damaged. Not thread-safe (HDF5 is not).
Dataset read_dataset(const std::string& path, size_t rows = 0, size_t queries = 0,
                     Parts parts = Parts::everything);

/// Computes truth where fewer than min(k, n) neighbours are known. True when it did.
bool ensure_truth(Dataset& dataset, size_t k);

/// read_dataset and ensure_truth.
Dataset load_dataset(const std::string& path, size_t rows = 0, size_t queries = 0, size_t k = 10);

/// The min(k, n) nearest rows of base for each query, nearest first, equal distances by row:
/// query_count x min(k, n). Chosen by a float32 matrix product, then ranked in double precision.
/// base: n x d, queries: query_count x d, row-major. Works in blocks: O(4 MB) of scratch.
std::vector<int64_t> exact_neighbours(const float* base, size_t n, const float* queries,
                                      size_t query_count, size_t d, Metric metric, size_t k);

/// Scales every row of x (n x d) to length 1; zero rows stay.
void normalise_rows(float* x, size_t n, size_t d);

/// Mean share of the first min(k, truth_k) true ids that are among the first k found ids. By ids
/// alone: another vector at the same distance gets no credit.
/// truth: queries x truth_k; found: queries x found_k, found_k >= k, -1 where nothing was found.
double recall(const int64_t* truth, size_t truth_k, const int64_t* found, size_t found_k,
              size_t queries, size_t k);

}  // namespace rotorquant::tools
