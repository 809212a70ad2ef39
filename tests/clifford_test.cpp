// SPDX-License-Identifier: MIT
#include "rotorquant/clifford.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr int trials = 200;
constexpr double tolerance = 1e-13;

MultivectorD random_multivector(Rng& rng) {
  MultivectorD m;
  for (double& v : m.c) {
    v = rng.gaussian();
  }
  return m;
}

MultivectorD vector_element(const std::array<double, 3>& v) {
  MultivectorD m;
  m[1] = v[0];
  m[2] = v[1];
  m[3] = v[2];
  return m;
}

std::array<double, 3> random_vector(Rng& rng) {
  return {rng.gaussian(), rng.gaussian(), rng.gaussian()};
}

double dot(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

void expect_near(const MultivectorD& a, const MultivectorD& b, double bound = tolerance) {
  for (size_t i = 0; i < blade_count; ++i) {
    EXPECT_NEAR(a[i], b[i], bound) << "blade " << i;
  }
}

MultivectorD basis(size_t blade) {
  MultivectorD m;
  m[blade] = 1.0;
  return m;
}

TEST(Multivector, BasisVectorsSquareToOneAndAnticommute) {
  for (size_t i = 1; i <= 3; ++i) {
    expect_near(geometric_product(basis(i), basis(i)), basis(0), 0.0);
    for (size_t j = i + 1; j <= 3; ++j) {
      const MultivectorD ij = geometric_product(basis(i), basis(j));
      const MultivectorD ji = geometric_product(basis(j), basis(i));
      const MultivectorD expected = basis(i + j + 1);  // e12 is 4, e13 is 5, e23 is 6
      expect_near(ij, expected, 0.0);
      expect_near(reverse(expected), ji, 0.0);
    }
  }
}

TEST(Multivector, TheTrivectorSquaresToMinusOneAndCommutes) {
  MultivectorD minus_one;
  minus_one[0] = -1.0;
  expect_near(geometric_product(basis(7), basis(7)), minus_one, 0.0);
  for (size_t i = 0; i < blade_count; ++i) {
    expect_near(geometric_product(basis(7), basis(i)), geometric_product(basis(i), basis(7)), 0.0);
  }
}

TEST(Multivector, ProductIsAssociativeAndHasAUnit) {
  Rng rng(1);
  for (int t = 0; t < trials; ++t) {
    const MultivectorD a = random_multivector(rng);
    const MultivectorD b = random_multivector(rng);
    const MultivectorD c = random_multivector(rng);
    expect_near(geometric_product(geometric_product(a, b), c),
                geometric_product(a, geometric_product(b, c)), 1e-12);
    expect_near(geometric_product(a, basis(0)), a, 0.0);
    expect_near(geometric_product(basis(0), a), a, 0.0);
  }
}

TEST(Multivector, ReverseTurnsProductsRound) {
  Rng rng(2);
  for (int t = 0; t < trials; ++t) {
    const MultivectorD a = random_multivector(rng);
    const MultivectorD b = random_multivector(rng);
    expect_near(reverse(geometric_product(a, b)), geometric_product(reverse(b), reverse(a)));
    expect_near(reverse(reverse(a)), a, 0.0);
  }
}

TEST(Multivector, GradesAddUpToTheWhole) {
  Rng rng(3);
  const MultivectorD a = random_multivector(rng);
  MultivectorD sum;
  for (int k = 0; k <= 3; ++k) {
    const MultivectorD part = grade(a, k);
    expect_near(grade(part, k), part, 0.0);
    for (size_t i = 0; i < blade_count; ++i) {
      sum[i] += part[i];
    }
  }
  expect_near(sum, a, 0.0);
  EXPECT_THROW(grade(a, 4), Error);
  EXPECT_THROW(grade(a, -1), Error);
}

TEST(Multivector, NormIsTheScalarPartOfAReverseA) {
  Rng rng(4);
  for (int t = 0; t < trials; ++t) {
    const MultivectorD a = random_multivector(rng);
    EXPECT_NEAR(norm(a) * norm(a), geometric_product(a, reverse(a))[0], 1e-12);
  }
}

TEST(Multivector, FloatAgreesWithDouble) {
  Rng rng(5);
  const MultivectorD a = random_multivector(rng);
  const MultivectorD b = random_multivector(rng);
  Multivector af;
  Multivector bf;
  for (size_t i = 0; i < blade_count; ++i) {
    af[i] = static_cast<float>(a[i]);
    bf[i] = static_cast<float>(b[i]);
  }
  const Multivector product = geometric_product(af, bf);
  for (size_t i = 0; i < blade_count; ++i) {
    EXPECT_NEAR(static_cast<double>(product[i]), geometric_product(a, b)[i], 1e-5);
  }
}

TEST(Rotor, TimesItsReverseIsOne) {
  Rng rng(6);
  for (int t = 0; t < trials; ++t) {
    const Rotor r = Rotor::random(rng);
    EXPECT_NEAR(norm(r), 1.0, tolerance);
    const auto m = to_multivector<double>(r);
    expect_near(geometric_product(m, reverse(m)), basis(0));
    const Rotor one = r * reverse(r);
    EXPECT_NEAR(one.s, 1.0, tolerance);
    EXPECT_NEAR(std::abs(one.b12) + std::abs(one.b13) + std::abs(one.b23), 0.0, tolerance);
  }
}

TEST(Rotor, ProductIsTheGeometricProduct) {
  Rng rng(7);
  for (int t = 0; t < trials; ++t) {
    const Rotor a = Rotor::random(rng);
    const Rotor b = Rotor::random(rng);
    expect_near(to_multivector<double>(a * b),
                geometric_product(to_multivector<double>(a), to_multivector<double>(b)));
  }
}

TEST(Rotor, SandwichKeepsNormsAndInnerProducts) {
  Rng rng(8);
  for (int t = 0; t < trials; ++t) {
    const Rotor r = Rotor::random(rng);
    const auto u = random_vector(rng);
    const auto v = random_vector(rng);
    EXPECT_NEAR(dot(sandwich(r, u), sandwich(r, v)), dot(u, v), 1e-12);
    EXPECT_NEAR(dot(sandwich(r, u), sandwich(r, u)), dot(u, u), 1e-12);
  }
}

TEST(Rotor, SandwichKeepsGradesAndTheirNorms) {
  Rng rng(9);
  for (int t = 0; t < trials; ++t) {
    const Rotor r = Rotor::random(rng);
    const MultivectorD m = random_multivector(rng);
    for (int k = 0; k <= 3; ++k) {
      const MultivectorD turned = sandwich(r, grade(m, k));
      expect_near(grade(turned, k), turned, 1e-14 * 64);
      EXPECT_NEAR(norm(turned), norm(grade(m, k)), 1e-12);
      expect_near(grade(sandwich(r, m), k), turned, 1e-12);
    }
  }
}

TEST(Rotor, ProductComposes) {
  Rng rng(10);
  for (int t = 0; t < trials; ++t) {
    const Rotor first = Rotor::random(rng);
    const Rotor second = Rotor::random(rng);
    const MultivectorD m = random_multivector(rng);
    expect_near(sandwich(second * first, m), sandwich(second, sandwich(first, m)), 1e-12);
  }
}

TEST(Rotor, ReverseUndoes) {
  Rng rng(11);
  const Rotor r = Rotor::random(rng);
  const MultivectorD m = random_multivector(rng);
  expect_near(sandwich(reverse(r), sandwich(r, m)), m);
}

TEST(Rotor, MatrixAgreesWithTheSandwich) {
  Rng rng(12);
  for (int t = 0; t < trials; ++t) {
    const Rotor r = Rotor::random(rng);
    const auto v = random_vector(rng);
    const MultivectorD by_definition = sandwich(r, vector_element(v));
    const auto fast = sandwich(r, v);
    const std::array<float, 9> m = rotation_matrix(r);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(fast[i], by_definition[1 + i], tolerance);
      double by_matrix = 0.0;
      for (size_t j = 0; j < 3; ++j) {
        by_matrix += static_cast<double>(m[3 * i + j]) * v[j];
      }
      EXPECT_NEAR(by_matrix, by_definition[1 + i], 1e-6);
    }
  }
}

TEST(Rotor, AxisAngleTurnsCounterClockwise) {
  const double quarter = 0.5 * std::numbers::pi;
  const auto about_e3 = sandwich(Rotor::from_axis_angle({0, 0, 2}, quarter), {1, 0, 0});
  EXPECT_NEAR(about_e3[1], 1.0, tolerance);
  const auto about_e1 = sandwich(Rotor::from_axis_angle({1, 0, 0}, quarter), {0, 1, 0});
  EXPECT_NEAR(about_e1[2], 1.0, tolerance);
  const auto about_e2 = sandwich(Rotor::from_axis_angle({0, 1, 0}, quarter), {0, 0, 1});
  EXPECT_NEAR(about_e2[0], 1.0, tolerance);
  EXPECT_THROW(Rotor::from_axis_angle({0, 0, 0}, 1.0), Error);
}

TEST(Rotor, PlanarTurnsTheFirstTwoCoordinatesOnly) {
  const double angle = 0.3;
  const auto v = sandwich(Rotor::planar(angle), {1, 0, 5});
  EXPECT_NEAR(v[0], std::cos(angle), tolerance);
  EXPECT_NEAR(v[1], std::sin(angle), tolerance);
  EXPECT_NEAR(v[2], 5.0, tolerance);
  Rng rng(13);
  const Rotor random = Rotor::random_planar(rng);
  EXPECT_NEAR(norm(random), 1.0, tolerance);
  EXPECT_EQ(random.b13, 0.0);
  EXPECT_EQ(random.b23, 0.0);
  const auto w = sandwich(random, {0.5, -1, 5});
  EXPECT_NEAR(w[2], 5.0, tolerance);
  EXPECT_NEAR(w[0] * w[0] + w[1] * w[1], 1.25, tolerance);
}

TEST(Rotor, ExponentialMatchesItsSeries) {
  const MultivectorD b{{0, 0, 0, 0, 0.3, -0.7, 0.2, 0}};
  MultivectorD sum = basis(0);
  MultivectorD term = basis(0);
  for (int n = 1; n < 25; ++n) {
    term = geometric_product(term, b);
    for (size_t i = 0; i < blade_count; ++i) {
      term[i] /= n;
      sum[i] += term[i];
    }
  }
  expect_near(to_multivector<double>(Rotor::exp(0.3, -0.7, 0.2)), sum);
  EXPECT_EQ(Rotor::exp(0, 0, 0), Rotor{});
}

TEST(Rotor, RandomOnesAreUniform) {
  // The image of a fixed vector is uniform on the sphere: mean 0, covariance 1/3. Standard errors
  // are sqrt(1/3/n) and sqrt(4/45/n) on the diagonal: 4 of each.
  Rng rng(14);
  constexpr int n = 20000;
  std::array<double, 3> mean{};
  std::array<double, 3> second{};
  for (int t = 0; t < n; ++t) {
    const auto v = sandwich(Rotor::random(rng), {1, 0, 0});
    for (size_t i = 0; i < 3; ++i) {
      mean[i] += v[i] / n;
      second[i] += v[i] * v[i] / n;
    }
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(mean[i], 0.0, 4.0 * std::sqrt(1.0 / 3.0 / n));
    EXPECT_NEAR(second[i], 1.0 / 3.0, 4.0 * std::sqrt(4.0 / 45.0 / n));
  }
}

TEST(Embed, RoundTripsAnyLengthAndPadsWithZeros) {
  for (const size_t d : {1U, 2U, 3U, 4U, 100U, 128U, 129U}) {
    std::vector<float> x(d);
    for (size_t j = 0; j < d; ++j) {
      x[j] = static_cast<float>(j) + 1.0F;
    }
    const auto m = embed(x.data(), d);
    ASSERT_EQ(m.size(), (d + 2) / 3);
    for (const Multivector& v : m) {
      EXPECT_EQ(grade(v, 1), v);
    }
    EXPECT_EQ(m.back()[3] == 0.0F, d % 3 != 0);
    std::vector<float> back(d, -1.0F);
    extract(m, back.data(), d);
    EXPECT_EQ(back, x);
    EXPECT_THROW(extract(m, back.data(), d + 3), Error);
  }
}

}  // namespace
}  // namespace rotorquant
