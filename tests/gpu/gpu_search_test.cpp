// SPDX-License-Identifier: MIT
#include "gpu_test.h"

namespace rotorquant {
namespace {

using namespace test_data;  // NOLINT(google-build-using-namespace)

/// Every third id, and nothing of one whole tile.
class SomeIds final : public IdFilter {
 public:
  bool allows(int64_t id) const override { return id % 3 == 0 && (id < 64 || id >= 96); }
};

class NoId final : public IdFilter {
 public:
  bool allows(int64_t /*id*/) const override { return false; }
};

GpuSearchOptions with_tensor_cores(bool use) {
  GpuSearchOptions options;
  options.tensor_queries = use ? 1 : 1000000;
  return options;
}

class GpuSearchTest : public OnDevice<testing::TestWithParam<CodecParams>> {};

TEST_P(GpuSearchTest, FindsWhatTheCpuFinds) {
  const Stores stores(GetParam(), 700);
  const Floats queries = stores.queries(6);
  const Answers expected = stores.on_cpu(queries, 10);
  EXPECT_EQ(stores.on_gpu(queries, 10, {}, with_tensor_cores(false)), expected);
  EXPECT_EQ(stores.on_gpu(queries, 10, {}, with_tensor_cores(true)), expected);
}

TEST_P(GpuSearchTest, FewVectors) {
  for (const size_t n : {0, 1, 31, 32, 33, 63, 64, 65}) {
    const Stores stores(GetParam(), n, Metric::inner_product);
    const Floats queries = stores.queries(2);
    EXPECT_EQ(stores.on_gpu(queries, 5), stores.on_cpu(queries, 5)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, GpuSearchTest,
                         testing::Values(codec_params(100, 1, true), codec_params(100, 1, false),
                                         codec_params(100, 2, true), codec_params(100, 3, true),
                                         codec_params(100, 4, false), codec_params(100, 6, true),
                                         codec_params(100, 8, true)),
                         codec_param_name);
INSTANTIATE_TEST_SUITE_P(Dimensions, GpuSearchTest,
                         testing::Values(codec_params(1, 3, true), codec_params(3, 3, true),
                                         codec_params(129, 3, true), codec_params(1536, 2, true)),
                         codec_param_name);

/// A store that is large enough for a sample.
class GpuSearchCase : public OnDevice<> {
 protected:
  static const Stores& stores() {
    static const Stores large(codec_params(32, 3, true), 6000);
    return large;
  }
  static void expect_same(const SearchParams& params, const GpuSearchOptions& options = {},
                          size_t k = 10, size_t n = 5) {
    const Floats queries = stores().queries(n);
    const Answers expected = stores().on_cpu(queries, k, params);
    for (const bool tensor : {false, true}) {
      GpuSearchOptions both = options;
      both.tensor_queries = with_tensor_cores(tensor).tensor_queries;
      EXPECT_EQ(stores().on_gpu(queries, k, params, both), expected) << tensor;
    }
  }
};

TEST_F(GpuSearchCase, SampledLimit) {
  SearchStats stats;
  SearchParams params;
  params.stats = &stats;
  const Floats queries = stores().queries(20);
  const Answers found = stores().on_gpu(queries, 10, params);
  EXPECT_EQ(stats.queries, 20U);
  EXPECT_LT(stats.candidates, 20U * 6000U / 4);  // without a limit all of them would pass
  EXPECT_EQ(found, stores().on_cpu(queries, 10));
}

TEST_F(GpuSearchCase, CandidatesThatDoNotFit) {
  for (const size_t capacity : {32, 64, 200}) {
    GpuSearchOptions options;
    options.candidate_capacity = capacity;
    expect_same({}, options, 30);
    SearchParams shortlist;
    shortlist.refine_error_scale = 0.0F;
    shortlist.k_factor = 4;
    expect_same(shortlist, options, 30);
  }
}

TEST_F(GpuSearchCase, EveryKindOfParameter) {
  SearchParams params;
  params.refine_error_scale = 0.0F;
  params.k_factor = 3;
  expect_same(params);
  params = {};
  params.refine_error_scale = 5.0F;
  expect_same(params);
  params = {};
  params.refine_error_scale = 0.01F;  // the sample's guess is too low now and then
  expect_same(params);
  for (size_t levels = 1; levels <= 2; ++levels) {
    params = {};
    params.levels = levels;
    expect_same(params);
  }
  params = {};
  params.estimator = Estimator::strict;
  expect_same(params);
}

TEST_F(GpuSearchCase, Filters) {
  const SomeIds some;
  SearchParams params;
  params.filter = &some;
  expect_same(params);
  expect_same(params, {}, 300);
  const NoId none;
  params.filter = &none;
  expect_same(params, {}, 3, 2);
}

TEST_F(GpuSearchCase, ManyNeighbours) {
  expect_same({}, {}, 2048, 1);
  expect_same({}, {}, 2049, 1);
  expect_same({}, {}, 6100, 1);
  SearchParams params;
  params.refine_error_scale = 0.0F;
  params.k_factor = 10;
  expect_same(params, {}, 300, 1);
}

TEST_F(GpuSearchCase, PassesOfAnyWidth) {
  const Floats queries = stores().queries(70);
  const Answers expected = stores().on_cpu(queries, 4);
  for (const size_t width : {1, 3, 64, 70}) {
    GpuSearchOptions options;
    options.queries_a_pass = width;
    EXPECT_EQ(stores().on_gpu(queries, 4, {}, options), expected) << width;
  }
}

TEST_F(GpuSearchCase, RangeSearch) {
  const Floats queries = stores().queries(5);
  const Answers nearest = stores().on_cpu(queries, 20);
  const SomeIds some;
  for (const bool filtered : {false, true}) {
    for (const float radius : {-1.0F, nearest.distances[10], 1e30F}) {
      SearchParams params;
      params.filter = filtered ? &some : nullptr;
      const auto expected = range_search(stores().codec, stores().space, stores().cpu,
                                         queries.data(), 5, radius, params);
      for (const size_t capacity : {0, 40}) {
        GpuSearchOptions options;
        options.candidate_capacity = capacity;
        const auto received = range_search(stores().gpu_codec, stores().gpu, queries.data(), 5,
                                           radius, params, options);
        ASSERT_EQ(received.size(), expected.size());
        for (size_t q = 0; q < expected.size(); ++q) {
          ASSERT_EQ(received[q].size(), expected[q].size()) << q;
          for (size_t i = 0; i < expected[q].size(); ++i) {
            EXPECT_EQ(received[q][i].id, expected[q][i].id);
            EXPECT_EQ(received[q][i].distance, expected[q][i].distance);
          }
        }
      }
    }
  }
}

TEST_F(GpuSearchCase, TiesGoToTheSmallerId) {
  const Codec codec = ready_codec(codec_params(16, 2, true));
  const GpuResources resources;
  const GpuCodec gpu_codec(resources, codec, Space{});
  GpuCodeStore store(resources, codec.layout());
  const Floats x = gaussian(1, 16, 4);
  const Bytes code = encoded(codec, x);
  for (int i = 0; i < 100; ++i) {
    store.append(code.data(), 1);
  }
  Floats distances(40);
  std::vector<int64_t> ids(40);
  search(gpu_codec, store, x.data(), 1, 40, {}, distances.data(), ids.data());
  for (int64_t i = 0; i < 40; ++i) {
    EXPECT_EQ(ids[static_cast<size_t>(i)], i);
  }
}

TEST_F(GpuSearchCase, LearnedFrameWithinTolerance) {
  const Stores learned(codec_params(34, 3, true, FrameKind::learned), 3000);
  const Floats queries = learned.queries(8);
  // A last bit of q' can move its fixed point by a step, which is 1 / 32766 of the largest
  // coordinate.
  expect_close(learned.on_cpu(queries, 10), learned.on_gpu(queries, 10), 3e-5F);
}

TEST_F(GpuSearchCase, WritesDistancesAsAsked) {
  GpuSearchOptions options;
  options.distance_sign = -1.0F;
  options.missing_distance = -7.0F;
  const Stores few(codec_params(8, 3, true), 3, Metric::inner_product);
  const Answers expected = few.on_cpu(few.queries(1), 5);
  const Answers received = few.on_gpu(few.queries(1), 5, {}, options);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(received.distances[i], i < 3 ? -expected.distances[i] : -7.0F);
    EXPECT_EQ(received.ids[i], expected.ids[i]);
  }
}

TEST_F(GpuSearchCase, RefusesBadArguments) {
  const Stores& s = stores();
  Floats queries = s.queries(3);
  EXPECT_NE(message_of([&] { s.on_gpu(queries, 0); }).find("k:"), std::string::npos);
  SearchParams params;
  params.levels = 9;
  EXPECT_NE(message_of([&] { s.on_gpu(queries, 1, params); }).find("levels"), std::string::npos);
  queries[2 * 32 + 5] = NAN;
  EXPECT_NE(message_of([&] { s.on_gpu(queries, 1); }).find("row 2"), std::string::npos);
  const GpuResources others;
  GpuCodeStore foreign(others, s.codec.layout());
  Floats distance(1);
  std::vector<int64_t> id(1);
  EXPECT_NE(message_of([&] {
              search(s.gpu_codec, foreign, queries.data(), 1, 1, {}, distance.data(), id.data());
            }).find("resources"),
            std::string::npos);
}

TEST_F(GpuSearchCase, NoSuchDevice) {
  EXPECT_THROW(GpuResources(99), Error);
}

}  // namespace
}  // namespace rotorquant
