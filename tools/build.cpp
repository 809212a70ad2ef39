// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "commands.h"
#include "dataset.h"
#include "errors.h"
#include "faiss_ext/index_io.h"
#include "index_spec.h"
#include "measure.h"
#include "progress.h"
#include "rotorquant/error.h"
#include "threads.h"
#include "timing.h"
#include "vectors_file.h"

namespace rotorquant::tools {
namespace {

struct BuildOptions {
  std::string dataset;
  std::string input;
  std::string distance = "euclidean";
  std::string index;
  std::string output;
  size_t rows = 0;
  int threads = 1;
};

struct Base {
  Vectors vectors;
  Distance distance = Distance::euclidean;
};

Distance distance_option(const std::string& word) {
  try {
    return parse_distance(word, "--distance");
  } catch (const std::exception& error) {
    throw BadArgument(message_of(error));
  }
}

Base read_base(const BuildOptions& options) {
  if (!options.dataset.empty()) {
    Dataset dataset = read_dataset(options.dataset, options.rows, 1);
    return {{dataset.n, dataset.d, std::move(dataset.base)}, dataset.distance};
  }
  Base base{{}, distance_option(options.distance)};
  base.vectors = read_vectors(options.input, options.rows);
  if (base.distance == Distance::angular) {
    normalise_rows(base.vectors.values.data(), base.vectors.n, base.vectors.d);
  }
  return base;
}

/// Found out before the work, not after it.
void require_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  require(folder.empty() || std::filesystem::is_directory(folder), path, "a path in a folder",
          "no folder " + folder.string());
}

int run_build(const BuildOptions& options) {
  require_usable_simd();
  require_folder_of(options.output);
  set_threads(options.threads);
  Progress progress;
  progress.step("reading");
  const Base base = read_base(options);
  const Vectors& vectors = base.vectors;
  const std::string spec = expand_placeholders(options.index, vectors.d);
  const auto index = make_index(spec, vectors.d, base.distance);

  progress.step(spec + ": training");
  const Stopwatch training;
  index->train(static_cast<int64_t>(vectors.n), vectors.values.data());
  const double train_seconds = training.seconds();
  progress.step(fmt::format("{}: adding {} vectors", spec, vectors.n));
  const double add_seconds = add_rows(*index, vectors.values.data(), vectors.n, progress);
  progress.step(spec + ": writing");
  rotorquant::write_index(index.get(), options.output);
  progress.clear();
  fmt::print(
      "{}: {} vectors of {} dimensions, trained in {:.2f} s, added in {:.2f} s, written to {}\n",
      spec, vectors.n, vectors.d, train_seconds, add_seconds, options.output);
  return 0;
}

}  // namespace

void add_build_command(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<BuildOptions>();
  CLI::App* build = app.add_subcommand("build", "build an index and write it to a file");
  CLI::Option_group* source = build->add_option_group("source", "where the vectors come from");
  source->add_option("--dataset", options->dataset, "HDF5 file: its base vectors and distance");
  source->add_option("--input", options->input,
                     "file of vectors: .fvecs, .bvecs or .npy (float32)");
  source->require_option(1);
  build
      ->add_option("--distance", options->distance,
                   "euclidean, angular or ip, for --input (a data set says its own)")
      ->capture_default_str()
      ->excludes("--dataset");
  build->add_option("--index", options->index, "factory string; {d} and {d/N} as in eval")
      ->required();
  build->add_option("--output", options->output, "file to write")->required();
  add_rows_option(*build, options->rows);
  add_threads_option(*build, options->threads);
  build->footer("Angular vectors are normalised and indexed by inner product.");
  build->callback([options, &chosen] { chosen = [options] { return run_build(*options); }; });
}

}  // namespace rotorquant::tools
