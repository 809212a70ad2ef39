// SPDX-License-Identifier: MIT
// What faiss::IndexIVF offers, on ours.
#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_io.h"
#include "ivf_test_data.h"

namespace rotorquant {
namespace {

using testing::Each;
using testing::Ge;
using testing::HasSubstr;

constexpr size_t d = 16;
constexpr size_t n = 1000;

std::set<int64_t> members(const Ids& labels) {
  return {labels.begin(), labels.end()};
}

TEST(IvfSearchParameters, FaissFieldsAndOurs) {
  const auto index = filled_ivf(d, "IVF20,RQ4", n);
  const Floats queries = vectors(10, d, 3);
  index->nprobe = 5;
  const Answer five = search(*index, queries, 10);
  index->nprobe = 1;
  const Answer one = search(*index, queries, 10);
  EXPECT_NE(one, five);
  faiss::SearchParametersIVF theirs;
  theirs.nprobe = 5;
  EXPECT_EQ(search(*index, queries, 10, &theirs), five);
  SearchParametersIVFRotorQuant ours;
  EXPECT_EQ(search(*index, queries, 10, &ours), one) << "nprobe of the index";
  ours.nprobe = 5;
  EXPECT_EQ(search(*index, queries, 10, &ours), five);
  faiss::SearchParameters plain;
  EXPECT_EQ(search(*index, queries, 10, &plain), one);
  SearchParametersRotorQuant flat;
  EXPECT_EQ(search(*index, queries, 10, &flat), one);
  theirs.nprobe = 1000;
  index->nprobe = 20;
  EXPECT_EQ(search(*index, queries, 10, &theirs), search(*index, queries, 10));
  theirs.nprobe = 0;
  EXPECT_THAT(message_of([&] { search(*index, queries, 10, &theirs); }), HasSubstr("nprobe"));
  struct Unknown : faiss::SearchParameters {};
  const Unknown unknown;
  EXPECT_THAT(message_of([&] { search(*index, queries, 10, &unknown); }),
              HasSubstr("search parameters"));
  ours.refine_error_scale = std::nanf("");
  EXPECT_EQ(message_of([&] { search(*index, queries, 10, &ours); }), "") << "NaN: the default";
  ours.levels = 9;
  EXPECT_THAT(message_of([&] { search(*index, queries, 10, &ours); }), HasSubstr("levels"));
}

TEST(IvfSearchParameters, FieldsThatAreNotServedAreRefused) {
  const auto index = filled_ivf(d, "IVF20,RQ4", n);
  const auto message = [&](const auto& params) {
    return message_of([&] { search(*index, vectors(1, d, 3), 3, &params); });
  };
  const auto test = [&]<class Params>(const Params& unset) {
    if constexpr (requires { unset.ensure_topk_full; }) {
      EXPECT_EQ(message(unset), "");
      Params params;
      params.max_lists_num = 3;
      EXPECT_THAT(message(params), HasSubstr("max_lists_num"));
      params = Params();
      params.ensure_topk_full = true;
      EXPECT_THAT(message(params), HasSubstr("ensure_topk_full"));
      params = Params();
      params.max_empty_result_buckets = 2;
      EXPECT_THAT(message(params), HasSubstr("max_empty_result_buckets"));
    } else {
      GTEST_SKIP() << "this FAISS has none of them";
    }
  };
  test(faiss::SearchParametersIVF());
  test(SearchParametersIVFRotorQuant());
}

TEST(IvfSearchParameters, MaxCodesEndsTheVisit) {
  const auto index = filled_ivf(d, "IVF20,RQ4", n);
  const Floats queries = vectors(10, d, 3);
  index->nprobe = 20;
  index->max_codes = 1;
  const Answer first_list = search(*index, queries, 10);
  index->max_codes = 0;
  index->nprobe = 1;
  EXPECT_EQ(search(*index, queries, 10), first_list);
  faiss::SearchParametersIVF params;
  params.nprobe = 20;
  params.max_codes = 1;
  EXPECT_EQ(search(*index, queries, 10, &params), first_list);
}

TEST(IvfSearchParameters, LevelsEstimatorAndShortlist) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    for (const char* description : {"IVF20,RQ4", "IVF20,ORQ6", "IVF20,ORQ4mse"}) {
      const auto index = filled_ivf(d, description, n, metric);
      const Floats queries = vectors(20, d, 3);
      index->nprobe = 8;
      SearchParametersIVFRotorQuant params;
      params.refine_error_scale = 6.0F;
      const Answer whole = search(*index, queries, 10, &params);
      // A shortlist of everything is refined to the same result.
      params.refine_error_scale = 0.0F;
      params.k_factor = 200;
      const Answer shortlist = search(*index, queries, 10, &params);
      size_t same = 0;
      for (size_t i = 0; i < whole.labels.size(); ++i) {
        same += whole.labels[i] == shortlist.labels[i] ? 1 : 0;
      }
      EXPECT_GE(same, whole.labels.size() - 2);
      params.refine_error_scale = 6.0F;
      for (const size_t levels : {1, 2, 3}) {
        params.levels = levels;
        const Answer coarse = search(*index, queries, 10, &params);
        EXPECT_NE(coarse, whole);
        EXPECT_EQ(search_in_batches(*index, queries, 10, 1, &params), coarse);
      }
      params.levels = 0;
      params.estimator = Estimator::strict;
      const Answer strict = search(*index, queries, 10, &params);
      if (std::string(description) != "IVF20,ORQ4mse") {
        EXPECT_NE(strict, whole);
      }
      EXPECT_THAT(strict.labels, Each(Ge(0)));
    }
  }
}

TEST(IvfRangeSearch, HoldsWhatSearchFinds) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto index = filled_ivf(d, "IVF20,ORQ6", n, metric);
    index->nprobe = 6;
    const Floats queries = vectors(15, d, 3);
    const Answer nearest = search(*index, queries, 30);
    faiss::RangeSearchResult result(15);
    const float radius = nearest.distances[20];
    index->range_search(15, queries.data(), radius, &result);
    for (size_t q = 0; q < 15; ++q) {
      const Ids found(result.labels + result.lims[q], result.labels + result.lims[q + 1]);
      EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
      std::map<int64_t, float> distances;
      for (size_t i = result.lims[q]; i < result.lims[q + 1]; ++i) {
        distances[result.labels[i]] = result.distances[i];
      }
      for (size_t i = q * 30; i < (q + 1) * 30; ++i) {
        const float distance = nearest.distances[i];
        const bool inside = metric == faiss::METRIC_L2 ? distance < radius : distance > radius;
        EXPECT_EQ(distances.count(nearest.labels[i]), inside ? 1U : 0U);
        if (inside) {
          EXPECT_EQ(distances[nearest.labels[i]], distance);
        }
      }
    }
  }
}

TEST(IvfReconstruct, ByIdOffsetAndSearch) {
  const auto index = filled_ivf(d, "IVF20,ORQ6", n);
  const Floats x = vectors(n, d);
  index->nprobe = 3;
  Floats all(n * d);
  index->reconstruct_n(0, static_cast<int64_t>(n), all.data());
  double error = 0.0;
  for (size_t i = 0; i < all.size(); ++i) {
    error += std::pow(static_cast<double>(all[i] - x[i]), 2.0);
  }
  EXPECT_LT(error / static_cast<double>(n), 0.05);
  Floats single(d);
  EXPECT_NE(message_of([&] { index->reconstruct(5, single.data()); }), "") << "no direct map";
  index->make_direct_map();
  for (const int64_t id : {0, 5, 999}) {
    index->reconstruct(id, single.data());
    EXPECT_EQ(single, Floats(all.begin() + id * static_cast<int64_t>(d),
                             all.begin() + (id + 1) * static_cast<int64_t>(d)));
  }
  const Floats queries = vectors(10, d, 3);
  Answer found{Floats(50), Ids(50)};
  Floats reconstructed(50 * d);
  index->search_and_reconstruct(10, queries.data(), 5, found.distances.data(), found.labels.data(),
                                reconstructed.data());
  EXPECT_EQ(found, search(*index, queries, 5));
  for (size_t i = 0; i < 50; ++i) {
    const auto id = static_cast<std::ptrdiff_t>(found.labels[i]);
    const auto dim = static_cast<std::ptrdiff_t>(d);
    const auto place = static_cast<std::ptrdiff_t>(i);
    EXPECT_EQ(
        Floats(reconstructed.begin() + place * dim, reconstructed.begin() + (place + 1) * dim),
        Floats(all.begin() + id * dim, all.begin() + (id + 1) * dim));
  }
}

TEST(IvfStandaloneCodes, RoundTrip) {
  const auto index = filled_ivf(d, "IVF300,RQ5", n);  // list numbers of two bytes
  EXPECT_EQ(index->sa_code_size(), index->code_size + 2);
  const Floats x = vectors(100, d, 8);
  const std::vector<uint8_t> codes = encoded(*index, x);
  Floats decoded(x.size());
  index->sa_decode(100, codes.data(), decoded.data());
  double error = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(static_cast<double>(decoded[i] - x[i]), 2.0);
  }
  EXPECT_LT(error / 100.0, 0.2);
  const auto by_codes = filled_ivf(d, "IVF300,RQ5", n);
  by_codes->add_sa_codes(100, codes.data(), nullptr);
  add(*index, x);
  index->nprobe = by_codes->nprobe = 10;
  EXPECT_EQ(search(*by_codes, x, 5), search(*index, x, 5));
}

/// The vectors of an index by id, from its lists.
std::map<int64_t, std::vector<uint8_t>> entries(const IndexIVFRotorQuant& index) {
  std::map<int64_t, std::vector<uint8_t>> all;
  for (size_t list = 0; list < index.nlist; ++list) {
    faiss::InvertedLists::ScopedIds ids(index.invlists, list);
    faiss::InvertedLists::ScopedCodes codes(index.invlists, list);
    for (size_t i = 0; i < index.invlists->list_size(list); ++i) {
      const uint8_t* code = codes.get() + i * index.code_size;
      all[ids[i]] = {code, code + index.code_size};
    }
  }
  return all;
}

TEST(IvfRemove, AnySelectorAnyMapAndMemoryComesBack) {
  const Floats queries = vectors(10, d, 3);
  for (const auto type : {faiss::DirectMap::NoMap, faiss::DirectMap::Hashtable}) {
    const auto index = filled_ivf(d, "IVF10,RQ4", 4000);
    index->nprobe = 10;
    index->set_direct_map_type(type);
    const size_t bytes = index->file()->memory_bytes();
    const auto before = entries(*index);
    EXPECT_EQ(index->remove_ids(faiss::IDSelectorRange(100, 3900)), 3800U);
    EXPECT_EQ(index->ntotal, 200);
    EXPECT_LT(index->file()->memory_bytes(), bytes / 4);
    Ids odd;
    for (int64_t id = 1; id < 100; id += 2) {
      odd.push_back(id);
    }
    EXPECT_EQ(index->remove_ids(faiss::IDSelectorArray(odd.size(), odd.data())), 50U);
    EXPECT_EQ(index->remove_ids(faiss::IDSelectorBatch(odd.size(), odd.data())), 0U);
    const auto after = entries(*index);
    EXPECT_EQ(after.size(), 150U);
    for (const auto& [id, code] : after) {
      EXPECT_EQ(before.at(id), code);
    }
    const Answer answer = search(*index, queries, 160);
    EXPECT_EQ(members(answer.labels).size(), 151U);  // and -1
    if (type == faiss::DirectMap::Hashtable) {
      Floats row(d);
      index->reconstruct(3950, row.data());
      EXPECT_NE(message_of([&] { index->reconstruct(1, row.data()); }), "");
    }
  }
}

TEST(IvfUpdate, MovesOrCodesAnewInPlace) {
  for (const auto type : {faiss::DirectMap::Array, faiss::DirectMap::Hashtable}) {
    const auto index = filled_ivf(d, "IVF10,ORQ6", n);
    index->nprobe = 10;
    EXPECT_NE(message_of([&] {
                const int64_t id = 3;
                index->update_vectors(1, &id, vectors(1, d).data());
              }),
              "")
        << "no direct map";
    index->set_direct_map_type(type);
    const Ids ids{7, 500, 999, 0, 7};
    const Floats fresh = vectors(ids.size(), d, 99);
    index->update_vectors(static_cast<int>(ids.size()), ids.data(), fresh.data());
    EXPECT_EQ(index->ntotal, static_cast<int64_t>(n));
    EXPECT_EQ(entries(*index).size(), n);
    const Answer answer = search(*index, fresh, 1);
    EXPECT_EQ(answer.labels[1], 500);
    EXPECT_EQ(answer.labels[2], 999);
    EXPECT_EQ(answer.labels[3], 0);
    EXPECT_EQ(answer.labels[4], 7);
    for (int64_t id = 0; id < static_cast<int64_t>(n); ++id) {
      Floats row(d);
      index->reconstruct(id, row.data());  // every entry of the map leads somewhere
    }
    const int64_t missing = 5000;
    EXPECT_NE(message_of([&] { index->update_vectors(1, &missing, fresh.data()); }), "");
  }
}

TEST(IvfMerge, MovesEverything) {
  const auto all = filled_ivf(d, "IVF20,ORQ4", n);
  auto whole = clone_index(all.get());
  auto& target = dynamic_cast<IndexIVFRotorQuant&>(*whole);
  target.reset();
  auto other = clone_index(all.get());
  auto& source = dynamic_cast<IndexIVFRotorQuant&>(*other);
  source.reset();
  const Floats x = vectors(n, d);
  target.add(400, x.data());
  source.add(600, x.data() + 400 * d);
  target.merge_from(source, 400);
  EXPECT_EQ(target.ntotal, static_cast<int64_t>(n));
  EXPECT_EQ(source.ntotal, 0);
  EXPECT_EQ(entries(target), entries(*all));
  target.nprobe = all->nprobe = 7;
  EXPECT_EQ(search(target, vectors(20, d, 5), 10), search(*all, vectors(20, d, 5), 10));
  const auto foreign = filled_ivf(d, "IVF20,ORQ5", n);
  EXPECT_NE(message_of([&] { target.merge_from(*foreign, 0); }), "");
}

TEST(IvfCopySubset, ByIdAndByShare) {
  const auto index = filled_ivf(d, "IVF20,RQ4", n);
  for (const int type : {0, 1, 2}) {
    auto copy = clone_index(index.get());
    auto& part = dynamic_cast<IndexIVFRotorQuant&>(*copy);
    part.reset();
    const int64_t a1 = type == 0 ? 100 : (type == 1 ? 3 : 250);
    const int64_t a2 = type == 0 ? 300 : (type == 1 ? 1 : 750);
    index->copy_subset_to(part, subset_type(type), a1, a2);
    const auto some = entries(part);
    EXPECT_EQ(static_cast<size_t>(part.ntotal), some.size());
    EXPECT_EQ(some.size(), type == 0 ? 200U : (type == 1 ? 333U : 500U));
    const auto everything = entries(*index);
    for (const auto& [id, code] : some) {
      EXPECT_EQ(everything.at(id), code);
    }
  }
}

TEST(IvfLists, OfAnotherTypeAreSearchedThroughScanners) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto index = filled_ivf(d, "IVF20,ORQ4", n, metric);
    index->nprobe = 6;
    SearchParametersIVFRotorQuant wide;
    wide.refine_error_scale = 8.0F;
    const Floats queries = vectors(20, d, 5);
    const Answer expected = search(*index, queries, 10, &wide);
    const auto stored = entries(*index);
    auto arrays = std::make_unique<faiss::ArrayInvertedLists>(index->nlist, index->code_size);
    for (size_t list = 0; list < index->nlist; ++list) {
      faiss::InvertedLists::ScopedIds ids(index->invlists, list);
      faiss::InvertedLists::ScopedCodes codes(index->invlists, list);
      arrays->add_entries(list, index->invlists->list_size(list), ids.get(), codes.get());
    }
    index->replace_invlists(arrays.release(), true);
    EXPECT_EQ(index->file(), nullptr);
    const Answer found = search(*index, queries, 10);
    for (size_t i = 0; i < found.labels.size(); ++i) {
      EXPECT_NEAR(found.distances[i], expected.distances[i],
                  1e-3F * (1.0F + std::fabs(expected.distances[i])));
    }
    faiss::IDSelectorRange some(0, 500);
    faiss::SearchParametersIVF params;
    params.nprobe = 20;
    params.sel = &some;
    for (const int64_t label : search(*index, queries, 10, &params).labels) {
      EXPECT_TRUE(label >= 0 && label < 500);
    }
    // Saved, they come back as ours.
    const auto loaded = deserialize_index(serialize_index(index.get()));
    auto& own = dynamic_cast<IndexIVFRotorQuant&>(*loaded);
    EXPECT_NE(own.file(), nullptr);
    EXPECT_EQ(entries(own), stored);
    EXPECT_EQ(search(own, queries, 10, &wide), expected);
  }
}

TEST(IvfParallelModes, GiveTheSame) {
  const auto index = filled_ivf(d, "IVF20,ORQ4", n);
  index->nprobe = 9;
  const Floats queries = vectors(7, d, 5);
  const Answer expected = search(*index, queries, 10);
  for (const int mode : {1, 2, 3}) {
    index->parallel_mode = mode;
    EXPECT_EQ(search(*index, queries, 10), expected) << mode;
    EXPECT_EQ(search_in_batches(*index, queries, 10, 1), expected) << mode;
  }
}

TEST(IvfStatistics, CountQueriesAndLists) {
  const auto index = filled_ivf(d, "IVF20,RQ3", n);
  index->nprobe = 4;
  faiss::indexIVF_stats.reset();
  search(*index, vectors(10, d, 5), 3);
  EXPECT_EQ(faiss::indexIVF_stats.nq, 10U);
  EXPECT_EQ(faiss::indexIVF_stats.nlist, 40U);
  EXPECT_GT(faiss::indexIVF_stats.search_time, 0.0);
  SearchStats stats;
  SearchParametersIVFRotorQuant params;
  params.stats = &stats;
  search(*index, vectors(10, d, 5), 3, &params);
  EXPECT_EQ(stats.queries, 10U);
  EXPECT_EQ(stats.lists_scanned, 40U);
  EXPECT_GT(stats.refined, 0U);
}

TEST(IvfErrors, SayWhatIsWrong) {
  const auto index = make_ivf(d, "IVF20,RQ3");
  const Floats x = vectors(n, d);
  EXPECT_THAT(message_of([&] { add(*index, x); }), HasSubstr("trained"));
  EXPECT_THAT(message_of([&] { search(*index, x, 3); }), HasSubstr("trained"));
  Floats bad = x;
  bad[17] = std::nanf("");
  EXPECT_THAT(message_of([&] { train(*index, bad); }), HasSubstr("row 1"));
  train(*index, x);
  EXPECT_THAT(message_of([&] { add(*index, bad); }), HasSubstr("row 1"));
  EXPECT_EQ(index->ntotal, 0);
  EXPECT_THAT(message_of([&] { search(*index, bad, 3); }), HasSubstr("row 1"));
  add(*index, x);
  EXPECT_THAT(message_of([&] { train(*index, x); }), HasSubstr("vectors in the index"));
  EXPECT_THAT(message_of([&] { search(*index, x, 0); }), HasSubstr("k"));
  const Ids beyond(5, 20);
  Floats distances(10);
  Ids labels(10);
  index->nprobe = 5;
  EXPECT_THAT(message_of([&] {
                index->search_preassigned(1, x.data(), 10, beyond.data(), nullptr, distances.data(),
                                          labels.data(), false);
              }),
              HasSubstr("below 20"));
  const Ids nothing(5, -1);
  index->search_preassigned(1, x.data(), 10, nothing.data(), nullptr, distances.data(),
                            labels.data(), false);
  EXPECT_THAT(labels, Each(-1));
}

TEST(IvfIds, OfAnySize) {
  const auto index = make_ivf(d, "IVF5,RQ4");
  const Floats x = vectors(300, d);
  train(*index, x);
  Ids ids(300);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = i < 200 ? static_cast<int64_t>(i) : (int64_t{1} << 40) + static_cast<int64_t>(i);
  }
  ids[0] = -5;
  index->add_with_ids(200, x.data(), ids.data());
  index->add_with_ids(100, x.data() + 200 * d, ids.data() + 200);
  index->nprobe = 5;
  EXPECT_EQ(members(search(*index, vectors(1, d), 300).labels), members(ids));
  const auto loaded = deserialize_index(serialize_index(index.get()));
  EXPECT_EQ(search(*loaded, x, 5), search(*index, x, 5));
  index->reset();
  EXPECT_EQ(index->ntotal, 0);
  EXPECT_THAT(search(*index, x, 2).labels, Each(-1));
}

/// Every kind of selector against a search of everything, filtered by hand.
TEST(IvfSelectors, AllKindsInEitherPath) {
  const auto index = filled_ivf(d, "IVF20,ORQ4", n);
  index->nprobe = 8;
  const Floats queries = vectors(40, d, 5);
  SearchParametersIVFRotorQuant wide;
  wide.refine_error_scale = 9.0F;
  const Answer everything = search(*index, queries, n, &wide);
  Ids some;
  std::vector<uint8_t> bitmap((n + 7) / 8, 0);
  for (int64_t id = 0; id < static_cast<int64_t>(n); id += 7) {
    some.push_back(id);
    bitmap[static_cast<size_t>(id) / 8] =
        static_cast<uint8_t>(bitmap[static_cast<size_t>(id) / 8] | 1U << (id % 8));
  }
  struct Callback : faiss::IDSelector {
    bool is_member(int64_t id) const override { return id % 3 == 0; }
  };
  faiss::IDSelectorRange range(200, 260);
  faiss::IDSelectorArray array(some.size(), some.data());
  faiss::IDSelectorBatch batch(some.size(), some.data());
  faiss::IDSelectorBitmap bits(bitmap.size(), bitmap.data());
  faiss::IDSelectorNot inverted(&range);
  faiss::IDSelectorRange nobody(5000, 6000);
  Callback callback;
  for (faiss::IDSelector* selector : std::initializer_list<faiss::IDSelector*>{
           &range, &array, &batch, &bits, &inverted, &callback, &nobody}) {
    SearchParametersIVFRotorQuant params;
    params.refine_error_scale = 9.0F;
    params.sel = selector;
    const Answer found = search(*index, queries, 10, &params);
    EXPECT_EQ(search_in_batches(*index, queries, 10, 1, &params), found);
    for (size_t q = 0; q < 40; ++q) {
      Ids expected;
      for (size_t i = q * n; i < (q + 1) * n && expected.size() < 10; ++i) {
        if (everything.labels[i] >= 0 && selector->is_member(everything.labels[i])) {
          expected.push_back(everything.labels[i]);
        }
      }
      expected.resize(10, -1);
      const auto first = found.labels.begin() + static_cast<std::ptrdiff_t>(10 * q);
      EXPECT_EQ(Ids(first, first + 10), expected);
    }
  }
}

}  // namespace
}  // namespace rotorquant
