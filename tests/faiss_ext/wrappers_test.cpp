// SPDX-License-Identifier: MIT
// Every wrapper string: builds, trains, adds, searches, saves, loads and clones with the same
// answers.
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>

#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "faiss_ext/several.h"
#include "test_data.h"

namespace rotorquant {
namespace {

constexpr size_t d = 32;
constexpr size_t n = 1500;
constexpr size_t k = 5;

/// Vectors of one length, so that each is its own nearest neighbour under both metrics.
Floats unit_vectors(size_t rows, uint64_t seed = 1) {
  Floats x = vectors(rows, d, seed);
  for (size_t i = 0; i < rows; ++i) {
    double squared = 0.0;
    for (size_t j = 0; j < d; ++j) {
      squared += static_cast<double>(x[i * d + j]) * static_cast<double>(x[i * d + j]);
    }
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] /= static_cast<float>(std::sqrt(squared));
    }
  }
  return x;
}

std::unique_ptr<faiss::Index> filled(const std::string& description, faiss::MetricType metric,
                                     const Floats& x) {
  auto index = index_factory(static_cast<int>(d), description, metric);
  shorten_training(*index);
  train(*index, x);
  if (dynamic_cast<const faiss::IndexIDMap*>(index.get()) != nullptr) {
    Ids ids(n);
    std::iota(ids.begin(), ids.end(), 0);
    index->add_with_ids(static_cast<int64_t>(n), x.data(), ids.data());
  } else {
    add(*index, x);
  }
  return index;
}

class Wrappers : public testing::TestWithParam<const char*> {};

TEST_P(Wrappers, BuildSearchSaveLoadClone) {
  const Floats x = unit_vectors(n);
  const std::string description = GetParam();
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    if (metric == faiss::METRIC_INNER_PRODUCT && description.find("IMI") != std::string::npos) {
      continue;  // FAISS: L2 only
    }
    const auto index = filled(description, metric, x);
    ASSERT_TRUE(index->is_trained);
    ASSERT_EQ(index->ntotal, static_cast<int64_t>(n));
    if (description.find("IVF") != std::string::npos ||
        description.find("IMI") != std::string::npos) {
      set_index_parameters(*index, "nprobe=8");
    }
    const Floats queries(x.begin(), x.begin() + 200 * d);
    const Answer answer = search(*index, queries, k);
    size_t found = 0;
    for (size_t i = 0; i < 200; ++i) {
      const auto begin = answer.labels.begin() + static_cast<std::ptrdiff_t>(i * k);
      found += std::find(begin, begin + k, static_cast<int64_t>(i)) != begin + k ? 1 : 0;
    }
    EXPECT_GE(found, 150U) << metric;

    const std::vector<uint8_t> bytes = serialize_index(index.get());
    const auto loaded = deserialize_index(bytes);
    EXPECT_EQ(typeid(*loaded), typeid(*index));
    EXPECT_EQ(search(*loaded, queries, k), answer) << metric;
    EXPECT_EQ(serialize_index(loaded.get()), bytes) << metric;
    const auto copy = clone_index(index.get());
    EXPECT_EQ(search(*copy, queries, k), answer) << metric;
    EXPECT_EQ(serialize_index(copy.get()), bytes) << metric;
  }
}

TEST_P(Wrappers, ReverseFactoryGivesAnEqualIndex) {
  const auto index = index_factory(static_cast<int>(d), GetParam());
  const std::string description = reverse_index_factory(*index);
  EXPECT_EQ(reverse_index_factory(*index_factory(static_cast<int>(d), description)), description);
}

INSTANTIATE_TEST_SUITE_P(
    All, Wrappers,
    testing::Values("IVF16,RQ3", "IVF64,ORQ4", "IVF64_HNSW32,ORQ2mse", "IVF100(IVF16,HNSW32),RQ2",
                    "IVF32(RQ8),RQ4", "IVF64(IVF8,Flat),ORQ4", "IMI2x3,RQ4", "IVF16,RQ1",
                    "IVF64,ORQ8", "PCA16,RQ4", "PCAR16,IVF16,RQ3", "OPQ8_16,RQ3", "RR32,RQ3",
                    "L2norm,RQ3", "L2norm,IVF16,ORQ3", "ITQ16,RQ4", "ITQ16,IVF16,RQ4", "IDMap,RQ3",
                    "IDMap2,IVF16,RQ3", "IDMap,IVF64,ORQ6", "RQ3,RFlat", "IVF16,RQ3,RFlat",
                    "RQ2,Refine(RQ8)", "IVF16,RQ2,Refine(RQ8)", "IVF64,ORQ3,Refine(ORQ8)",
                    "HNSW32,RQ8", "NSG32,RQ8", "IDMap2,PCAR24,IVF16,ORQ4,RFlat",
                    "OPQ8_32,IVF16,RQ3", "RR32,IVF64_HNSW16,RQ4"),
    [](const testing::TestParamInfo<const char*>& test) {
      std::string name = test.param;
      for (char& c : name) {
        c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
      }
      return name;
    });

TEST(WrappersWithScalarQuantizers, SaveLoadClone) {
  const Floats x = unit_vectors(n);
  for (const char* description : {"ORQ3,Refine(SQ8)", "IVF16,ORQ3,Refine(SQ8)"}) {
    const auto index = filled(description, faiss::METRIC_L2, x);
    const Floats queries = unit_vectors(20, 5);
    const Answer answer = search(*index, queries, k);
    EXPECT_EQ(search(*deserialize_index(serialize_index(index.get())), queries, k), answer);
    EXPECT_EQ(search(*clone_index(index.get()), queries, k), answer);
  }
}

/// Two halves below IndexShards or twice the whole below IndexReplicas find what one index does.
TEST(ShardsAndReplicas, FindSaveLoadClone) {
  const Floats x = unit_vectors(n);
  const Floats queries = unit_vectors(30, 5);
  for (const char* description : {"RQ6", "IVF8,ORQ6"}) {
    const auto whole = filled(description, faiss::METRIC_L2, x);
    set_index_parameters(*whole, "refine_error_scale=9");
    if (try_extract_index_ivf(whole.get()) != nullptr) {
      set_index_parameters(*whole, "nprobe=8");
    }
    const Answer expected = search(*whole, queries, k);
    std::vector<std::unique_ptr<faiss::Index>> halves;
    for (const size_t first : {size_t{0}, n / 2}) {
      halves.push_back(clone_index(whole.get()));
      halves.back()->reset();
      halves.back()->add(static_cast<int64_t>(n / 2), x.data() + first * d);
    }
    const auto shards = make_several<faiss::IndexShards>(std::move(halves), true);
    std::vector<std::unique_ptr<faiss::Index>> copies;
    copies.push_back(clone_index(whole.get()));
    copies.push_back(clone_index(whole.get()));
    const auto replicas = make_several<faiss::IndexReplicas>(std::move(copies), false);
    for (const faiss::Index* several : {static_cast<const faiss::Index*>(shards.get()),
                                        static_cast<const faiss::Index*>(replicas.get())}) {
      EXPECT_EQ(several->ntotal, static_cast<int64_t>(n));
      EXPECT_EQ(search(*several, queries, k), expected);
      const auto bytes = serialize_index(several);
      const auto loaded = deserialize_index(bytes);
      EXPECT_EQ(typeid(*loaded), typeid(*several));
      EXPECT_EQ(search(*loaded, queries, k), expected);
      EXPECT_EQ(serialize_index(loaded.get()), bytes);
      EXPECT_EQ(search(*clone_index(several), queries, k), expected);
    }
    set_index_parameters(*shards, "refine_error_scale=0,k_factor=50");
    EXPECT_EQ(search(*shards, queries, k).labels, expected.labels);
  }
}

TEST(IndexParameters, ReachTheirPartsOrSayWhy) {
  const auto index = index_factory(static_cast<int>(d), "IDMap2,PCA16,IVF16(IVF4,Flat),RQ3,RFlat");
  set_index_parameters(
      *index, "nprobe=5,quantizer_nprobe=3,refine_error_scale=1.5,k_factor_rf=4,max_codes=100");
  const auto& ivf = dynamic_cast<const IndexIVFRotorQuant&>(*extract_index_ivf(index.get()));
  EXPECT_EQ(ivf.nprobe, 5U);
  EXPECT_EQ(dynamic_cast<const faiss::IndexIVF&>(*ivf.quantizer).nprobe, 3U);
  EXPECT_EQ(ivf.refine_error_scale, 1.5F);
  EXPECT_EQ(ivf.max_codes, 100U);
  const auto message = [&](const char* text) {
    return message_of([&] { set_index_parameters(*index, text); });
  };
  using testing::HasSubstr;
  EXPECT_THAT(message("nprobe=0"), HasSubstr("at least 1"));
  EXPECT_THAT(message("nprobe=1.5"), HasSubstr("whole number"));
  EXPECT_THAT(message("nprobe=-3"), HasSubstr("whole number"));
  EXPECT_THAT(message("nprobe"), HasSubstr("name=value"));
  EXPECT_THAT(message("nprobe=7,nonsense=1"), HasSubstr("nonsense"));
  EXPECT_THAT(message("nprobe=9,k_factor_rf"), HasSubstr("name=value"));
  EXPECT_EQ(ivf.nprobe, 7U) << "malformed strings set nothing";
  EXPECT_THAT(message("k_factor_rf=0.5"), HasSubstr("65536"));
  EXPECT_THAT(message("efSearch=5"), HasSubstr("efSearch"));
  const auto flat = index_factory(static_cast<int>(d), "RQ3");
  EXPECT_EQ(try_extract_index_ivf(flat.get()), nullptr);
  EXPECT_THAT(message_of([&] { extract_index_ivf(flat.get()); }), HasSubstr("inverted lists"));
  const auto theirs = index_factory(static_cast<int>(d), "IVF16,Flat");
  set_index_parameters(*theirs, "nprobe=4");
  EXPECT_EQ(extract_index_ivf(theirs.get())->nprobe, 4U);
  const auto graph = index_factory(static_cast<int>(d), "HNSW16,RQ8");
  set_index_parameters(*graph, "efSearch=77");
  EXPECT_EQ(dynamic_cast<const faiss::IndexHNSW&>(*graph).hnsw.efSearch, 77);
}

}  // namespace
}  // namespace rotorquant
