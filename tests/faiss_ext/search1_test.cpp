// SPDX-License-Identifier: MIT
// Index::search1: FAISS's from 1.14 on, ours by itself before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 16;
constexpr size_t n = 1000;

/// Keeps the k best, as search() does, and wants nothing worse than them.
struct Best final : ResultHandler {
  Best(size_t k, faiss::MetricType metric)
      : sign(metric == faiss::METRIC_L2 ? 1.0F : -1.0F),
        distances(k, sign * std::numeric_limits<float>::max()),
        labels(k, -1) {
    threshold = distances.back();
  }

  bool add_result(float distance, int64_t id) override {
    size_t place = distances.size() - 1;
    for (; place > 0 && sign * distance < sign * distances[place - 1]; --place) {
      distances[place] = distances[place - 1];
      labels[place] = labels[place - 1];
    }
    distances[place] = distance;
    labels[place] = id;
    threshold = distances.back();
    return true;
  }

  float sign;
  Floats distances;
  Ids labels;
};

/// Takes everything within a threshold that never changes.
struct All final : ResultHandler {
  explicit All(float within) { threshold = within; }
  bool add_result(float /*distance*/, int64_t id) override {
    labels.push_back(id);
    return false;
  }
  Ids labels;
};

std::unique_ptr<faiss::Index> filled(const std::string& description, faiss::MetricType metric) {
  auto index = index_factory(static_cast<int>(d), description, metric);
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(index.get())) {
    ivf->cp.min_points_per_centroid = 1;
    ivf->nprobe = 6;
  }
  train(*index, vectors(n, d));
  add(*index, vectors(n, d));
  return index;
}

void search1(const faiss::Index& index, const float* x, ResultHandler& handler,
             faiss::SearchParameters* params = nullptr) {
#if ROTORQUANT_FAISS_VERSION >= 11400
  index.search1(x, handler, params);
#else
  if (const auto* flat = dynamic_cast<const IndexRotorQuant*>(&index)) {
    flat->search1(x, handler, params);
  } else {
    dynamic_cast<const IndexIVFRotorQuant&>(index).search1(x, handler, params);
  }
#endif
}

using Case = std::tuple<std::string, faiss::MetricType>;

class Search1 : public testing::TestWithParam<Case> {
 protected:
  faiss::MetricType metric() const { return std::get<1>(GetParam()); }
  std::unique_ptr<faiss::Index> index_ = filled(std::get<0>(GetParam()), metric());
  Floats queries_ = vectors(20, d, 5);
};

TEST_P(Search1, HandlerThatKeepsTheBestHasWhatSearchFinds) {
  SearchParametersIVFRotorQuant ivf;
  ivf.refine_error_scale = 1e6F;
  SearchParametersRotorQuant flat = refine_everything();
  const bool is_flat = dynamic_cast<const IndexRotorQuant*>(index_.get()) != nullptr;
  faiss::SearchParameters* params = is_flat ? static_cast<faiss::SearchParameters*>(&flat) : &ivf;
  faiss::IDSelectorRange some(100, 600);
  for (faiss::IDSelector* selector :
       {static_cast<faiss::IDSelector*>(nullptr), static_cast<faiss::IDSelector*>(&some)}) {
    params->sel = selector;
    const Answer expected = search(*index_, queries_, 10, params);
    for (size_t q = 0; q < 20; ++q) {
      Best best(10, metric());
      search1(*index_, queries_.data() + q * d, best, params);
      const auto from = static_cast<std::ptrdiff_t>(q * 10);
      EXPECT_EQ(best.labels,
                Ids(expected.labels.begin() + from, expected.labels.begin() + from + 10));
      EXPECT_EQ(best.distances,
                Floats(expected.distances.begin() + from, expected.distances.begin() + from + 10));
    }
  }
}

TEST_P(Search1, ThresholdIsARadius) {
  const float radius = search(*index_, queries_, 30).distances[20];
  faiss::RangeSearchResult expected(1);
  index_->range_search(1, queries_.data(), radius, &expected);
  All all(radius);
  search1(*index_, queries_.data(), all);
  EXPECT_EQ(all.labels, Ids(expected.labels, expected.labels + expected.lims[1]));
  EXPECT_GE(all.labels.size(), 10U);
}

TEST_P(Search1, RefusesWhatRangeSearchRefuses) {
  All all(0.0F);
  struct Unknown : faiss::SearchParameters {};
  Unknown unknown;
  EXPECT_THAT(message_of([&] { search1(*index_, queries_.data(), all, &unknown); }),
              HasSubstr("search parameters"));
}

INSTANTIATE_TEST_SUITE_P(
    Indexes, Search1,
    testing::Combine(testing::Values("RQ4", "ORQ6", "IVF20,ORQ4"),
                     testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT)),
    [](const testing::TestParamInfo<Case>& tested) {
      std::string name = std::get<0>(tested.param);
      std::replace(name.begin(), name.end(), ',', '_');
      return name + (std::get<1>(tested.param) == faiss::METRIC_L2 ? "_L2" : "_InnerProduct");
    });

}  // namespace
}  // namespace rotorquant
