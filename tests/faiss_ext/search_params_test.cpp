// SPDX-License-Identifier: MIT
#include <faiss/IndexHNSW.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>

#include "faiss_ext/IndexRotorQuant.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 24;
constexpr size_t n = 500;

class SearchParameters : public testing::TestWithParam<faiss::MetricType> {
 protected:
  void SetUp() override {
    index_ = std::make_unique<IndexRotorQuant>(static_cast<int>(d), 4, false, GetParam());
    train(*index_, vectors(n, d));
    add(*index_, vectors(n, d));
    queries_ = vectors(6, d, 5);
  }
  std::unique_ptr<IndexRotorQuant> index_;
  Floats queries_;
};

/// Searches with a selector against the ranking of allowed vectors, refined in full.
void expect_filtered(const IndexRotorQuant& index, const Floats& queries, faiss::IDSelector& sel,
                     size_t k) {
  SearchParametersRotorQuant params = refine_everything();
  const Answer all = search(index, queries, n, &params);
  params.sel = &sel;
  const Answer answer = search(index, queries, k, &params);
  const float worst = std::numeric_limits<float>::max();
  for (size_t q = 0; q < queries.size() / d; ++q) {
    Ids labels;
    Floats distances;
    for (size_t j = q * n; j < (q + 1) * n && labels.size() < k; ++j) {
      if (sel.is_member(all.labels[j])) {
        labels.push_back(all.labels[j]);
        distances.push_back(all.distances[j]);
      }
    }
    labels.resize(k, -1);
    distances.resize(k, index.metric_type == faiss::METRIC_L2 ? worst : -worst);
    const auto from = static_cast<std::ptrdiff_t>(q * k);
    const auto to = static_cast<std::ptrdiff_t>((q + 1) * k);
    EXPECT_EQ(Ids(answer.labels.begin() + from, answer.labels.begin() + to), labels);
    EXPECT_EQ(Floats(answer.distances.begin() + from, answer.distances.begin() + to), distances);
  }
}

TEST_P(SearchParameters, RangeSelector) {
  faiss::IDSelectorRange some(100, 230);
  expect_filtered(*index_, queries_, some, 10);
  faiss::IDSelectorRange few(64, 67);
  expect_filtered(*index_, queries_, few, 10);
  faiss::IDSelectorRange last(499, 1000);
  expect_filtered(*index_, queries_, last, 2);
}

TEST_P(SearchParameters, BatchAndArraySelectors) {
  const Ids ids = {3, 77, 64, 63, 499, 498, 1, 400, 7777};
  faiss::IDSelectorBatch batch(ids.size(), ids.data());
  expect_filtered(*index_, queries_, batch, 5);
  faiss::IDSelectorArray array(ids.size(), ids.data());
  expect_filtered(*index_, queries_, array, 20);
}

TEST_P(SearchParameters, BitmapAndNotSelectors) {
  std::vector<uint8_t> bits((n + 7) / 8);
  for (size_t i = 0; i < n; i += 3) {
    bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | (1U << (i % 8)));
  }
  faiss::IDSelectorBitmap bitmap(bits.size(), bits.data());
  expect_filtered(*index_, queries_, bitmap, 10);
  faiss::IDSelectorNot inverse(&bitmap);
  expect_filtered(*index_, queries_, inverse, 10);
}

TEST_P(SearchParameters, NothingAllowed) {
  faiss::IDSelectorRange nothing(1000, 2000);
  expect_filtered(*index_, queries_, nothing, 3);
}

TEST_P(SearchParameters, PlainFaissParametersCarryASelector) {
  faiss::IDSelectorRange range(10, 60);
  faiss::SearchParameters plain;
  plain.sel = &range;
  const Answer answer = search(*index_, queries_, 10, &plain);
  for (const int64_t id : answer.labels) {
    EXPECT_TRUE(range.is_member(id)) << id;
  }
}

TEST_P(SearchParameters, RangeSearchHonoursTheSelector) {
  faiss::IDSelectorRange range(10, 60);
  SearchParametersRotorQuant params;
  params.sel = &range;
  const float everything = GetParam() == faiss::METRIC_L2 ? 1e30F : -1e30F;
  faiss::RangeSearchResult result(6);
  index_->range_search(6, queries_.data(), everything, &result, &params);
  EXPECT_EQ(result.lims[6], 300U);
  EXPECT_EQ(result.labels[0], 10);
}

TEST_P(SearchParameters, OtherDerivedTypesAreRefused) {
  faiss::SearchParametersHNSW wrong;
  EXPECT_THAT(message_of([&] { search(*index_, queries_, 3, &wrong); }),
              HasSubstr("SearchParametersRotorQuant"));
}

TEST_P(SearchParameters, UnsetFieldsTakeTheIndexsValues) {
  index_->refine_error_scale = 0.0F;
  index_->k_factor = 1;
  const SearchParametersRotorQuant unset;
  EXPECT_EQ(index_->resolve(nullptr).k_factor, 1U);
  EXPECT_EQ(index_->resolve(&unset).k_factor, 1U);
  EXPECT_EQ(index_->resolve(&unset).refine_error_scale, 0.0F);
  SearchParametersRotorQuant set;
  set.refine_error_scale = 3.0F;
  set.k_factor = 50;
  EXPECT_EQ(index_->resolve(&set).k_factor, 50U);
  EXPECT_EQ(index_->resolve(&set).refine_error_scale, 3.0F);
  EXPECT_EQ(search(*index_, queries_, 5, &unset), search(*index_, queries_, 5));
}

TEST_P(SearchParameters, ShortlistLengthChangesTheCallAlone) {
  SearchParametersRotorQuant shortlist;
  shortlist.refine_error_scale = 0.0F;
  shortlist.k_factor = n;  // every vector refined
  const auto everything = refine_everything();
  const Answer before = search(*index_, queries_, 5);
  EXPECT_EQ(search(*index_, queries_, 5, &shortlist), search(*index_, queries_, 5, &everything));
  EXPECT_EQ(search(*index_, queries_, 5), before);
}

TEST_P(SearchParameters, CoarserLevelsRankByCoarserCodes) {
  SearchParametersRotorQuant coarse = refine_everything();
  coarse.levels = 1;
  const auto whole = refine_everything();
  EXPECT_NE(search(*index_, queries_, 20, &coarse).labels,
            search(*index_, queries_, 20, &whole).labels);
  coarse.levels = 9;
  EXPECT_THAT(message_of([&] { search(*index_, queries_, 1, &coarse); }), HasSubstr("levels"));
}

TEST_P(SearchParameters, StrictEstimatorIsAnotherEstimate) {
  SearchParametersRotorQuant strict = refine_everything();
  strict.estimator = Estimator::strict;
  const auto rescaled = refine_everything();
  const Answer a = search(*index_, queries_, 20, &strict);
  const Answer b = search(*index_, queries_, 20, &rescaled);
  EXPECT_NE(a.distances, b.distances);
  std::set<int64_t> common(a.labels.begin(), a.labels.begin() + 20);
  size_t shared = 0;
  for (size_t j = 0; j < 20; ++j) {
    shared += common.count(b.labels[j]);
  }
  EXPECT_GE(shared, 12U);
}

TEST_P(SearchParameters, StatisticsAreFilledIn) {
  SearchStats stats;
  SearchParametersRotorQuant params;
  params.stats = &stats;
  search(*index_, queries_, 5, &params);
  EXPECT_EQ(stats.queries, 6U);
  EXPECT_GE(stats.refined, 30U);
}

INSTANTIATE_TEST_SUITE_P(Metrics, SearchParameters,
                         testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT),
                         [](const testing::TestParamInfo<faiss::MetricType>& metric) {
                           return metric.param == faiss::METRIC_L2 ? "L2" : "InnerProduct";
                         });

}  // namespace
}  // namespace rotorquant
