// SPDX-License-Identifier: MIT
#include <exception>

#include "commands.h"
#include "errors.h"
#include "rotorquant/simd.h"

namespace rotorquant::tools {
namespace {

constexpr size_t most_neighbours = 100'000;
constexpr int most_threads = 1024;
constexpr size_t most_rows = size_t{1} << 40;

}  // namespace

CLI::Option* add_repeatable(CLI::App& app, const std::string& name,
                            std::vector<std::string>& values, const std::string& help) {
  // One value an occurrence: a stray word is then an error, not another value.
  return app.add_option(name, values, help)->type_size(1)->allow_extra_args(false)->take_all();
}

void add_k_option(CLI::App& app, size_t& k) {
  app.add_option("--k", k, "neighbours a query")
      ->check(CLI::Range(size_t{1}, most_neighbours))
      ->capture_default_str();
}

void add_rows_option(CLI::App& app, size_t& rows) {
  app.add_option("--rows", rows, "use the first N base vectors only (default: all)")
      ->check(CLI::Range(size_t{1}, most_rows));
}

void add_queries_option(CLI::App& app, size_t& queries) {
  app.add_option("--queries", queries, "use the first N queries only (default: all)")
      ->check(CLI::Range(size_t{1}, most_rows));
}

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "threads for everything, OpenMP and OpenBLAS")
      ->check(CLI::Range(1, most_threads))
      ->capture_default_str();
}

void add_params_option(CLI::App& app, std::vector<std::string>& params) {
  add_repeatable(app, "--param", params,
                 "search parameters, name=value,...: refine_error_scale, k_factor, levels, "
                 "estimator (rescaled or strict) for rotorquant's indexes, nprobe and the like for "
                 "those of FAISS");
}

void require_usable_simd() {
  try {
    simd_active();
  } catch (const std::exception& error) {
    throw BadArgument(message_of(error));
  }
}

}  // namespace rotorquant::tools
