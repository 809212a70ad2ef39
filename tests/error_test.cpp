// SPDX-License-Identifier: MIT
#include "rotorquant/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <vector>

namespace rotorquant {
namespace {

using testing::ThrowsMessage;

TEST(Error, SaysWhatWasExpectedAndReceived) {
  EXPECT_THAT([] { require(false, "d", 128, 100); },
              ThrowsMessage<Error>("rotorquant: d: expected 128, received 100"));
  EXPECT_THAT(
      [] { throw_error("metric", "l2, ip or cosine", "hamming"); },
      ThrowsMessage<Error>("rotorquant: metric: expected l2, ip or cosine, received hamming"));
}

TEST(Error, IsARuntimeError) {
  EXPECT_THROW(require(false, "k", 1, 0), std::runtime_error);
}

TEST(Error, IsNotThrownWhereTheConditionHolds) {
  EXPECT_NO_THROW(require(true, "d", 128, 128));
}

TEST(RequireFinite, NamesTheFirstRowAndColumn) {
  std::vector<float> x(12, 1.0F);
  EXPECT_NO_THROW(require_finite(x.data(), 4, 3, "x"));
  x[11] = std::numeric_limits<float>::infinity();
  x[7] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT([&] { require_finite(x.data(), 4, 3, "x"); },
              ThrowsMessage<Error>(
                  "rotorquant: x: expected finite numbers, received -inf in row 2, column 1"));
  x[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT([&] { require_finite(x.data(), 4, 3, "queries"); },
              ThrowsMessage<Error>(testing::HasSubstr("queries: expected finite numbers")));
  EXPECT_THAT([&] { require_finite(x.data(), 4, 3, "x"); },
              ThrowsMessage<Error>(testing::HasSubstr("row 1, column 2")));
}

TEST(RequireFinite, AcceptsEveryFiniteNumber) {
  const std::vector<float> x{std::numeric_limits<float>::max(),
                             std::numeric_limits<float>::lowest(),
                             std::numeric_limits<float>::denorm_min(), -0.0F};
  EXPECT_NO_THROW(require_finite(x.data(), 1, x.size(), "x"));
  EXPECT_NO_THROW(require_finite(nullptr, 0, 3, "x"));
}

}  // namespace
}  // namespace rotorquant
