// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "dataset.h"
#include "errors.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_io.h"
#include "index_facts.h"
#include "index_spec.h"
#include "measure.h"
#include "progress.h"
#include "rotorquant/error.h"
#include "search_options.h"
#include "threads.h"
#include "vectors_file.h"

namespace rotorquant::tools {
namespace {

struct SearchOptions {
  std::string index_file;
  std::string dataset;
  std::string output;
  std::vector<std::string> params;
  size_t k = 10;
  size_t queries = 0;
  int threads = 1;
};

void require_known_output(const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (!path.empty() && ending != ".ivecs" && ending != ".json") {
    throw BadArgument("--output: expected a name that ends in .ivecs or .json, received '" + path +
                      "'");
  }
}

/// Searching an index with another set's queries would give numbers without meaning.
void require_match(const faiss::Index& index, const Dataset& dataset) {
  if (static_cast<size_t>(index.d) != dataset.d) {
    throw BadArgument(
        fmt::format("--dataset {}: expected vectors of the index's {} dimensions, received {}",
                    dataset.name, index.d, dataset.d));
  }
  // Normalised vectors have the same order by either metric.
  const bool same_order =
      dataset.distance == Distance::angular || index.metric_type == faiss_metric(dataset.distance);
  if (!same_order) {
    throw BadArgument(
        fmt::format("--dataset {}: expected vectors for the index's metric, {}, received {}",
                    dataset.name, metric_name(index.metric_type), to_string(dataset.distance)));
  }
}

void write_json(const std::string& path, const BatchSearch& found, size_t queries, size_t k) {
  nlohmann::ordered_json json{{"k", k},
                              {"ids", nlohmann::ordered_json::array()},
                              {"distances", nlohmann::ordered_json::array()}};
  for (size_t q = 0; q < queries; ++q) {
    const auto first = static_cast<ptrdiff_t>(q * k);
    const auto last = static_cast<ptrdiff_t>((q + 1) * k);
    json["ids"].push_back(
        std::vector<int64_t>(found.ids.begin() + first, found.ids.begin() + last));
    json["distances"].push_back(
        std::vector<float>(found.distances.begin() + first, found.distances.begin() + last));
  }
  std::ofstream out(path);
  out << json << '\n';
  out.close();
  require(!out.fail(), path, "a file that can be written", "a write error");
}

void write_found(const std::string& path, const BatchSearch& found, size_t queries, size_t k) {
  if (path.empty()) {
    return;
  }
  if (std::filesystem::path(path).extension() == ".ivecs") {
    write_ivecs(path, found.ids.data(), queries, k);
  } else {
    write_json(path, found, queries, k);
  }
}

std::string recall_text(const faiss::Index& index, const Dataset& dataset, const BatchSearch& found,
                        size_t k) {
  if (static_cast<size_t>(index.ntotal) != dataset.n) {
    return fmt::format("unknown: the index holds {} vectors, the data set {}", index.ntotal,
                       dataset.n);
  }
  if (dataset.truth_k < std::min(k, dataset.n)) {
    return fmt::format("unknown: the data set lists {} neighbours a query", dataset.truth_k);
  }
  return fmt::format("{:.4f}", recall(dataset.truth.data(), dataset.truth_k, found.ids.data(), k,
                                      dataset.query_count, k));
}

int run_search(const SearchOptions& options) {
  require_usable_simd();
  require_known_output(options.output);
  set_threads(options.threads);
  const std::vector<ParamSetting> params = parse_params(options.params);
  Progress progress;
  progress.step("reading");
  const auto index = rotorquant::read_index(options.index_file);
  const Dataset dataset =
      read_dataset(options.dataset, 0, options.queries, Parts::queries_and_truth);
  require_match(*index, dataset);
  require_known_params(params, {{describe_index(*index), allowed_params(*index)}});
  const SearchSetup setup = prepare_search(*index, params, options.threads);

  progress.step(fmt::format("searching {} queries", dataset.query_count));
  const BatchSearch found = search_batch(*index, setup, dataset.queries.data(), dataset.query_count,
                                         options.k, 1, progress);
  write_found(options.output, found, dataset.query_count, options.k);
  progress.clear();
  fmt::print("index: {}, {} vectors\n", describe_index(*index), index->ntotal);
  fmt::print("queries: {} of {}, {:.0f} a second\n", dataset.query_count, dataset.name,
             static_cast<double>(dataset.query_count) / std::max(found.best_seconds, 1e-9));
  fmt::print("{0}-recall@{0}: {1}\n", options.k, recall_text(*index, dataset, found, options.k));
  return 0;
}

}  // namespace

void add_search_command(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<SearchOptions>();
  CLI::App* search =
      app.add_subcommand("search", "search a written index for a data set's queries");
  search->add_option("--index-file", options->index_file, "file that build wrote")->required();
  search->add_option("--dataset", options->dataset, "HDF5 file: its queries and true neighbours")
      ->required();
  add_k_option(*search, options->k);
  add_queries_option(*search, options->queries);
  add_threads_option(*search, options->threads);
  add_params_option(*search, options->params);
  search->add_option("--output", options->output,
                     "where results go: ids as .ivecs, or ids and distances as .json");
  search->callback([options, &chosen] { chosen = [options] { return run_search(*options); }; });
}

}  // namespace rotorquant::tools
