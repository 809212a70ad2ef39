// SPDX-License-Identifier: MIT
#include <faiss/IndexIDMap.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexReplicas.h>
#include <faiss/IndexShards.h>
#include <gtest/gtest.h>

#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#include "faiss_ext/gpu/gpu_clone.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/test_data.h"
#include "gpu/on_device.h"

namespace rotorquant {
namespace {

class GpuIndexTest : public test_data::OnDevice<testing::TestWithParam<const char*>> {
 protected:
  /// A filled index of the CPU's.
  static std::unique_ptr<faiss::Index> filled(const std::string& description,
                                              faiss::MetricType metric = faiss::METRIC_L2) {
    auto index = index_factory(24, description, metric);
    shorten_training(*index);
    train(*index, vectors(600, 24, 1));
    const Floats x = vectors(500, 24, 2);
    if (dynamic_cast<faiss::IndexIDMap*>(index.get()) == nullptr) {
      add(*index, x);
      return index;
    }
    Ids ids(500);
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<int64_t>(1000000 - 3 * i);
    }
    index->add_with_ids(500, x.data(), ids.data());
    return index;
  }
};

TEST_P(GpuIndexTest, ThereAndBack) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto cpu = filled(GetParam(), metric);
    const auto gpu = index_cpu_to_gpu(GpuResources(), cpu.get());
    const Floats queries = vectors(9, 24, 5);
    EXPECT_EQ(search(*gpu, queries, 7), search(*cpu, queries, 7));
    const auto back = index_gpu_to_cpu(gpu.get());
    EXPECT_EQ(search(*back, queries, 7), search(*cpu, queries, 7));
    EXPECT_EQ(reverse_index_factory(*back), GetParam());
    const auto* before = dynamic_cast<const IndexRotorQuant*>(cpu.get());
    const auto* after = dynamic_cast<const IndexRotorQuant*>(back.get());
    if (before != nullptr) {
      ASSERT_NE(after, nullptr);
      EXPECT_EQ(stored_codes(*after), stored_codes(*before));
    }
  }
}

TEST_P(GpuIndexTest, SeveralDevices) {
  const auto cpu = filled(GetParam());
  const std::vector<GpuResources> devices{GpuResources(0), GpuResources(gpu_device_count() - 1),
                                          GpuResources(0)};
  const Floats queries = vectors(9, 24, 5);
  for (const bool shards : {true, false}) {
    const auto gpu = index_cpu_to_gpu_multiple(devices, cpu.get(), shards);
    EXPECT_EQ(search(*gpu, queries, 7), search(*cpu, queries, 7)) << shards;
    const auto back = index_gpu_to_cpu(gpu.get());
    EXPECT_EQ(reverse_index_factory(*back), GetParam());
    EXPECT_EQ(search(*back, queries, 7), search(*cpu, queries, 7)) << shards;
  }
}

INSTANTIATE_TEST_SUITE_P(Trees, GpuIndexTest,
                         testing::Values("RQ3", "RQ1", "RQ6mse", "IDMap,RQ3", "IDMap2,RQ4",
                                         "PCA16,RQ4", "RQ2,RFlat", "RQ2,Refine(RQ6)"),
                         test_data::tree_name);

/// A CPU index and its copy on the device.
class GpuIndexPair : public test_data::OnDevice<> {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) {
      return;
    }
    train(cpu, vectors(300, 24, 1));
    add(cpu, vectors(500, 24, 2));
    gpu = std::make_unique<GpuIndexRotorQuant>(GpuResources(), cpu);
  }
  void expect_equal() const {
    ASSERT_EQ(gpu->ntotal, cpu.ntotal);
    IndexRotorQuant back;
    gpu->copyTo(back);
    EXPECT_EQ(stored_codes(back), stored_codes(cpu));
    EXPECT_EQ(search(*gpu, queries, 7), search(cpu, queries, 7));
  }
  IndexRotorQuant cpu{24, 3};
  std::unique_ptr<GpuIndexRotorQuant> gpu;
  Floats queries = vectors(9, 24, 5);
};

TEST_F(GpuIndexPair, TrainsAndAddsAsTheCpu) {
  GpuIndexRotorQuant own(GpuResources(), cpu.codec.params());
  train(own, vectors(300, 24, 1));
  add(own, vectors(500, 24, 2));
  EXPECT_EQ(own.settings.space.centre, cpu.space.centre);
  gpu->copyFrom(cpu);
  const Floats more = vectors(77, 24, 8);
  add(cpu, more);
  add(*gpu, more);
  add(own, more);
  expect_equal();
  EXPECT_EQ(search(own, queries, 7), search(cpu, queries, 7));
  Floats bad = vectors(70, 24, 9);
  bad[50 * 24] = NAN;
  EXPECT_NE(message_of([&] { add(*gpu, bad); }).find("row 50"), std::string::npos);
  expect_equal();
}

TEST_F(GpuIndexPair, RemovesIds) {
  const faiss::IDSelectorRange range(100, 233);
  EXPECT_EQ(gpu->remove_ids(range), 133U);
  cpu.remove_ids(range);
  expect_equal();
  const faiss::IDSelectorRange none(10000, 10001);
  EXPECT_EQ(gpu->remove_ids(none), 0U);
  expect_equal();
  gpu->reset();
  cpu.reset();
  expect_equal();
}

TEST_F(GpuIndexPair, Reconstructs) {
  Floats expected(30 * 24);
  Floats received(30 * 24);
  cpu.reconstruct_n(20, 30, expected.data());
  gpu->reconstruct_n(20, 30, received.data());
  EXPECT_EQ(received, expected);
  EXPECT_THROW(gpu->reconstruct_n(490, 11, received.data()), faiss::FaissException);
}

TEST_F(GpuIndexPair, StandaloneCodes) {
  const Floats x = vectors(40, 24, 8);
  const std::vector<uint8_t> codes = encoded(*gpu, x);
  EXPECT_EQ(codes, encoded(cpu, x));
  gpu->add_sa_codes(40, codes.data(), nullptr);
  cpu.add_sa_codes(40, codes.data(), nullptr);
  expect_equal();
}

TEST_F(GpuIndexPair, ParametersAndRanges) {
  const faiss::IDSelectorRange range(50, 300);
  SearchParametersRotorQuant params;
  params.sel = const_cast<faiss::IDSelectorRange*>(&range);
  params.levels = 1;
  EXPECT_EQ(search(*gpu, queries, 7, &params), search(cpu, queries, 7, &params));
  const Answer nearest = search(cpu, queries, 20);
  faiss::RangeSearchResult expected(9);
  faiss::RangeSearchResult received(9);
  cpu.range_search(9, queries.data(), nearest.distances[15], &expected);
  gpu->range_search(9, queries.data(), nearest.distances[15], &received);
  for (size_t q = 0; q <= 9; ++q) {
    ASSERT_EQ(received.lims[q], expected.lims[q]);
  }
  for (size_t i = 0; i < expected.lims[9]; ++i) {
    EXPECT_EQ(received.labels[i], expected.labels[i]);
    EXPECT_EQ(received.distances[i], expected.distances[i]);
  }
}

TEST_F(GpuIndexPair, RefusesWhatHasNoGpuForm) {
  const GpuResources resources;
  for (const char* description : {"HNSW8,RQ3", "IVF4,Flat", "Flat"}) {
    const auto index = index_factory(24, description);
    EXPECT_NE(
        message_of([&] { index_cpu_to_gpu(resources, index.get()); }).find("index_cpu_to_gpu"),
        std::string::npos)
        << description;
  }
  EXPECT_THROW(index_cpu_to_gpu_multiple({}, &cpu), faiss::FaissException);
  EXPECT_THROW(search(*gpu, queries, 0), faiss::FaissException);
}

TEST_F(GpuIndexPair, UntrainedIndex) {
  IndexRotorQuant untrained(24, 3, true);
  GpuIndexRotorQuant index(GpuResources(), untrained);
  EXPECT_FALSE(index.is_trained);
  EXPECT_THROW(add(index, queries), faiss::FaissException);
  train(index, vectors(600, 24, 1));
  add(index, vectors(100, 24, 2));
  EXPECT_EQ(index.ntotal, 100);
}

}  // namespace
}  // namespace rotorquant
