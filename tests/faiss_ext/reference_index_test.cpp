// SPDX-License-Identifier: MIT
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "faiss_ext/IndexRotorQuantReference.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 20;

class ReferenceIndex : public testing::TestWithParam<faiss::MetricType> {
 protected:
  void SetUp() override {
    index_ = std::make_unique<IndexRotorQuantReference>(static_cast<int>(d), 4, GetParam());
    add(*index_, vectors_in);
  }
  bool is_l2() const { return GetParam() == faiss::METRIC_L2; }
  const Floats vectors_in = vectors(130, d);
  std::unique_ptr<IndexRotorQuantReference> index_;
};

/// The published estimate, from RotorQuantProd itself.
TEST_P(ReferenceIndex, ScoresByTheStrictEstimator) {
  const Floats queries = vectors(3, d, 5);
  const RotorQuantProd prod(d, 4);
  const ProdCodes codes = prod.quantize(vectors_in.data(), 130);
  Floats products(3 * 130);
  prod.inner_products(queries.data(), 3, codes, products.data());
  const Answer answer = search(*index_, queries, 130);
  for (size_t q = 0; q < 3; ++q) {
    float query_norm = 0.0F;
    for (size_t j = 0; j < d; ++j) {
      query_norm += queries[q * d + j] * queries[q * d + j];
    }
    Floats expected(130);
    for (size_t i = 0; i < 130; ++i) {
      const float norm = codes.stage1.norms[i];
      const float product = products[q * 130 + i];
      expected[i] = is_l2() ? query_norm + norm * norm - 2.0F * product : product;
    }
    const Ids order = ranked(expected, GetParam());
    for (size_t j = 0; j < 130; ++j) {
      EXPECT_NEAR(answer.distances[q * 130 + j], expected[static_cast<size_t>(order[j])], 1e-3F);
    }
    EXPECT_EQ(answer.labels[q * 130], order[0]);
  }
}

TEST_P(ReferenceIndex, CodesReconstructionAndRemoval) {
  EXPECT_EQ(index_->sa_code_size(), index_->prod->code_size());
  const auto codes = encoded(*index_, vectors_in);
  EXPECT_TRUE(std::equal(codes.begin(), codes.end(), index_->codes.data()));
  Floats all(130 * d);
  index_->reconstruct_n(0, 130, all.data());
  Floats decoded(130 * d);
  index_->sa_decode(130, codes.data(), decoded.data());
  EXPECT_EQ(all, decoded);
  const faiss::IDSelectorRange first(0, 100);
  EXPECT_EQ(index_->remove_ids(first), 100U);
  Floats one(d);
  index_->reconstruct(0, one.data());
  EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + 100 * d));
  index_->reset();
  EXPECT_EQ(index_->ntotal, 0);
}

TEST_P(ReferenceIndex, SelectorsPaddingAndRange) {
  const Floats query = vectors(1, d, 5);
  faiss::IDSelectorRange few(40, 43);
  faiss::SearchParameters params;
  params.sel = &few;
  const Answer answer = search(*index_, query, 5, &params);
  EXPECT_THAT(Ids(answer.labels.begin(), answer.labels.begin() + 3),
              testing::UnorderedElementsAre(40, 41, 42));
  EXPECT_EQ(answer.labels[4], -1);
  const float worst = std::numeric_limits<float>::max();
  EXPECT_EQ(answer.distances[4], is_l2() ? worst : -worst);

  const Answer all = search(*index_, query, 130);
  faiss::RangeSearchResult result(1);
  index_->range_search(1, query.data(), all.distances[20], &result);
  EXPECT_EQ(result.lims[1], 20U);
  faiss::RangeSearchResult filtered(1);
  index_->range_search(1, query.data(), is_l2() ? 1e30F : -1e30F, &filtered, &params);
  EXPECT_EQ(filtered.lims[1], 3U);
}

TEST_P(ReferenceIndex, DistanceComputer) {
  const Floats query = vectors(1, d, 5);
  const Answer answer = search(*index_, query, 10);
  const Floats distances = all_distances(*index_, query.data());
  for (size_t j = 0; j < 10; ++j) {
    EXPECT_EQ(answer.distances[j], distances[static_cast<size_t>(answer.labels[j])]);
  }
  const std::unique_ptr<faiss::DistanceComputer> computer(index_->get_distance_computer());
  EXPECT_EQ(computer->symmetric_dis(3, 9), computer->symmetric_dis(9, 3));
  const Floats nan(d, std::numeric_limits<float>::quiet_NaN());
  computer->set_query(nan.data());
  EXPECT_GE(std::abs((*computer)(1)), 1e30F);
}

TEST_P(ReferenceIndex, MergingWantsEqualParameters) {
  IndexRotorQuantReference same(static_cast<int>(d), 4, GetParam());
  IndexRotorQuantReference other_seed(static_cast<int>(d), 4, GetParam(), 0, 43);
  IndexRotorQuantReference other_bits(static_cast<int>(d), 3, GetParam());
  add(same, vectors_in);
  index_->merge_from(same);
  EXPECT_EQ(index_->ntotal, 260);
  EXPECT_EQ(same.ntotal, 0);
  EXPECT_THAT(message_of([&] { index_->merge_from(other_seed); }), HasSubstr("seed"));
  EXPECT_THAT(message_of([&] { index_->merge_from(other_bits); }), HasSubstr("bits"));
}

TEST_P(ReferenceIndex, ARefusedAddChangesNothing) {
  Floats x = vectors(3, d);
  x[2 * d + 1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message_of([&] { add(*index_, x); }), HasSubstr("row 2"));
  EXPECT_EQ(index_->ntotal, 130);
  EXPECT_EQ(index_->codes.size(), 130 * index_->sa_code_size());
}

INSTANTIATE_TEST_SUITE_P(Metrics, ReferenceIndex,
                         testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT),
                         [](const testing::TestParamInfo<faiss::MetricType>& metric) {
                           return metric.param == faiss::METRIC_L2 ? "L2" : "InnerProduct";
                         });

TEST(ReferenceIndexArguments, AreChecked) {
  EXPECT_THAT(message_of([] { IndexRotorQuantReference(0, 3); }), HasSubstr("at least 1"));
  EXPECT_THAT(message_of([] { IndexRotorQuantReference(8, 9); }), HasSubstr("9"));
  EXPECT_THAT(message_of([] { IndexRotorQuantReference(8, 3, faiss::METRIC_L1); }),
              HasSubstr("METRIC"));
  const IndexRotorQuantReference index(8, 3);
  const Floats query(8, 1.0F);
  EXPECT_THAT(message_of([&] { search(index, query, 0); }), HasSubstr("k"));
  EXPECT_EQ(search(index, query, 2).labels, (Ids{-1, -1}));
}

}  // namespace
}  // namespace rotorquant
