// SPDX-License-Identifier: MIT
#include "rotorquant/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "rotorquant/clifford.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr Rotation both_rotations[] = {Rotation::rotor_blocks, Rotation::haar};
constexpr size_t dimensions[] = {1, 2, 3, 100, 128, 129};

double dot(const float* a, const float* b, size_t d) {
  double sum = 0.0;
  for (size_t j = 0; j < d; ++j) {
    sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  }
  return sum;
}

std::vector<float> gaussian_rows(size_t n, size_t d, uint64_t seed) {
  Rng rng(seed, 99);
  std::vector<float> x(n * d);
  for (float& v : x) {
    v = static_cast<float>(rng.gaussian());
  }
  return x;
}

std::vector<float> unit_rows(size_t n, size_t d, uint64_t seed) {
  std::vector<float> x = gaussian_rows(n, d, seed);
  for (size_t i = 0; i < n; ++i) {
    const auto norm = static_cast<float>(std::sqrt(dot(&x[i * d], &x[i * d], d)));
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] /= norm;
    }
  }
  return x;
}

/// Mean of |x - y|^2 / |x|^2 over the rows.
double distortion(const std::vector<float>& x, const std::vector<float>& y, size_t d) {
  const size_t n = x.size() / d;
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) {
    double error = 0.0;
    for (size_t j = i * d; j < (i + 1) * d; ++j) {
      error += std::pow(static_cast<double>(x[j]) - static_cast<double>(y[j]), 2);
    }
    sum += error / dot(&x[i * d], &x[i * d], d);
  }
  return sum / static_cast<double>(n);
}

double distortion(const RotorQuantMse& quantizer, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  quantizer.forward(x.data(), x.size() / quantizer.d(), y.data());
  return distortion(x, y, quantizer.d());
}

TEST(RotorQuantMse, ShapesAndCodeSizes) {
  for (const size_t d : dimensions) {
    const RotorQuantMse rotors(d, 3);
    const size_t padded = (d + 2) / 3 * 3;
    EXPECT_EQ(rotors.rotated_dim(), padded);
    EXPECT_EQ(rotors.components(), padded);
    EXPECT_EQ(rotors.code_size(), 4 + (3 * padded + 7) / 8);
    EXPECT_EQ(rotors.code_bytes(), rotors.code_size());
    EXPECT_EQ(rotors.parameters(), 4 * padded / 3);
    EXPECT_EQ(rotors.multiply_adds(), 3 * padded);
    const RotorQuantMse haar(d, 3, 42, {}, Rotation::haar);
    EXPECT_EQ(haar.components(), d);
    EXPECT_EQ(haar.code_size(), 4 + (3 * d + 7) / 8);
    EXPECT_EQ(haar.parameters(), d * d);
    const std::vector<float> x = gaussian_rows(5, d, d);
    const MseCodes codes = rotors.quantize(x.data(), 5);
    EXPECT_EQ(codes.n, 5U);
    EXPECT_EQ(codes.indices.size(), 5 * padded);
    EXPECT_EQ(codes.norms.size(), 5U);
    EXPECT_THAT(codes.indices, testing::Each(testing::Lt(8)));
  }
}

TEST(RotorQuantMse, QuantizesTheSandwichOfEachTriple) {
  constexpr size_t d = 100;
  constexpr uint64_t seed = 7;
  const RotorQuantMse quantizer(d, 4, seed);
  const std::vector<float> x = unit_rows(1, d, 1);
  const MseCodes codes = quantizer.quantize(x.data(), 1);
  std::vector<Multivector> decoded;
  const std::vector<Multivector> embedded = embed(x.data(), d);
  for (size_t g = 0; g < embedded.size(); ++g) {
    Rng rng(seed + g);
    const Rotor rotor = Rotor::random(rng);
    const Multivector turned = sandwich(rotor, embedded[g]);
    Multivector quantized;
    for (size_t i = 0; i < 3; ++i) {
      const uint8_t index = codes.indices[3 * g + i];
      quantized[1 + i] = quantizer.codebook().decode(index);
      EXPECT_EQ(index, quantizer.codebook().encode(turned[1 + i])) << g;
    }
    decoded.push_back(sandwich(reverse(rotor), quantized));
  }
  std::vector<float> expected(d);
  extract(decoded, expected.data(), d);
  std::vector<float> actual(d);
  quantizer.dequantize(codes, actual.data());
  for (size_t j = 0; j < d; ++j) {
    EXPECT_NEAR(actual[j], expected[j], 1e-6) << j;
  }
}

TEST(RotorQuantMse, DistortionOfRandomVectorsIsLloydMaxs) {
  // A coordinate of a random unit vector is nearly N(0, 1/d), so the distortion is Lloyd-Max's. At
  // d = 128 the padding adds one coordinate that carries nothing.
  const std::vector<float> x = unit_rows(1000, 128, 2);
  for (const Rotation rotation : both_rotations) {
    for (int bits = 1; bits <= 5; ++bits) {
      const RotorQuantMse quantizer(128, bits, 42, {}, rotation);
      const double expected = gaussian_distortion(ScalarCodebook::gaussian(bits, 1.0), 1.0);
      EXPECT_NEAR(distortion(quantizer, x) / expected, 1.0, 0.03) << bits;
    }
  }
}

TEST(RotorQuantMse, DistortionFallsWithTheBitsAtEveryDimension) {
  for (const size_t d : dimensions) {
    const std::vector<float> x = gaussian_rows(200, d, 3);
    for (const Rotation rotation : both_rotations) {
      double before = std::numeric_limits<double>::infinity();
      // At d = 1 the normalised coordinate is 1 or -1, which more levels need not hit better.
      const int last = d < 3 ? 1 : 8;
      for (int bits = 1; bits <= last; ++bits) {
        const double now = distortion(RotorQuantMse(d, bits, 42, {}, rotation), x);
        EXPECT_LT(now, before) << d << " " << bits;
        before = now;
      }
      EXPECT_LT(before, d < 3 ? 0.7 : 0.002) << d;
    }
  }
}

TEST(RotorQuantMse, NormsAreKeptApart) {
  constexpr size_t d = 33;
  std::vector<float> x = gaussian_rows(4, d, 4);
  const RotorQuantMse quantizer(d, 3);
  const MseCodes codes = quantizer.quantize(x.data(), 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(codes.norms[i], std::sqrt(dot(&x[i * d], &x[i * d], d)), 1e-5);
  }
  for (float& v : x) {
    v *= 1024.0F;
  }
  EXPECT_EQ(quantizer.quantize(x.data(), 4).indices, codes.indices);
  const std::vector<float> zeros(d, 0.0F);
  std::vector<float> back(d, 1.0F);
  EXPECT_EQ(quantizer.quantize(zeros.data(), 1).norms[0], 1e-8F);
  quantizer.forward(zeros.data(), 1, back.data());
  EXPECT_THAT(back, testing::Each(testing::FloatNear(0.0F, 1e-8F)));
}

TEST(RotorQuantMse, GradesThatHoldNothingCostBytesAndChangeNothing) {
  constexpr size_t d = 100;
  constexpr size_t triples = 34;
  const std::vector<float> x = gaussian_rows(50, d, 5);
  const RotorQuantMse plain(d, 3);
  const RotorQuantMse graded(
      d, 3, 42,
      {{Grade::scalar, 2}, {Grade::vector, 3}, {Grade::bivector, 1}, {Grade::trivector, 8}});
  EXPECT_EQ(graded.components(), 8 * triples);
  EXPECT_EQ(plain.code_size(), 4 + (3 * 3 * triples + 7) / 8);
  EXPECT_EQ(graded.code_size(), 4 + ((3 * 3 + 2 + 3 + 8) * triples + 7) / 8);
  std::vector<float> a(x.size());
  std::vector<float> b(x.size());
  plain.forward(x.data(), 50, a.data());
  graded.forward(x.data(), 50, b.data());
  EXPECT_EQ(a, b);
  // Through the packed bytes as well, whose fields follow one another.
  std::vector<uint8_t> codes(50 * graded.code_size());
  graded.encode(x.data(), 50, codes.data());
  graded.decode(codes.data(), 50, b.data());
  EXPECT_EQ(a, b);
}

TEST(RotorQuantMse, OtherGradesReconstructToNothingEvenByTheDefinition) {
  // The centroid nearest to 0 is not 0, yet its sandwich stays out of grade 1.
  const ScalarCodebook codebook = ScalarCodebook::gaussian(2, 0.1);
  Rng rng(6);
  const Rotor rotor = Rotor::random(rng);
  MultivectorD others;
  for (const size_t blade : {0U, 4U, 5U, 6U, 7U}) {
    others[blade] = static_cast<double>(codebook.decode(codebook.encode(0.0F)));
    EXPECT_NE(others[blade], 0.0);
  }
  EXPECT_NEAR(norm(grade(sandwich(reverse(rotor), others), 1)), 0.0, 1e-16);
}

TEST(RotorQuantMse, GradeBitsOverrideTheVectorBits) {
  const std::vector<float> x = gaussian_rows(20, 30, 7);
  const RotorQuantMse by_map(30, 2, 42, {{Grade::vector, 5}});
  const RotorQuantMse by_bits(30, 5);
  EXPECT_EQ(by_map.quantize(x.data(), 20).indices, by_bits.quantize(x.data(), 20).indices);
  EXPECT_EQ(by_map.code_size(), by_bits.code_size());
  EXPECT_THROW(RotorQuantMse(30, 2, 42, {{Grade::scalar, 9}}), Error);
  EXPECT_THROW(RotorQuantMse(30, 2, 42, {{Grade::scalar, 2}}, Rotation::haar), Error);
  EXPECT_NO_THROW(RotorQuantMse(30, 2, 42, {{Grade::vector, 2}}, Rotation::haar));
}

TEST(RotorQuantMse, PackedCodesHoldTheSameNumbers) {
  for (const size_t d : dimensions) {
    const std::vector<float> x = gaussian_rows(9, d, 8);
    for (const Rotation rotation : both_rotations) {
      for (int bits = 1; bits <= 8; ++bits) {
        const RotorQuantMse quantizer(d, bits, 42, {}, rotation);
        std::vector<uint8_t> codes(9 * quantizer.code_size());
        quantizer.encode(x.data(), 9, codes.data());
        std::vector<float> packed(x.size());
        std::vector<float> plain(x.size());
        quantizer.decode(codes.data(), 9, packed.data());
        quantizer.forward(x.data(), 9, plain.data());
        ASSERT_EQ(packed, plain) << d << " " << bits;
      }
    }
  }
}

TEST(RotorQuantMse, ABlockDiagonalPassIsWorseOnCorrelatedData) {
  // All the variance in a few coordinates: rotors of triples leave it there, a dense rotation
  // spreads it. This is why the codec of this library mixes triples in layers.
  constexpr size_t d = 96;
  std::vector<float> x = gaussian_rows(500, d, 9);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] *= i % d < 6 ? 10.0F : 1.0F;
  }
  for (int bits = 2; bits <= 4; ++bits) {
    const double rotors = distortion(RotorQuantMse(d, bits), x);
    const double haar = distortion(RotorQuantMse(d, bits, 42, {}, Rotation::haar), x);
    EXPECT_GT(rotors, 1.5 * haar) << bits;
  }
}

TEST(RotorQuantMse, DoesNotDependOnTheNumberOfThreads) {
  const std::vector<float> x = gaussian_rows(700, 50, 10);
  const RotorQuantMse mse(50, 3);
  const RotorQuantProd prod(50, 3);
  std::vector<uint8_t> one(700 * prod.code_size());
  std::vector<uint8_t> four(one.size());
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const MseCodes single = mse.quantize(x.data(), 700);
  prod.encode(x.data(), 700, one.data());
  omp_set_num_threads(4);
  const MseCodes multiple = mse.quantize(x.data(), 700);
  prod.encode(x.data(), 700, four.data());
  omp_set_num_threads(before);
  EXPECT_EQ(single.indices, multiple.indices);
  EXPECT_EQ(single.norms, multiple.norms);
  EXPECT_EQ(one, four);
}

TEST(RotorQuantMse, ErrorsNameTheArgument) {
  EXPECT_THROW(RotorQuantMse(0, 2), Error);
  EXPECT_THROW(RotorQuantMse(8, 0), Error);
  EXPECT_THROW(RotorQuantMse(8, 9), Error);
  const RotorQuantMse quantizer(3, 2);
  const std::vector<float> x{1, 2, 3, 4, std::numeric_limits<float>::infinity(), 6};
  EXPECT_THAT([&] { static_cast<void>(quantizer.quantize(x.data(), 2)); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("row 1")));
  MseCodes codes = quantizer.quantize(x.data(), 1);
  std::vector<float> y(3);
  codes.indices[1] = 4;
  EXPECT_THROW(quantizer.dequantize(codes, y.data()), Error);
  codes.indices.pop_back();
  EXPECT_THROW(quantizer.dequantize(codes, y.data()), Error);
}

TEST(RotorQuantProd, StageOneHasOneBitLessButOneAtLeast) {
  for (int bits = 1; bits <= 8; ++bits) {
    const RotorQuantProd quantizer(30, bits, 17);
    EXPECT_EQ(quantizer.stage1().bits(), std::max(bits - 1, 1));
    EXPECT_EQ(quantizer.bits(), bits);
    EXPECT_EQ(quantizer.code_size(),
              8 + (30 * static_cast<size_t>(std::max(bits - 1, 1)) + 7) / 8 + 3);
  }
  EXPECT_EQ(RotorQuantProd(30, 3).qjl_dim(), 30U);
  EXPECT_THROW(RotorQuantProd(30, 0), Error);
  EXPECT_THROW(RotorQuantProd(30, 9), Error);
}

TEST(RotorQuantProd, InnerProductsAreUnbiasedWithTheStatedVariance) {
  // Over the choice of S the error has mean 0 and variance (pi/2 |r|^2 |y|^2 - <r, y>^2) / m,
  // whatever x^ is, so x^ may vary with the seed as well. The standardised error z then has mean 0
  // and variance 1, and kurtosis near 3 at m = 48: the mean of z^2 has standard error sqrt(2/N).
  constexpr size_t d = 32;
  constexpr size_t m = 48;
  constexpr size_t sketches = 4000;
  const std::vector<float> x = unit_rows(1, d, 11);
  std::vector<float> y = unit_rows(1, d, 12);
  for (size_t j = 0; j < d; ++j) {
    y[j] = 2.0F * (y[j] + 0.5F * x[j]);  // correlated with x, where a bias would show
  }
  for (const int bits : {1, 3}) {
    double mean = 0.0;
    double square = 0.0;
    for (size_t s = 0; s < sketches; ++s) {
      // Seeds far apart: triple g of one seed is not triple 0 of another.
      const RotorQuantProd quantizer(d, bits, m, 1000 * s);
      const ProdCodes codes = quantizer.quantize(x.data(), 1);
      std::vector<float> residual(d);
      quantizer.stage1().dequantize(codes.stage1, residual.data());
      for (size_t j = 0; j < d; ++j) {
        residual[j] = x[j] - residual[j];
      }
      float estimate = 0.0F;
      quantizer.inner_products(y.data(), 1, codes, &estimate);
      const double r2 = dot(residual.data(), residual.data(), d);
      const double ry = dot(residual.data(), y.data(), d);
      const double variance = (M_PI / 2.0 * r2 * dot(y.data(), y.data(), d) - ry * ry) / m;
      const double z =
          (static_cast<double>(estimate) - dot(x.data(), y.data(), d)) / std::sqrt(variance);
      mean += z / sketches;
      square += z * z / sketches;
    }
    EXPECT_NEAR(mean, 0.0, 3.0 / std::sqrt(1.0 * sketches)) << bits;
    EXPECT_NEAR(square, 1.0, 4.0 * std::sqrt(2.0 / sketches)) << bits;
  }
}

TEST(RotorQuantProd, VarianceFallsWithTheSketchDimension) {
  constexpr size_t d = 64;
  constexpr size_t n = 300;
  const std::vector<float> x = unit_rows(n, d, 13);
  const std::vector<float> y = unit_rows(20, d, 14);
  std::vector<double> mean_square;
  for (const size_t m : {32U, 512U}) {
    const RotorQuantProd quantizer(d, 2, m);
    std::vector<float> estimates(20 * n);
    quantizer.inner_products(y.data(), 20, quantizer.quantize(x.data(), n), estimates.data());
    double sum = 0.0;
    for (size_t q = 0; q < 20; ++q) {
      for (size_t i = 0; i < n; ++i) {
        const double exact = dot(&y[q * d], &x[i * d], d);
        sum += std::pow(static_cast<double>(estimates[q * n + i]) - exact, 2);
      }
    }
    mean_square.push_back(sum);
  }
  EXPECT_NEAR(mean_square[0] / mean_square[1], 16.0, 4.0);
}

TEST(RotorQuantProd, PackedCodesGiveTheSameEstimates) {
  for (const size_t d : dimensions) {
    const std::vector<float> x = gaussian_rows(7, d, 15);
    const std::vector<float> y = gaussian_rows(3, d, 16);
    for (const Rotation rotation : both_rotations) {
      for (int bits = 1; bits <= 8; ++bits) {
        for (const size_t m : {size_t{0}, size_t{1}, size_t{61}}) {
          const RotorQuantProd quantizer(d, bits, m, 42, rotation);
          std::vector<float> by_the_book(3 * 7);
          quantizer.inner_products(y.data(), 3, quantizer.quantize(x.data(), 7),
                                   by_the_book.data());
          const size_t size = quantizer.code_size();
          std::vector<uint8_t> codes(7 * size);
          quantizer.encode(x.data(), 7, codes.data());
          std::vector<float> decoded(7 * d);
          quantizer.decode(codes.data(), 7, decoded.data());
          for (size_t q = 0; q < 3; ++q) {
            const auto state = quantizer.prepare_query(&y[q * d]);
            for (size_t i = 0; i < 7; ++i) {
              const float fast = quantizer.inner_product(state, codes.data() + i * size);
              const auto tolerance = 3e-6 * static_cast<double>(d + 10);
              ASSERT_NEAR(fast, by_the_book[q * 7 + i], tolerance) << d << " " << bits << " " << m;
              ASSERT_NEAR(dot(&y[q * d], &decoded[i * d], d), fast, tolerance);
            }
          }
        }
      }
    }
  }
}

TEST(RotorQuantProd, PackedBytesAreTheDocumentedOnes) {
  const RotorQuantProd quantizer(10, 4, 13);
  const std::vector<float> x = gaussian_rows(1, 10, 17);
  const ProdCodes codes = quantizer.quantize(x.data(), 1);
  std::vector<uint8_t> packed(quantizer.code_size(), 0xFF);
  quantizer.encode(x.data(), 1, packed.data());
  const auto bit = [&](size_t byte, size_t i) { return packed[byte + i / 8] >> (i % 8) & 1; };
  for (size_t j = 0; j < 12; ++j) {
    const int index = bit(8, 3 * j) | bit(8, 3 * j + 1) << 1 | bit(8, 3 * j + 2) << 2;
    EXPECT_EQ(index, codes.stage1.indices[j]) << j;
  }
  for (size_t k = 0; k < 13; ++k) {
    EXPECT_EQ(bit(8 + 5, k) == 1, codes.signs[k] == 1) << k;
  }
  EXPECT_EQ(packed.size(), 8U + 5U + 2U);
  EXPECT_EQ(packed.back() >> 5, 0);  // unused bits are 0
}

TEST(RotorQuantProd, GoldenCode) {
  // Frozen: the packed code of one vector, on every machine.
  std::vector<float> x(12);
  for (size_t j = 0; j < 12; ++j) {
    x[j] = static_cast<float>(j) - 4.0F;
  }
  const RotorQuantProd quantizer(12, 3, 16, 1);
  std::vector<uint8_t> code(quantizer.code_size());
  quantizer.encode(x.data(), 1, code.data());
  EXPECT_THAT(code, testing::ElementsAre(0x4E, 0x9D, 0x50, 0x41, 0x0A, 0x25, 0xB2, 0x40, 0x5B, 0xEA,
                                         0xBA, 0xB2, 0xB1));
}

TEST(RotorQuantProd, ErrorsNameTheArgument) {
  const RotorQuantProd quantizer(3, 2);
  const std::vector<float> x{1, std::numeric_limits<float>::quiet_NaN(), 3};
  std::vector<uint8_t> code(quantizer.code_size());
  EXPECT_THROW(quantizer.encode(x.data(), 1, code.data()), Error);
  EXPECT_THROW(static_cast<void>(quantizer.quantize(x.data(), 1)), Error);
  EXPECT_THROW(static_cast<void>(quantizer.prepare_query(x.data())), Error);
  ProdCodes codes;
  codes.stage1.n = 1;
  float product = 0.0F;
  const std::vector<float> y{1, 2, 3};
  EXPECT_THROW(quantizer.inner_products(y.data(), 1, codes, &product), Error);
}

class KvCache : public testing::Test {
 protected:
  static constexpr size_t d_key = 64;
  static constexpr size_t d_value = 40;
  RotorQuantKVCache cache_{d_key, d_value, 4, 3};
};

TEST_F(KvCache, ScoresAndValuesComeInTheOrderOfAppending) {
  const std::vector<float> keys = gaussian_rows(30, d_key, 18);
  const std::vector<float> values = gaussian_rows(30, d_value, 19);
  cache_.append(keys.data(), 10, values.data(), 10);
  cache_.append(&keys[10 * d_key], 0, &values[10 * d_value], 0);
  cache_.append(&keys[10 * d_key], 20, &values[10 * d_value], 20);
  EXPECT_EQ(cache_.size(), 30U);

  const RotorQuantMse value_quantizer(d_value, 4, 3 + 100);
  std::vector<float> expected_values(values.size());
  value_quantizer.forward(values.data(), 30, expected_values.data());
  EXPECT_EQ(cache_.get_values(), expected_values);

  const RotorQuantProd key_quantizer(d_key, 4, d_key, 3);
  const std::vector<float> queries = gaussian_rows(5, d_key, 20);
  std::vector<float> expected(5 * 30);
  key_quantizer.inner_products(queries.data(), 5, key_quantizer.quantize(keys.data(), 30),
                               expected.data());
  const std::vector<float> scores = cache_.attention_scores(queries.data(), 5);
  EXPECT_THAT(scores, testing::Pointwise(testing::FloatNear(2e-4F), expected));
}

TEST_F(KvCache, AnEmptyCacheGivesEmptyArrays) {
  const std::vector<float> queries = gaussian_rows(5, d_key, 21);
  EXPECT_TRUE(cache_.attention_scores(queries.data(), 5).empty());  // 5 x 0
  EXPECT_TRUE(cache_.get_values().empty());                         // 0 x d_value
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(cache_.bytes(), 0U);
}

TEST_F(KvCache, CountsBytesAndClears) {
  const std::vector<float> keys = gaussian_rows(8, d_key, 22);
  const std::vector<float> values = gaussian_rows(8, d_value, 23);
  cache_.append(keys.data(), 8, values.data(), 8);
  // 64 and 40 coordinates fill 66 and 42 components: 8 + 25 + 8 bytes a key, 4 + 21 a value.
  EXPECT_EQ(cache_.bytes(), 8U * (41 + 25));
  const std::vector<float> before = cache_.get_values();
  cache_.clear();
  EXPECT_EQ(cache_.size(), 0U);
  EXPECT_EQ(cache_.bytes(), 0U);
  cache_.append(keys.data(), 8, values.data(), 8);
  EXPECT_EQ(cache_.get_values(), before);
}

TEST_F(KvCache, AFailedAppendChangesNothing) {
  const std::vector<float> keys = gaussian_rows(4, d_key, 24);
  std::vector<float> values = gaussian_rows(4, d_value, 25);
  cache_.append(keys.data(), 2, values.data(), 2);
  const std::vector<float> before = cache_.get_values();
  EXPECT_THAT([&] { cache_.append(keys.data(), 3, values.data(), 4); },
              testing::ThrowsMessage<Error>("rotorquant: value rows: expected 3, received 4"));
  values[3 * d_value] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(cache_.append(keys.data(), 4, values.data(), 4), Error);
  EXPECT_EQ(cache_.size(), 2U);
  EXPECT_EQ(cache_.get_values(), before);
  const std::vector<float> scores = cache_.attention_scores(keys.data(), 1);
  cache_.append(&keys[2 * d_key], 1, &values[2 * d_value], 1);
  EXPECT_EQ(cache_.size(), 3U);
  EXPECT_EQ(cache_.attention_scores(keys.data(), 1)[0], scores[0]);
}

TEST(KvCacheHaar, IsTheTurboQuantForm) {
  RotorQuantKVCache cache(48, 20, 3, 42, Rotation::haar);
  const std::vector<float> keys = gaussian_rows(6, 48, 26);
  const std::vector<float> values = gaussian_rows(6, 20, 27);
  cache.append(keys.data(), 6, values.data(), 6);
  std::vector<float> expected(values.size());
  RotorQuantMse(20, 3, 142, {}, Rotation::haar).forward(values.data(), 6, expected.data());
  EXPECT_EQ(cache.get_values(), expected);
  EXPECT_EQ(cache.attention_scores(keys.data(), 2).size(), 12U);
}

}  // namespace
}  // namespace rotorquant
