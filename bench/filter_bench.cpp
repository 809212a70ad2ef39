// SPDX-License-Identifier: MIT
//
// What selectors cost: time of a search with one over the time without, one query a call and all in
// one call.
//
// Usage: filter_bench --dataset F.hdf5 [--index RQ3 ...] [--nprobe 32]
#include <faiss/impl/IDSelector.h>
#include <fmt/core.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "dataset.h"
#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "rotorquant/random.h"
#include "timing.h"

namespace {

using rotorquant::tools::Dataset;
using rotorquant::tools::Stopwatch;

constexpr size_t k = 10;

/// Selectors of half of all ids and of a hundredth, drawn by chance but for the ranges.
class Selectors {
 public:
  explicit Selectors(size_t n)
      : half_(drawn(n, 2)),
        few_(drawn(n, 100)),
        half_bits_(bits_of(half_, n)),
        few_bits_(bits_of(few_, n)),
        half_range_(0, static_cast<int64_t>(n / 2)),
        few_range_(0, static_cast<int64_t>(n / 100)),
        half_bitmap_(n, half_bits_.data()),
        few_bitmap_(n, few_bits_.data()),
        few_batch_(few_.size(), few_.data()) {}

  std::vector<std::pair<const char*, faiss::IDSelector*>> all() {
    return {
        {"none", nullptr},          {"50 % range", &half_range_}, {"50 % bitmap", &half_bitmap_},
        {"1 % range", &few_range_}, {"1 % bitmap", &few_bitmap_}, {"1 % batch", &few_batch_}};
  }

 private:
  std::vector<int64_t> half_;
  std::vector<int64_t> few_;
  std::vector<uint8_t> half_bits_;
  std::vector<uint8_t> few_bits_;
  faiss::IDSelectorRange half_range_;
  faiss::IDSelectorRange few_range_;
  faiss::IDSelectorBitmap half_bitmap_;
  faiss::IDSelectorBitmap few_bitmap_;
  faiss::IDSelectorBatch few_batch_;

  static std::vector<int64_t> drawn(size_t n, size_t one_in) {
    rotorquant::Rng rng(one_in);
    std::vector<int64_t> ids;
    for (size_t i = 0; i < n; ++i) {
      if (rng.below(one_in) == 0) {
        ids.push_back(static_cast<int64_t>(i));
      }
    }
    return ids;
  }
  static std::vector<uint8_t> bits_of(const std::vector<int64_t>& ids, size_t n) {
    std::vector<uint8_t> bits((n + 7) / 8);
    for (const int64_t id : ids) {
      bits[static_cast<size_t>(id) / 8] |=
          static_cast<uint8_t>(1U << (static_cast<size_t>(id) % 8));
    }
    return bits;
  }
};

/// Seconds a query of the best of some rounds, `batch` queries a call.
double seconds_a_query(const faiss::Index& index, const Dataset& data, size_t batch,
                       const faiss::SearchParameters& params, int repeats) {
  std::vector<float> distances(batch * k);
  std::vector<int64_t> ids(batch * k);
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    for (size_t first = 0; first + batch <= data.query_count; first += batch) {
      index.search(static_cast<int64_t>(batch), data.queries.data() + first * data.d, k,
                   distances.data(), ids.data(), &params);
    }
    best = std::min(best, watch.seconds());
  }
  const size_t calls = data.query_count / batch;
  return best / static_cast<double>(calls * batch);
}

void report(const std::string& description, const Dataset& data, size_t nprobe, int repeats) {
  const auto metric =
      data.metric() == rotorquant::Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  const auto index = rotorquant::index_factory(static_cast<int>(data.d), description, metric);
  index->train(static_cast<int64_t>(data.n), data.base.data());
  index->add(static_cast<int64_t>(data.n), data.base.data());
  rotorquant::SearchParametersRotorQuant flat;
  rotorquant::SearchParametersIVFRotorQuant lists;
  lists.nprobe = nprobe;
  const bool has_lists =
      dynamic_cast<const rotorquant::IndexIVFRotorQuant*>(index.get()) != nullptr;
  faiss::SearchParameters& params = has_lists ? static_cast<faiss::SearchParameters&>(lists) : flat;
  fmt::print("{} {}\n{:12} {:>20} {:>20}\n", data.name, description, "allowed", "one query, us",
             "batch, us a query");
  double one_without = 0.0;
  double batch_without = 0.0;
  Selectors selectors(data.n);
  for (const auto& [name, selector] : selectors.all()) {
    params.sel = selector;
    const double one = seconds_a_query(*index, data, 1, params, repeats);
    const double batch = seconds_a_query(*index, data, data.query_count, params, repeats);
    one_without = selector == nullptr ? one : one_without;
    batch_without = selector == nullptr ? batch : batch_without;
    fmt::print("{:12} {:>12.1f} {:>6.2f}x {:>12.1f} {:>6.2f}x\n", name, one * 1e6,
               one / one_without, batch * 1e6, batch / batch_without);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What selectors cost a search");
  std::vector<std::string> paths;
  std::vector<std::string> descriptions{"RQ3"};
  size_t nprobe = 32;
  int repeats = 4;
  app.add_option("--dataset", paths, "ann-benchmarks HDF5 files")->required();
  app.add_option("--index", descriptions, "factory strings");
  app.add_option("--nprobe", nprobe, "lists to probe, of inverted files");
  app.add_option("--repeats", repeats, "rounds of which the best counts");
  CLI11_PARSE(app, argc, argv);
  try {
    omp_set_num_threads(1);
    for (const std::string& path : paths) {
      const Dataset data = rotorquant::tools::load_dataset(path);
      for (const std::string& description : descriptions) {
        report(description, data, nprobe, repeats);
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
