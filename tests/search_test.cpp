// SPDX-License-Identifier: MIT
#include "rotorquant/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <tuple>

#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::clustered;
using test_data::codec_params;
using test_data::Floats;
using test_data::KernelSet;
using test_data::message_of;
using test_data::same_bits;

constexpr float infinity = std::numeric_limits<float>::infinity();
/// So many standard deviations that no bound can rule anything out.
constexpr float refine_all = 1e6F;

class AllowedIf : public IdFilter {
 public:
  explicit AllowedIf(std::function<bool(int64_t)> rule) : rule_(std::move(rule)) {}
  bool allows(int64_t id) const override { return rule_(id); }

 private:
  std::function<bool(int64_t)> rule_;
};

struct Found {
  Floats distances;
  std::vector<int64_t> ids;
};

/// A flat store over vectors with everything a search needs.
struct Flat {
  Codec codec;
  Space space;
  CodeStore store;
  size_t d;

  Flat(const CodecParams& params, Metric metric, const Floats& x) : codec(params), d(params.d) {
    const size_t n = x.size() / d;
    space.metric = metric;
    space.centre.assign(d, 0.0F);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < d; ++j) {
        space.centre[j] += x[i * d + j] / static_cast<float>(n);
      }
    }
    Floats residuals(x.size());
    Floats additive(n);
    space.split(x.data(), n, d, residuals.data(), additive.data());
    if (n > 0) {
      codec.train(residuals.data(), n);
    }
    std::vector<uint8_t> codes(n * codec.code_bytes());
    codec.encode(residuals.data(), additive.data(), n, codes.data());
    store = CodeStore(codec.layout());
    store.append(codes.data(), n);
  }

  Found search(const Floats& queries, size_t k, const SearchParams& params = {}) const {
    const size_t n = queries.size() / d;
    Found found{Floats(n * k), std::vector<int64_t>(n * k)};
    rotorquant::search(codec, space, store, queries.data(), n, k, params, found.distances.data(),
                       found.ids.data());
    return found;
  }

  /// Every vector scored by Codec::estimate, which shares no search code.
  std::vector<std::pair<float, int64_t>> brute_force(const float* query, size_t levels = 0) const {
    Floats residual(d);
    const float base = space.split_query(query, d, residual.data());
    const CodecQuery prepared = codec.prepare(residual.data());
    std::vector<uint8_t> code(codec.code_bytes());
    std::vector<std::pair<float, int64_t>> all;
    for (size_t i = 0; i < store.size(); ++i) {
      store.pack(i, 1, code.data());
      const float product = codec.estimate(prepared, code.data(), levels);
      all.emplace_back(base + (store.additive(i) - space.weight() * product),
                       static_cast<int64_t>(i));
    }
    std::sort(all.begin(), all.end());
    return all;
  }
};

void expect_equals_brute_force(const Flat& flat, const Floats& queries, size_t k,
                               const Found& found, size_t levels = 0) {
  for (size_t q = 0; q < queries.size() / flat.d; ++q) {
    const auto expected = flat.brute_force(queries.data() + q * flat.d, levels);
    for (size_t i = 0; i < k; ++i) {
      if (i >= expected.size()) {
        EXPECT_EQ(found.ids[q * k + i], -1);
        EXPECT_EQ(found.distances[q * k + i], infinity);
        continue;
      }
      EXPECT_EQ(found.ids[q * k + i], expected[i].second) << "query " << q << " place " << i;
      EXPECT_EQ(found.distances[q * k + i], expected[i].first) << "query " << q << " place " << i;
    }
  }
}

double overlap(const std::vector<int64_t>& a, const std::vector<int64_t>& b, size_t k) {
  size_t shared = 0;
  for (size_t q = 0; q < a.size() / k; ++q) {
    const std::set<int64_t> row(a.begin() + static_cast<std::ptrdiff_t>(q * k),
                                a.begin() + static_cast<std::ptrdiff_t>((q + 1) * k));
    for (size_t i = 0; i < k; ++i) {
      shared += row.count(b[q * k + i]);
    }
  }
  return static_cast<double>(shared) / static_cast<double>(a.size());
}

void expect_same(const Found& a, const Found& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_TRUE(same_bits(a.distances, b.distances));
}

class SearchShapes : public testing::TestWithParam<std::tuple<size_t, size_t>> {};

TEST_P(SearchShapes, RefiningEverythingIsBruteForceOverTheCodes) {
  const auto [d, n] = GetParam();
  const Floats x = clustered(n, d, 5, 11);
  const Floats queries = clustered(3, d, 5, 12);
  SearchParams params;
  params.refine_error_scale = refine_all;
  for (const int bits : {1, 2, 3, 6}) {
    for (const bool signs : {true, false}) {
      const Flat flat(codec_params(d, bits, signs), Metric::l2, x);
      // Codes of one plane have nothing to refine: their scan only rounds, within its own margin.
      expect_equals_brute_force(flat, queries, 7, flat.search(queries, 7, params));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OddShapes, SearchShapes,
                         testing::Combine(testing::Values(1, 3, 100, 129),
                                          testing::Values(0, 1, 31, 32, 33, 63, 64, 65, 500)));

TEST(Search, BruteForceHoldsForLargeStoresThatAreSampled) {
  const size_t d = 24;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(9000, d, 40, 21));
  const Floats queries = clustered(4, d, 40, 21);
  SearchParams params;
  params.refine_error_scale = refine_all;
  expect_equals_brute_force(flat, queries, 10, flat.search(queries, 10, params));
}

TEST(Search, InnerProductWithVaryingNormsAndNegativeProducts) {
  const size_t d = 40;
  Floats x = clustered(1500, d, 30, 31);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] *= 0.1F + static_cast<float>(i / d % 17);
  }
  const Flat flat(codec_params(d, 4, true), Metric::inner_product, x);
  Floats queries = clustered(3, d, 30, 32);
  std::transform(queries.begin(), queries.end(), queries.begin(), std::negate<>());
  SearchParams params;
  params.refine_error_scale = refine_all;
  expect_equals_brute_force(flat, queries, 10, flat.search(queries, 10, params));
}

TEST(Search, DefaultsLoseNoMoreThanTwoThousandthsToRefiningEverything) {
  const size_t d = 64;
  const size_t k = 10;
  const Floats x = clustered(20000, d, 400, 41);
  const Floats queries = clustered(200, d, 400, 41);
  for (const int bits : {2, 3, 4, 8}) {
    const Flat flat(codec_params(d, bits, true), Metric::l2, x);
    SearchParams all;
    all.refine_error_scale = refine_all;
    const double kept = overlap(flat.search(queries, k, all).ids, flat.search(queries, k).ids, k);
    EXPECT_GE(kept, 0.998) << bits << " bits";
  }
}

TEST(Search, ThreadsAndBatchesDoNotChangeABit) {
  const size_t d = 50;
  const size_t k = 8;
  const size_t n = 70;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(8000, d, 60, 51));
  const Floats queries = clustered(n, d, 60, 52);
  const Found whole = flat.search(queries, k);
  for (const int threads : {1, 2, 3}) {
    SearchParams params;
    params.threads = threads;
    expect_same(flat.search(queries, k, params), whole);
    const Floats one(queries.begin(), queries.begin() + static_cast<std::ptrdiff_t>(d));
    const Found alone = flat.search(one, k, params);
    EXPECT_TRUE(same_bits(alone.distances.data(), whole.distances.data(), k));
  }
  for (const size_t batch : {size_t{1}, size_t{7}, size_t{32}, size_t{33}}) {
    Found joined;
    for (size_t first = 0; first < n; first += batch) {
      const size_t last = std::min(n, first + batch);
      const Floats part(queries.begin() + static_cast<std::ptrdiff_t>(first * d),
                        queries.begin() + static_cast<std::ptrdiff_t>(last * d));
      const Found found = flat.search(part, k);
      joined.ids.insert(joined.ids.end(), found.ids.begin(), found.ids.end());
      joined.distances.insert(joined.distances.end(), found.distances.begin(),
                              found.distances.end());
    }
    expect_same(joined, whole);
  }
}

class SearchKernels : public testing::TestWithParam<KernelSet> {};

TEST_P(SearchKernels, AgreeWithTheScalarOnesBitForBit) {
  if (!GetParam().runs_here()) {
    GTEST_SKIP() << "this machine cannot run " << GetParam().name();
  }
  for (const size_t d : {size_t{3}, size_t{100}, size_t{129}}) {
    for (const int bits : {1, 3, 6}) {
      const Floats x = clustered(7000, d, 50, 61);
      const Floats queries = clustered(5, d, 50, 62);
      const auto run = [&](const simd::KernelTable& kernels) {
        const simd::ScopedKernels scope(kernels);
        return Flat(codec_params(d, bits, true), Metric::l2, x).search(queries, 10);
      };
      expect_same(run(*GetParam().table), run(simd::scalar_kernels));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, SearchKernels, testing::ValuesIn(test_data::built_kernel_sets()),
                         [](const auto& target) { return target.param.name(); });

TEST(Search, FiltersReturnOnlyAndAllThatTheyAllow) {
  const size_t d = 32;
  const size_t k = 10;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(9000, d, 50, 71));
  const Floats queries = clustered(6, d, 50, 72);
  const std::vector<std::pair<size_t, std::function<bool(int64_t)>>> rules = {
      {9000, [](int64_t) { return true; }},
      {4500, [](int64_t id) { return id % 2 == 1; }},
      {90, [](int64_t id) { return id % 100 == 7; }},
      {4, [](int64_t id) { return id >= 8996; }},
      {1, [](int64_t id) { return id == 4321; }},
      {0, [](int64_t) { return false; }},
  };
  for (const auto& [count, rule] : rules) {
    const AllowedIf filter(rule);
    SearchParams params;
    params.filter = &filter;
    params.refine_error_scale = refine_all;
    const Found found = flat.search(queries, k, params);
    for (size_t q = 0; q < 6; ++q) {
      auto expected = flat.brute_force(queries.data() + q * d);
      std::erase_if(expected, [&](const auto& hit) { return !rule(hit.second); });
      for (size_t i = 0; i < k; ++i) {
        EXPECT_EQ(found.ids[q * k + i], i < expected.size() ? expected[i].second : -1)
            << count << " allowed";
      }
    }
  }
}

TEST(Search, DefaultBoundsStillFillKUnderANarrowFilter) {
  const size_t d = 32;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(9000, d, 50, 73));
  const AllowedIf filter([](int64_t id) { return id % 450 == 0; });
  SearchParams params;
  params.filter = &filter;
  const Found found = flat.search(clustered(6, d, 50, 74), 20, params);
  EXPECT_THAT(found.ids, testing::Each(testing::Ge(0)));
}

TEST(Search, LevelsRankByAPrefixOfTheCode) {
  const size_t d = 48;
  const Flat flat(codec_params(d, 5, true), Metric::l2, clustered(900, d, 20, 81));
  const Floats queries = clustered(3, d, 20, 82);
  for (size_t levels = 1; levels <= 4; ++levels) {
    SearchParams params;
    params.levels = levels;
    params.refine_error_scale = refine_all;
    expect_equals_brute_force(flat, queries, 6, flat.search(queries, 6, params), levels);
  }
}

TEST(Search, ShortlistOfFixedLengthRefinesExactlyThatMany) {
  const size_t d = 32;
  const size_t k = 5;
  const Flat flat(codec_params(d, 4, true), Metric::l2, clustered(9000, d, 50, 91));
  const Floats queries = clustered(4, d, 50, 92);
  SearchStats stats;
  SearchParams params;
  params.refine_error_scale = 0.0F;
  params.k_factor = 12;
  params.stats = &stats;
  const Found found = flat.search(queries, k, params);
  EXPECT_EQ(stats.queries, 4U);
  EXPECT_EQ(stats.refined, 4 * k * params.k_factor);
  params.k_factor = 9000 / k;
  expect_equals_brute_force(flat, queries, k, flat.search(queries, k, params));
  EXPECT_GE(overlap(flat.search(queries, k, params).ids, found.ids, k), 0.4);
}

TEST(Search, StatsShowThatBoundsSpareMostRefines) {
  const size_t d = 64;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(20000, d, 400, 95));
  SearchStats stats;
  SearchParams params;
  params.stats = &stats;
  flat.search(clustered(50, d, 400, 95), 10, params);
  EXPECT_EQ(stats.queries, 50U);
  EXPECT_GE(stats.blocks_scanned, 50 * flat.store.blocks());
  EXPECT_GE(stats.candidates, 50U * 10U);
  EXPECT_GT(stats.refined, 0U);
  EXPECT_LT(stats.refined, 50U * 20000U / 10U);
}

TEST(Search, DuplicatesAreOrderedById) {
  const size_t d = 20;
  const Floats one = clustered(1, d, 1, 101);
  Floats x;
  for (int copy = 0; copy < 300; ++copy) {
    x.insert(x.end(), one.begin(), one.end());
  }
  Floats others = clustered(200, d, 3, 102);
  x.insert(x.end(), others.begin(), others.end());
  const Flat flat(codec_params(d, 3, true), Metric::l2, x);
  const Found found = flat.search(one, 100);
  std::vector<int64_t> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(found.ids, expected);
}

TEST(Search, RangeSearchIsBruteForceBelowTheRadius) {
  const size_t d = 36;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(7000, d, 40, 111));
  const Floats queries = clustered(3, d, 40, 112);
  SearchParams params;
  params.refine_error_scale = refine_all;
  for (const size_t rank : {size_t{0}, size_t{1}, size_t{50}, size_t{6999}}) {
    const float radius = flat.brute_force(queries.data())[rank].first;
    const auto hits =
        range_search(flat.codec, flat.space, flat.store, queries.data(), 3, radius, params);
    for (size_t q = 0; q < 3; ++q) {
      auto expected = flat.brute_force(queries.data() + q * d);
      std::erase_if(expected, [&](const auto& hit) { return hit.first >= radius; });
      std::sort(expected.begin(), expected.end(),
                [](const auto& a, const auto& b) { return a.second < b.second; });
      ASSERT_EQ(hits[q].size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(hits[q][i].id, expected[i].second);
        EXPECT_EQ(hits[q][i].distance, expected[i].first);
      }
    }
  }
}

TEST(Search, AnInfiniteRadiusReturnsEverythingOnce) {
  const size_t d = 8;
  const Flat flat(codec_params(d, 2, true), Metric::l2, clustered(65, d, 4, 113));
  const Floats query = clustered(1, d, 4, 114);
  const auto hits = range_search(flat.codec, flat.space, flat.store, query.data(), 1, infinity, {});
  ASSERT_EQ(hits[0].size(), 65U);
  for (size_t i = 0; i < 65; ++i) {
    EXPECT_EQ(hits[0][i].id, static_cast<int64_t>(i));
  }
}

TEST(Search, ScorerGivesTheDistancesOfASearch) {
  const size_t d = 30;
  const Flat flat(codec_params(d, 8, true), Metric::l2, clustered(400, d, 10, 121));
  const Floats query = clustered(1, d, 10, 122);
  SearchParams params;
  params.refine_error_scale = refine_all;
  const Found found = flat.search(query, 20, params);
  StoreScorer scorer(flat.codec, flat.space, flat.store);
  scorer.set_query(query.data());
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(scorer.distance(static_cast<size_t>(found.ids[i])), found.distances[i]);
  }
  EXPECT_NEAR(scorer.between(3, 3), 0.0F, 1e-6F);
  EXPECT_GT(scorer.between(3, 4), 0.0F);
}

TEST(Search, StrictEstimatorRanksMuchLikeTheDefault) {
  const size_t d = 64;
  const Flat flat(codec_params(d, 4, true), Metric::l2, clustered(3000, d, 60, 131));
  const Floats queries = clustered(20, d, 60, 131);
  SearchParams strict;
  strict.estimator = Estimator::strict;
  EXPECT_GE(overlap(flat.search(queries, 10).ids, flat.search(queries, 10, strict).ids, 10), 0.5);
}

TEST(Search, RefusesBadInputNamingIt) {
  const size_t d = 12;
  const Flat flat(codec_params(d, 3, true), Metric::l2, clustered(100, d, 4, 141));
  Floats queries = clustered(2, d, 4, 142);
  const Codec other(codec_params(d, 4, true));
  float distance = 0.0F;
  int64_t id = 0;
  const auto with = [&](const Codec& codec, size_t k, const SearchParams& params) {
    return message_of([&] {
      rotorquant::search(codec, flat.space, flat.store, queries.data(), 1, k, params, &distance,
                         &id);
    });
  };
  EXPECT_THAT(with(flat.codec, 0, {}), testing::HasSubstr("k: expected at least 1"));
  EXPECT_THAT(with(other, 1, {}), testing::HasSubstr("store layout: planes"));
  SearchParams too_deep;
  too_deep.levels = 9;
  EXPECT_THAT(with(flat.codec, 1, too_deep), testing::HasSubstr("levels"));
  SearchParams no_factor;
  no_factor.k_factor = 0;
  EXPECT_THAT(with(flat.codec, 1, no_factor), testing::HasSubstr("k_factor"));
  queries[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(with(flat.codec, 1, {}), testing::HasSubstr("row 0"));
}

}  // namespace
}  // namespace rotorquant
