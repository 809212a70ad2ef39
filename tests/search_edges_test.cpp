// SPDX-License-Identifier: MIT
// Corners of the search: stores large enough that the limit comes from a sample, ties, parameters
// at their ends, every mode over threads. search_test.cpp has the plain cases.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "rotorquant/search.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::clustered;
using test_data::codec_params;
using test_data::Floats;
using test_data::message_of;
using test_data::same_bits;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float refine_all = 1e6F;
/// From 192 blocks on a search for 10 samples the store first; this is 250.
constexpr size_t sampled_size = 16000;
constexpr size_t dim = 24;

class AllowedIf : public IdFilter {
 public:
  explicit AllowedIf(std::function<bool(int64_t)> rule) : rule_(std::move(rule)) {}
  bool allows(int64_t id) const override { return rule_(id); }

 private:
  std::function<bool(int64_t)> rule_;
};

using Ranking = std::vector<std::pair<float, int64_t>>;  ///< distance, id; ascending

/// A store with its centre, and what Codec::estimate says about it.
struct Flat {
  Codec codec;
  Space space;
  CodeStore store;

  Flat(const CodecParams& params, Metric metric, const Floats& x, float centre = 0.25F)
      : codec(params), space{metric, Floats(params.d, centre)}, store(codec.layout()) {
    const size_t n = x.size() / params.d;
    Floats residuals(x.size());
    Floats additive(n);
    space.split(x.data(), n, params.d, residuals.data(), additive.data());
    codec.train(residuals.data(), std::max<size_t>(n, 1));
    std::vector<uint8_t> codes(n * codec.code_bytes());
    codec.encode(residuals.data(), additive.data(), n, codes.data());
    store.append(codes.data(), n);
  }

  Ranking brute_force(const float* query, const SearchParams& params) const {
    Floats residual(codec.dim());
    const float base = space.split_query(query, codec.dim(), residual.data());
    const CodecQuery prepared = codec.prepare(residual.data());
    const bool knows_norm = space.metric == Metric::l2;
    std::vector<uint8_t> code(codec.code_bytes());
    Ranking all;
    for (size_t i = 0; i < store.size(); ++i) {
      if (params.filter != nullptr && !params.filter->allows(static_cast<int64_t>(i))) {
        continue;
      }
      store.pack(i, 1, code.data());
      const float norm = knows_norm ? std::sqrt(store.additive(i)) : -1.0F;
      const float product =
          codec.estimate(prepared, code.data(), params.levels, params.estimator, norm);
      all.emplace_back(store.additive(i) - space.weight() * product + base,
                       static_cast<int64_t>(i));
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  Ranking nearest(const float* queries, size_t n, size_t k, const SearchParams& params) const {
    Floats distances(n * k);
    std::vector<int64_t> ids(n * k);
    search(codec, space, store, queries, n, k, params, distances.data(), ids.data());
    Ranking found;
    for (size_t i = 0; i < n * k; ++i) {
      found.emplace_back(distances[i], ids[i]);
    }
    return found;
  }

  std::vector<std::vector<RangeHit>> within(const Floats& queries, float radius,
                                            const SearchParams& params) const {
    return range_search(codec, space, store, queries.data(), queries.size() / codec.dim(), radius,
                        params);
  }
};

const Flat& sampled_flat(Metric metric) {
  static const Floats x = clustered(sampled_size, dim, 80, 301);
  static const Flat l2(codec_params(dim, 3, true), Metric::l2, x);
  static const Flat inner(codec_params(dim, 3, true), Metric::inner_product, x);
  return metric == Metric::l2 ? l2 : inner;
}

const Floats& some_queries() {
  static const Floats queries = clustered(6, dim, 80, 301);
  return queries;
}

SearchParams refining_everything() {
  SearchParams params;
  params.refine_error_scale = refine_all;
  return params;
}

void expect_best(const Ranking& found, const Ranking& all, size_t k, const std::string& what) {
  for (size_t i = 0; i < k; ++i) {
    const auto expected =
        i < all.size() ? all[i] : std::pair<float, int64_t>(infinity, int64_t{-1});
    ASSERT_EQ(found[i], expected) << what << " place " << i;
  }
}

void expect_brute_force(const Flat& flat, const SearchParams& params, size_t k,
                        const std::string& what) {
  for (size_t q = 0; q < some_queries().size() / dim; ++q) {
    const float* query = some_queries().data() + q * dim;
    expect_best(flat.nearest(query, 1, k, params), flat.brute_force(query, params), k, what);
  }
}

// ---- sampled limits -------------------------------------------------------------------------

TEST(SearchSampled, IsBruteForceForBothMetricsAndManyK) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    for (const size_t k : {1U, 2U, 10U, 37U, 500U}) {
      expect_brute_force(sampled_flat(metric), refining_everything(), k, std::to_string(k));
    }
  }
}

TEST(SearchSampled, IsBruteForceForPrefixesAndTheStrictEstimator) {
  SearchParams params = refining_everything();
  for (const size_t levels : {1U, 2U}) {
    params.levels = levels;
    expect_brute_force(sampled_flat(Metric::l2), params, 10, "levels");
  }
  params.levels = 0;
  params.estimator = Estimator::strict;
  expect_brute_force(sampled_flat(Metric::l2), params, 10, "strict");
  expect_brute_force(sampled_flat(Metric::inner_product), params, 10, "strict");
}

/// Filters that fool a sample of every n-th block: what they allow lies in a few blocks only.
std::vector<std::pair<std::string, AllowedIf>> clumped_filters() {
  return {{"the first block", AllowedIf([](int64_t id) { return id < 64; })},
          {"all but the sampled blocks", AllowedIf([](int64_t id) { return id / 64 % 8 != 0; })},
          {"only sampled blocks", AllowedIf([](int64_t id) { return id / 64 % 8 == 0; })},
          {"one percent", AllowedIf([](int64_t id) { return id % 100 == 3; })},
          {"fewer than k", AllowedIf([](int64_t id) { return id % 4000 == 5; })},
          {"one id", AllowedIf([](int64_t id) { return id == 15999; })},
          {"none", AllowedIf([](int64_t) { return false; })}};
}

TEST(SearchSampled, FiltersThatFoolTheSampleAreStillBruteForce) {
  for (const auto& [name, filter] : clumped_filters()) {
    SearchParams params = refining_everything();
    params.filter = &filter;
    expect_brute_force(sampled_flat(Metric::l2), params, 10, name);
    expect_brute_force(sampled_flat(Metric::inner_product), params, 10, name);
  }
}

TEST(SearchSampled, EveryModeFillsKUnderAFilter) {
  for (const float scale : {-1.0F, 0.0F, 0.5F}) {
    for (const auto& [name, filter] : clumped_filters()) {
      SearchParams params;
      params.refine_error_scale = scale;
      params.filter = &filter;
      const Flat& flat = sampled_flat(Metric::l2);
      const Ranking found = flat.nearest(some_queries().data(), 1, 10, params);
      const size_t possible = flat.brute_force(some_queries().data(), params).size();
      for (size_t i = 0; i < 10; ++i) {
        EXPECT_EQ(found[i].second >= 0, i < possible) << name << " scale " << scale;
        EXPECT_TRUE(found[i].second < 0 || filter.allows(found[i].second)) << name;
      }
    }
  }
}

TEST(SearchSampled, NearestVectorsInOneBlockAreAllFound) {
  // What is near lies in one block: its minimum is one of many that the seeds are picked by.
  constexpr size_t k = 50;
  constexpr size_t block = 24;
  Floats x = clustered(sampled_size, dim, 80, 302);
  const Floats query(some_queries().begin(), some_queries().begin() + dim);
  const Floats noise = test_data::gaussian(block_vectors, dim, 303, 0.01F);
  for (size_t i = 0; i < block_vectors * dim; ++i) {
    x[block_vectors * block * dim + i] = query[i % dim] + noise[i];
  }
  const Flat flat(codec_params(dim, 4, true), Metric::l2, x);
  for (const float scale : {-1.0F, 0.0F, 4.0F}) {
    SearchParams params;
    params.refine_error_scale = scale;
    const Ranking found = flat.nearest(query.data(), 1, k, params);
    expect_best(found, flat.brute_force(query.data(), params), k, "planted");
    for (const auto& [distance, id] : found) {
      EXPECT_EQ(static_cast<size_t>(id) / block_vectors, block);
    }
  }
}

TEST(SearchSampled, StoresOfSeveralPartsAreBruteForce) {
  // A part has 1,600 blocks a thread; here the nearest come last, first and in no order.
  constexpr size_t d = 8;
  constexpr size_t n = 270000;
  const Floats x = clustered(n, d, 300, 304);
  const Flat flat(codec_params(d, 3, true), Metric::l2, x);
  for (const size_t at : {size_t{17}, n / 2, n - 3}) {
    const Floats query(x.begin() + static_cast<std::ptrdiff_t>(at * d),
                       x.begin() + static_cast<std::ptrdiff_t>((at + 1) * d));
    const Ranking all = flat.brute_force(query.data(), refining_everything());
    for (const int threads : {1, 3}) {
      SearchParams params = refining_everything();
      params.threads = threads;
      expect_best(flat.nearest(query.data(), 1, 10, params), all, 10, "parts");
      params.refine_error_scale = 0.0F;
      params.k_factor = 2000;
      expect_best(flat.nearest(query.data(), 1, 10, params), all, 10, "parts, a long shortlist");
    }
  }
}

// ---- ties -----------------------------------------------------------------------------------

TEST(SearchTies, DuplicatesAreOrderedByIdInEveryMode) {
  const Floats one = clustered(1, dim, 1, 304);
  Floats x;
  for (size_t copy = 0; copy < sampled_size; ++copy) {
    x.insert(x.end(), one.begin(), one.end());
  }
  const Flat flat(codec_params(dim, 3, true), Metric::l2, x);
  std::vector<int64_t> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  for (const float scale : {-1.0F, 0.0F, refine_all}) {
    for (const int threads : {1, 3}) {
      SearchParams params;
      params.refine_error_scale = scale;
      params.threads = threads;
      const Ranking found = flat.nearest(some_queries().data(), 1, 100, params);
      for (size_t i = 0; i < 100; ++i) {
        ASSERT_EQ(found[i].second, expected[i]) << "scale " << scale << " threads " << threads;
      }
    }
  }
}

TEST(SearchTies, AscendByDistanceThenIdAlsoAfterTheBaseHasRoundedThemTogether) {
  // A far query: |q|^2 is so large that the differences between vectors vanish in its last bits.
  const Flat flat(codec_params(dim, 3, true), Metric::l2, clustered(3000, dim, 10, 305));
  const Floats query(dim, 3e4F);
  const Ranking found = flat.nearest(query.data(), 1, 300, refining_everything());
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
}

// ---- threads and batches --------------------------------------------------------------------

void expect_same_hits(const std::vector<std::vector<RangeHit>>& a,
                      const std::vector<std::vector<RangeHit>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t q = 0; q < a.size(); ++q) {
    ASSERT_EQ(a[q].size(), b[q].size());
    for (size_t i = 0; i < a[q].size(); ++i) {
      ASSERT_EQ(a[q][i].id, b[q][i].id);
      ASSERT_TRUE(same_bits(&a[q][i].distance, &b[q][i].distance, 1));
    }
  }
}

TEST(SearchThreads, EveryModeGivesTheSameBitsOnAnyNumber) {
  const Flat& flat = sampled_flat(Metric::inner_product);
  const AllowedIf odd([](int64_t id) { return id % 2 == 1; });
  const float radius = flat.nearest(some_queries().data(), 1, 50, SearchParams{})[49].first;
  for (const IdFilter* filter :
       {static_cast<const IdFilter*>(nullptr), static_cast<const IdFilter*>(&odd)}) {
    for (const float scale : {-1.0F, 0.0F, 1.0F}) {
      SearchParams params;
      params.refine_error_scale = scale;
      params.filter = filter;
      params.threads = 1;
      const Ranking found = flat.nearest(some_queries().data(), 6, 10, params);
      const auto hits = flat.within(some_queries(), radius, params);
      for (const int threads : {2, 3, 8}) {  // 8: more than there are queries
        params.threads = threads;
        EXPECT_EQ(flat.nearest(some_queries().data(), 6, 10, params), found) << threads;
        expect_same_hits(flat.within(some_queries(), radius, params), hits);
        for (size_t q = 0; q < 6; ++q) {
          const Ranking alone = flat.nearest(some_queries().data() + q * dim, 1, 10, params);
          EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                                 found.begin() + static_cast<std::ptrdiff_t>(q * 10)));
        }
      }
    }
  }
}

// ---- range search ---------------------------------------------------------------------------

TEST(RangeSearch, IsBruteForceForInnerProductsAndFilters) {
  const Flat& flat = sampled_flat(Metric::inner_product);
  const AllowedIf third([](int64_t id) { return id % 3 == 0; });
  SearchParams params = refining_everything();
  params.filter = &third;
  for (const float radius : {-30.0F, -10.0F, 0.0F}) {
    const auto hits = flat.within(some_queries(), radius, params);
    for (size_t q = 0; q < hits.size(); ++q) {
      Ranking expected = flat.brute_force(some_queries().data() + q * dim, params);
      std::erase_if(expected, [&](const auto& hit) { return hit.first >= radius; });
      ASSERT_EQ(hits[q].size(), expected.size()) << radius;
      for (const auto& [distance, id] : expected) {
        const auto at =
            std::lower_bound(hits[q].begin(), hits[q].end(), id,
                             [](const RangeHit& hit, int64_t wanted) { return hit.id < wanted; });
        ASSERT_TRUE(at != hits[q].end() && at->id == id);
        ASSERT_EQ(at->distance, distance);
      }
    }
  }
}

TEST(RangeSearch, DefaultBoundsLoseLittle) {
  const Flat& flat = sampled_flat(Metric::l2);
  const float radius =
      flat.nearest(some_queries().data(), 1, 200, refining_everything())[199].first;
  size_t found = 0;
  size_t all = 0;
  const auto hits = flat.within(some_queries(), radius, SearchParams{});
  const auto wanted = flat.within(some_queries(), radius, refining_everything());
  for (size_t q = 0; q < hits.size(); ++q) {
    found += hits[q].size();
    all += wanted[q].size();
    for (const RangeHit& hit : hits[q]) {
      EXPECT_LT(hit.distance, radius);
    }
  }
  EXPECT_GE(static_cast<double>(found), 0.97 * static_cast<double>(all));
  EXPECT_LE(found, all);
}

TEST(RangeSearch, WithoutABoundItStillFindsWhatIsInside) {
  // refine_error_scale 0 means "a shortlist" to a search; a range has no k to make one of.
  const Flat& flat = sampled_flat(Metric::l2);
  const float radius =
      flat.nearest(some_queries().data(), 1, 200, refining_everything())[199].first;
  SearchParams params;
  params.refine_error_scale = 0.0F;
  const auto hits = flat.within(some_queries(), radius, params);
  const auto wanted = flat.within(some_queries(), radius, refining_everything());
  EXPECT_GE(static_cast<double>(hits[0].size()), 0.95 * static_cast<double>(wanted[0].size()));
}

TEST(RangeSearch, NothingIsBelowMinusInfinityOrInAnEmptyStore) {
  EXPECT_TRUE(sampled_flat(Metric::l2).within(some_queries(), -infinity, {})[0].empty());
  const Flat empty(codec_params(dim, 3, true), Metric::l2, {});
  EXPECT_TRUE(empty.within(some_queries(), infinity, {})[5].empty());
  EXPECT_TRUE(empty.within({}, 1.0F, {}).empty());
}

// ---- parameters and stores at their ends ----------------------------------------------------

TEST(SearchEdges, ZeroVectorsAreFoundAtTheirDistance) {
  Floats x = clustered(200, dim, 4, 306);
  std::fill(x.begin() + 7 * dim, x.begin() + 8 * dim, 0.25F);  // the centre: a zero residual
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    const Flat flat(codec_params(dim, 3, true), metric, x);
    const Floats query(dim, 0.3F);
    for (const float scale : {-1.0F, 0.0F, refine_all}) {
      SearchParams params;
      params.refine_error_scale = scale;
      const Ranking all = flat.nearest(query.data(), 1, 200, params);
      const auto zero =
          std::find_if(all.begin(), all.end(), [](const auto& hit) { return hit.second == 7; });
      ASSERT_NE(zero, all.end()) << "scale " << scale;
      if (metric == Metric::l2) {
        EXPECT_NEAR(zero->first, 0.05F * 0.05F * dim, 1e-5F);
        EXPECT_EQ(zero, all.begin());
      }
    }
  }
}

TEST(SearchEdges, AQueryAtTheCentreRanksByNorm) {
  const Flat flat(codec_params(dim, 2, true), Metric::l2, clustered(500, dim, 4, 307));
  const Floats query(dim, 0.25F);
  const Ranking found = flat.nearest(query.data(), 1, 500, SearchParams{});
  for (const auto& [distance, id] : found) {
    EXPECT_EQ(distance, flat.store.additive(static_cast<size_t>(id)));
  }
}

TEST(SearchEdges, KBeyondNPadsAndAnEmptyStoreOrBatchIsFine) {
  const Flat flat(codec_params(dim, 3, true), Metric::l2, clustered(5, dim, 2, 308));
  const Ranking found = flat.nearest(some_queries().data(), 1, 9, SearchParams{});
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(found[i].second >= 0, i < 5);
    EXPECT_EQ(std::isinf(found[i].first), i >= 5);
  }
  EXPECT_TRUE(flat.nearest(nullptr, 0, 3, SearchParams{}).empty());
  const Flat empty(codec_params(dim, 3, true), Metric::l2, {});
  const std::pair<float, int64_t> nothing(infinity, -1);
  for (const float scale : {-1.0F, 0.0F}) {
    SearchParams params;
    params.refine_error_scale = scale;
    EXPECT_EQ(empty.nearest(some_queries().data(), 2, 2, params), Ranking(4, nothing));
  }
}

TEST(SearchEdges, AStoreOfAnotherLayoutWithCodesOfTheSameSizeIsRefused) {
  // d = 16: three planes, alpha and beta are as long as four planes and alpha.
  const Flat flat(codec_params(16, 4, false), Metric::l2, clustered(50, 16, 4, 309));
  const Codec other(codec_params(16, 3, true));
  ASSERT_EQ(other.code_bytes(), flat.codec.code_bytes());
  const Floats query(16, 0.0F);
  float distance = 0.0F;
  int64_t id = 0;
  EXPECT_NE(message_of([&] {
              search(other, flat.space, flat.store, query.data(), 1, 1, {}, &distance, &id);
            }),
            "");
  EXPECT_NE(
      message_of([&] { range_search(other, flat.space, flat.store, query.data(), 1, 1.0F, {}); }),
      "");
}

TEST(SearchEdges, BadNumbersAreRefusedByName) {
  const Flat& flat = sampled_flat(Metric::l2);
  const auto message_for = [&](const std::function<void(SearchParams&)>& change) {
    SearchParams params;
    change(params);
    return message_of([&] { flat.nearest(some_queries().data(), 1, 3, params); });
  };
  EXPECT_NE(message_for([](auto& p) { p.threads = -1; }).find("threads"), std::string::npos);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity}) {
    EXPECT_NE(
        message_for([bad](auto& p) { p.refine_error_scale = bad; }).find("refine_error_scale"),
        std::string::npos);
  }
  Floats queries = some_queries();
  queries[4 * dim + 1] = infinity;
  EXPECT_NE(message_of([&] { flat.nearest(queries.data(), 6, 3, {}); }).find("row 4"),
            std::string::npos);
  EXPECT_NE(message_of([&] { flat.within(queries, 3.0F, {}); }).find("row 4"), std::string::npos);
  StoreScorer scorer(flat.codec, flat.space, flat.store);
  EXPECT_NE(message_of([&] { scorer.set_query(queries.data() + 4 * dim); }), "");
}

TEST(SearchEdges, ScorerFollowsLevelsEstimatorAndMetric) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    const Flat& flat = sampled_flat(metric);
    for (const size_t levels : {0U, 1U, 2U}) {
      for (const Estimator estimator : {Estimator::rescaled, Estimator::strict}) {
        SearchParams params = refining_everything();
        params.levels = levels;
        params.estimator = estimator;
        StoreScorer scorer(flat.codec, flat.space, flat.store, params);
        scorer.set_query(some_queries().data());
        for (const auto& [distance, id] : flat.nearest(some_queries().data(), 1, 30, params)) {
          ASSERT_EQ(scorer.distance(static_cast<size_t>(id)), distance);
        }
      }
    }
  }
}

TEST(SearchEdges, ScorerBetweenIsTheDistanceOfTheDecodings) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    const Flat& flat = sampled_flat(metric);
    const StoreScorer scorer(flat.codec, flat.space, flat.store);
    std::vector<uint8_t> codes(2 * flat.codec.code_bytes());
    flat.store.pack(64, 2, codes.data());
    Floats x = test_data::decoded(flat.codec, codes);
    flat.space.restore(x.data(), 2, dim);
    double expected = 0.0;
    for (size_t j = 0; j < dim; ++j) {
      const auto a = static_cast<double>(x[j]);
      const auto b = static_cast<double>(x[dim + j]);
      expected += metric == Metric::l2 ? (a - b) * (a - b) : -a * b;
    }
    EXPECT_NEAR(static_cast<double>(scorer.between(64, 65)), expected, 1e-5);
    EXPECT_EQ(scorer.between(64, 65), scorer.between(65, 64));
  }
}

TEST(SearchEdges, StatsAddUpOverThreadsAndCalls) {
  const Flat& flat = sampled_flat(Metric::l2);
  SearchStats one;
  SearchParams params;
  params.stats = &one;
  params.threads = 1;
  flat.nearest(some_queries().data(), 6, 10, params);
  EXPECT_EQ(one.queries, 6U);
  EXPECT_GE(one.refined, 60U);
  EXPECT_GE(one.candidates, one.queries * 10);
  SearchStats twice;
  params.stats = &twice;
  params.threads = 2;
  flat.nearest(some_queries().data(), 6, 10, params);
  flat.nearest(some_queries().data(), 6, 10, params);
  EXPECT_EQ(twice.queries, 12U);
  EXPECT_EQ(twice.blocks_scanned, 2 * one.blocks_scanned);
}

// ---- space ----------------------------------------------------------------------------------

TEST(Space, SplitsSoThatTheDistanceFormulaHolds) {
  const Floats x = test_data::gaussian(20, 7, 310);
  const Floats q = test_data::gaussian(1, 7, 311);
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    for (const Floats& centre : {Floats{}, test_data::gaussian(1, 7, 312)}) {
      const Space space{metric, centre};
      Floats residuals(x.size());
      Floats additive(20);
      Floats query(7);
      space.split(x.data(), 20, 7, residuals.data(), additive.data());
      const float base = space.split_query(q.data(), 7, query.data());
      for (size_t i = 0; i < 20; ++i) {
        double expected = 0.0;
        for (size_t j = 0; j < 7; ++j) {
          const auto a = static_cast<double>(x[i * 7 + j]);
          const auto b = static_cast<double>(q[j]);
          expected += metric == Metric::l2 ? (a - b) * (a - b) : -a * b;
        }
        const double product = test_data::dot(query.data(), residuals.data() + i * 7, 7);
        EXPECT_NEAR(static_cast<double>(base) + static_cast<double>(additive[i]) -
                        static_cast<double>(space.weight()) * product,
                    expected, 1e-5);
      }
      space.restore(residuals.data(), 20, 7);
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_NEAR(residuals[i], x[i], 1e-6F);
      }
    }
  }
}

}  // namespace
}  // namespace rotorquant
