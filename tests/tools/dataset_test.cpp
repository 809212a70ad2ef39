// SPDX-License-Identifier: MIT
#include "dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <utility>

#include "hdf5_writer.h"
#include "rotorquant/error.h"
#include "rotorquant/random.h"
#include "temporary_folder.h"

namespace rotorquant::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;

std::vector<float> gaussians(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return static_cast<float>(rng.gaussian()); });
  return values;
}

/// The definition: all distances in double, sorted by (distance, row).
std::vector<int64_t> sorted_rows(const float* base, size_t n, const float* query, size_t d,
                                 Metric metric) {
  std::vector<std::pair<double, int64_t>> all;
  for (size_t i = 0; i < n; ++i) {
    double score = 0.0;
    for (size_t j = 0; j < d; ++j) {
      const auto q = static_cast<double>(query[j]);
      const auto x = static_cast<double>(base[i * d + j]);
      score += metric == Metric::l2 ? (q - x) * (q - x) : -q * x;
    }
    all.emplace_back(score, static_cast<int64_t>(i));
  }
  std::sort(all.begin(), all.end());
  std::vector<int64_t> ids;
  ids.reserve(n);
  for (const auto& [score, id] : all) {
    ids.push_back(id);
  }
  return ids;
}

std::string error_of(const std::string& path) {
  try {
    read_dataset(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class DatasetTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string path_ = folder_.file("some.hdf5");

  /// Four base vectors on a line, two queries, all values whole numbers up to 100.
  void write(hid_t type, const std::string& distance = "euclidean") {
    Hdf5Writer(path_)
        .table("train", {1, 2, 3, 4, 50, 60, 100, 90}, {4, 2}, type)
        .table("test", {1, 1, 99, 99}, {2, 2}, type)
        .table("neighbors", {0, 1, 2, 3, 3, 2, 1, 0}, {2, 4}, H5T_STD_I32LE)
        .distance(distance);
  }
};

TEST_F(DatasetTest, ReadsEveryNumericType) {
  for (const hid_t type : {H5T_STD_U8LE, H5T_STD_I8LE, H5T_STD_U16BE, H5T_STD_I32LE, H5T_STD_I64LE,
                           H5T_STD_U64BE, H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE}) {
    write(type);
    const Dataset dataset = read_dataset(path_);
    EXPECT_THAT(dataset.base, ElementsAre(1, 2, 3, 4, 50, 60, 100, 90));
    EXPECT_THAT(dataset.queries, ElementsAre(1, 1, 99, 99));
    EXPECT_THAT(dataset.truth, ElementsAre(0, 1, 2, 3, 3, 2, 1, 0));
    EXPECT_EQ(dataset.name, "some");
    EXPECT_EQ(dataset.n, 4U);
    EXPECT_EQ(dataset.d, 2U);
    EXPECT_EQ(dataset.query_count, 2U);
    EXPECT_EQ(dataset.truth_k, 4U);
  }
}

TEST_F(DatasetTest, ReadsHalfPrecisionExactly) {
  // 1, -2, 65504 (largest), 2^-14 (least normal), 2^-24 and 3 * 2^-24 (subnormal), 1/3, -0
  Hdf5Writer(path_)
      .half_table("train", {0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x0003, 0x3555, 0x8000}, {4, 2})
      .half_table("test", {0x3C00, 0x3C00}, {1, 2})
      .distance("ip");
  EXPECT_THAT(read_dataset(path_).base,
              ElementsAre(1.0F, -2.0F, 65504.0F, std::ldexp(1.0F, -14), std::ldexp(1.0F, -24),
                          std::ldexp(3.0F, -24), 0.333251953125F, -0.0F));
}

TEST_F(DatasetTest, DistanceWords) {
  const std::vector<std::pair<std::string, Distance>> words{{"euclidean", Distance::euclidean},
                                                            {"l2", Distance::euclidean},
                                                            {"angular", Distance::angular},
                                                            {"cosine", Distance::angular},
                                                            {"ip", Distance::ip},
                                                            {"dot", Distance::ip}};
  for (const auto& [word, distance] : words) {
    write(H5T_IEEE_F32LE, word);
    EXPECT_EQ(read_dataset(path_).distance, distance) << word;
    EXPECT_EQ(read_shape(path_).distance, distance) << word;
  }
  EXPECT_EQ(search_metric(Distance::euclidean), Metric::l2);
  EXPECT_EQ(search_metric(Distance::angular), Metric::inner_product);
  EXPECT_EQ(search_metric(Distance::ip), Metric::inner_product);
}

TEST_F(DatasetTest, DistanceOfVariableLength) {
  Hdf5Writer(path_)
      .table("train", {1, 0}, {1, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 0}, {1, 2}, H5T_IEEE_F32LE)
      .variable_distance("angular");
  EXPECT_EQ(read_dataset(path_).distance, Distance::angular);
}

TEST_F(DatasetTest, NormalisesAngularVectorsAndKeepsZeros) {
  Hdf5Writer(path_)
      .table("train", {3, 4, 0, 0}, {2, 2}, H5T_STD_I8LE)
      .table("test", {0, 5}, {1, 2}, H5T_STD_I8LE)
      .distance("angular");
  const Dataset dataset = read_dataset(path_);
  EXPECT_THAT(dataset.base, ElementsAre(FloatEq(0.6F), FloatEq(0.8F), 0.0F, 0.0F));
  EXPECT_THAT(dataset.queries, ElementsAre(0.0F, 1.0F));
}

TEST_F(DatasetTest, CutRowsDropTheFilesTruthAndCutQueriesKeepIt) {
  write(H5T_IEEE_F32LE);
  const Dataset fewer_queries = read_dataset(path_, 0, 1);
  EXPECT_THAT(fewer_queries.truth, ElementsAre(0, 1, 2, 3));

  Dataset fewer_rows = read_dataset(path_, 3);
  EXPECT_EQ(fewer_rows.base.size(), 6U);
  EXPECT_EQ(fewer_rows.truth_k, 0U);
  EXPECT_TRUE(ensure_truth(fewer_rows, 2));
  EXPECT_THAT(fewer_rows.truth, ElementsAre(0, 1, 2, 1));
  EXPECT_FALSE(ensure_truth(fewer_rows, 2));

  EXPECT_EQ(read_dataset(path_, 100, 100).truth_k, 4U) << "more than there are is all";
}

TEST_F(DatasetTest, ComputesTruthWhereTheFileListsTooFew) {
  Hdf5Writer(path_)
      .table("train", {1, 2, 3, 4, 50, 60}, {3, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE)
      .table("neighbors", {2}, {1, 1}, H5T_STD_I64LE)  // wrong, to see who is asked
      .distance("euclidean");
  EXPECT_THAT(load_dataset(path_, 0, 0, 1).truth, ElementsAre(2));
  EXPECT_THAT(load_dataset(path_, 0, 0, 2).truth, ElementsAre(0, 1));
  EXPECT_THAT(load_dataset(path_, 0, 0, 9).truth, ElementsAre(0, 1, 2)) << "k > n";
}

TEST_F(DatasetTest, QueriesWithoutBase) {
  write(H5T_IEEE_F32LE);
  const Dataset dataset = read_dataset(path_, 0, 0, Parts::queries_and_truth);
  EXPECT_TRUE(dataset.base.empty());
  EXPECT_EQ(dataset.n, 4U);
  EXPECT_EQ(dataset.truth_k, 4U);
}

TEST_F(DatasetTest, ShapeWithoutVectors) {
  write(H5T_STD_U8LE, "angular");
  const DatasetShape shape = read_shape(path_);
  EXPECT_EQ(shape.name, "some");
  EXPECT_EQ(shape.n, 4U);
  EXPECT_EQ(shape.d, 2U);
  EXPECT_EQ(shape.query_count, 2U);
}

TEST_F(DatasetTest, ErrorsNameFileDataSetExpectedAndReceived) {
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr(path_), HasSubstr("no such file")));

  std::ofstream(path_) << "not HDF5 at all";
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr(path_), HasSubstr("expected an HDF5 file")));

  Hdf5Writer(path_).table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE).distance("ip");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr("train"), HasSubstr("nothing of that name")));

  Hdf5Writer(path_)
      .table("train", {1, 2, 3, 4}, {2, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 1, 1}, {1, 3}, H5T_IEEE_F32LE)
      .distance("ip");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr("test"), HasSubstr("2, received 3")));

  Hdf5Writer(path_).table("train", {1, 2}, {2}, H5T_IEEE_F32LE);
  EXPECT_THAT(error_of(path_), HasSubstr("expected 2 dimensions, received 1"));

  Hdf5Writer(path_).table("train", {}, {0, 2}, H5T_IEEE_F32LE);
  EXPECT_THAT(error_of(path_), HasSubstr("received 0 x 2"));
}

TEST_F(DatasetTest, RefusesOtherTypes) {
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, 4);
  Hdf5Writer(path_).empty_table("train", {2, 2}, text);
  H5Tclose(text);
  EXPECT_THAT(error_of(path_), HasSubstr("expected integers or floats, received strings"));
}

TEST_F(DatasetTest, RefusesUnknownDistances) {
  write(H5T_IEEE_F32LE, "hamming");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr("attribute distance"), HasSubstr("hamming")));
  Hdf5Writer(path_)
      .table("train", {1, 2}, {1, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE);
  EXPECT_THAT(error_of(path_), HasSubstr("received nothing"));
}

TEST_F(DatasetTest, RefusesTruthThatCannotBe) {
  Hdf5Writer(path_)
      .table("train", {1, 2, 3, 4}, {2, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE)
      .table("neighbors", {0, 2}, {1, 2}, H5T_STD_I32LE)
      .distance("euclidean");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr("neighbors"), HasSubstr("0 to 1, received 2")));
}

TEST_F(DatasetTest, RefusesNonFiniteValuesByRow) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Hdf5Writer(path_)
      .table("train", {1, 2, 3, nan}, {2, 2}, H5T_IEEE_F32LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE)
      .distance("euclidean");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr("train"), HasSubstr("row 1")));

  Hdf5Writer(path_)
      .table("train", {1, 2, 3, 1e300}, {2, 2}, H5T_IEEE_F64LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE)
      .distance("euclidean");
  EXPECT_THAT(error_of(path_), HasSubstr("row 1")) << "beyond float32";
}

TEST_F(DatasetTest, RefusesExtentsThatTheFileCannotFill) {
  const hsize_t huge = hsize_t{1} << 40;
  Hdf5Writer(path_)
      .empty_table("train", {huge, 100}, H5T_IEEE_F32LE)
      .table("test", {1, 1}, {1, 2}, H5T_IEEE_F32LE)
      .distance("euclidean");
  EXPECT_NE(error_of(path_), "no error");
}

TEST_F(DatasetTest, TruncatedFilesAreRefused) {
  write(H5T_IEEE_F32LE);
  for (const size_t kept : {size_t{0}, size_t{7}, size_t{100}, size_t{1000}}) {
    write(H5T_IEEE_F32LE);
    std::filesystem::resize_file(path_, kept);
    EXPECT_THAT(error_of(path_), HasSubstr("an HDF5 file")) << kept;
  }
}

// ---- exact search --------------------------------------------------------------------------

class ExactNeighbours : public ::testing::TestWithParam<Metric> {};

TEST_P(ExactNeighbours, EqualTheDefinition) {
  constexpr size_t d = 7;
  constexpr size_t n = 5000;       // over one base block
  constexpr size_t queries = 300;  // over one query block
  constexpr size_t k = 12;
  const std::vector<float> base = gaussians(n * d, 1);
  const std::vector<float> query = gaussians(queries * d, 2);
  const auto ids = exact_neighbours(base.data(), n, query.data(), queries, d, GetParam(), k);
  ASSERT_EQ(ids.size(), queries * k);
  for (const size_t q : {size_t{0}, size_t{100}, size_t{255}, size_t{256}, queries - 1}) {
    auto expected = sorted_rows(base.data(), n, query.data() + q * d, d, GetParam());
    expected.resize(k);
    const auto first = ids.begin() + static_cast<ptrdiff_t>(q * k);
    EXPECT_EQ(std::vector<int64_t>(first, first + k), expected) << "query " << q;
  }
}

TEST_P(ExactNeighbours, TiesGoToTheLowerRow) {
  const std::vector<float> base(50, 1.0F);  // 50 equal vectors of one dimension
  const float query = 1.0F;
  EXPECT_THAT(exact_neighbours(base.data(), base.size(), &query, 1, 1, GetParam(), 3),
              ElementsAre(0, 1, 2));
}

TEST_P(ExactNeighbours, KBeyondN) {
  const std::vector<float> base{3.0F, 2.0F, 1.0F};
  const float query = 4.0F;
  EXPECT_THAT(exact_neighbours(base.data(), 3, &query, 1, 1, GetParam(), 10), ElementsAre(0, 1, 2));
}

INSTANTIATE_TEST_SUITE_P(Metrics, ExactNeighbours,
                         ::testing::Values(Metric::l2, Metric::inner_product),
                         [](const auto& test) {
                           return test.param == Metric::l2 ? "l2" : "inner_product";
                         });

TEST(ExactNeighboursOnRealData, AgreeWithTheShippedTruth) {
  for (const char* name :
       {"sift-128-euclidean-20k", "glove-100-angular-20k", "minilm-384-angular-8k"}) {
    Dataset dataset = read_dataset(std::string(ROTORQUANT_DATASETS) + "/" + name + ".hdf5", 0, 50);
    ASSERT_GE(dataset.truth_k, 100U);
    const std::vector<int64_t> shipped = dataset.truth;
    dataset.truth_k = 0;
    ASSERT_TRUE(ensure_truth(dataset, 100));
    // Angular vectors are normalised in float32 here and in float64 there: near-ties may swap.
    EXPECT_GE(recall(shipped.data(), 100, dataset.truth.data(), 100, 50, 100), 0.9998) << name;
    EXPECT_GE(recall(shipped.data(), 100, dataset.truth.data(), 100, 50, 10), 0.998) << name;
  }
}

// ---- recall --------------------------------------------------------------------------------

TEST(Recall, CountsTrueIdsAmongThoseFound) {
  const std::vector<int64_t> truth{1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> found{3, 1, 9, 6, 5, 4};
  EXPECT_DOUBLE_EQ(recall(truth.data(), 3, found.data(), 3, 2, 3), 5.0 / 6.0);
  EXPECT_DOUBLE_EQ(recall(truth.data(), 3, found.data(), 3, 2, 2), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(recall(truth.data(), 3, found.data(), 3, 2, 1), 0.0);
}

TEST(Recall, AnIdFoundTwiceCountsOnce) {
  const std::vector<int64_t> truth{1, 2};
  const std::vector<int64_t> found{1, 1};
  EXPECT_DOUBLE_EQ(recall(truth.data(), 2, found.data(), 2, 1, 2), 0.5);
}

TEST(Recall, FewerTrueNeighboursThanK) {
  const std::vector<int64_t> truth{0, 1};
  const std::vector<int64_t> found{1, 0, -1, -1, -1};
  EXPECT_DOUBLE_EQ(recall(truth.data(), 2, found.data(), 5, 1, 5), 1.0);
}

TEST(Recall, NothingToCompare) {
  EXPECT_DOUBLE_EQ(recall(nullptr, 0, nullptr, 5, 0, 5), 0.0);
}

TEST(Recall, RefusesFewerFoundThanK) {
  const std::vector<int64_t> ids{1, 2};
  EXPECT_THROW(recall(ids.data(), 2, ids.data(), 2, 1, 3), Error);
}

}  // namespace
}  // namespace rotorquant::tools
