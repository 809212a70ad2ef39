// SPDX-License-Identifier: MIT
#include "report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

namespace rotorquant::tools {
namespace {

size_t widest(const std::vector<std::string>& texts, std::string_view title) {
  size_t width = title.size();
  for (const std::string& text : texts) {
    width = std::max(width, text.size());
  }
  return width;
}

}  // namespace

std::string to_json(const EvalResult& r) {
  nlohmann::ordered_json json{
      {"index", r.index},
      {"dataset", r.dataset},
      {"metric", r.metric},
      {"n", r.n},
      {"d", r.d},
      {"queries", r.queries},
      {"k", r.k},
      {"threads", r.threads},
      {"simd", r.simd},
      {"recall_at_1", r.recall_at_1},
      {"recall_at_k", r.recall_at_k},
      {"bytes_per_vector", r.bytes_per_vector},
      {"index_bytes", r.index_bytes},
      {"train_seconds", r.train_seconds},
      {"add_seconds", r.add_seconds},
      {"single_query_us", r.single_query_us},
      {"batch_qps", r.batch_qps},
      {"distortion", nullptr},
  };
  if (r.distortion) {
    json["distortion"] = *r.distortion;
  }
  // A file name need not be UTF-8; JSON must be.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

EvalTable::EvalTable(const std::vector<std::string>& datasets,
                     const std::vector<std::string>& indexes, size_t k)
    : dataset_width_(widest(datasets, "dataset")), index_width_(widest(indexes, "index")), k_(k) {}

std::string EvalTable::header() const {
  return fmt::format("{:<{}}  {:<{}}  {:>12}  {:>12}  {:>12}  {:>12}  {:>12}", "dataset",
                     dataset_width_, "index", index_width_, fmt::format("{0}-recall@{0}", k_),
                     "bytes/vector", "one query us", "batch q/s", "add vec/s");
}

std::string EvalTable::row(const EvalResult& r) const {
  const double add_rate = static_cast<double>(r.n) / std::max(r.add_seconds, 1e-9);
  return fmt::format("{:<{}}  {:<{}}  {:>12.4f}  {:>12.1f}  {:>12.1f}  {:>12.0f}  {:>12.0f}",
                     r.dataset, dataset_width_, r.index, index_width_, r.recall_at_k,
                     r.bytes_per_vector, r.single_query_us, r.batch_qps, add_rate);
}

}  // namespace rotorquant::tools
