// SPDX-License-Identifier: MIT
//
// The C++ side of bench/compare: one index on one data set, driven by a line of JSON a command on
// stdin, a line of JSON a reply on stdout. peer_server.py speaks the same for the Python peers.
//
//   {"op": "open", "dataset": "F.hdf5", "index": {"spec": "ORQ3", "params": {"encode_effort": 0}},
//    "queries": 1000}                        params: of the index, set before it is trained
//   {"op": "build"}                          trains and adds: {"train_s", "add_s"}
//   {"op": "size"}                           {"total_bytes", "fixed_bytes"}
//   {"op": "set", "params": {"nprobe": 8}}   search parameters from here on
//   {"op": "search", "k": 100}               every query in one call: {"ids", "seconds"}
//   {"op": "one", "k": 10, "budget_s": 2}    one query a call: {"us", "calls"}
//   {"op": "batch", "k": 10, "size": 1000}   one call: {"seconds"}
//   {"op": "profile", "k": 10}               one batch with the search's own clocks
//   {"op": "call", "k": 10}                  us of a call on one vector; empties the index
//   {"op": "machine"}                        {"compiler", "read_bytes_per_s"}; needs no index
//
// An error is {"error": "..."}; the next command is then read as usual.
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "dataset.h"
#include "errors.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "index_spec.h"
#include "machine_limits.h"
#include "rotorquant/simd.h"
#include "search_options.h"
#include "timing.h"

namespace {

using nlohmann::json;
using rotorquant::tools::Dataset;
using rotorquant::tools::Stopwatch;

/// Calls that a pass of single queries makes before its clock starts, and at least after that.
constexpr size_t warm_up_calls = 10;
constexpr size_t fewest_calls = 100;

#ifdef __clang__
constexpr const char* compiler = __VERSION__;
#else
constexpr const char* compiler = "GCC " __VERSION__;
#endif

class Server {
 public:
  json handle(const json& request) {
    static const std::map<std::string, json (Server::*)(const json&)> operations{
        {"open", &Server::open},       {"build", &Server::build},     {"size", &Server::size},
        {"set", &Server::set},         {"search", &Server::search},   {"one", &Server::one},
        {"batch", &Server::batch},     {"profile", &Server::profile}, {"call", &Server::call},
        {"machine", &Server::machine},
    };
    const auto operation = request.at("op").get<std::string>();
    const auto found = operations.find(operation);
    if (found == operations.end()) {
      throw std::invalid_argument("op: expected one that compare_server.cpp lists, received " +
                                  operation);
    }
    return (this->*found->second)(request);
  }

 private:
  std::string path_;
  size_t rows_ = 0;  ///< 0: all
  std::string spec_;
  std::vector<std::pair<std::string, double>> index_settings_;
  Dataset data_;  ///< without the base: that is read for each build and dropped after it
  std::unique_ptr<faiss::Index> index_;
  rotorquant::tools::SearchSetup setup_;
  size_t fixed_bytes_ = 0;
  std::vector<float> distances_;
  std::vector<rotorquant::idx_t> ids_;

  json open(const json& request) {
    path_ = request.at("dataset");
    rows_ = request.value("rows", size_t{0});
    data_ = rotorquant::tools::read_dataset(path_, 0, request.value("queries", size_t{0}),
                                            rotorquant::tools::Parts::queries_and_truth);
    spec_ = rotorquant::tools::expand_placeholders(request.at("index").at("spec"), data_.d);
    index_settings_.clear();
    const json params = request.at("index").value("params", json::object());
    for (const auto& [name, value] : params.items()) {
      index_settings_.emplace_back(name, value.get<double>());
    }
    rotorquant::tools::make_index(spec_, data_.d, data_.distance);  // says early what is wrong
    return {{"kernels", rotorquant::simd_active()}};
  }

  json build(const json& /*request*/) {
    index_.reset();
    const Dataset whole = rotorquant::tools::read_dataset(path_, rows_);
    index_ = rotorquant::tools::make_index(spec_, whole.d, whole.distance);
    const auto n = static_cast<rotorquant::idx_t>(whole.n);
    for (const auto& [name, value] : index_settings_) {
      rotorquant::set_index_parameter(index(), name, value);
    }
    const Stopwatch training;
    index_->train(n, whole.base.data());
    const double train_seconds = training.seconds();
    fixed_bytes_ = rotorquant::serialize_index(index_.get()).size();
    const Stopwatch adding;
    index_->add(n, whole.base.data());
    const double add_seconds = adding.seconds();
    apply({});
    return {{"train_s", train_seconds}, {"add_s", add_seconds}};
  }

  json size(const json& /*request*/) {
    return {{"total_bytes", rotorquant::serialize_index(&index()).size()},
            {"fixed_bytes", fixed_bytes_}};
  }

  json set(const json& request) {
    std::vector<rotorquant::tools::ParamSetting> settings;
    for (const auto& [name, value] : request.at("params").items()) {
      settings.push_back({name, value.is_string() ? value.get<std::string>() : value.dump()});
    }
    apply(settings);
    return json::object();
  }

  json search(const json& request) {
    const size_t k = request.at("k");
    const double seconds = timed_search(0, data_.query_count, k);
    json rows = json::array();
    for (size_t q = 0; q < data_.query_count; ++q) {
      const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(q * k);
      rows.push_back(std::vector<int64_t>(first, first + static_cast<std::ptrdiff_t>(k)));
    }
    return {{"ids", std::move(rows)}, {"seconds", seconds}};
  }

  json one(const json& request) {
    const size_t k = request.at("k");
    const double budget = request.value("budget_s", 2.0);
    for (size_t q = 0; q < std::min(warm_up_calls, data_.query_count); ++q) {
      timed_search(q, 1, k);
    }
    double seconds = 0.0;
    size_t calls = 0;
    for (; calls < data_.query_count && (calls < fewest_calls || seconds < budget); ++calls) {
      seconds += timed_search(calls, 1, k);
    }
    return {{"us", 1e6 * seconds / static_cast<double>(calls)}, {"calls", calls}};
  }

  json batch(const json& request) {
    const size_t size = std::min(request.at("size").get<size_t>(), data_.query_count);
    return {{"seconds", timed_search(0, size, request.at("k"))}, {"size", size}};
  }

  /// Seconds of each part as the search itself counts them: nothing for other people's indexes.
  json profile(const json& request) {
    auto* params = dynamic_cast<rotorquant::SearchParametersRotorQuant*>(setup_.params.get());
    if (params == nullptr) {
      return json::object();
    }
    rotorquant::SearchStats stats;
    params->stats = &stats;
    const double seconds = timed_search(0, data_.query_count, request.at("k"));
    params->stats = nullptr;
    const auto queries = static_cast<double>(data_.query_count);
    return {{"seconds", seconds},
            {"scan_bytes", scan_bytes()},
            {"prepare_s", stats.prepare_seconds},
            {"scan_s", stats.scan_seconds},
            {"refine_s", stats.refine_seconds},
            {"candidates", static_cast<double>(stats.candidates) / queries},
            {"refined", static_cast<double>(stats.refined) / queries}};
  }

  json call(const json& request) {
    index().reset();
    index_->add(1, data_.queries.data());
    return {{"us", one(request).at("us")}};
  }

  json machine(const json& /*request*/) {
    return {{"compiler", compiler}, {"read_bytes_per_s", rotorquant::bench::read_bandwidth()}};
  }

  /// What one query reads at least: the scan blocks.
  size_t scan_bytes() const {
    const auto* flat = dynamic_cast<const rotorquant::IndexRotorQuant*>(index_.get());
    return flat == nullptr ? 0 : flat->store.blocks() * flat->store.block_bytes();
  }

  faiss::Index& index() {
    if (index_ == nullptr) {
      throw std::logic_error("no index yet: build comes first");
    }
    return *index_;
  }

  void apply(const std::vector<rotorquant::tools::ParamSetting>& settings) {
    setup_ = rotorquant::tools::prepare_search(index(), settings, 0);
    if (!setup_.unused.empty()) {
      throw std::invalid_argument(spec_ + ": no search parameter " + setup_.unused.front());
    }
  }

  /// Queries first .. first + n - 1 in one call; ids_ holds what was found.
  double timed_search(size_t first, size_t n, size_t k) {
    distances_.resize(std::max(distances_.size(), n * k));
    ids_.resize(std::max(ids_.size(), n * k));
    const float* queries = data_.queries.data() + first * data_.d;
    const Stopwatch watch;
    index().search(static_cast<rotorquant::idx_t>(n), queries, static_cast<rotorquant::idx_t>(k),
                   distances_.data(), ids_.data(), setup_.params.get());
    return watch.seconds();
  }
};

}  // namespace

int main() {
  Server server;
  std::string line;
  while (std::getline(std::cin, line)) {
    json reply;
    try {
      reply = server.handle(json::parse(line));
    } catch (const std::exception& error) {
      reply = {{"error", rotorquant::tools::message_of(error)}};
    }
    fmt::print("{}\n", reply.dump());
    std::fflush(stdout);
  }
  return EXIT_SUCCESS;
}
