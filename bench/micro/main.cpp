// SPDX-License-Identifier: MIT
//
// Every kernel of src/simd/kernels.h, for every instruction set that this machine has, beside what
// the machine can do at most; and where whole searches spend their time.
//
// Usage: rotorquant_micro [--dataset=F.hdf5 ...] [Google Benchmark's arguments]
//   --benchmark_filter='scan_.*avx512vbmi/d128'
// of_memory_%: bytes a second over the read bandwidth of memory (above 100: from cache).
// of_lookups_%: look-ups a second over the rate of vpermb or vpshufb alone.
#include <omp.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "micro.h"
#include "rotorquant/simd.h"

namespace {

/// Takes every --dataset=F out of the arguments.
std::vector<std::string> take_datasets(int& argc, char** argv) {
  constexpr std::string_view option = "--dataset=";
  std::vector<std::string> paths;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(option)) {
      paths.emplace_back(argument.substr(option.size()));
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  if (paths.empty()) {
    const std::string folder = ROTORQUANT_DATASETS "/";
    paths = {folder + "sift-128-euclidean-20k.hdf5", folder + "glove-100-angular-20k.hdf5",
             folder + "minilm-384-angular-8k.hdf5"};
  }
  return paths;
}

void run(int argc, char** argv) {
  const std::vector<std::string> datasets = take_datasets(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return;
  }
  omp_set_num_threads(1);
  benchmark::AddCustomContext("searches_use", rotorquant::simd_active());
  rotorquant::bench::register_limits();
  for (const auto* kernels : rotorquant::simd::available_kernels()) {
    rotorquant::bench::register_scan(*kernels);
    rotorquant::bench::register_refine(*kernels);
    rotorquant::bench::register_encode(*kernels);
    rotorquant::bench::register_frame(*kernels);
  }
  rotorquant::bench::register_searches(datasets);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rotorquant_micro: %s\n", error.what());
    return 1;
  }
  return 0;
}
