// SPDX-License-Identifier: MIT
// Removal, merging, cloning: whatever changes or copies what an index holds.
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_factory.h"
#include "rotorquant/random.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;
using Codes = std::vector<std::vector<uint8_t>>;

constexpr size_t d = 20;

IndexRotorQuant trained(int bits, bool learned = false, uint64_t seed = 9,
                        faiss::MetricType metric = faiss::METRIC_L2) {
  IndexRotorQuant index(static_cast<int>(d), bits, learned, metric);
  train(index, vectors(400, d, seed));
  return index;
}

Codes rows_of(const std::vector<uint8_t>& codes, size_t code_bytes) {
  Codes rows;
  for (size_t i = 0; i < codes.size(); i += code_bytes) {
    rows.emplace_back(codes.begin() + static_cast<std::ptrdiff_t>(i),
                      codes.begin() + static_cast<std::ptrdiff_t>(i + code_bytes));
  }
  return rows;
}

// ---- removal -------------------------------------------------------------------------------

/// Random additions, removals and resets against a plain vector of codes.
TEST(Removal, AgreesWithAModel) {
  for (const int bits : {1, 3, 6}) {
    IndexRotorQuant index = trained(bits);
    const size_t code_bytes = index.sa_code_size();
    Codes model;
    Rng rng(static_cast<uint64_t>(bits));
    for (int step = 0; step < 60; ++step) {
      const Floats x = vectors(rng.below(70), d, 100 + static_cast<uint64_t>(step));
      add(index, x);
      for (auto& row : rows_of(encoded(index, x), code_bytes)) {
        model.push_back(std::move(row));
      }
      Ids doomed;
      for (size_t i = 0; i < model.size(); ++i) {
        if (rng.below(3) == 0) {
          doomed.push_back(static_cast<int64_t>(i));
        }
      }
      const faiss::IDSelectorBatch sel(doomed.size(), doomed.data());
      EXPECT_EQ(index.remove_ids(sel), doomed.size());
      Codes kept;
      for (size_t i = 0; i < model.size(); ++i) {
        if (!sel.is_member(static_cast<int64_t>(i))) {
          kept.push_back(model[i]);
        }
      }
      model = kept;
      ASSERT_EQ(static_cast<size_t>(index.ntotal), model.size());
      ASSERT_EQ(rows_of(stored_codes(index), code_bytes), model) << "step " << step;
    }
    const Floats queries = vectors(3, d, 5);
    IndexRotorQuant fresh = trained(bits);
    for (const auto& row : model) {
      fresh.add_sa_codes(1, row.data(), nullptr);
    }
    EXPECT_EQ(search(index, queries, 10), search(fresh, queries, 10));
  }
}

TEST(Removal, Corners) {
  IndexRotorQuant index = trained(3);
  const faiss::IDSelectorAll all;
  const faiss::IDSelectorRange none(500, 600);
  EXPECT_EQ(index.remove_ids(all), 0U);
  add(index, vectors(65, d));
  EXPECT_EQ(index.remove_ids(none), 0U);
  EXPECT_EQ(index.ntotal, 65);
  EXPECT_EQ(index.remove_ids(all), 65U);
  EXPECT_EQ(index.ntotal, 0);
  EXPECT_EQ(search(index, vectors(1, d), 1).labels, Ids{-1});
  add(index, vectors(65, d));
  EXPECT_EQ(search(index, vectors(1, d), 1).labels, Ids{0});
}

TEST(Removal, StaysInStepUnderIdMaps) {
  for (const char* description : {"IDMap,RQ4", "IDMap2,RQ4"}) {
    const auto index = index_factory(static_cast<int>(d), description);
    const Floats x = vectors(100, d);
    Ids ids(100);
    for (size_t i = 0; i < 100; ++i) {
      ids[i] = 1000 - static_cast<int64_t>(i);
    }
    index->add_with_ids(100, x.data(), ids.data());
    const Ids doomed = {1000, 950, 901};
    EXPECT_EQ(index->remove_ids(faiss::IDSelectorBatch(3, doomed.data())), 3U);
    for (const size_t i : {1U, 49U, 98U}) {
      const Floats query(x.begin() + static_cast<std::ptrdiff_t>(i * d),
                         x.begin() + static_cast<std::ptrdiff_t>((i + 1) * d));
      EXPECT_EQ(search(*index, query, 1).labels, Ids{ids[i]}) << description;
    }
  }
}

// ---- merging -------------------------------------------------------------------------------

TEST(Merging, MovesEverythingBehind) {
  for (const bool learned : {false, true}) {
    const Floats x = vectors(150, d);
    const Floats first(x.begin(), x.begin() + 70 * d);
    const Floats second(x.begin() + 70 * d, x.end());
    IndexRotorQuant whole = trained(3, learned);
    add(whole, x);
    IndexRotorQuant a = trained(3, learned);
    IndexRotorQuant b = trained(3, learned);
    add(a, first);
    add(b, second);
    a.merge_from(b, 0);
    EXPECT_EQ(a.ntotal, 150);
    EXPECT_EQ(b.ntotal, 0);
    EXPECT_EQ(stored_codes(a), stored_codes(whole));
    a.merge_from(b, 0);  // an empty one
    EXPECT_EQ(a.ntotal, 150);
    add(b, second);
    EXPECT_EQ(b.ntotal, 80);
  }
}

TEST(Merging, RefusesWhatDoesNotFit) {
  IndexRotorQuant index = trained(3);
  add(index, vectors(10, d));
  IndexRotorQuant other_bits = trained(4);
  IndexRotorQuant other_centre = trained(3, false, 10);
  IndexRotorQuant learned = trained(3, true);
  IndexRotorQuant otherwise_learned = trained(3, true, 10);
  IndexRotorQuant other_metric = trained(3, false, 9, faiss::METRIC_INNER_PRODUCT);
  IndexRotorQuant other_d(static_cast<int>(d) + 1, 3);
  IndexRotorQuant same = trained(3);
  faiss::IndexFlatL2 flat(static_cast<int64_t>(d));
  EXPECT_THAT(message_of([&] { index.merge_from(other_bits); }), HasSubstr("RQ4"));
  EXPECT_THAT(message_of([&] { index.merge_from(other_centre); }), HasSubstr("centre"));
  EXPECT_THAT(message_of([&] { index.merge_from(learned); }), HasSubstr("ORQ3"));
  EXPECT_THAT(message_of([&] { learned.merge_from(otherwise_learned); }), HasSubstr("training"));
  EXPECT_THAT(message_of([&] { index.merge_from(other_metric); }), HasSubstr("metric"));
  EXPECT_THAT(message_of([&] { index.merge_from(other_d); }), HasSubstr("21"));
  EXPECT_THAT(message_of([&] { index.merge_from(flat); }), HasSubstr("IndexRotorQuant"));
  EXPECT_THAT(message_of([&] { index.merge_from(index); }), HasSubstr("this one"));
  EXPECT_THAT(message_of([&] { index.merge_from(same, 5); }), HasSubstr("add_id"));
  EXPECT_EQ(index.ntotal, 10);
}

TEST(Merging, ThroughIdMap) {
  const auto make = [] { return index_factory(static_cast<int>(d), "IDMap2,RQ4"); };
  const auto a = make();
  const auto b = make();
  const Floats x = vectors(4, d);
  const Ids ids = {10, 20, 30, 40};
  a->add_with_ids(2, x.data(), ids.data());
  b->add_with_ids(2, x.data() + 2 * d, ids.data() + 2);
  a->merge_from(*b, 100);
  const Floats query(x.end() - static_cast<std::ptrdiff_t>(d), x.end());
  EXPECT_EQ(search(*a, query, 1).labels, Ids{140});
}

// ---- cloning -------------------------------------------------------------------------------

TEST(Cloning, CopiesAreIndependent) {
  IndexRotorQuant index = trained(3);
  index.refine_error_scale = 1.25F;
  add(index, vectors(80, d));
  const Floats queries = vectors(3, d, 5);
  const Answer expected = search(index, queries, 5);
  const auto copy = clone_index(&index);
  index.reset();
  EXPECT_EQ(search(*copy, queries, 5), expected);
  const auto* own = dynamic_cast<const IndexRotorQuant*>(copy.get());
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->refine_error_scale, 1.25F);
}

class CloningTrees : public testing::TestWithParam<const char*> {};

TEST_P(CloningTrees, CloneAnswersAlikeAfterTheOriginalIsGone) {
  auto index = index_factory(static_cast<int>(d), GetParam());
  const Floats x = vectors(600, d);
  const Floats queries = vectors(10, d, 5);
  shorten_training(*index);
  train(*index, x);
  if (dynamic_cast<const faiss::IndexIDMap*>(index.get()) != nullptr) {
    Ids ids(600);
    for (size_t i = 0; i < 600; ++i) {
      ids[i] = static_cast<int64_t>(3 * i + 7);
    }
    index->add_with_ids(600, x.data(), ids.data());
  } else {
    add(*index, x);
  }
  const Answer expected = search(*index, queries, 5);
  const auto copy = clone_index(index.get());
  EXPECT_EQ(typeid(*copy), typeid(*index));
  index.reset();
  EXPECT_EQ(search(*copy, queries, 5), expected);
  copy->reset();
  EXPECT_EQ(copy->ntotal, 0);
}

INSTANTIATE_TEST_SUITE_P(Descriptions, CloningTrees,
                         testing::Values("RQ3", "ORQ2", "RQ3ref", "IDMap,RQ3", "IDMap2,RQ3",
                                         "PCA12,RQ4", "L2norm,RQ4", "OPQ5_10,RQ3", "ITQ12,RQ3",
                                         "RR15,RQ3", "Pad32,RQ3", "RQ3,RFlat", "RQ2,Refine(RQ8)",
                                         "ORQ3,Refine(SQ8)", "HNSW8,RQ6", "NSG16,RQ6",
                                         "IDMap2,PCA12,RQ4,RFlat", "Flat", "Flat,RFlat",
                                         "IVF4,Flat", "PQ5x4,RFlat"),
                         [](const testing::TestParamInfo<const char*>& description) {
                           std::string name = description.param;
                           for (char& c : name) {
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           }
                           return name;
                         });

TEST(Cloning, RefusesNothing) {
  EXPECT_THAT(message_of([] { clone_index(nullptr); }), HasSubstr("none"));
}

}  // namespace
}  // namespace rotorquant
