// SPDX-License-Identifier: MIT
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 24;

CodecParams code(int bits, bool learned, bool signs = true) {
  CodecParams params;
  params.d = d;
  params.bits = bits;
  params.signs = signs;
  params.frame = learned ? FrameKind::learned : FrameKind::rotor_layers;
  return params;
}

struct Case {
  int bits;
  bool learned;
  bool signs;
  faiss::MetricType metric;
  bool by_residual;
  size_t nlist;
};

std::unique_ptr<IndexIVFRotorQuant> make(const Case& c) {
  auto quantizer = std::make_unique<faiss::IndexFlat>(static_cast<int>(d), c.metric);
  auto index = std::make_unique<IndexIVFRotorQuant>(
      quantizer.get(), code(c.bits, c.learned, c.signs), c.nlist, c.metric);
  quantizer.release();  // NOLINT(bugprone-unused-return-value): the index has it now
  index->own_fields = true;
  index->by_residual = c.by_residual;
  index->cp.niter = 5;
  index->cp.min_points_per_centroid = 1;
  return index;
}

std::unique_ptr<IndexIVFRotorQuant> filled(const Case& c, size_t n = 3000) {
  auto index = make(c);
  train(*index, vectors(n, d));
  add(*index, vectors(n, d));
  return index;
}

/// Every vector of every list through the scanner: what a search of all lists must find.
Answer scanned(const IndexIVFRotorQuant& index, const Floats& queries, size_t k) {
  const std::unique_ptr<faiss::InvertedListScanner> scanner(index.get_InvertedListScanner());
  Answer answer;
  for (size_t q = 0; q * d < queries.size(); ++q) {
    scanner->set_query(queries.data() + q * d);
    std::vector<std::pair<float, int64_t>> all;
    for (size_t list = 0; list < index.nlist; ++list) {
      scanner->set_list(static_cast<int64_t>(list), 0.0F);
      faiss::InvertedLists::ScopedIds ids(index.invlists, list);
      faiss::InvertedLists::ScopedCodes codes(index.invlists, list);
      for (size_t i = 0; i < index.invlists->list_size(list); ++i) {
        const float distance = scanner->distance_to_code(codes.get() + i * index.code_size);
        all.emplace_back(index.metric_type == faiss::METRIC_L2 ? distance : -distance, ids[i]);
      }
    }
    std::sort(all.begin(), all.end());
    for (size_t i = 0; i < k; ++i) {
      answer.distances.push_back(index.metric_type == faiss::METRIC_L2 ? all[i].first
                                                                       : -all[i].first);
      answer.labels.push_back(all[i].second);
    }
  }
  return answer;
}

class EveryIvf : public testing::TestWithParam<Case> {};

TEST_P(EveryIvf, AllListsWithAWideBoundAreAnExhaustiveSearch) {
  const auto index = filled(GetParam());
  const Floats queries = vectors(30, d, 9);
  SearchParametersIVFRotorQuant params;
  params.nprobe = GetParam().nlist;
  params.refine_error_scale = 8.0F;
  const Answer found = search(*index, queries, 10, &params);
  const Answer expected = scanned(*index, queries, 10);
  size_t same = 0;
  for (size_t i = 0; i < found.labels.size(); ++i) {
    same += found.labels[i] == expected.labels[i] ? 1 : 0;
    EXPECT_NEAR(found.distances[i], expected.distances[i],
                1e-3F * (1.0F + std::fabs(expected.distances[i])));
  }
  EXPECT_GE(same, found.labels.size() - 4);
}

TEST_P(EveryIvf, ResultsDependOnNothingButTheLists) {
  const auto index = filled(GetParam());
  const Floats queries = vectors(40, d, 9);
  index->nprobe = 7;
  const Answer expected = search(*index, queries, 10);
  EXPECT_EQ(search_in_batches(*index, queries, 10, 1), expected);
  EXPECT_EQ(search_in_batches(*index, queries, 10, 7), expected);
  SearchParametersIVFRotorQuant params;
  for (const int threads : {1, 2, 3, 8}) {
    params.threads = threads;
    EXPECT_EQ(search(*index, queries, 10, &params), expected) << threads;
    EXPECT_EQ(search_in_batches(*index, queries, 10, 1, &params), expected) << threads;
  }
  // Lists in another order, and found by the quantizer itself.
  Answer preassigned{Floats(400), Ids(400)};
  Ids lists(40 * 7);
  Floats distances(40 * 7);
  index->quantizer->search(40, queries.data(), 7, distances.data(), lists.data());
  for (size_t q = 0; q < 40; ++q) {
    const auto begin = lists.begin() + static_cast<std::ptrdiff_t>(7 * q);
    std::reverse(begin, begin + 7);
  }
  index->search_preassigned(40, queries.data(), 10, lists.data(), distances.data(),
                            preassigned.distances.data(), preassigned.labels.data(), false);
  EXPECT_EQ(preassigned, expected);
}

/// Hundreds of queries meet every list together; filtered, bounded by codes, of any k.
TEST_P(EveryIvf, QueriesThatShareListsFindWhatTheyFindAlone) {
  const auto index = filled(GetParam());
  const Floats queries = vectors(600, d, 11);
  faiss::IDSelectorRange half(0, 1500);
  for (const size_t k : {1U, 10U, 40U}) {
    for (const bool filtered : {false, true}) {
      SearchParametersIVFRotorQuant params;
      params.nprobe = 9;
      params.sel = filtered ? &half : nullptr;
      const Answer together = search(*index, queries, k, &params);
      EXPECT_EQ(search_in_batches(*index, queries, k, 1, &params), together) << k << filtered;
      params.max_codes = 120;
      const Answer bounded = search(*index, queries, k, &params);
      EXPECT_EQ(search_in_batches(*index, queries, k, 1, &params), bounded) << k << filtered;
    }
  }
}

TEST_P(EveryIvf, FindsTheNeighbours) {
  const auto index = filled(GetParam());
  const Floats x = vectors(3000, d);
  faiss::IndexFlat exact(static_cast<int>(d), GetParam().metric);
  add(exact, x);
  const Floats queries = vectors(50, d, 9);
  const Answer truth = search(exact, queries, 10);
  index->nprobe = 16;
  const Answer found = search(*index, queries, 10);
  size_t hits = 0;
  for (size_t q = 0; q < 50; ++q) {
    const std::set<int64_t> true_ids(
        truth.labels.begin() + static_cast<std::ptrdiff_t>(10 * q),
        truth.labels.begin() + static_cast<std::ptrdiff_t>(10 * q + 10));
    for (size_t i = 0; i < 10; ++i) {
      hits += true_ids.count(found.labels[10 * q + i]);
    }
  }
  const double least = GetParam().bits == 1 ? 0.25 : (GetParam().bits <= 3 ? 0.5 : 0.8);
  EXPECT_GE(static_cast<double>(hits) / 500.0, least);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryIvf,
    testing::Values(Case{3, false, true, faiss::METRIC_L2, true, 20},
                    Case{4, true, true, faiss::METRIC_L2, true, 100},
                    Case{8, true, true, faiss::METRIC_L2, true, 100},
                    Case{6, false, true, faiss::METRIC_INNER_PRODUCT, true, 80},
                    Case{4, true, false, faiss::METRIC_INNER_PRODUCT, true, 20},
                    Case{1, false, true, faiss::METRIC_L2, true, 70},
                    Case{1, true, false, faiss::METRIC_L2, true, 20},
                    Case{2, false, true, faiss::METRIC_INNER_PRODUCT, false, 20},
                    Case{4, true, true, faiss::METRIC_L2, false, 70}),
    [](const testing::TestParamInfo<Case>& test) {
      const Case& c = test.param;
      return std::string(c.learned ? "O" : "") + "RQ" + std::to_string(c.bits) +
             (c.signs ? "" : "mse") + (c.metric == faiss::METRIC_L2 ? "_l2" : "_ip") +
             (c.by_residual ? "" : "_plain") + "_lists" + std::to_string(c.nlist);
    });

}  // namespace
}  // namespace rotorquant
