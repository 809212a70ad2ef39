// SPDX-License-Identifier: MIT
#include <faiss/impl/AuxIndexStructures.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "faiss_ext/IndexRotorQuant.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

CodecParams params_of(size_t d, int bits, bool learned, bool signs = true) {
  CodecParams params;
  params.d = d;
  params.bits = bits;
  params.signs = signs;
  params.frame = learned ? FrameKind::learned : FrameKind::rotor_layers;
  return params;
}

IndexRotorQuant filled(size_t d, size_t n, int bits, bool learned, faiss::MetricType metric,
                       bool signs = true) {
  IndexRotorQuant index(params_of(d, bits, learned, signs), metric);
  train(index, vectors(600, d, 9));
  add(index, vectors(n, d));
  return index;
}

// ---- construction and training -------------------------------------------------------------

TEST(IndexRotorQuant, RefusesWhatItCannotDo) {
  EXPECT_THAT(message_of([] { IndexRotorQuant(8, 3, false, faiss::METRIC_L1); }),
              HasSubstr("METRIC_L2 or METRIC_INNER_PRODUCT"));
  EXPECT_THAT(message_of([] { IndexRotorQuant(0, 3); }), HasSubstr("at least 1"));
  EXPECT_THAT(message_of([] { IndexRotorQuant(-4, 3); }), HasSubstr("-4"));
  EXPECT_THAT(message_of([] { IndexRotorQuant(8, 9); }), HasSubstr("9"));
  EXPECT_THAT(message_of([] { IndexRotorQuant(8, 0); }), HasSubstr("0"));
}

TEST(IndexRotorQuant, ObliviousNeedsNoTraining) {
  IndexRotorQuant index(16, 3);
  EXPECT_TRUE(index.is_trained);
  EXPECT_TRUE(index.space.centre.empty());
  add(index, vectors(100, 16));
  EXPECT_EQ(index.ntotal, 100);
}

TEST(IndexRotorQuant, TrainingSetsTheCentreToTheMean) {
  IndexRotorQuant index(2, 3);
  const Floats x = {1, 10, 2, 20, 6, 60};
  index.train(3, x.data());
  EXPECT_EQ(index.space.centre, (Floats{3, 30}));
  index.train(0, nullptr);
  EXPECT_EQ(index.space.centre, (Floats{3, 30}));
}

TEST(IndexRotorQuant, LearnedFrameRefusesWorkBeforeTraining) {
  IndexRotorQuant index(16, 3, true);
  EXPECT_FALSE(index.is_trained);
  const Floats x = vectors(400, 16);
  EXPECT_THAT(message_of([&] { add(index, x); }), HasSubstr("untrained"));
  EXPECT_THAT(message_of([&] { search(index, x, 1); }), HasSubstr("untrained"));
  EXPECT_THAT(message_of([&] { encoded(index, x); }), HasSubstr("untrained"));
  EXPECT_THAT(message_of([&] { index.train(0, nullptr); }), HasSubstr("at least 1"));
  train(index, x);
  EXPECT_TRUE(index.is_trained);
  add(index, x);
  EXPECT_EQ(index.ntotal, 400);
}

TEST(IndexRotorQuant, TrainingAFilledIndexIsRefused) {
  IndexRotorQuant index(8, 3);
  const Floats x = vectors(10, 8);
  add(index, x);
  EXPECT_THAT(message_of([&] { train(index, x); }), HasSubstr("vectors in the index"));
  index.reset();
  train(index, x);
  EXPECT_FALSE(index.space.centre.empty());
}

TEST(IndexRotorQuant, TrainingIsDeterministic) {
  const Floats x = vectors(500, 24);
  IndexRotorQuant a(24, 3, true);
  IndexRotorQuant b(24, 3, true);
  train(a, x);
  train(b, x);
  EXPECT_EQ(encoded(a, x), encoded(b, x));
}

// ---- adding --------------------------------------------------------------------------------

TEST(IndexRotorQuant, AddInPiecesEqualsAddAtOnce) {
  const Floats x = vectors(193, 20);
  IndexRotorQuant at_once(20, 4);
  add(at_once, x);
  IndexRotorQuant piecewise(20, 4);
  size_t first = 0;
  for (const size_t size : {0U, 1U, 31U, 32U, 33U, 63U, 33U}) {
    piecewise.add(static_cast<idx_t>(size), x.data() + first * 20);
    first += size;
  }
  ASSERT_EQ(piecewise.ntotal, 193);
  EXPECT_EQ(stored_codes(piecewise), stored_codes(at_once));
}

TEST(IndexRotorQuant, StandaloneCodesAreTheStoredOnes) {
  for (const bool learned : {false, true}) {
    for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
      const IndexRotorQuant index = filled(20, 77, 3, learned, metric);
      EXPECT_EQ(encoded(index, vectors(77, 20)), stored_codes(index));
    }
  }
}

TEST(IndexRotorQuant, ARefusedAddChangesNothing) {
  IndexRotorQuant index = filled(12, 70, 3, false, faiss::METRIC_L2);
  const auto before = stored_codes(index);
  Floats x = vectors(50, 12, 3);
  x[12 * 40 + 5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message_of([&] { add(index, x); }), HasSubstr("row 40"));
  x[12 * 40 + 5] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(message_of([&] { add(index, x); }), HasSubstr("row 40"));
  EXPECT_THAT(message_of([&] { index.add(-1, x.data()); }), HasSubstr("-1"));
  EXPECT_EQ(index.ntotal, 70);
  EXPECT_EQ(stored_codes(index), before);
}

TEST(IndexRotorQuant, AddCodesEqualsAdd) {
  const Floats x = vectors(90, 15);
  IndexRotorQuant index(15, 6);
  train(index, x);
  IndexRotorQuant other = index;
  add(index, x);
  const auto codes = encoded(other, x);
  other.add_sa_codes(90, codes.data(), nullptr);
  EXPECT_EQ(other.ntotal, 90);
  EXPECT_EQ(search(other, x, 5), search(index, x, 5));
}

TEST(IndexRotorQuant, CodesWithoutFiniteFactorsAreRefused) {
  const Floats x = vectors(3, 16);
  for (const int bits : {1, 3, 6}) {
    IndexRotorQuant index(16, bits);
    const auto good = encoded(index, x);
    const CodeLayout& layout = index.codec.layout();
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<size_t> places = {layout.scan_factor_offset() + 2};  // the additive term
    for (size_t i = 0; layout.wide_factors && i < layout.factor_count(); ++i) {
      places.push_back(layout.factor_offset() + 4 * i);
    }
    for (const size_t place : places) {
      auto codes = good;
      std::memcpy(codes.data() + index.sa_code_size() + place, &infinity, sizeof(infinity));
      EXPECT_THAT(message_of([&] { index.add_sa_codes(3, codes.data(), nullptr); }),
                  HasSubstr("code 1"));
      EXPECT_EQ(index.ntotal, 0);
    }
    auto codes = good;
    std::fill(codes.begin(), codes.end(), uint8_t{0xFF});
    EXPECT_THAT(message_of([&] { index.add_sa_codes(3, codes.data(), nullptr); }),
                HasSubstr("code 0"));
  }
}

// ---- searching -----------------------------------------------------------------------------

TEST(IndexRotorQuant, SearchArgumentsAreChecked) {
  const IndexRotorQuant index = filled(8, 40, 3, false, faiss::METRIC_L2);
  Floats x = vectors(2, 8);
  EXPECT_THAT(message_of([&] { search(index, x, 0); }), HasSubstr("k: expected at least 1"));
  EXPECT_THAT(message_of([&] { index.search(2, x.data(), -3, nullptr, nullptr); }),
              HasSubstr("-3"));
  EXPECT_THAT(message_of([&] { index.search(-2, x.data(), 3, nullptr, nullptr); }),
              HasSubstr("-2"));
  x[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(message_of([&] { search(index, x, 3); }), HasSubstr("row 1"));
  index.search(0, nullptr, 3, nullptr, nullptr);
}

TEST(IndexRotorQuant, EmptyIndexPadsLikeFaiss) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const IndexRotorQuant index(8, 3, false, metric);
    const Answer answer = search(index, vectors(2, 8), 3);
    const float worst = std::numeric_limits<float>::max();
    EXPECT_EQ(answer.labels, Ids(6, -1));
    EXPECT_EQ(answer.distances, Floats(6, metric == faiss::METRIC_L2 ? worst : -worst));
  }
}

TEST(IndexRotorQuant, MoreNeighboursThanVectors) {
  const IndexRotorQuant index = filled(8, 5, 3, false, faiss::METRIC_INNER_PRODUCT);
  const Answer answer = search(index, vectors(1, 8), 9);
  EXPECT_EQ(std::count(answer.labels.begin(), answer.labels.end(), -1), 4);
  EXPECT_THAT(Ids(answer.labels.begin(), answer.labels.begin() + 5),
              testing::UnorderedElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(answer.distances.back(), -std::numeric_limits<float>::max());
}

struct Shape {
  size_t d;
  size_t n;
  int bits;
  bool learned;
  bool signs;
};

class IndexShapes : public testing::TestWithParam<Shape> {};

/// Refining everything must give the ranking of the distance computer, for both metrics.
TEST_P(IndexShapes, SearchMatchesTheDistanceComputer) {
  const Shape& shape = GetParam();
  const Floats queries = vectors(3, shape.d, 5);
  const auto everything = refine_everything();
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const IndexRotorQuant index =
        filled(shape.d, shape.n, shape.bits, shape.learned, metric, shape.signs);
    const size_t k = 7;
    const Answer answer = search(index, queries, k, &everything);
    for (size_t q = 0; q < 3; ++q) {
      const Floats distances = all_distances(index, queries.data() + q * shape.d);
      const Ids expected = ranked(distances, metric);
      for (size_t j = 0; j < k; ++j) {
        const int64_t id = answer.labels[q * k + j];
        if (j >= shape.n) {
          EXPECT_EQ(id, -1);
          continue;
        }
        ASSERT_GE(id, 0);
        const float best = distances[static_cast<size_t>(expected[j])];
        const float tolerance = 1e-3F * (1.0F + std::abs(best));
        EXPECT_NEAR(answer.distances[q * k + j], best, tolerance);
        EXPECT_NEAR(distances[static_cast<size_t>(id)], best, tolerance);
      }
    }
  }
}

TEST_P(IndexShapes, AnswersDoNotDependOnThreadsOrBatches) {
  const Shape& shape = GetParam();
  const IndexRotorQuant index =
      filled(shape.d, shape.n, shape.bits, shape.learned, faiss::METRIC_L2, shape.signs);
  const Floats queries = vectors(41, shape.d, 5);
  SearchParametersRotorQuant params;
  params.threads = 1;
  const Answer expected = search(index, queries, 10, &params);
  for (const int threads : {1, 2, 3}) {
    params.threads = threads;
    for (const size_t batch : {1U, 7U, 41U}) {
      EXPECT_EQ(search_in_batches(index, queries, 10, batch, &params), expected)
          << threads << " threads, batches of " << batch;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, IndexShapes,
    testing::Values(Shape{1, 65, 3, false, true}, Shape{3, 0, 3, false, true},
                    Shape{3, 1, 2, false, true}, Shape{3, 31, 1, false, true},
                    Shape{4, 32, 1, false, false}, Shape{7, 33, 2, false, false},
                    Shape{12, 63, 4, false, true}, Shape{16, 64, 5, false, true},
                    Shape{100, 65, 6, false, true}, Shape{129, 200, 8, false, true},
                    Shape{100, 500, 3, false, true}, Shape{1, 33, 2, true, true},
                    Shape{3, 64, 3, true, true}, Shape{100, 500, 3, true, true},
                    Shape{129, 130, 2, true, false}),
    [](const testing::TestParamInfo<Shape>& shape_info) {
      const Shape& s = shape_info.param;
      return std::string(s.learned ? "ORQ" : "RQ") + std::to_string(s.bits) +
             (s.signs ? "" : "mse") + "_d" + std::to_string(s.d) + "_n" + std::to_string(s.n);
    });

TEST(IndexRotorQuant, DefaultSearchFindsTheNeighbours) {
  const size_t d = 64;
  const Floats x = vectors(3000, d);
  const Floats queries = vectors(50, d, 5);
  for (const bool learned : {false, true}) {
    for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
      IndexRotorQuant index(static_cast<int>(d), 6, learned, metric);
      train(index, x);
      add(index, x);
      const Answer answer = search(index, queries, 1);
      size_t hits = 0;
      for (size_t q = 0; q < 50; ++q) {
        Floats exact(3000);
        for (size_t i = 0; i < exact.size(); ++i) {
          for (size_t j = 0; j < d; ++j) {
            const float a = queries[q * d + j];
            const float b = x[i * d + j];
            exact[i] += metric == faiss::METRIC_L2 ? (a - b) * (a - b) : a * b;
          }
        }
        hits += answer.labels[q] == ranked(exact, metric).front() ? 1 : 0;
      }
      EXPECT_GE(hits, 42U) << learned << " " << metric;
    }
  }
}

TEST(IndexRotorQuant, InnerProductsOfAnySizeAndSign) {
  const size_t d = 32;
  Floats x = vectors(400, d);
  for (size_t i = 0; i < x.size(); ++i) {
    const float norm = std::pow(10.0F, static_cast<float>(i / d % 5) - 2.0F);
    x[i] *= (i / d) % 2 == 0 ? norm : -norm;
  }
  IndexRotorQuant index(static_cast<int>(d), 8, false, faiss::METRIC_INNER_PRODUCT);
  train(index, x);
  add(index, x);
  const Floats query = vectors(1, d, 5);
  const auto everything = refine_everything();
  const Answer answer = search(index, query, 400, &everything);
  float previous = std::numeric_limits<float>::max();
  size_t negative = 0;
  for (size_t j = 0; j < 400; ++j) {
    const auto id = static_cast<size_t>(answer.labels[j]);
    double exact = 0.0;
    double residual = 0.0;
    double query_residual = 0.0;
    for (size_t c = 0; c < d; ++c) {
      const float mu = index.space.centre[c];
      exact += static_cast<double>(query[c] * x[id * d + c]);
      residual += std::pow(static_cast<double>(x[id * d + c] - mu), 2.0);
      query_residual += std::pow(static_cast<double>(query[c] - mu), 2.0);
    }
    const double scale = std::sqrt(residual * query_residual);
    EXPECT_NEAR(answer.distances[j], exact, 0.02 * scale + 1e-4 * std::abs(exact));
    EXPECT_LE(answer.distances[j], previous);
    previous = answer.distances[j];
    negative += answer.distances[j] < 0.0F ? 1 : 0;
  }
  EXPECT_GT(negative, 100U);
}

TEST(IndexRotorQuant, ZeroVectorsAndConstantColumns) {
  for (const bool learned : {false, true}) {
    IndexRotorQuant index(16, 3, learned);
    Floats x = vectors(400, 16);
    for (size_t i = 0; i < 400; ++i) {
      x[i * 16 + 3] = 2.0F;
    }
    std::fill_n(x.begin(), 16, 0.0F);
    train(index, x);
    add(index, x);
    const Answer answer = search(index, Floats(16, 0.0F), 400);
    for (const float distance : answer.distances) {
      EXPECT_TRUE(std::isfinite(distance));
    }
  }
}

// ---- range search --------------------------------------------------------------------------

TEST(IndexRotorQuant, RangeSearchReturnsExactlyWhatLiesWithin) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const IndexRotorQuant index = filled(24, 300, 4, false, metric);
    const Floats queries = vectors(5, 24, 5);
    const auto everything = refine_everything();
    const Answer all = search(index, queries, 300, &everything);
    const float radius = all.distances[60];
    faiss::RangeSearchResult result(5);
    index.range_search(5, queries.data(), radius, &result, &everything);
    ASSERT_EQ(result.lims[0], 0U);
    for (size_t q = 0; q < 5; ++q) {
      Ids expected;
      for (size_t j = q * 300; j < (q + 1) * 300; ++j) {
        const bool within =
            metric == faiss::METRIC_L2 ? all.distances[j] < radius : all.distances[j] > radius;
        if (within) {
          expected.push_back(all.labels[j]);
        }
      }
      std::sort(expected.begin(), expected.end());
      const Ids got(result.labels + result.lims[q], result.labels + result.lims[q + 1]);
      EXPECT_EQ(got, expected);
      for (size_t j = result.lims[q]; j < result.lims[q + 1]; ++j) {
        EXPECT_EQ(metric == faiss::METRIC_L2, result.distances[j] < radius);
      }
    }
    EXPECT_GE(result.lims[1], 59U);
  }
}

TEST(IndexRotorQuant, RangeSearchCorners) {
  const IndexRotorQuant index = filled(8, 40, 3, false, faiss::METRIC_L2);
  const Floats queries = vectors(2, 8, 5);
  faiss::RangeSearchResult none(2);
  index.range_search(2, queries.data(), -1e30F, &none);
  EXPECT_EQ(none.lims[2], 0U);
  faiss::RangeSearchResult all(2);
  index.range_search(2, queries.data(), 1e30F, &all);
  EXPECT_EQ(all.lims[2], 80U);
  faiss::RangeSearchResult nothing(0);
  index.range_search(0, nullptr, 1.0F, &nothing);
  faiss::RangeSearchResult wrong(3);
  EXPECT_THAT(message_of([&] { index.range_search(2, queries.data(), 1.0F, &wrong); }),
              HasSubstr("queries of the result"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  faiss::RangeSearchResult result(2);
  EXPECT_THAT(message_of([&] { index.range_search(2, queries.data(), nan, &result); }),
              HasSubstr("radius"));
}

// ---- reconstruction ------------------------------------------------------------------------

TEST(IndexRotorQuant, ReconstructionApproximatesAndAgrees) {
  const size_t d = 40;
  const Floats x = vectors(200, d);
  for (const bool learned : {false, true}) {
    IndexRotorQuant index(static_cast<int>(d), 6, learned);
    train(index, x);
    add(index, x);
    Floats all(200 * d);
    index.reconstruct_n(0, 200, all.data());
    double error = 0.0;
    double power = 0.0;
    for (size_t i = 0; i < x.size(); ++i) {
      error += std::pow(x[i] - all[i], 2.0F);
      power += std::pow(x[i], 2.0F);
    }
    EXPECT_LT(error / power, 0.005);
    Floats one(d);
    index.reconstruct(123, one.data());
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + 123 * d));
    Floats decoded(200 * d);
    index.sa_decode(200, encoded(index, x).data(), decoded.data());
    EXPECT_EQ(decoded, all);
    const Ids keys = {7, 0, 199};
    Floats batch(3 * d);
    index.reconstruct_batch(3, keys.data(), batch.data());
    EXPECT_TRUE(std::equal(batch.begin(), batch.begin() + d, all.begin() + 7 * d));
  }
}

TEST(IndexRotorQuant, ReconstructionRefusesIdsOutside) {
  const IndexRotorQuant index = filled(8, 40, 3, false, faiss::METRIC_L2);
  Floats x(8 * 50);
  EXPECT_THAT(message_of([&] { index.reconstruct(40, x.data()); }), HasSubstr("below 40"));
  EXPECT_THAT(message_of([&] { index.reconstruct(-1, x.data()); }), HasSubstr("-1"));
  EXPECT_THAT(message_of([&] { index.reconstruct_n(30, 11, x.data()); }), HasSubstr("below 40"));
  EXPECT_THAT(
      message_of([&] { index.reconstruct_n(1, std::numeric_limits<idx_t>::max(), x.data()); }),
      HasSubstr("below 40"));
  index.reconstruct_n(40, 0, x.data());
}

TEST(IndexRotorQuant, SearchAndReconstruct) {
  const IndexRotorQuant index = filled(8, 5, 4, false, faiss::METRIC_L2);
  const Floats query = vectors(1, 8);
  Floats distances(7);
  Ids labels(7);
  Floats recons(7 * 8);
  index.search_and_reconstruct(1, query.data(), 7, distances.data(), labels.data(), recons.data());
  Floats expected(8);
  index.reconstruct(labels[0], expected.data());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), recons.begin()));
  EXPECT_EQ(labels[6], -1);
}

// ---- distances -----------------------------------------------------------------------------

TEST(IndexRotorQuant, DistanceSubset) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const IndexRotorQuant index = filled(20, 100, 3, false, metric);
    const Floats queries = vectors(3, 20, 5);
    const Ids labels = {5, 99, -1, 0, 1, 2, 7, 7, 50};
    Floats distances(9);
    index.compute_distance_subset(3, queries.data(), 3, distances.data(), labels.data());
    for (size_t i = 0; i < 9; ++i) {
      const Floats all = all_distances(index, queries.data() + i / 3 * 20);
      const float worst = std::numeric_limits<float>::max();
      EXPECT_EQ(distances[i], labels[i] >= 0               ? all[static_cast<size_t>(labels[i])]
                              : metric == faiss::METRIC_L2 ? worst
                                                           : -worst);
    }
    const Ids outside = {5, 100, 0};
    EXPECT_THAT(message_of([&] {
                  index.compute_distance_subset(1, queries.data(), 3, distances.data(),
                                                outside.data());
                }),
                HasSubstr("100"));
  }
}

TEST(IndexRotorQuant, SymmetricDistancesAreThoseOfTheDecodings) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const IndexRotorQuant index = filled(20, 30, 3, false, metric);
    const std::unique_ptr<faiss::DistanceComputer> computer(index.get_distance_computer());
    Floats x(30 * 20);
    index.reconstruct_n(0, 30, x.data());
    float expected = 0.0F;
    for (size_t c = 0; c < 20; ++c) {
      const float a = x[3 * 20 + c];
      const float b = x[17 * 20 + c];
      expected += metric == faiss::METRIC_L2 ? (a - b) * (a - b) : a * b;
    }
    EXPECT_NEAR(computer->symmetric_dis(3, 17), expected, 1e-3F);
    EXPECT_EQ(computer->symmetric_dis(3, 17), computer->symmetric_dis(17, 3));
  }
}

TEST(IndexRotorQuant, SymmetricDistancesMayBeAskedForConcurrently) {
  const IndexRotorQuant index = filled(8, 3000, 3, false, faiss::METRIC_L2);
  const std::unique_ptr<faiss::DistanceComputer> shared(index.get_distance_computer());
  const auto ask = [&](std::vector<float>& answers) {
    for (idx_t i = 0; i < 3000; ++i) {
      answers.push_back(shared->symmetric_dis(i, (i * 7 + 1024) % 3000));
    }
  };
  std::vector<float> expected;
  ask(expected);
  std::vector<std::vector<float>> answers(3);
  std::vector<std::thread> threads;
  threads.reserve(answers.size());
  for (auto& each : answers) {
    threads.emplace_back([&] { ask(each); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(answers, testing::Each(expected));
}

TEST(IndexRotorQuant, ADistanceComputerNeverThrowsOnAQuery) {
  const IndexRotorQuant index = filled(8, 10, 3, false, faiss::METRIC_L2);
  const std::unique_ptr<faiss::DistanceComputer> computer(index.get_distance_computer());
  Floats query(8, std::numeric_limits<float>::quiet_NaN());
  computer->set_query(query.data());
  EXPECT_EQ((*computer)(3), std::numeric_limits<float>::max());
}

}  // namespace
}  // namespace rotorquant
