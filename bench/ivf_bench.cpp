// SPDX-License-Identifier: MIT
//
// Inverted lists: recall and queries a second against lists probed, and where a query's time goes.
//
// Usage: ivf_bench --dataset F.hdf5 [--index IVF1024,ORQ6 ...] [--nprobe 8 ...] [--scale 2 ...]
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
#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_parameters.h"
#include "timing.h"

namespace {

using rotorquant::tools::Dataset;
using rotorquant::tools::Stopwatch;

constexpr size_t k = 10;

struct Settings {
  std::vector<size_t> nprobes{2, 4, 8, 16, 32};
  std::vector<float> scales{-1.0F};
  int repeats = 3;
};

struct Searcher {
  const faiss::Index& index;
  const Dataset& data;
  rotorquant::SearchParametersIVFRotorQuant params;
  std::vector<float> distances;
  std::vector<int64_t> ids;

  Searcher(const faiss::Index& searched, const Dataset& dataset)
      : index(searched),
        data(dataset),
        distances(dataset.query_count * k),
        ids(dataset.query_count * k) {}

  void run(size_t batch) {
    for (size_t first = 0; first < data.query_count; first += batch) {
      const size_t count = std::min(batch, data.query_count - first);
      index.search(static_cast<int64_t>(count), data.queries.data() + first * data.d, k,
                   distances.data() + first * k, ids.data() + first * k, &params);
    }
  }
  /// The best of some runs, in queries a second.
  double speed(size_t batch, int repeats) {
    double best = 0.0;
    for (int i = 0; i < repeats; ++i) {
      const Stopwatch watch;
      run(batch);
      best = std::max(best, static_cast<double>(data.query_count) / watch.seconds());
    }
    return best;
  }
};

void report(const std::string& description, const Dataset& data, const Settings& settings) {
  const auto metric =
      data.metric() == rotorquant::Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  const auto index = rotorquant::index_factory(static_cast<int>(data.d), description, metric);
  const Stopwatch training;
  index->train(static_cast<int64_t>(data.n), data.base.data());
  const double train_seconds = training.seconds();
  const Stopwatch adding;
  index->add(static_cast<int64_t>(data.n), data.base.data());
  const double add_seconds = adding.seconds();
  const auto* ivf = dynamic_cast<const rotorquant::IndexIVFRotorQuant*>(
      rotorquant::extract_index_ivf(index.get()));
  const rotorquant::InvertedFile* file = ivf == nullptr ? nullptr : ivf->file();
  const double bytes = file == nullptr ? 0.0
                                       : static_cast<double>(file->memory_bytes()) /
                                             static_cast<double>(file->total());
  fmt::print("{} {}: train {:.1f} s, add {:.0f} vectors/s, lists {:.1f} bytes/vector\n", data.name,
             description, train_seconds, static_cast<double>(data.n) / add_seconds, bytes);
  fmt::print("{:>6} {:>6} {:>7} {:>9} {:>9} | {:>6} {:>6} {:>6} {:>6} us | {:>7} {:>7} {:>7}\n",
             "nprobe", "scale", "recall", "one q/s", "batch q/s", "prep", "coarse", "lists",
             "refine", "scanned", "passed", "refined");
  Searcher searcher(*index, data);
  for (const float scale : settings.scales) {
    for (const size_t nprobe : settings.nprobes) {
      searcher.params.nprobe = nprobe;
      searcher.params.refine_error_scale = scale;
      searcher.params.stats = nullptr;
      searcher.run(data.query_count);
      const double batch = searcher.speed(data.query_count, settings.repeats);
      const double one = searcher.speed(1, settings.repeats);
      const double recall = rotorquant::tools::recall(data.truth.data(), data.truth_k,
                                                      searcher.ids.data(), k, data.query_count, k);
      rotorquant::SearchStats stats;
      searcher.params.stats = &stats;
      searcher.run(data.query_count);
      const double queries = static_cast<double>(stats.queries);
      const double us = 1e6 / queries;
      fmt::print(
          "{:>6} {:>6.2f} {:>7.4f} {:>9.0f} {:>9.0f} | {:>6.2f} {:>6.2f} {:>6.2f} {:>6.2f}    | "
          "{:>7.0f} {:>7.1f} {:>7.1f}\n",
          nprobe, scale, recall, one, batch, stats.prepare_seconds * us, stats.coarse_seconds * us,
          stats.scan_seconds * us, stats.refine_seconds * us,
          static_cast<double>(stats.blocks_scanned) * 64.0 / queries,
          static_cast<double>(stats.candidates) / queries,
          static_cast<double>(stats.refined) / queries);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Recall and speed against lists probed");
  std::vector<std::string> paths;
  std::vector<std::string> descriptions{"IVF1024,ORQ6"};
  Settings settings;
  int threads = 1;
  app.add_option("--dataset", paths, "ann-benchmarks HDF5 files")->required();
  app.add_option("--index", descriptions, "factory strings");
  app.add_option("--nprobe", settings.nprobes, "lists to probe");
  app.add_option("--scale", settings.scales, "refine_error_scale; negative: the codec's default");
  app.add_option("--repeats", settings.repeats, "runs of which the best counts");
  app.add_option("--threads", threads, "OpenMP threads");
  CLI11_PARSE(app, argc, argv);
  try {
    omp_set_num_threads(threads);
    for (const std::string& path : paths) {
      const Dataset data = rotorquant::tools::load_dataset(path);
      for (const std::string& description : descriptions) {
        report(description, data, settings);
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
