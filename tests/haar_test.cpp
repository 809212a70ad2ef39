// SPDX-License-Identifier: MIT
#include "rotorquant/haar.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

double row_dot(const std::vector<float>& q, size_t d, size_t a, size_t b) {
  double sum = 0.0;
  for (size_t j = 0; j < d; ++j) {
    sum += static_cast<double>(q[a * d + j]) * static_cast<double>(q[b * d + j]);
  }
  return sum;
}

double determinant3(const std::vector<float>& q) {
  const auto at = [&](size_t i, size_t j) { return static_cast<double>(q[3 * i + j]); };
  return at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)) -
         at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0)) +
         at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0));
}

TEST(Haar, IsOrthogonal) {
  for (const size_t d : {1U, 2U, 3U, 17U, 100U, 300U}) {
    const std::vector<float> q = haar_rotation(d, 5);
    ASSERT_EQ(q.size(), d * d);
    for (size_t a = 0; a < d; ++a) {
      for (size_t b = 0; b <= a; ++b) {
        ASSERT_NEAR(row_dot(q, d, a, b), a == b ? 1.0 : 0.0, 1e-6) << d << " " << a << " " << b;
      }
    }
  }
}

TEST(Haar, DependsOnTheSeedAlone) {
  EXPECT_EQ(haar_rotation(40, 1), haar_rotation(40, 1));
  EXPECT_NE(haar_rotation(40, 1), haar_rotation(40, 2));
}

TEST(Haar, DoesNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::vector<float> one = haar_rotation(400, 3);
  omp_set_num_threads(3);
  const std::vector<float> three = haar_rotation(400, 3);
  omp_set_num_threads(before);
  EXPECT_EQ(one, three);
}

TEST(Haar, EntriesHaveTheMomentsOfTheUniformLaw) {
  // In O(3) each entry has mean 0, second moment 1/3 and fourth moment 1/5 (so a standard deviation
  // of the square of sqrt(1/5 - 1/9)); both determinants are equally likely. 4 standard errors.
  constexpr size_t n = 20000;
  std::vector<double> mean(9);
  std::vector<double> second(9);
  double determinant = 0.0;
  for (size_t seed = 0; seed < n; ++seed) {
    const std::vector<float> q = haar_rotation(3, seed);
    for (size_t i = 0; i < 9; ++i) {
      const auto v = static_cast<double>(q[i]);
      mean[i] += v / n;
      second[i] += v * v / n;
    }
    determinant += determinant3(q) / n;
  }
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_NEAR(mean[i], 0.0, 4.0 * std::sqrt(1.0 / 3.0 / n)) << i;
    EXPECT_NEAR(second[i], 1.0 / 3.0, 4.0 * std::sqrt((1.0 / 5.0 - 1.0 / 9.0) / n)) << i;
  }
  EXPECT_NEAR(determinant, 0.0, 4.0 / std::sqrt(static_cast<double>(n)));
}

TEST(Haar, GoldenValues) {
  // Frozen: a change here changes every code made with a dense rotation.
  const std::vector<float> q = haar_rotation(16, 42);
  EXPECT_EQ(q[0], 0x1.15d868p-3F);
  EXPECT_EQ(q[1], -0x1.2ebcccp-2F);
  EXPECT_EQ(q[255], 0x1.dae238p-3F);
}

TEST(Haar, NeedsADimension) {
  EXPECT_THROW(haar_rotation(0, 1), Error);
}

}  // namespace
}  // namespace rotorquant
