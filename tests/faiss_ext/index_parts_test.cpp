// SPDX-License-Identifier: MIT
#include "faiss_ext/index_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace rotorquant {
namespace {

constexpr int64_t lowest = std::numeric_limits<int64_t>::min();
constexpr int64_t highest = std::numeric_limits<int64_t>::max();

void expect_holds(const std::vector<int64_t>& ids, const std::vector<int64_t>& asked) {
  const IdSet set(ids);
  for (const int64_t id : asked) {
    const bool expected = std::find(ids.begin(), ids.end(), id) != ids.end();
    EXPECT_EQ(set.holds(id), expected) << id;
    for (const size_t count : {1U, 7U, 63U, 64U}) {
      if (id > highest - 64) {
        continue;
      }
      uint64_t bits = 0;
      for (size_t i = 0; i < count; ++i) {
        const bool held =
            std::find(ids.begin(), ids.end(), id + static_cast<int64_t>(i)) != ids.end();
        bits |= static_cast<uint64_t>(held ? 1 : 0) << i;
      }
      EXPECT_EQ(set.held(id, count), bits) << id << " " << count;
    }
  }
}

TEST(IdSet, HoldsWhatItWasGiven) {
  const std::vector<int64_t> asked = {lowest, -300, -65, -64, -1,   0,       1,
                                      2,      63,   64,  65,  100,  126,     127,
                                      128,    129,  191, 200, 1000, 1 << 20, highest};
  expect_holds({}, asked);
  expect_holds({0}, asked);
  expect_holds({127, 2, 64, 65, 2, 128}, asked);
  expect_holds({-70, -1, 0, 190}, asked);
}

TEST(IdSet, FarApart) {
  const std::vector<int64_t> ids = {lowest, -5, 3, 4, int64_t{1} << 40, highest};
  expect_holds(ids,
               {lowest, lowest + 1, -6, -5, -64, 0, 3, 4, 5, (int64_t{1} << 40) - 63, highest});
}

}  // namespace
}  // namespace rotorquant
