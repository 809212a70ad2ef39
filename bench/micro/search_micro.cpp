// SPDX-License-Identifier: MIT
//
// Whole searches: the shares of a query's tables, the scan and the refine, as the search itself
// counts them (SearchStats), and of what is left: top k, merging, the clocks.
// bench/search_bench.cpp tells the same in microseconds, for any set and index.
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataset.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "micro.h"

namespace rotorquant::bench {
namespace {

constexpr size_t k = 10;

const tools::Dataset& dataset(const std::string& path) {
  static std::map<std::string, tools::Dataset> read;
  const auto found = read.find(path);
  return found != read.end() ? found->second
                             : read.emplace(path, tools::read_dataset(path)).first->second;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Choice {
  const char* name;
  int bits;
  bool learned;
};

/// batch: every query in one call, else a call each.
void search(benchmark::State& state, const std::string& path, const Choice& choice, bool batch) {
  const tools::Dataset& data = dataset(path);
  const auto metric = data.metric() == Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  IndexRotorQuant index(static_cast<int>(data.d), choice.bits, choice.learned, metric);
  index.train(static_cast<idx_t>(data.n), data.base.data());
  index.add(static_cast<idx_t>(data.n), data.base.data());

  SearchStats stats;
  SearchParametersRotorQuant params;
  params.stats = &stats;
  params.threads = 1;
  std::vector<float> distances(data.query_count * k);
  std::vector<idx_t> ids(data.query_count * k);
  const size_t a_call = batch ? data.query_count : 1;
  double seconds = 0.0;
  for (auto _ : state) {
    const double before = seconds_now();
    for (size_t q = 0; q < data.query_count; q += a_call) {
      index.search(static_cast<idx_t>(a_call), data.queries.data() + q * data.d,
                   static_cast<idx_t>(k), distances.data(), ids.data(), &params);
    }
    seconds += seconds_now() - before;
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(data.query_count));
  const auto share = [&](double part) { return 100.0 * part / seconds; };
  const auto queries =
      static_cast<double>(state.iterations()) * static_cast<double>(data.query_count);
  state.counters["tables_%"] = share(stats.prepare_seconds);
  state.counters["scan_%"] = share(stats.scan_seconds);
  state.counters["refine_%"] = share(stats.refine_seconds);
  state.counters["rest_%"] =
      100.0 - share(stats.prepare_seconds + stats.scan_seconds + stats.refine_seconds);
  state.counters["candidates"] = static_cast<double>(stats.candidates) / queries;
  state.counters["refined"] = static_cast<double>(stats.refined) / queries;
}

}  // namespace

void register_searches(const std::vector<std::string>& datasets) {
  for (const std::string& path : datasets) {
    const std::string set = std::filesystem::path(path).stem().string();
    for (const Choice& choice :
         {Choice{"RQ3", 3, false}, Choice{"ORQ3", 3, true}, Choice{"ORQ4", 4, true}}) {
      for (const bool batch : {true, false}) {
        const std::string name =
            "search/" + set + "/" + choice.name + (batch ? "/batch" : "/one_a_call");
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          search(state, path, choice, batch);
        })->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace rotorquant::bench
