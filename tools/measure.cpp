// SPDX-License-Identifier: MIT
#include "measure.h"

#include <faiss/IndexIVF.h>
#include <faiss/impl/io.h>
#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <limits>

#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "index_facts.h"
#include "index_spec.h"
#include "rotorquant/simd.h"

namespace rotorquant::tools {
namespace {

/// 1 - cos^2 of the angle between x and y, both d floats seen from centre (empty: the origin);
/// nothing where x is the centre.
std::optional<double> angle_loss(const float* x, const float* y, size_t d,
                                 const std::vector<float>& centre) {
  double xx = 0.0;
  double yy = 0.0;
  double xy = 0.0;
  for (size_t j = 0; j < d; ++j) {
    const double c = centre.empty() ? 0.0 : static_cast<double>(centre[j]);
    const double a = static_cast<double>(x[j]) - c;
    const double b = static_cast<double>(y[j]) - c;
    xx += a * a;
    yy += b * b;
    xy += a * b;
  }
  if (xx == 0.0) {
    return std::nullopt;
  }
  return yy == 0.0 ? 1.0 : std::max(0.0, 1.0 - xy * xy / (xx * yy));
}

/// Bytes of the index as it would be written.
size_t written_bytes(const faiss::Index& index) {
  return serialize_index(&index).size();
}

double train(faiss::Index& index, const Dataset& dataset) {
  const Stopwatch watch;
  index.train(static_cast<int64_t>(dataset.n), dataset.base.data());
  return watch.seconds();
}

EvalResult describe(const Dataset& dataset, const EvalJob& job) {
  EvalResult result;
  result.index = job.spec;
  result.dataset = dataset.name;
  result.metric = to_string(dataset.distance);
  result.n = dataset.n;
  result.d = dataset.d;
  result.queries = dataset.query_count;
  result.k = job.k;
  result.threads = job.threads;
  result.simd = simd_active();
  return result;
}

}  // namespace

double add_rows(faiss::Index& index, const float* x, size_t n, Progress& progress) {
  constexpr size_t slice = size_t{1} << 16;
  const Stopwatch watch;
  for (size_t done = 0; done < n; done += slice) {
    const size_t rows = std::min(slice, n - done);
    index.add(static_cast<int64_t>(rows), x + done * static_cast<size_t>(index.d));
    progress.update(done + rows, n);
  }
  return watch.seconds();
}

BatchSearch search_batch(const faiss::Index& index, const SearchSetup& setup, const float* queries,
                         size_t query_count, size_t k, int runs, Progress& progress) {
  BatchSearch result;
  result.ids.resize(query_count * k);
  result.distances.resize(query_count * k);
  result.best_seconds = std::numeric_limits<double>::infinity();
  for (int run = 0; run < runs; ++run) {
    const Stopwatch watch;
    index.search(static_cast<int64_t>(query_count), queries, static_cast<int64_t>(k),
                 result.distances.data(), result.ids.data(), setup.params.get());
    result.best_seconds = std::min(result.best_seconds, watch.seconds());
    progress.update(static_cast<size_t>(run) + 1, static_cast<size_t>(runs));
  }
  return result;
}

double single_query_us(const faiss::Index& index, const SearchSetup& setup, const float* queries,
                       size_t query_count, size_t k, Progress& progress) {
  constexpr size_t enough_queries = 100;
  constexpr double enough_seconds = 5.0;
  std::vector<float> distances(k);
  std::vector<int64_t> ids(k);
  std::vector<double> micros;
  const Stopwatch all;
  for (size_t q = 0; q < query_count; ++q) {
    if (q >= enough_queries && all.seconds() > enough_seconds) {
      break;
    }
    const Stopwatch watch;
    index.search(1, queries + q * static_cast<size_t>(index.d), static_cast<int64_t>(k),
                 distances.data(), ids.data(), setup.params.get());
    micros.push_back(watch.seconds() * 1e6);
    progress.update(q + 1, query_count);
  }
  return median(std::move(micros));
}

std::optional<double> distortion(faiss::Index& index, const float* base, size_t n) {
  constexpr size_t most_rows = 10000;
  const auto d = static_cast<size_t>(index.d);
  const size_t rows = std::min(n, most_rows);
  const std::vector<float> centre = centre_of(index);
  std::vector<float> decoded(d);
  double sum = 0.0;
  size_t counted = 0;
  try {
    if (faiss::IndexIVF* ivf = try_extract_index_ivf(&index)) {
      ivf->make_direct_map(true);  // an inverted file finds no vector by its id without one
    }
    for (size_t i = 0; i < rows; ++i) {
      const size_t row = i * n / rows;
      index.reconstruct(static_cast<int64_t>(row), decoded.data());
      if (const auto loss = angle_loss(base + row * d, decoded.data(), d, centre)) {
        sum += *loss;
        ++counted;
      }
    }
  } catch (const std::exception&) {
    return std::nullopt;  // FAISS says "not implemented" this way
  }
  return counted == 0 ? 0.0 : sum / static_cast<double>(counted);
}

EvalResult evaluate(const Dataset& dataset, const EvalJob& job, Progress& progress) {
  EvalResult result = describe(dataset, job);
  const std::string who = dataset.name + ": " + job.spec + ": ";
  const auto index = make_index(job.spec, dataset.d, dataset.distance);

  progress.step(who + "training");
  result.train_seconds = train(*index, dataset);
  const size_t empty_bytes = written_bytes(*index);

  progress.step(fmt::format("{}adding {} vectors", who, dataset.n));
  result.add_seconds = add_rows(*index, dataset.base.data(), dataset.n, progress);
  result.index_bytes = written_bytes(*index);
  result.bytes_per_vector =
      (static_cast<double>(result.index_bytes) - static_cast<double>(empty_bytes)) /
      static_cast<double>(dataset.n);

  const SearchSetup setup = prepare_search(*index, job.params, job.threads);
  for (const std::string& name : setup.unused) {
    progress.note(fmt::format("{}does not know --param {}, searched without it", who, name));
  }
  progress.step(fmt::format("{}searching {} queries, 3 times", who, dataset.query_count));
  const BatchSearch found =
      search_batch(*index, setup, dataset.queries.data(), dataset.query_count, job.k, 3, progress);
  result.batch_qps = static_cast<double>(dataset.query_count) / found.best_seconds;
  result.recall_at_1 = recall(dataset.truth.data(), dataset.truth_k, found.ids.data(), job.k,
                              dataset.query_count, 1);
  result.recall_at_k = recall(dataset.truth.data(), dataset.truth_k, found.ids.data(), job.k,
                              dataset.query_count, job.k);

  progress.step(fmt::format("{}searching one query a call", who));
  result.single_query_us =
      single_query_us(*index, setup, dataset.queries.data(), dataset.query_count, job.k, progress);
  progress.step(who + "decoding");
  result.distortion = distortion(*index, dataset.base.data(), dataset.n);
  return result;
}

}  // namespace rotorquant::tools
