// SPDX-License-Identifier: MIT
//
// Where a search's time goes: preparation, scan and refine of the flat index on a data set, with
// the numbers of candidates and refines that explain them. Fastest of several rounds.
//
// Usage: search_bench --dataset F.hdf5 [--index RQ3 ...] [--k 10] [--rounds 7] [--threads 1]
#include <fmt/core.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "dataset.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "rotorquant/simd.h"

namespace {

using rotorquant::IndexRotorQuant;
using rotorquant::SearchStats;
using rotorquant::tools::Dataset;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Round {
  double seconds = 0.0;
  SearchStats stats;
};

/// One timed call for queries first .. first + n - 1.
Round timed_search(const IndexRotorQuant& index, const Dataset& data, size_t first, size_t n,
                   size_t k) {
  std::vector<float> distances(n * k);
  std::vector<rotorquant::idx_t> ids(n * k);
  Round round;
  rotorquant::SearchParametersRotorQuant params;
  params.stats = &round.stats;
  const double start = seconds_now();
  index.search(static_cast<rotorquant::idx_t>(n), data.queries.data() + first * data.d,
               static_cast<rotorquant::idx_t>(k), distances.data(), ids.data(), &params);
  round.seconds = seconds_now() - start;
  return round;
}

Round fastest_batch(const IndexRotorQuant& index, const Dataset& data, size_t k, int rounds) {
  Round best = timed_search(index, data, 0, data.query_count, k);
  for (int i = 1; i < rounds; ++i) {
    const Round next = timed_search(index, data, 0, data.query_count, k);
    best = next.seconds < best.seconds ? next : best;
  }
  return best;
}

/// Mean over queries of each query's fastest call.
double one_query_seconds(const IndexRotorQuant& index, const Dataset& data, size_t k, int rounds) {
  double sum = 0.0;
  for (size_t q = 0; q < data.query_count; ++q) {
    double best = timed_search(index, data, q, 1, k).seconds;
    for (int i = 1; i < rounds; ++i) {
      best = std::min(best, timed_search(index, data, q, 1, k).seconds);
    }
    sum += best;
  }
  return sum / static_cast<double>(data.query_count);
}

void report(const std::string& description, const Dataset& data, size_t k, int rounds,
            bool batch_only) {
  const auto metric =
      data.metric() == rotorquant::Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  const auto made = rotorquant::index_factory(static_cast<int>(data.d), description, metric);
  auto* index = dynamic_cast<IndexRotorQuant*>(made.get());
  if (index == nullptr) {
    throw std::invalid_argument(description + ": not a flat rotorquant index");
  }
  index->train(static_cast<rotorquant::idx_t>(data.n), data.base.data());
  index->add(static_cast<rotorquant::idx_t>(data.n), data.base.data());
  const Round batch = fastest_batch(*index, data, k, rounds);
  const double one = batch_only ? 0.0 : one_query_seconds(*index, data, k, rounds);
  const double per_query = 1e6 / static_cast<double>(data.query_count);
  const auto mean = [&](size_t count) {
    return static_cast<double>(count) / static_cast<double>(data.query_count);
  };
  fmt::print("{:<8} {:>9.1f} {:>9.1f} {:>8.1f} {:>8.1f} {:>8.1f} {:>8.0f} {:>8.0f} {:>8.3f}\n",
             description, 1e6 * one, batch.seconds * per_query,
             batch.stats.prepare_seconds * per_query, batch.stats.scan_seconds * per_query,
             batch.stats.refine_seconds * per_query, mean(batch.stats.candidates),
             mean(batch.stats.refined), mean(batch.stats.rescans));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Where a search's time goes");
  std::string path;
  std::vector<std::string> descriptions;
  size_t k = 10;
  int rounds = 7;
  int threads = 1;
  app.add_option("--dataset", path, "ann-benchmarks HDF5 file")->required();
  app.add_option("--index", descriptions, "flat factory strings (default: RQ3 ORQ3)");
  app.add_option("--k", k, "neighbours a query")->capture_default_str();
  app.add_option("--rounds", rounds, "timed rounds")->capture_default_str();
  app.add_option("--threads", threads, "OpenMP threads")->capture_default_str();
  bool batch_only = false;
  app.add_flag("--batch-only", batch_only, "leave out the calls of one query (for profilers)");
  CLI11_PARSE(app, argc, argv);
  try {
    omp_set_num_threads(threads);
    const Dataset data = rotorquant::tools::read_dataset(path);
    fmt::print("{}: {} x {}, {} queries, k = {}, kernels {}; times in microseconds a query\n",
               data.name, data.n, data.d, data.query_count, k, rotorquant::simd_active());
    fmt::print("{:<8} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "index", "one", "batch",
               "prepare", "scan", "refine", "cands", "refined", "rescans");
    if (descriptions.empty()) {
      descriptions = {"RQ3", "ORQ3"};
    }
    for (const std::string& description : descriptions) {
      report(description, data, k, rounds, batch_only);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "search_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
