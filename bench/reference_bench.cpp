// SPDX-License-Identifier: MIT
//
// The published claims, measured: the rotor form (RotorQuant as published) against the TurboQuant
// form (a dense Haar rotation) at 2, 3 and 4 bits. Prints one table a data set:
//
//   params    numbers that describe the rotation: 4 a rotor (3 degrees of freedom), d^2 for Haar
//   madds     multiply-adds to rotate a vector
//   distort   mean |x - x^|^2 / |x|^2 of RotorQuantMse at `bits`
//   bias      mean of (estimate - <q, x>) / (|q| |x|) of RotorQuantProd at `bits`, over the seeds,
//             and its standard error over the seeds
//   self      the same bias over pairs q = x, where shrinkage would show
//   d*var     variance of that error over pairs and seeds, times d
//   top1/top5 agreement of a query's best 1 and 5 keys with the exact ones (KV cache)
//   cosine    between the exact and the estimated score vectors, mean over the queries
//   mse, prod encode speed, thousands of vectors a second, packed codes, fastest round
//
// Usage: reference_bench [--rows N] [--dataset F.hdf5 ...]
#include <fmt/core.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "dataset.h"
#include "rotorquant/random.h"
#include "rotorquant/reference.h"

namespace {

using rotorquant::Rotation;
using rotorquant::RotorQuantKVCache;
using rotorquant::RotorQuantMse;
using rotorquant::RotorQuantProd;

constexpr size_t query_count = 128;
constexpr uint64_t seed_count = 16;
constexpr size_t max_keys = 2048;  // a context, for bias and fidelity; distortion uses every row

/// n rows of d floats, the last query_count of them the queries. Not owned.
struct Data {
  const float* x;
  size_t n;
  size_t d;

  [[nodiscard]] size_t base() const { return n - query_count; }
  [[nodiscard]] size_t keys() const { return std::min(base(), max_keys); }
  [[nodiscard]] const float* row(size_t i) const { return x + i * d; }
  [[nodiscard]] const float* query(size_t q) const { return row(base() + q); }
};

double dot(const float* a, const float* b, size_t n) {
  double sum = 0.0;
  for (size_t j = 0; j < n; ++j) {
    sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  }
  return sum;
}

double norm(const float* a, size_t n) {
  return std::sqrt(dot(a, a, n));
}

/// Rows a second in the fastest of the rounds that fit into half a second (five at least): other
/// load on the machine only ever adds time.
template <class Work>
double rate(size_t rows, const Work& work) {
  using Clock = std::chrono::steady_clock;
  work();  // caches, threads
  const auto start = Clock::now();
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 5 || Clock::now() - start < std::chrono::milliseconds(500); ++round) {
    const auto before = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - before).count());
  }
  return static_cast<double>(rows) / best;
}

template <class Quantizer>
double encode_rate(const Quantizer& quantizer, const Data& data) {
  std::vector<uint8_t> codes(data.base() * quantizer.code_size());
  return rate(data.base(), [&] { quantizer.encode(data.x, data.base(), codes.data()); });
}

double distortion(const RotorQuantMse& quantizer, const Data& data) {
  std::vector<float> y(data.base() * data.d);
  quantizer.forward(data.x, data.base(), y.data());
  double sum = 0.0;
  for (size_t i = 0; i < data.base(); ++i) {
    double error = 0.0;
    for (size_t j = 0; j < data.d; ++j) {
      const double difference =
          static_cast<double>(data.row(i)[j]) - static_cast<double>(y[i * data.d + j]);
      error += difference * difference;
    }
    const double square = dot(data.row(i), data.row(i), data.d);
    sum += square > 0.0 ? error / square : 0.0;
  }
  return sum / static_cast<double>(data.base());
}

/// Mean and standard error of one number a seed.
struct Mean {
  double value = 0.0;
  double standard_error = 0.0;
};

Mean mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double square = 0.0;
  for (const double v : values) {
    square += (v - mean) * (v - mean);
  }
  return {mean, std::sqrt(square / (n * (n - 1.0)))};
}

struct ProductError {
  Mean bias;
  Mean self_bias;
  double variance = 0.0;
};

struct ErrorSums {
  double error = 0.0;
  double square = 0.0;
  double self = 0.0;
};

/// Relative errors of one seed, over all queries and keys.
ErrorSums error_sums(const RotorQuantProd& quantizer, const Data& data) {
  const size_t size = quantizer.code_size();
  std::vector<uint8_t> codes(data.keys() * size);
  quantizer.encode(data.x, data.keys(), codes.data());
  const auto error = [&](const RotorQuantProd::QueryState& state, const float* q, size_t i) {
    const double estimate = quantizer.inner_product(state, codes.data() + i * size);
    const double scale = norm(q, data.d) * norm(data.row(i), data.d);
    return scale > 0.0 ? (estimate - dot(q, data.row(i), data.d)) / scale : 0.0;
  };
  ErrorSums sums;
  for (size_t q = 0; q < query_count; ++q) {
    const auto state = quantizer.prepare_query(data.query(q));
    for (size_t i = 0; i < data.keys(); ++i) {
      const double e = error(state, data.query(q), i);
      sums.error += e;
      sums.square += e * e;
    }
  }
  for (size_t i = 0; i < data.keys(); ++i) {
    sums.self += error(quantizer.prepare_query(data.row(i)), data.row(i), i);
  }
  return sums;
}

ProductError product_error(const Data& data, int bits, Rotation rotation) {
  const auto pairs = static_cast<double>(query_count * data.keys());
  std::vector<double> means;
  std::vector<double> self;
  double square = 0.0;
  for (uint64_t s = 0; s < seed_count; ++s) {
    // Far apart: triple g is seeded by seed + g.
    const RotorQuantProd quantizer(data.d, bits, 0, 100000 * (s + 1), rotation);
    const ErrorSums sums = error_sums(quantizer, data);
    means.push_back(sums.error / pairs);
    self.push_back(sums.self / static_cast<double>(data.keys()));
    square += sums.square / pairs / static_cast<double>(seed_count);
  }
  const Mean bias = mean_of(means);
  return {bias, mean_of(self), square - bias.value * bias.value};
}

std::vector<size_t> best(const std::vector<double>& scores, size_t k) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(std::min(k, order.size()));
  std::partial_sort(order.begin(), middle, order.end(),
                    [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  order.erase(middle, order.end());
  return order;
}

double agreement(const std::vector<double>& exact, const std::vector<double>& estimate, size_t k) {
  const std::vector<size_t> wanted = best(exact, k);
  const std::vector<size_t> got = best(estimate, k);
  const auto found = std::count_if(wanted.begin(), wanted.end(), [&](size_t i) {
    return std::find(got.begin(), got.end(), i) != got.end();
  });
  return static_cast<double>(found) / static_cast<double>(wanted.size());
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  const double ab = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  const double aa = std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
  const double bb = std::inner_product(b.begin(), b.end(), b.begin(), 0.0);
  return ab / std::sqrt(aa * bb);
}

struct Fidelity {
  double top1 = 0.0;
  double top5 = 0.0;
  double cosine = 0.0;
};

Fidelity fidelity(const Data& data, int bits, Rotation rotation) {
  RotorQuantKVCache cache(data.d, data.d, bits, 42, rotation);
  cache.append(data.x, data.keys(), data.x, data.keys());
  const std::vector<float> scores = cache.attention_scores(data.query(0), query_count);
  Fidelity sum;
  for (size_t q = 0; q < query_count; ++q) {
    std::vector<double> exact(cache.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      exact[i] = dot(data.query(q), data.row(i), data.d);
    }
    const auto row = scores.begin() + static_cast<std::ptrdiff_t>(q * cache.size());
    const std::vector<double> estimate(row, row + static_cast<std::ptrdiff_t>(cache.size()));
    sum.top1 += agreement(exact, estimate, 1) / query_count;
    sum.top5 += agreement(exact, estimate, 5) / query_count;
    sum.cosine += cosine(exact, estimate) / query_count;
  }
  return sum;
}

void print_row(const Data& data, int bits, Rotation rotation) {
  const RotorQuantMse mse(data.d, bits, 42, {}, rotation);
  const RotorQuantProd prod(data.d, bits, 0, 42, rotation);
  const ProductError products = product_error(data, bits, rotation);
  const Fidelity f = fidelity(data, bits, rotation);
  fmt::print(
      "{:>4} {:>4} {:<10} {:>7} {:>7} {:>8.5f} {:>9.1e} +-{:>7.1e} {:>9.1e} +-{:>7.1e} {:>7.4f} "
      "{:>6.3f} {:>6.3f} {:>7.4f} {:>8.0f} {:>8.0f}\n",
      data.d, bits, rotation == Rotation::haar ? "turboquant" : "rotor", mse.parameters(),
      mse.multiply_adds(), distortion(mse, data), products.bias.value, products.bias.standard_error,
      products.self_bias.value, products.self_bias.standard_error,
      products.variance * static_cast<double>(data.d), f.top1, f.top5, f.cosine,
      1e-3 * encode_rate(mse, data), 1e-3 * encode_rate(prod, data));
}

/// x: n x d, row-major, n > query_count; the last query_count rows are the queries.
void run(const std::string& name, const float* x, size_t n, size_t d) {
  const Data data{x, n, d};
  fmt::print("\n{}: {} x {}, {} queries on {} keys, {} seeds\n", name, data.base(), d, query_count,
             data.keys(), seed_count);
  fmt::print(
      "{:>4} {:>4} {:<10} {:>7} {:>7} {:>8} {:>9}   {:>7} {:>9}   {:>7} {:>7} {:>6} {:>6} {:>7} "
      "{:>8} {:>8}\n",
      "d", "bits", "form", "params", "madds", "distort", "bias", "s.e.", "self", "s.e.", "d*var",
      "top1", "top5", "cosine", "mse kv/s", "prod kv/s");
  for (const int bits : {2, 3, 4}) {
    for (const Rotation rotation : {Rotation::rotor_blocks, Rotation::haar}) {
      print_row(data, bits, rotation);
    }
  }
}

std::vector<float> random_unit_vectors(size_t n, size_t d, uint64_t seed) {
  rotorquant::Rng rng(seed);
  std::vector<float> x(n * d);
  for (size_t i = 0; i < n; ++i) {
    float* row = x.data() + i * d;
    std::generate(row, row + d, [&] { return static_cast<float>(rng.gaussian()); });
    const auto length = static_cast<float>(norm(row, d));
    std::for_each(row, row + d, [&](float& v) { v /= length; });
  }
  return x;
}

/// A data set's first rows, with its own queries behind them.
void run_dataset(const std::string& path, size_t rows) {
  rotorquant::tools::Dataset dataset =
      rotorquant::tools::read_dataset(path, rows, static_cast<size_t>(query_count));
  std::vector<float> x = std::move(dataset.base);
  x.insert(x.end(), dataset.queries.begin(), dataset.queries.end());
  run(dataset.name, x.data(), x.size() / dataset.d, dataset.d);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The published algorithm measured: rotor blocks beside one dense Haar rotation");
  size_t rows = 8192;
  std::vector<std::string> datasets;
  app.add_option("--rows", rows, "vectors a table")->capture_default_str();
  app.add_option("--dataset", datasets, "ann-benchmarks HDF5 file; may be repeated");
  CLI11_PARSE(app, argc, argv);
  try {
    fmt::print("compiler {}, {} threads\n", __VERSION__, omp_get_max_threads());
    for (const size_t d : {size_t{64}, size_t{128}, size_t{256}}) {
      const std::vector<float> x = random_unit_vectors(rows + query_count, d, d);
      run("random unit vectors", x.data(), rows + query_count, d);
    }
    for (const std::string& path : datasets) {
      run_dataset(path, rows);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "reference_bench: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
