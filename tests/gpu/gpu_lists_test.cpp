// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>

#include <numeric>

#include "lists_test_data.h"

namespace rotorquant {
namespace {

using namespace test_data;  // NOLINT(google-build-using-namespace)

void expect_same_file(const InvertedFile& a, const InvertedFile& b) {
  ASSERT_EQ(a.lists(), b.lists());
  for (size_t list = 0; list < a.lists(); ++list) {
    const size_t n = a.size(list);
    ASSERT_EQ(b.size(list), n) << list;
    const size_t bytes = a.geometry().codec().code_bytes();
    Bytes codes_a(n * bytes);
    Bytes codes_b(n * bytes);
    a.codes(list).pack(0, n, codes_a.data());
    b.codes(list).pack(0, n, codes_b.data());
    EXPECT_EQ(codes_a, codes_b) << list;
    EXPECT_TRUE(same_bits(a.refine_terms(list), b.refine_terms(list), n)) << list;
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(a.ids(list)[i], b.ids(list)[i]);
    }
  }
}

class GpuListsTest : public OnDevice<testing::TestWithParam<CodecParams>> {};

TEST_P(GpuListsTest, FindsWhatTheCpuFinds) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    const Lists lists(GetParam(), 700, 9, metric);
    for (const size_t probes : {1, 4, 9, 12}) {
      lists.expect_same(10, probes);
    }
  }
}

TEST_P(GpuListsTest, FewVectors) {
  for (const size_t n : {0, 1, 31, 32, 33, 64, 65}) {
    for (const size_t count : {1, 3}) {
      const Lists lists(GetParam(), n, count, Metric::inner_product);
      lists.expect_same(70, 1, {}, {}, 2);
      lists.expect_same(5, count, {}, {}, 2);
    }
  }
}

TEST_P(GpuListsTest, ThereAndBack) {
  const Lists lists(GetParam(), 333, 7);
  InvertedFile back(lists.geometry);
  lists.gpu.copy_to(back);
  expect_same_file(back, lists.cpu);
  // In thirds, one after the other.
  const size_t parts = 3;
  InvertedFile joined(lists.geometry);
  size_t total = 0;
  for (size_t part = 0; part < parts; ++part) {
    GpuInvertedFile third(lists.resources, lists.geometry);
    third.append(lists.cpu, part, parts);
    total += third.total();
    third.copy_to(joined);
  }
  EXPECT_EQ(total, 333U);
  expect_same_file(joined, lists.cpu);
}

INSTANTIATE_TEST_SUITE_P(Bits, GpuListsTest,
                         testing::Values(codec_params(100, 1, true), codec_params(100, 1, false),
                                         codec_params(100, 2, true), codec_params(100, 4, true),
                                         codec_params(100, 6, false), codec_params(100, 8, true)),
                         codec_param_name);
INSTANTIATE_TEST_SUITE_P(Dimensions, GpuListsTest,
                         testing::Values(codec_params(1, 3, true), codec_params(3, 3, true),
                                         codec_params(129, 3, true)),
                         codec_param_name);

/// Lists long enough for limits to matter.
class GpuListsCase : public OnDevice<> {
 protected:
  static const Lists& lists() {
    static const Lists large(codec_params(32, 4, true), 4000, 40);
    return large;
  }
};

TEST_F(GpuListsCase, LimitsLeaveMostVectorsOut) {
  SearchStats stats;
  IvfSearchParams params;
  params.stats = &stats;
  const Floats queries = lists().queries(20);
  const Answers found = lists().on_gpu(queries, 5, 40, params);
  EXPECT_EQ(stats.queries, 20U);
  EXPECT_LT(stats.candidates, 20U * 4000U / 2);
  expect_close(lists().on_cpu(queries, 5, 40), found, list_rounding);
}

TEST_F(GpuListsCase, EveryNumberOfProbes) {
  for (size_t probes = 1; probes <= 40; probes += 3) {
    lists().expect_same(10, probes, {}, {}, 3);
  }
}

TEST_F(GpuListsCase, CandidatesThatDoNotFit) {
  for (const size_t capacity : {32, 64, 200}) {
    GpuSearchOptions options;
    options.candidate_capacity = capacity;
    lists().expect_same(30, 20, {}, options);
  }
}

TEST_F(GpuListsCase, EveryKindOfParameter) {
  IvfSearchParams params;
  params.refine_error_scale = 0.0F;
  params.k_factor = 3;
  lists().expect_same(10, 20, params);
  params = {};
  params.refine_error_scale = 5.0F;
  lists().expect_same(10, 20, params);
  params = {};
  params.max_codes = 300;
  lists().expect_same(10, 20, params);
}

TEST_F(GpuListsCase, GivenLists) {
  const Floats queries = lists().queries(3);
  const std::vector<int64_t> probed{5, -1, 38, 0, -1, -1, 2, 4, 6};
  Answers expected{Floats(30), std::vector<int64_t>(30)};
  search(lists().cpu, queries.data(), 3, 10, probed.data(), 3, {}, expected.distances.data(),
         expected.ids.data());
  expect_close(expected, lists().on_gpu(queries, 10, 3, {}, {}, probed.data()), list_rounding);
}

TEST_F(GpuListsCase, ManyNeighbours) {
  lists().expect_same(2048, 30, {}, {}, 1);
  lists().expect_same(2049, 30, {}, {}, 1);
  lists().expect_same(4100, 40, {}, {}, 1);
}

TEST_F(GpuListsCase, PassesOfAnyWidth) {
  const Floats queries = lists().queries(40);
  const Answers expected = lists().on_gpu(queries, 4, 8);
  expect_close(lists().on_cpu(queries, 4, 8), expected, list_rounding);
  for (const size_t width : {1, 3, 39}) {
    GpuSearchOptions options;
    options.queries_a_pass = width;
    EXPECT_EQ(lists().on_gpu(queries, 4, 8, {}, options), expected) << width;
  }
}

/// Every third id.
class Thirds final : public IdFilter {
 public:
  bool allows(int64_t id) const override { return id % 3 == 0; }
};

TEST_F(GpuListsCase, Filters) {
  const Thirds some;
  IvfSearchParams params;
  params.filter = &some;
  lists().expect_same(10, 20, params);
  lists().expect_same(10, 2, params, {}, 1);
}

TEST_F(GpuListsCase, RangeSearch) {
  const Floats queries = lists().queries(5);
  const Answers nearest = lists().on_cpu(queries, 20, 40);
  const Thirds some;
  std::vector<int64_t> probed(5 * 40);
  for (size_t i = 0; i < probed.size(); ++i) {
    probed[i] = static_cast<int64_t>(i % 40);
  }
  for (const bool filtered : {false, true}) {
    for (const float radius : {-1.0F, nearest.distances[10] * 1.0001F, 1e30F}) {
      IvfSearchParams params;
      params.filter = filtered ? &some : nullptr;
      const auto expected =
          range_search(lists().cpu, queries.data(), 5, radius, probed.data(), 40, params);
      for (const size_t capacity : {0, 40}) {
        GpuSearchOptions options;
        options.candidate_capacity = capacity;
        const auto received =
            range_search(lists().gpu, queries.data(), 5, radius, nullptr, 40, params, options);
        ASSERT_EQ(received.size(), expected.size());
        for (size_t q = 0; q < expected.size(); ++q) {
          ASSERT_EQ(received[q].size(), expected[q].size()) << q;
          for (size_t i = 0; i < expected[q].size(); ++i) {
            EXPECT_EQ(received[q][i].id, expected[q][i].id);
            EXPECT_NEAR(received[q][i].distance, expected[q][i].distance, list_rounding * 10.0F);
          }
        }
      }
    }
  }
}

TEST_F(GpuListsCase, WideIdsAndCentresAlone) {
  const int64_t far = int64_t{1} << 40U;
  const Lists wide(codec_params(24, 3, true), 500, 6, Metric::l2, far);
  wide.expect_same(10, 4);
  wide.expect_same(2100, 6, {}, {}, 1);
  const Lists negative(codec_params(24, 3, true), 200, 6, Metric::l2, -50);
  negative.expect_same(10, 4);
  const Lists centred(codec_params(24, 3, true), 500, 6, Metric::l2, 0, false);
  centred.expect_same(10, 6);
}

TEST_F(GpuListsCase, TiesGoToTheSmallerId) {
  Lists lists(codec_params(16, 2, true), 0, 3);
  const Floats x = gaussian(1, 16, 4);
  for (const int64_t id : {70, 10, 50, 20, 60, 30, 40}) {
    const int64_t list = 1;
    lists.gpu.add(x.data(), 1, &list, &id);
  }
  EXPECT_THAT(lists.on_gpu(x, 4, 3).ids, testing::ElementsAre(10, 20, 30, 40));
}

TEST_F(GpuListsCase, AddsAndRemovesAsTheCpu) {
  Lists lists(codec_params(20, 3, true), 150, 5);
  const size_t n = 200;
  const Floats x = lists.vectors(n, 8);
  std::vector<int64_t> ids(n);
  std::iota(ids.begin(), ids.end(), 1000);
  lists.add_on_cpu(x, ids);
  lists.gpu.add(x.data(), n, lists.lists_of(n).data(), ids.data());
  InvertedFile back(lists.geometry);
  lists.gpu.copy_to(back);
  expect_same_file(back, lists.cpu);

  const Thirds doomed;
  size_t expected = 0;
  for (size_t list = 0; list < lists.cpu.lists(); ++list) {
    size_t size = lists.cpu.size(list);
    for (size_t i = 0; i < size;) {
      if (doomed.allows(lists.cpu.ids(list)[i])) {
        --size;
        ++expected;
        lists.cpu.copy_within(list, size, i);
      } else {
        ++i;
      }
    }
    lists.cpu.truncate(list, size);
  }
  EXPECT_EQ(lists.gpu.remove(doomed), expected);
  EXPECT_EQ(lists.gpu.remove(doomed), 0U);
  InvertedFile rest(lists.geometry);
  lists.gpu.copy_to(rest);
  expect_same_file(rest, lists.cpu);
  lists.expect_same(10, 5);

  // Freed tiles are used again.
  lists.add_on_cpu(x, ids);
  const size_t bytes = lists.gpu.memory_bytes();
  lists.gpu.add(x.data(), n / 4, lists.lists_of(n).data(), ids.data());
  EXPECT_EQ(lists.gpu.memory_bytes(), bytes);
  lists.gpu.clear();
  EXPECT_EQ(lists.gpu.total(), 0U);
  EXPECT_EQ(lists.on_gpu(lists.queries(1), 1, 5).ids[0], -1);
  lists.gpu.append(lists.cpu);
  lists.expect_same(10, 5);
}

TEST_F(GpuListsCase, Reconstructs) {
  const Lists lists(codec_params(20, 3, true), 100, 5);
  const size_t first = 33;
  const size_t n = 20;
  Floats received(n * 20);
  ASSERT_EQ(lists.gpu.reconstruct(first, n, received.data()), n);
  for (size_t list = 0; list < 5; ++list) {
    for (size_t i = 0; i < lists.cpu.size(list); ++i) {
      const auto row = static_cast<size_t>(lists.cpu.ids(list)[i]) - first;
      if (row < n) {
        Bytes code(lists.geometry->codec().code_bytes());
        lists.cpu.pack(list, i, 1, code.data());
        Floats expected = decoded(lists.geometry->codec(), code);
        const auto number = static_cast<int64_t>(list);
        lists.geometry->restore(&number, 1, expected.data());
        EXPECT_TRUE(same_bits(received.data() + row * 20, expected.data(), 20)) << row;
      }
    }
  }
  EXPECT_EQ(lists.gpu.reconstruct(95, 10, received.data()), 5U);
}

TEST_F(GpuListsCase, LargeDimension) {
  // The table of four queries is beyond the emulator's shared memory.
  const Lists lists(codec_params(4200, 1, true), 40, 3);
  lists.expect_same(5, 2, {}, {}, 2);
}

TEST_F(GpuListsCase, RefusesBadArguments) {
  const Lists& l = lists();
  Floats queries = l.queries(3);
  IvfSearchParams params;
  params.levels = 1;
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 1, 1, params); }).find("levels"), std::string::npos);
  params = {};
  params.store_pairs = true;
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 1, 1, params); }).find("store_pairs"),
            std::string::npos);
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 0, 1); }).find("k:"), std::string::npos);
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 1, 0); }).find("probes"), std::string::npos);
  const std::vector<int64_t> beyond{0, 1, 40};
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 1, 1, {}, {}, beyond.data()); }).find("list"),
            std::string::npos);
  queries[2 * 32 + 5] = NAN;
  EXPECT_NE(message_of([&] { l.on_gpu(queries, 1, 1); }).find("row 2"), std::string::npos);
}

}  // namespace
}  // namespace rotorquant
