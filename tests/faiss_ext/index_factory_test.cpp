// SPDX-License-Identifier: MIT
#include "faiss_ext/index_factory.h"

#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class T>
const T& as(const faiss::Index& index) {
  return dynamic_cast<const T&>(index);
}

std::string word(const std::string& description) {
  std::string name = description;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
}

TEST(IndexFactory, EveryCode) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool learned : {false, true}) {
      for (const bool signs : {true, false}) {
        const std::string text =
            (learned ? "ORQ" : "RQ") + std::to_string(bits) + (signs ? "" : "mse");
        const auto index = index_factory(16, text, faiss::METRIC_INNER_PRODUCT);
        const auto& own = as<IndexRotorQuant>(*index);
        EXPECT_EQ(own.codec.params().bits, bits);
        EXPECT_EQ(own.codec.params().signs, signs);
        EXPECT_EQ(own.codec.params().frame == FrameKind::learned, learned);
        EXPECT_EQ(own.is_trained, !learned);
        EXPECT_EQ(own.metric_type, faiss::METRIC_INNER_PRODUCT);
        EXPECT_EQ(own.name(), text);
      }
    }
    const auto index = index_factory(16, "RQ" + std::to_string(bits) + "ref");
    EXPECT_EQ(as<IndexRotorQuantReference>(*index).bits, bits);
  }
}

class WrongDescriptions : public testing::TestWithParam<const char*> {};

TEST_P(WrongDescriptions, SayWhatIsAllowed) {
  EXPECT_THAT(message_of([] { index_factory(16, GetParam()); }),
              AllOf(HasSubstr("RQ1 to RQ8"), HasSubstr("mse"), HasSubstr("RQ1ref")));
}

INSTANTIATE_TEST_SUITE_P(All, WrongDescriptions,
                         testing::Values("RQ9", "RQ0", "RQ", "ORQ", "ORQ9", "RQ10", "RQ3foo",
                                         "ORQ3ref", "RQ3msex", "RQ3refmse", "RQ-1", "RQ3 ",
                                         "IDMap,RQ9", "PCA8,RQ9", "RQ9,RFlat", "RQ3,Refine(ORQ)",
                                         "HNSW32,RQ99", "RQ3,Flat", "RQ3,,RFlat"),
                         [](const testing::TestParamInfo<const char*>& description) {
                           return word(description.param) + "_" + std::to_string(description.index);
                         });

TEST(IndexFactory, OtherErrors) {
  EXPECT_THAT(message_of([] { index_factory(0, "RQ3"); }), HasSubstr("at least 1"));
  EXPECT_THAT(message_of([] { index_factory(8, "RQ3", faiss::METRIC_L1); }), HasSubstr("METRIC"));
  EXPECT_THAT(message_of([] { index_factory(8, "RQ3,Refine(RQ8"); }), HasSubstr("parentheses"));
  EXPECT_THAT(message_of([] { index_factory(8, "RQ3)"); }), HasSubstr("parentheses"));
  EXPECT_THAT(message_of([] { index_factory(8, "HNSW1,RQ3"); }), HasSubstr("degree"));
  EXPECT_NE(message_of([] { index_factory(8, "nonsense"); }), "");
  EXPECT_NE(message_of([] { index_factory(8, ""); }), "");
}

TEST(IndexFactory, FaissKeepsItsOwn) {
  EXPECT_NE(dynamic_cast<const faiss::IndexResidualQuantizer*>(index_factory(16, "RQ8x8").get()),
            nullptr);
  for (const char* text : {"Flat", "SQ8", "PQ4x4", "RQ3x4", "RQ1x16_6x8", "RQ3x4_Nfloat",
                           "IVF16,RQ3x4", "LSQ4x4", "PRQ2x4x4", "RCQ2x4", "IVF16,PQ4x4fs,RFlat",
                           "OPQ4,PQ4", "HNSW32", "IDMap,Flat", "PCA8,SQ8"}) {
    const auto index = index_factory(16, text);
    EXPECT_EQ(dynamic_cast<const IndexRotorQuant*>(index.get()), nullptr) << text;
  }
}

TEST(IndexFactory, Shapes) {
  const auto id_map = index_factory(16, "IDMap,RQ3");
  EXPECT_EQ(typeid(*id_map), typeid(faiss::IndexIDMap));
  EXPECT_EQ(typeid(*index_factory(16, "RQ3,IDMap2")), typeid(faiss::IndexIDMap2));
  const auto transformed = index_factory(16, "PCA12,RR8,RQ4");
  EXPECT_EQ(as<faiss::IndexPreTransform>(*transformed).chain.size(), 2U);
  EXPECT_EQ(as<faiss::IndexPreTransform>(*transformed).index->d, 8);
  const auto refined = index_factory(16, "RQ2,Refine(RQ8)");
  EXPECT_EQ(as<IndexRotorQuant>(*as<faiss::IndexRefine>(*refined).refine_index).name(), "RQ8");
  const auto hnsw = index_factory(16, "HNSW,RQ8", faiss::METRIC_INNER_PRODUCT);
  EXPECT_EQ(as<faiss::IndexHNSW>(*hnsw).hnsw.nb_neighbors(1), 32);
  EXPECT_EQ(hnsw->metric_type, faiss::METRIC_INNER_PRODUCT);
  EXPECT_EQ(as<faiss::IndexNSG>(*index_factory(16, "NSG24,RQ8")).nsg.R, 24);
  const auto nested = index_factory(16, "IDMap2,PCA8,HNSW16_RQ6,RFlat");
  EXPECT_EQ(typeid(*as<faiss::IndexIDMap2>(*nested).index), typeid(faiss::IndexRefineFlat));
}

TEST(IndexFactory, ATransformHasTheCentreTrained) {
  const auto index = index_factory(16, "L2norm,RQ4");
  EXPECT_FALSE(index->is_trained);
  train(*index, vectors(100, 16));
  EXPECT_TRUE(index->is_trained);
  const auto& own = as<IndexRotorQuant>(*as<faiss::IndexPreTransform>(*index).index);
  EXPECT_EQ(own.space.centre.size(), 16U);
  EXPECT_TRUE(own.is_trained);
}

class EveryDescription : public testing::TestWithParam<const char*> {};

TEST_P(EveryDescription, TrainsAddsAndFinds) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto index = index_factory(32, GetParam(), metric);
    // Of one length, so that each vector is its own nearest neighbour under both metrics.
    Floats x = vectors(400, 32);
    const auto normalize = index_factory(32, "L2norm,Flat");
    normalize->sa_encode(400, x.data(), reinterpret_cast<uint8_t*>(x.data()));
    shorten_training(*index);
    train(*index, x);
    ASSERT_TRUE(index->is_trained);
    if (dynamic_cast<const faiss::IndexIDMap*>(index.get()) != nullptr) {
      Ids ids(400);
      std::iota(ids.begin(), ids.end(), 0);
      index->add_with_ids(400, x.data(), ids.data());
    } else {
      add(*index, x);
    }
    EXPECT_EQ(index->ntotal, 400);
    const Answer answer = search(*index, x, 10);
    size_t found = 0;
    for (size_t i = 0; i < 400; ++i) {
      const auto begin = answer.labels.begin() + static_cast<std::ptrdiff_t>(i * 10);
      found += std::find(begin, begin + 10, static_cast<int64_t>(i)) != begin + 10 ? 1 : 0;
    }
    EXPECT_GE(found, 360U) << metric;
  }
}

TEST_P(EveryDescription, ReverseGivesTheDescriptionBack) {
  const auto index = index_factory(32, GetParam());
  EXPECT_EQ(reverse_index_factory(*index_factory(32, reverse_index_factory(*index))),
            reverse_index_factory(*index));
  const std::string text = GetParam();
  if (text.find("SQ8") == std::string::npos) {
    EXPECT_EQ(reverse_index_factory(*index), text);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryDescription,
                         testing::Values("RQ3", "ORQ3", "ORQ2mse", "RQ4mse", "RQ6ref", "IDMap,RQ3",
                                         "IDMap2,ORQ3", "PCA24,RQ4", "PCAR24,ORQ4", "OPQ8_24,RQ4",
                                         "RR32,RQ3", "RR24,RQ4", "L2norm,RQ3", "ITQ24,RQ4",
                                         "RQ3,RFlat", "RQ2,Refine(RQ8)", "HNSW32,RQ8", "NSG32,RQ8",
                                         "PCA24,RQ4,RFlat", "IDMap2,PCA24,RQ4", "Pad40,RQ3",
                                         "HNSW16,ORQ6", "L2norm,RQ3,RFlat"),
                         [](const testing::TestParamInfo<const char*>& description) {
                           return word(description.param);
                         });

TEST(IndexFactory, RefineWithAScalarQuantizer) {
  const auto index = index_factory(32, "ORQ3,Refine(SQ8)");
  const Floats x = vectors(500, 32);
  train(*index, x);
  add(*index, x);
  const Answer answer = search(*index, x, 1);
  size_t found = 0;
  for (size_t i = 0; i < 500; ++i) {
    found += answer.labels[i] == static_cast<int64_t>(i) ? 1 : 0;
  }
  EXPECT_GE(found, 480U);
  EXPECT_THAT(message_of([&] { reverse_index_factory(*index); }), HasSubstr("IndexFlat"));
}

}  // namespace
}  // namespace rotorquant
