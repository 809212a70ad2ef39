// SPDX-License-Identifier: MIT
#include <faiss/IndexIDMap.h>
#include <faiss/IndexShards.h>
#include <gtest/gtest.h>

#include <cmath>

#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"
#include "faiss_ext/gpu/gpu_clone.h"
#include "faiss_ext/index_parameters.h"
#include "faiss_ext/ivf_test_data.h"
#include "gpu/on_device.h"

namespace rotorquant {
namespace {

/// Only the coarse step's products may differ, by one rounding, and that on scalar kernels alone.
void expect_close(const Answer& received, const Answer& expected) {
  EXPECT_EQ(received.labels, expected.labels);
  ASSERT_EQ(received.distances.size(), expected.distances.size());
  for (size_t i = 0; i < expected.distances.size(); ++i) {
    const float distance = expected.distances[i];
    EXPECT_NEAR(received.distances[i], distance, 2e-6F * (10.0F + std::fabs(distance))) << i;
  }
}

void expect_same_lists(const IndexIVFRotorQuant& received, const IndexIVFRotorQuant& expected) {
  ASSERT_EQ(received.ntotal, expected.ntotal);
  ASSERT_EQ(received.nlist, expected.nlist);
  for (size_t list = 0; list < expected.nlist; ++list) {
    const size_t n = expected.file()->size(list);
    ASSERT_EQ(received.file()->size(list), n);
    std::vector<uint8_t> before(n * expected.code_size);
    std::vector<uint8_t> after(before.size());
    expected.file()->codes(list).pack(0, n, before.data());
    received.file()->codes(list).pack(0, n, after.data());
    EXPECT_EQ(after, before) << list;
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(received.file()->ids(list)[i], expected.file()->ids(list)[i]);
      EXPECT_EQ(received.file()->refine_terms(list)[i], expected.file()->refine_terms(list)[i]);
    }
  }
}

/// A filled index of the CPU's, which visits half of its lists.
std::unique_ptr<faiss::Index> filled(const std::string& description, faiss::MetricType metric) {
  auto index = index_factory(24, description, metric);
  auto* ivf = dynamic_cast<IndexIVFRotorQuant*>(extract_index_ivf(index.get()));
  ivf->cp.niter = 4;
  ivf->cp.min_points_per_centroid = 1;
  ivf->nprobe = 3;
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

class GpuIvfTree : public test_data::OnDevice<testing::TestWithParam<const char*>> {};

TEST_P(GpuIvfTree, ThereAndBack) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto cpu = filled(GetParam(), metric);
    const auto gpu = index_cpu_to_gpu(GpuResources(), cpu.get());
    const Floats queries = vectors(9, 24, 5);
    const Answer expected = search(*cpu, queries, 7);
    expect_close(search(*gpu, queries, 7), expected);
    const auto back = index_gpu_to_cpu(gpu.get());
    EXPECT_EQ(search(*back, queries, 7), expected);
    EXPECT_EQ(reverse_index_factory(*back), reverse_index_factory(*cpu));
    expect_same_lists(dynamic_cast<const IndexIVFRotorQuant&>(*extract_index_ivf(back.get())),
                      dynamic_cast<const IndexIVFRotorQuant&>(*extract_index_ivf(cpu.get())));
  }
}

TEST_P(GpuIvfTree, SeveralDevices) {
  const auto cpu = filled(GetParam(), faiss::METRIC_L2);
  const std::vector<GpuResources> devices{GpuResources(0), GpuResources(gpu_device_count() - 1),
                                          GpuResources(0)};
  const Floats queries = vectors(9, 24, 5);
  const Answer expected = search(*cpu, queries, 7);
  for (const bool shards : {true, false}) {
    const auto gpu = index_cpu_to_gpu_multiple(devices, cpu.get(), shards);
    expect_close(search(*gpu, queries, 7), expected);
    const auto back = index_gpu_to_cpu(gpu.get());
    EXPECT_EQ(search(*back, queries, 7), expected) << shards;
    expect_same_lists(dynamic_cast<const IndexIVFRotorQuant&>(*extract_index_ivf(back.get())),
                      dynamic_cast<const IndexIVFRotorQuant&>(*extract_index_ivf(cpu.get())));
  }
}

INSTANTIATE_TEST_SUITE_P(Trees, GpuIvfTree,
                         testing::Values("IVF6,RQ3", "IVF6,RQ1", "IVF6,RQ6mse", "IVF6_HNSW8,RQ3",
                                         "IDMap,IVF6,RQ3", "IDMap2,IVF6,RQ4", "PCA16,IVF6,RQ4",
                                         "IVF6,RQ2,RFlat"),
                         test_data::tree_name);

/// A CPU index and its copy on the device.
class GpuIvfPair : public test_data::OnDevice<> {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) {
      return;
    }
    cpu = filled_ivf(24, "IVF6,RQ3", 500);
    cpu->nprobe = 3;
    gpu = std::make_unique<GpuIndexIVFRotorQuant>(GpuResources(), *cpu);
  }
  void expect_equal() const {
    ASSERT_EQ(gpu->ntotal, cpu->ntotal);
    expect_same_lists(*gpu->to_cpu(), *cpu);
    expect_close(search(*gpu, queries, 7), search(*cpu, queries, 7));
  }
  std::unique_ptr<IndexIVFRotorQuant> cpu;
  std::unique_ptr<GpuIndexIVFRotorQuant> gpu;
  Floats queries = vectors(9, 24, 5);
};

TEST_F(GpuIvfPair, AddsAsTheCpu) {
  const Floats more = vectors(77, 24, 8);
  add(*cpu, more);
  add(*gpu, more);
  expect_equal();
  const Ids ids{7000000000, 3, -4};
  const Floats three = vectors(3, 24, 9);
  cpu->add_with_ids(3, three.data(), ids.data());
  gpu->add_with_ids(3, three.data(), ids.data());
  expect_equal();
  Floats bad = vectors(70, 24, 9);
  bad[50 * 24] = NAN;
  EXPECT_NE(message_of([&] { add(*gpu, bad); }).find("row 50"), std::string::npos);
  expect_equal();
}

TEST_F(GpuIvfPair, TrainsAsTheCpu) {
  auto fresh = make_ivf(24, "IVF6,RQ3");
  GpuIndexIVFRotorQuant own(GpuResources(), *fresh);
  EXPECT_FALSE(own.is_trained);
  EXPECT_THROW(add(own, queries), faiss::FaissException);
  EXPECT_THROW(search(own, queries, 1), faiss::FaissException);
  train(own, vectors(500, 24));
  add(own, vectors(500, 24));
  expect_same_lists(*own.to_cpu(), *cpu);
}

TEST_F(GpuIvfPair, RemovesIds) {
  const faiss::IDSelectorRange range(100, 233);
  EXPECT_EQ(gpu->remove_ids(range), 133U);
  cpu->remove_ids(range);
  expect_equal();
  const faiss::IDSelectorRange none(10000, 10001);
  EXPECT_EQ(gpu->remove_ids(none), 0U);
  expect_equal();
  gpu->reset();
  cpu->reset();
  expect_equal();
  cpu->set_direct_map_type(faiss::DirectMap::Array);
  gpu->copyFrom(*cpu);
  EXPECT_THROW(gpu->remove_ids(range), faiss::FaissException);
}

TEST_F(GpuIvfPair, RemovesIdsBelowAMap) {
  const auto mapped = filled("IDMap2,IVF6,RQ3", faiss::METRIC_L2);
  const auto mapped_gpu = index_cpu_to_gpu(GpuResources(), mapped.get());
  const faiss::IDSelectorRange range(1000000 - 600, 1000000 - 200);
  EXPECT_EQ(mapped_gpu->remove_ids(range), mapped->remove_ids(range));
  const Answer expected = search(*mapped, queries, 7);
  expect_close(search(*mapped_gpu, queries, 7), expected);
  EXPECT_EQ(search(*index_gpu_to_cpu(mapped_gpu.get()), queries, 7), expected);
}

TEST_F(GpuIvfPair, Reconstructs) {
  Floats expected(30 * 24);
  Floats received(30 * 24);
  cpu->make_direct_map();
  cpu->reconstruct_n(20, 30, expected.data());
  gpu->reconstruct_n(20, 30, received.data());
  EXPECT_EQ(received, expected);
  gpu->reconstruct(22, received.data());
  EXPECT_TRUE(std::equal(received.begin(), received.begin() + 24, expected.begin() + 2 * 24));
  EXPECT_THROW(gpu->reconstruct_n(490, 11, received.data()), faiss::FaissException);
}

TEST_F(GpuIvfPair, KeepsItsDirectMap) {
  cpu->set_direct_map_type(faiss::DirectMap::Hashtable);
  gpu->copyFrom(*cpu);
  const auto back = gpu->to_cpu();
  EXPECT_EQ(back->direct_map.type, faiss::DirectMap::Hashtable);
  EXPECT_EQ(back->direct_map.hashtable, cpu->direct_map.hashtable);
}

TEST_F(GpuIvfPair, StandaloneCodes) {
  const Floats x = vectors(40, 24, 8);
  const std::vector<uint8_t> codes = encoded(*gpu, x);
  EXPECT_EQ(codes, encoded(*cpu, x));
  Floats decoded(x.size());
  Floats expected(x.size());
  gpu->sa_decode(40, codes.data(), decoded.data());
  cpu->sa_decode(40, codes.data(), expected.data());
  EXPECT_EQ(decoded, expected);
}

TEST_F(GpuIvfPair, ParametersOfACall) {
  const faiss::IDSelectorRange range(50, 300);
  SearchParametersIVFRotorQuant params;
  params.nprobe = 6;
  params.sel = const_cast<faiss::IDSelectorRange*>(&range);
  expect_close(search(*gpu, queries, 7, &params), search(*cpu, queries, 7, &params));
  faiss::SearchParametersIVF plain;
  plain.nprobe = 1;
  expect_close(search(*gpu, queries, 7, &plain), search(*cpu, queries, 7, &plain));
  params.levels = 1;
  EXPECT_NE(message_of([&] { search(*gpu, queries, 7, &params); }).find("levels"),
            std::string::npos);
  EXPECT_THROW(search(*gpu, queries, 0), faiss::FaissException);
}

TEST_F(GpuIvfPair, RangeSearch) {
  const Answer nearest = search(*cpu, queries, 20);
  const float radius = nearest.distances[15] * 1.0001F;
  faiss::RangeSearchResult expected(9);
  faiss::RangeSearchResult received(9);
  cpu->range_search(9, queries.data(), radius, &expected);
  gpu->range_search(9, queries.data(), radius, &received);
  for (size_t q = 0; q <= 9; ++q) {
    ASSERT_EQ(received.lims[q], expected.lims[q]);
  }
  for (size_t i = 0; i < expected.lims[9]; ++i) {
    EXPECT_EQ(received.labels[i], expected.labels[i]);
    EXPECT_NEAR(received.distances[i], expected.distances[i], 1e-4F);
  }
}

}  // namespace
}  // namespace rotorquant
