// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>

#include "commands.h"
#include "dataset.h"
#include "errors.h"
#include "index_spec.h"
#include "measure.h"
#include "progress.h"
#include "report.h"
#include "search_options.h"
#include "threads.h"

namespace rotorquant::tools {
namespace {

struct EvalOptions {
  std::vector<std::string> datasets;
  std::vector<std::string> indexes;
  std::vector<std::string> params;
  size_t k = 10;
  size_t rows = 0;
  size_t queries = 0;
  int threads = 1;
  bool json = false;
};

/// One data set with the index strings that its dimension makes of --index.
struct EvalPlan {
  std::string path;
  DatasetShape shape;
  std::vector<std::string> specs;
};

/// Reads headers only and tries every index string and parameter: a mistake in the last argument
/// must not show after an hour's work for the first.
std::vector<EvalPlan> make_plans(const EvalOptions& options,
                                 const std::vector<ParamSetting>& params) {
  std::vector<EvalPlan> plans;
  std::vector<IndexParams> allowed;
  for (const std::string& path : options.datasets) {
    EvalPlan plan{path, read_shape(path), {}};
    for (const std::string& index : options.indexes) {
      const std::string spec = expand_placeholders(index, plan.shape.d);
      const auto empty = make_index(spec, plan.shape.d, plan.shape.distance);
      prepare_search(*empty, params, options.threads);
      allowed.push_back({spec, allowed_params(*empty)});
      plan.specs.push_back(spec);
    }
    plans.push_back(std::move(plan));
  }
  require_known_params(params, allowed);
  return plans;
}

EvalTable make_table(const std::vector<EvalPlan>& plans, size_t k) {
  std::vector<std::string> names;
  std::vector<std::string> specs;
  for (const EvalPlan& plan : plans) {
    names.push_back(plan.shape.name);
    specs.insert(specs.end(), plan.specs.begin(), plan.specs.end());
  }
  return {names, specs, k};
}

Dataset load(const EvalPlan& plan, const EvalOptions& options, Progress& progress) {
  progress.step(plan.shape.name + ": reading");
  Dataset dataset = read_dataset(plan.path, options.rows, options.queries);
  if (dataset.truth_k < std::min(options.k, dataset.n)) {
    progress.step(plan.shape.name + ": computing the true neighbours");
    ensure_truth(dataset, options.k);
  }
  return dataset;
}

void print_line(const std::string& line, Progress& progress) {
  progress.clear();
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

/// Runs every index on one data set. An index that fails is reported and the rest goes on; returns
/// how many failed.
size_t evaluate_plan(const EvalPlan& plan, const EvalOptions& options,
                     const std::vector<ParamSetting>& params, const EvalTable& table,
                     Progress& progress) {
  const Dataset dataset = load(plan, options, progress);
  size_t failed = 0;
  for (const std::string& spec : plan.specs) {
    try {
      const EvalResult result =
          evaluate(dataset, {spec, options.k, options.threads, params}, progress);
      print_line(options.json ? to_json(result) : table.row(result), progress);
    } catch (const std::exception& error) {
      progress.note(
          fmt::format("rotorquant: {}: {}: {}", plan.shape.name, spec, message_of(error)));
      ++failed;
    }
  }
  return failed;
}

int run_eval(const EvalOptions& options) {
  require_usable_simd();
  set_threads(options.threads);
  const std::vector<ParamSetting> params = parse_params(options.params);
  const std::vector<EvalPlan> plans = make_plans(options, params);
  const EvalTable table = make_table(plans, options.k);
  Progress progress;
  if (!options.json) {
    print_line(table.header(), progress);
  }
  size_t failed = 0;
  for (const EvalPlan& plan : plans) {
    failed += evaluate_plan(plan, options, params, table, progress);
  }
  return failed == 0 ? 0 : exit_failed;
}

constexpr const char* eval_footer =
    R"(Data sets have the layout of ann-benchmarks: train, test, neighbors, distances and the attribute
distance (euclidean, angular or ip), of any integer or float type. Angular vectors are normalised
and searched by inner product. True neighbours are computed anew where --rows cuts the base or the
file lists fewer than k.

Index strings are rotorquant's (RQ1 to RQ8, ORQ1 to ORQ8, with mse; RQ1ref to RQ8ref) and FAISS's;
{d} and {d/N} in them stand for the dimension and its N-th part: 'PQ{d/2}x4fs'.

A parameter applies to the indexes that know it; one that none of them knows is an error.

--json prints one object a line with the keys index, dataset, metric, n, d, queries, k, threads,
simd, recall_at_1, recall_at_k (share of the true top k among the k returned, by ids), bytes_per_vector
(stored bytes that grow with n, over n), index_bytes (the whole written file), train_seconds,
add_seconds, single_query_us (median, one query a call), batch_qps (best of 3), distortion (mean
1 - cos^2 between a vector and its decoding, seen from the index's centre; null where the index cannot
decode).)";

}  // namespace

void add_eval_command(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* eval = app.add_subcommand("eval", "build, search and measure indexes on data sets");
  add_repeatable(*eval, "--dataset", options->datasets, "HDF5 file; may be repeated")->required();
  add_repeatable(*eval, "--index", options->indexes, "factory string; may be repeated")->required();
  add_k_option(*eval, options->k);
  add_rows_option(*eval, options->rows);
  add_queries_option(*eval, options->queries);
  add_threads_option(*eval, options->threads);
  add_params_option(*eval, options->params);
  eval->add_flag("--json", options->json, "print one JSON object a line instead of the table");
  eval->footer(eval_footer);
  eval->callback([options, &chosen] { chosen = [options] { return run_eval(*options); }; });
}

}  // namespace rotorquant::tools
