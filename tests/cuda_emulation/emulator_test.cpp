// SPDX-License-Identifier: MIT
#include "cuda/emulator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "cuda/device.h"
#include "cuda/internals.h"
#include "gpu/gpu_test.h"
#include "gpu/lists_test_data.h"

namespace rotorquant::gpu {
namespace {

using emulator::Schedule;

class EverySchedule : public testing::TestWithParam<Schedule> {
 protected:
  void SetUp() override { emulator::set_schedule(GetParam()); }
  void TearDown() override { emulator::set_schedule(Schedule::forward); }
};

TEST_P(EverySchedule, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(3 * 2 * 64);
  emulator::run({3, 2, 64, 0},
                [&] { ++runs[(block_y() * blocks_x() + block_x()) * threads() + thread_id()]; });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST_P(EverySchedule, BarriersSeparatePhases) {
  std::vector<int> sums(96);
  emulator::run({1, 1, 96, 96 * sizeof(int)}, [&] {
    auto* shared = reinterpret_cast<int*>(shared_memory());
    shared[thread_id()] = static_cast<int>(thread_id());
    block_barrier();
    sums[thread_id()] = std::accumulate(shared, shared + 96, 0);
  });
  EXPECT_EQ(sums, std::vector<int>(96, 95 * 96 / 2));
}

TEST_P(EverySchedule, WarpOperations) {
  emulator::run({1, 1, 64, 0}, [] {
    const unsigned lane = lane_id();
    EXPECT_EQ(shuffle(100 * thread_id(), 7), 100 * (warp_id() * 32 + 7));
    EXPECT_EQ(shuffle_xor(uint64_t{lane} << 40U, 5), uint64_t{lane ^ 5U} << 40U);
    EXPECT_EQ(ballot(lane % 3 == 0), 0x49249249U);
    uint32_t sum = thread_id();
    for (unsigned width = 16; width > 0; width /= 2) {
      sum += shuffle_xor(sum, width);
    }
    EXPECT_EQ(sum, warp_id() == 0 ? 496U : 496U + 32 * 32);
  });
}

TEST_P(EverySchedule, TensorTileIsTheMatrixProduct) {
  Rng rng(3, 1);
  std::vector<uint32_t> a(16 * 32);
  std::vector<uint32_t> b(32 * 8);
  for (auto* matrix : {&a, &b}) {
    for (uint32_t& v : *matrix) {
      v = static_cast<uint32_t>(rng.below(256));
    }
  }
  std::vector<int32_t> c(16 * 8);
  emulator::run({1, 1, 32, 0}, [&] {
    // The fragments as the PTX manual gives them for m16n8k32 with 8-bit operands.
    const unsigned group = lane_id() / 4;
    const unsigned t = lane_id() % 4;
    uint32_t left[4] = {};
    uint32_t right[2] = {};
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned row = (i / 4) % 2 == 0 ? group : group + 8;
      const unsigned k = t * 4 + i % 4 + (i < 8 ? 0 : 16);
      left[i / 4] |= a[row * 32 + k] << (8 * (i % 4));
    }
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned k = t * 4 + i % 4 + (i < 4 ? 0 : 16);
      right[i / 4] |= b[k * 8 + group] << (8 * (i % 4));
    }
    int32_t sums[4] = {1, 1, 1, 1};
    mma_bytes(sums, left, right);
    for (unsigned i = 0; i < 4; ++i) {
      c[(i < 2 ? group : group + 8) * 8 + t * 2 + i % 2] = sums[i];
    }
  });
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned column = 0; column < 8; ++column) {
      uint32_t sum = 1;
      for (unsigned k = 0; k < 32; ++k) {
        sum += a[row * 32 + k] * b[k * 8 + column];
      }
      EXPECT_EQ(c[row * 8 + column], static_cast<int32_t>(sum)) << row << " " << column;
    }
  }
}

/// A kernel whose result depended on the order of threads or blocks would have a race.
TEST_P(EverySchedule, ResultsDoNotDependOnTheOrderOfThreads) {
  using namespace test_data;  // NOLINT(google-build-using-namespace)
  const Stores stores(codec_params(21, 3, true), 3000);
  const Floats queries = stores.queries(6);
  const Answers expected = stores.on_cpu(queries, 10);
  for (const size_t tensor_queries : {1, 100}) {
    for (const size_t capacity : {0, 64}) {
      GpuSearchOptions options;
      options.tensor_queries = tensor_queries;
      options.candidate_capacity = capacity;
      EXPECT_EQ(stores.on_gpu(queries, 10, {}, options), expected);
    }
  }
  const Lists lists(codec_params(21, 4, true), 900, 8);
  for (const size_t capacity : {0, 64}) {
    GpuSearchOptions options;
    options.candidate_capacity = capacity;
    lists.expect_same(10, 5, {}, options);
  }
  const Floats x = clustered(70, 21, 5, 11);
  Bytes codes(70 * stores.codec.code_bytes());
  stores.gpu_codec.encode(x.data(), 70, codes.data());
  EXPECT_EQ(codes, stores.encoded_on_cpu(x));
  const RotorQuantMse mse(50, 3);
  const GpuRotorQuantMse gpu_mse(stores.resources, mse);
  const Floats rows = gaussian(40, 50, 7);
  Bytes received(40 * mse.code_size());
  Bytes wanted(received.size());
  gpu_mse.encode(rows.data(), 40, received.data());
  mse.encode(rows.data(), 40, wanted.data());
  EXPECT_EQ(received, wanted);
}

INSTANTIATE_TEST_SUITE_P(Schedules, EverySchedule,
                         testing::Values(Schedule::forward, Schedule::backward, Schedule::shuffled),
                         [](const auto& schedule) {
                           return schedule.param == Schedule::forward    ? "forward"
                                  : schedule.param == Schedule::backward ? "backward"
                                                                         : "shuffled";
                         });

TEST(Emulator, BarrierThatNotAllComeToIsAnError) {
  EXPECT_THROW(emulator::run({1, 1, 64, 0},
                             [] {
                               if (thread_id() != 40) {
                                 block_barrier();
                               }
                             }),
               Error);
  EXPECT_THROW(emulator::run({1, 1, 32, 0},
                             [] {
                               if (lane_id() < 16) {
                                 ballot(true);
                               } else {
                                 block_barrier();
                               }
                             }),
               Error);
  int runs = 0;
  emulator::run({1, 1, 32, 0}, [&] { ++runs; });  // it still works
  EXPECT_EQ(runs, 32);
}

TEST(Emulator, ErrorsLeaveTheLaunch) {
  EXPECT_THROW(
      emulator::run({2, 1, 32, 0}, [] { require(thread_id() != 9, "thread", "not 9", 9); }), Error);
  EXPECT_THROW(emulator::run({1, 1, 33, 0}, [] {}), Error);
}

TEST(Emulator, DeviceMemoryIsTold) {
  const GpuResources resources;
  const Buffer<float> buffer(resources.handle(), 10);
  std::vector<float> host(10, 3.0F);
  EXPECT_TRUE(resources.owns(buffer.data()));
  EXPECT_TRUE(resources.owns(buffer.data() + 9));
  EXPECT_FALSE(resources.owns(buffer.data() + 10));
  EXPECT_FALSE(resources.owns(host.data()));
}

/// What a caller keeps on the device is used and filled there.
TEST(Emulator, ArraysOnTheDevice) {
  using namespace test_data;  // NOLINT(google-build-using-namespace)
  const Stores stores(codec_params(21, 3, true), 400);
  const Floats queries = stores.queries(5);
  const Answers expected = stores.on_cpu(queries, 6);
  const DevicePtr& device = stores.resources.handle();
  const auto x = Buffer<float>::of(device, queries);
  Buffer<float> distances(device, 30);
  Buffer<int64_t> ids(device, 30);
  search(stores.gpu_codec, stores.gpu, x.data(), 5, 6, {}, distances.data(), ids.data());
  EXPECT_EQ((Answers{distances.read(), ids.read()}), expected);
  Buffer<uint8_t> codes(device, 5 * stores.codec.code_bytes());
  stores.gpu_codec.encode(x.data(), 5, codes.data());
  EXPECT_EQ(codes.read(), stores.encoded_on_cpu(queries));
  const Lists lists(codec_params(21, 3, true), 400, 6);
  search(lists.gpu, x.data(), 5, 6, nullptr, 4, {}, distances.data(), ids.data());
  expect_close(lists.on_cpu(queries, 6, 4), {distances.read(), ids.read()}, list_rounding);
  Floats bad = queries;
  bad[21 + 3] = INFINITY;
  const auto bad_x = Buffer<float>::of(device, bad);
  EXPECT_NE(message_of([&] {
              search(stores.gpu_codec, stores.gpu, bad_x.data(), 5, 6, {}, distances.data(),
                     ids.data());
            }).find("row 1"),
            std::string::npos);
}

}  // namespace
}  // namespace rotorquant::gpu
