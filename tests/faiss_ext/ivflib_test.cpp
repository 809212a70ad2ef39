// SPDX-License-Identifier: MIT
// FAISS's own functions over inverted files, and its less common ways into one, on ours.
#include <faiss/IVFlib.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "faiss_ext/clone_index.h"
#include "ivf_test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 16;
constexpr size_t n = 1000;
constexpr size_t nq = 15;

class IvfLib : public testing::TestWithParam<faiss::MetricType> {
 protected:
  void SetUp() override { index_->nprobe = 6; }

  /// Lists to visit and the distances to their centroids, nq x nprobe.
  std::pair<Ids, Floats> visits() const {
    Ids lists(nq * index_->nprobe);
    Floats distances(lists.size());
    index_->quantizer->search(nq, queries_.data(), static_cast<int64_t>(index_->nprobe),
                              distances.data(), lists.data());
    return {lists, distances};
  }

  std::unique_ptr<IndexIVFRotorQuant> index_ = filled_ivf(d, "IVF20,ORQ4", n, GetParam());
  Floats queries_ = vectors(nq, d, 5);
};

TEST_P(IvfLib, SearchAndRangeSearchWithParameters) {
  SearchParametersIVFRotorQuant params;
  params.nprobe = 9;
  params.refine_error_scale = 1e6F;  // no distance is a bound: scanners know none
  const Answer expected = search(*index_, queries_, 10, &params);
  Answer found{Floats(nq * 10), Ids(nq * 10)};
  faiss::ivflib::search_with_parameters(index_.get(), nq, queries_.data(), 10,
                                        found.distances.data(), found.labels.data(), &params);
  EXPECT_EQ(found, expected);

  const float radius = expected.distances[9];
  faiss::RangeSearchResult direct(nq);
  index_->range_search(nq, queries_.data(), radius, &direct, &params);
  faiss::RangeSearchResult scanned(nq);
  faiss::ivflib::range_search_with_parameters(index_.get(), nq, queries_.data(), radius, &scanned,
                                              &params);
  for (size_t q = 0; q < nq; ++q) {
    std::map<int64_t, float> distances;  // FAISS's are in the order of lists
    for (size_t i = scanned.lims[q]; i < scanned.lims[q + 1]; ++i) {
      distances[scanned.labels[i]] = scanned.distances[i];
    }
    for (size_t i = direct.lims[q]; i < direct.lims[q + 1]; ++i) {
      const float distance = direct.distances[i];
      const float rounding = 1e-3F * (1.0F + std::fabs(distance));
      const auto same = distances.find(direct.labels[i]);
      if (same != distances.end()) {
        EXPECT_NEAR(same->second, distance, rounding);
        distances.erase(same);
      } else {
        EXPECT_NEAR(distance, radius, rounding);
      }
    }
    for (const auto& [id, distance] : distances) {
      EXPECT_NEAR(distance, radius, 1e-3F * (1.0F + std::fabs(radius))) << id;
    }
  }
}

TEST_P(IvfLib, CentroidsOfQueriesAndResults) {
  Ids centroids(nq);
  faiss::ivflib::search_centroid(index_.get(), queries_.data(), nq, centroids.data());
  const auto [lists, distances] = visits();
  for (size_t q = 0; q < nq; ++q) {
    EXPECT_EQ(centroids[q], lists[q * index_->nprobe]);
  }
  Answer found{Floats(nq * 5), Ids(nq * 5)};
  Ids of_queries(nq);
  Ids of_results(nq * 5);
  faiss::ivflib::search_and_return_centroids(index_.get(), nq, queries_.data(), 5,
                                             found.distances.data(), found.labels.data(),
                                             of_queries.data(), of_results.data());
  EXPECT_EQ(found, search(*index_, queries_, 5));
  EXPECT_EQ(of_queries, centroids);
  for (size_t i = 0; i < of_results.size(); ++i) {
    faiss::InvertedLists::ScopedIds ids(index_->invlists, static_cast<size_t>(of_results[i]));
    const size_t size = index_->invlists->list_size(static_cast<size_t>(of_results[i]));
    EXPECT_NE(std::find(ids.get(), ids.get() + size, found.labels[i]), ids.get() + size);
  }
}

TEST_P(IvfLib, MergeInto) {
  const auto copy_of = [&] {
    auto copy = clone_index(index_.get());
    return std::unique_ptr<IndexIVFRotorQuant>(dynamic_cast<IndexIVFRotorQuant*>(copy.release()));
  };
  const auto first = copy_of();
  const auto second = copy_of();
  const Floats x = vectors(n, d);
  first->reset();
  second->reset();
  first->add(300, x.data());
  second->add(700, x.data() + 300 * d);
  faiss::ivflib::merge_into(first.get(), second.get(), true);
  EXPECT_EQ(second->ntotal, 0);
  EXPECT_EQ(search(*first, queries_, 10), search(*index_, queries_, 10));
}

TEST_P(IvfLib, ListsBeyondTheLastAreRefused) {
  auto [lists, distances] = visits();
  lists[3] = 20;
  Answer found{Floats(nq * 5), Ids(nq * 5)};
  EXPECT_THAT(message_of([&] {
                index_->search_preassigned(nq, queries_.data(), 5, lists.data(), distances.data(),
                                           found.distances.data(), found.labels.data(), false);
              }),
              HasSubstr("below 20"));
}

// Codes of results come with FAISS 1.8.
TEST_P(IvfLib, SearchAndReturnCodes) {
  const auto test = [&](const auto& index) {
    if constexpr (requires {
                    index.search_and_return_codes(1, nullptr, 1, nullptr, nullptr, nullptr);
                  }) {
      Answer found{Floats(nq * 5), Ids(nq * 5)};
      std::vector<uint8_t> codes(nq * 5 * index.sa_code_size());
      index.search_and_return_codes(nq, queries_.data(), 5, found.distances.data(),
                                    found.labels.data(), codes.data(), true);
      EXPECT_EQ(found, search(index, queries_, 5));
      Floats decoded(nq * 5 * d);
      index.sa_decode(nq * 5, codes.data(), decoded.data());
      Floats all(n * d);
      index.reconstruct_n(0, n, all.data());
      for (size_t i = 0; i < nq * 5; ++i) {
        const auto id = static_cast<size_t>(found.labels[i]);
        EXPECT_TRUE(
            std::equal(decoded.data() + i * d, decoded.data() + (i + 1) * d, all.data() + id * d));
      }
    } else {
      GTEST_SKIP() << "this FAISS does not return codes";
    }
  };
  test(*index_);
}

TEST_P(IvfLib, QuantizerParametersReachTheQuantizer) {
  faiss::IDSelectorRange two(3, 5);
  faiss::SearchParameters of_quantizer;
  of_quantizer.sel = &two;
  faiss::SearchParametersIVF params;
  params.nprobe = 2;
  params.quantizer_params = &of_quantizer;
  for (const int64_t id : search(*index_, queries_, 10, &params).labels) {
    const auto holds = [&](size_t list) {
      faiss::InvertedLists::ScopedIds ids(index_->invlists, list);
      const size_t size = index_->invlists->list_size(list);
      return std::find(ids.get(), ids.get() + size, id) != ids.get() + size;
    };
    EXPECT_TRUE(id == -1 || holds(3) || holds(4)) << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Metrics, IvfLib,
                         testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT),
                         [](const testing::TestParamInfo<faiss::MetricType>& metric) {
                           return metric.param == faiss::METRIC_L2 ? "L2" : "InnerProduct";
                         });

}  // namespace
}  // namespace rotorquant
