// SPDX-License-Identifier: MIT
//
// Is the rescaled estimator unbiased with layered rotors? Mean signed error of inner products of
// queries with their near neighbours, (estimate - <q, x>) / (|q| |x|), over random frames; its
// standard error is that of the frames' means.
//
// Usage: bias_bench --dataset F.hdf5 [--frames 1000] [--pairs 1024] [--layers 0 ...]
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "dataset.h"
#include "rotorquant/codec.h"

namespace {

using rotorquant::Codec;
using rotorquant::tools::Dataset;

/// Centred queries and base vectors, pair by pair: n x d each.
struct Pairs {
  size_t n = 0;
  size_t d = 0;
  std::vector<float> q;
  std::vector<float> x;
  std::vector<double> product;
  std::vector<double> norms;  ///< |q| |x|
};

std::vector<double> mean_of(const Dataset& data) {
  std::vector<double> mean(data.d, 0.0);
  for (size_t i = 0; i < data.n * data.d; ++i) {
    mean[i % data.d] += static_cast<double>(data.base[i]);
  }
  for (double& m : mean) {
    m /= static_cast<double>(data.n);
  }
  return mean;
}

/// Every query with its nearest neighbour, then with its second, and so on.
Pairs near_pairs(const Dataset& data, size_t n) {
  const std::vector<double> mean = mean_of(data);
  Pairs pairs{n, data.d, std::vector<float>(n * data.d), std::vector<float>(n * data.d), {}, {}};
  for (size_t i = 0; i < n; ++i) {
    const size_t query = i % data.query_count;
    const size_t rank = i / data.query_count % data.truth_k;
    const auto neighbour = static_cast<size_t>(data.truth[query * data.truth_k + rank]);
    double product = 0.0;
    double qq = 0.0;
    double xx = 0.0;
    for (size_t j = 0; j < data.d; ++j) {
      const double q = static_cast<double>(data.queries[query * data.d + j]) - mean[j];
      const double x = static_cast<double>(data.base[neighbour * data.d + j]) - mean[j];
      pairs.q[i * data.d + j] = static_cast<float>(q);
      pairs.x[i * data.d + j] = static_cast<float>(x);
      product += q * x;
      qq += q * q;
      xx += x * x;
    }
    pairs.product.push_back(product);
    pairs.norms.push_back(std::sqrt(qq * xx));
  }
  return pairs;
}

double frame_error(const Pairs& pairs, int bits, size_t layers, uint64_t seed) {
  rotorquant::CodecParams params;
  params.d = pairs.d;
  params.bits = bits;
  params.rotor_layers = layers;
  params.seed = seed;
  const Codec codec(params);
  const std::vector<float> additive(pairs.n, 0.0F);
  std::vector<uint8_t> codes(pairs.n * codec.code_bytes());
  codec.encode(pairs.x.data(), additive.data(), pairs.n, codes.data());
  double sum = 0.0;
  for (size_t i = 0; i < pairs.n; ++i) {
    const auto query = codec.prepare(pairs.q.data() + i * pairs.d);
    const float estimate = codec.estimate(query, codes.data() + i * codec.code_bytes());
    sum += (static_cast<double>(estimate) - pairs.product[i]) / pairs.norms[i];
  }
  return sum / static_cast<double>(pairs.n);
}

void report(const Pairs& pairs, int bits, size_t layers, size_t frames) {
  double sum = 0.0;
  double squares = 0.0;
  for (size_t f = 0; f < frames; ++f) {
    const double error = frame_error(pairs, bits, layers, 1000 + f);
    sum += error;
    squares += error * error;
  }
  const auto count = static_cast<double>(frames);
  const double mean = sum / count;
  const double standard_error = std::sqrt((squares / count - mean * mean) / count);
  const std::string depth = layers == 0 ? "default" : std::to_string(layers);
  fmt::print(
      "RQ{} layers {:>7} frames {} pairs {}: mean {:+.2e}, standard error {:.1e}, z {:+.2f}\n",
      bits, depth, frames, pairs.n, mean, standard_error, mean / standard_error);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Bias of the rescaled estimator over random rotor frames");
  std::string path;
  size_t frames = 1000;
  size_t pair_count = 1024;
  std::vector<size_t> layers{0};
  app.add_option("--dataset", path, "ann-benchmarks HDF5 file")->required();
  app.add_option("--frames", frames, "random frames")->capture_default_str();
  app.add_option("--pairs", pair_count, "pairs of query and neighbour")->capture_default_str();
  app.add_option("--layers", layers, "rotor layers (0: the default)");
  CLI11_PARSE(app, argc, argv);
  try {
    const Dataset data = rotorquant::tools::load_dataset(path);
    const Pairs pairs = near_pairs(data, pair_count);
    fmt::print("{}: d = {}\n", data.name, data.d);
    for (const size_t depth : layers) {
      for (const int bits : {2, 3, 4}) {
        report(pairs, bits, depth, frames);
      }
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "bias_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
