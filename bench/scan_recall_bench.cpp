// SPDX-License-Identifier: MIT
//
// What the scan alone knows: the share of the true top 10 among the best N by level 1.
//
// Usage: scan_recall_bench --dataset F.hdf5 [--index ORQ3 ...]
#include <fmt/core.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "dataset.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"

namespace {

using rotorquant::tools::Dataset;

constexpr size_t truth_size = 10;

/// Share of the queries' true top 10 among their `n` returned ids.
double share(const Dataset& data, const std::vector<rotorquant::idx_t>& ids, size_t n) {
  size_t found = 0;
  for (size_t q = 0; q < data.query_count; ++q) {
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(q * n);
    for (size_t i = 0; i < truth_size; ++i) {
      found += static_cast<size_t>(std::count(first, first + static_cast<std::ptrdiff_t>(n),
                                              data.truth[q * data.truth_k + i]));
    }
  }
  return static_cast<double>(found) / static_cast<double>(data.query_count * truth_size);
}

void report(const std::string& description, const Dataset& data) {
  const auto metric =
      data.metric() == rotorquant::Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  const auto index = rotorquant::index_factory(static_cast<int>(data.d), description, metric);
  index->train(static_cast<rotorquant::idx_t>(data.n), data.base.data());
  index->add(static_cast<rotorquant::idx_t>(data.n), data.base.data());
  rotorquant::SearchParametersRotorQuant scan_only;
  scan_only.levels = 1;
  fmt::print("{:<20} {:<8}", data.name, description);
  for (const size_t n : {size_t{100}, size_t{300}, size_t{1000}, size_t{3000}}) {
    std::vector<float> distances(data.query_count * n);
    std::vector<rotorquant::idx_t> ids(data.query_count * n);
    index->search(static_cast<rotorquant::idx_t>(data.query_count), data.queries.data(),
                  static_cast<rotorquant::idx_t>(n), distances.data(), ids.data(), &scan_only);
    fmt::print(" {:>8.4f}", share(data, ids, n));
  }
  fmt::print("\n");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Share of the true top 10 among the best N of the level-1 scan");
  std::vector<std::string> paths;
  std::vector<std::string> descriptions;
  app.add_option("--dataset", paths, "ann-benchmarks HDF5 files")->required();
  app.add_option("--index", descriptions, "factory strings with two planes or more (RQ3, ORQ3)");
  CLI11_PARSE(app, argc, argv);
  try {
    if (descriptions.empty()) {
      descriptions = {"RQ3", "ORQ3"};
    }
    fmt::print("{:<20} {:<8} {:>8} {:>8} {:>8} {:>8}\n", "dataset", "index", "100", "300", "1000",
               "3000");
    for (const std::string& path : paths) {
      const Dataset data = rotorquant::tools::load_dataset(path);
      for (const std::string& description : descriptions) {
        report(description, data);
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "scan_recall_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
