// SPDX-License-Identifier: MIT
// What adding takes at its peak. A program of its own: a process has one high-water mark.
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"

namespace rotorquant {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// A "VmHWM:   123 kB" line of /proc/self/status in bytes; 0 where there is none.
size_t process_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":", 0) == 0) {
      return std::stoull(line.substr(key.size() + 1)) << 10U;
    }
  }
  return 0;
}

/// Sets the high-water mark to what is resident now; false where the system cannot.
bool forget_peak() {
  std::ofstream refs("/proc/self/clear_refs");
  refs << "5" << std::flush;
  return refs.good() && process_bytes("VmHWM") > 0;
}

TEST(Memory, AddingInBlocksNeverHoldsTheStoreTwice) {
  if (sanitized || !forget_peak()) {
    GTEST_SKIP() << "no high-water mark of the memory in use here";
  }
  constexpr int dim = 128;
  constexpr size_t rows = 20000;
  constexpr size_t adds = 100;  // in all 2,000,000 codes of 58 bytes: 116 MB
  std::vector<float> block(rows * dim);
  std::mt19937 random(7);
  std::normal_distribution<float> gaussian;
  for (float& v : block) {
    v = gaussian(random);
  }
  IndexRotorQuant index(dim, 3);
  index.encode_effort = EncodeEffort::fast;
  index.add(static_cast<idx_t>(rows), block.data());  // whatever threads keep
  ASSERT_TRUE(forget_peak());
  const size_t before = process_bytes("VmRSS");
  for (size_t i = 1; i < adds; ++i) {
    index.add(static_cast<idx_t>(rows), block.data());
  }
  const size_t final_bytes = adds * rows * index.sa_code_size();
  const size_t block_bytes = rows * dim * sizeof(float);
  constexpr size_t allowance = size_t{64} << 20U;
  EXPECT_LE(process_bytes("VmHWM"), before + final_bytes + block_bytes + allowance);
  EXPECT_GE(process_bytes("VmHWM"), before + final_bytes / 2) << "the measurement is broken";
}

}  // namespace
}  // namespace rotorquant
