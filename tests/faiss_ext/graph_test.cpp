// SPDX-License-Identifier: MIT
// FAISS's graphs and refinement on top of our storage.
#include <faiss/IndexHNSW.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexRefine.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "test_data.h"

namespace rotorquant {
namespace {

constexpr size_t d = 24;
constexpr size_t n = 1500;

/// Share of the storage's own ten best that the graph finds.
double recall_of_graph(const faiss::Index& graph, const faiss::Index& storage) {
  const Floats queries = vectors(40, d, 5);
  const auto everything = refine_everything();
  const Answer exact = search(storage, queries, 10, &everything);
  const Answer answer = search(graph, queries, 10);
  size_t found = 0;
  for (size_t q = 0; q < 40; ++q) {
    const auto begin = exact.labels.begin() + static_cast<std::ptrdiff_t>(q * 10);
    for (size_t j = q * 10; j < q * 10 + 10; ++j) {
      found += std::find(begin, begin + 10, answer.labels[j]) != begin + 10 ? 1 : 0;
    }
  }
  return static_cast<double>(found) / 400.0;
}

class Graphs : public testing::TestWithParam<faiss::MetricType> {};

TEST_P(Graphs, HnswOverATrainedStorage) {
  IndexRotorQuant storage(static_cast<int>(d), 6, true, GetParam());
  train(storage, vectors(n, d));
  faiss::IndexHNSW graph(&storage, 16);
  graph.hnsw.efSearch = 64;
  add(graph, vectors(n, d));
  EXPECT_EQ(storage.ntotal, static_cast<int64_t>(n));
  EXPECT_GE(recall_of_graph(graph, storage), 0.95);
  // Its distances are the storage's.
  const Floats query = vectors(1, d, 5);
  const Answer answer = search(graph, query, 10);
  const Floats distances = all_distances(storage, query.data());
  for (size_t j = 0; j < 10; ++j) {
    EXPECT_EQ(answer.distances[j], distances[static_cast<size_t>(answer.labels[j])]);
    EXPECT_TRUE(j == 0 ||
                (GetParam() == faiss::METRIC_L2 ? answer.distances[j] >= answer.distances[j - 1]
                                                : answer.distances[j] <= answer.distances[j - 1]));
  }
}

TEST_P(Graphs, HnswGrowsInSteps) {
  const auto graph = index_factory(static_cast<int>(d), "HNSW16,RQ6", GetParam());
  dynamic_cast<faiss::IndexHNSW&>(*graph).hnsw.efSearch = 64;
  train(*graph, vectors(200, d));
  const Floats x = vectors(n, d);
  graph->add(700, x.data());
  graph->add(static_cast<int64_t>(n) - 700, x.data() + 700 * d);
  EXPECT_GE(recall_of_graph(*graph, *dynamic_cast<faiss::IndexHNSW&>(*graph).storage), 0.95);
  graph->reset();
  EXPECT_EQ(graph->ntotal, 0);
}

TEST_P(Graphs, NsgOverATrainedStorage) {
  IndexRotorQuant storage(static_cast<int>(d), 6, false, GetParam());
  train(storage, vectors(n, d));
  faiss::IndexNSG graph(&storage, 24);
  graph.build_type = 0;  // from exact neighbours: the quickest at this size
  graph.GK = 32;
  add(graph, vectors(n, d));
  graph.nsg.search_L = 64;
  EXPECT_GE(recall_of_graph(graph, storage), 0.9);
}

TEST_P(Graphs, AQueryThatIsNoNumberDoesNotEndTheProcess) {
  const auto graph = index_factory(static_cast<int>(d), "HNSW16,RQ6", GetParam());
  add(*graph, vectors(100, d));
  const Answer answer = search(*graph, Floats(d, std::numeric_limits<float>::quiet_NaN()), 3);
  EXPECT_EQ(answer.labels.size(), 3U);
}

TEST_P(Graphs, RefineRescoresWithTheFinerCodes) {
  const auto index = index_factory(static_cast<int>(d), "RQ2,Refine(RQ8)", GetParam());
  auto& refine = dynamic_cast<faiss::IndexRefine&>(*index);
  refine.k_factor = 8;
  train(*index, vectors(n, d));
  add(*index, vectors(n, d));
  const Floats query = vectors(1, d, 5);
  const Answer answer = search(*index, query, 5);
  const Floats distances = all_distances(*refine.refine_index, query.data());
  for (size_t j = 0; j < 5; ++j) {
    EXPECT_EQ(answer.distances[j], distances[static_cast<size_t>(answer.labels[j])]);
  }
  EXPECT_EQ(answer.labels[0], ranked(distances, GetParam())[0]);
}

INSTANTIATE_TEST_SUITE_P(Metrics, Graphs,
                         testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT),
                         [](const testing::TestParamInfo<faiss::MetricType>& metric) {
                           return metric.param == faiss::METRIC_L2 ? "L2" : "InnerProduct";
                         });

}  // namespace
}  // namespace rotorquant
