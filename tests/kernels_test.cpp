// SPDX-License-Identifier: MIT
// Every kernel set against the scalar one, which is the specification.
#include "simd/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "codec_access.h"
#include "kernel_test_data.h"
#include "lane_rows.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using simd::lanes;
using test_data::Bytes;
using test_data::EveryKernelSet;
using test_data::Floats;
using test_data::Lanes;
using test_data::random_lanes;
using test_data::same_bits;

using FrameKernel = EveryKernelSet;

TEST_P(FrameKernel, RotorLayersHaveTheSameBits) {
  for (const size_t dim : {1U, 2U, 3U, 4U, 5U, 100U, 129U, 1536U}) {
    for (const size_t layers : {1U, 2U, 7U}) {
      const RotorLayers rotors(dim, layers, 3 + dim);
      const simd::RotorLayersView view = view_of(rotors);
      Lanes expected = random_lanes(dim, dim + layers);
      Lanes found = expected;
      Lanes scratch(dim * lanes);
      simd::scalar_kernels.rotor_forward(view, expected.data(), scratch.data());
      kernels().rotor_forward(view, found.data(), scratch.data());
      ASSERT_TRUE(same_bits(found.data(), expected.data(), found.size())) << dim << " " << layers;
      simd::scalar_kernels.rotor_inverse(view, expected.data(), scratch.data());
      kernels().rotor_inverse(view, found.data(), scratch.data());
      ASSERT_TRUE(same_bits(found.data(), expected.data(), found.size())) << dim << " " << layers;
    }
  }
}

TEST_P(FrameKernel, RotorVectorHasTheBitsOfALane) {
  for (const size_t dim : {1U, 2U, 3U, 4U, 5U, 47U, 48U, 49U, 50U, 100U, 129U, 384U, 1536U}) {
    for (const size_t layers : {1U, 2U, 9U}) {
      const RotorLayers rotors(dim, layers, 3 + dim);
      Lanes block = random_lanes(dim, dim + layers);
      for (size_t j = 0; j < dim; ++j) {
        block[j * lanes] = -0.0F;  // one vector of nothing, one of little
        block[j * lanes + 1] *= 1e-38F;
      }
      Floats rows(lanes * dim);
      lanes_to_rows(block.data(), lanes, dim, rows.data());
      Lanes scratch(dim * lanes);
      kernels().rotor_forward(view_of(rotors), block.data(), scratch.data());
      Floats expected(lanes * dim);
      lanes_to_rows(block.data(), lanes, dim, expected.data());
      const simd::RotorVectorView view = vector_view_of(rotors);
      Lanes work(vector_scratch(rotors));
      for (size_t i = 0; i < lanes; ++i) {
        Floats found(dim);
        kernels().rotor_vector(view, rows.data() + i * dim, found.data(), work.data());
        ASSERT_TRUE(same_bits(found.data(), expected.data() + i * dim, dim))
            << dim << " " << layers << " vector " << i;
        kernels().rotor_vector(view, rows.data() + i * dim, rows.data() + i * dim, work.data());
        ASSERT_TRUE(same_bits(rows.data() + i * dim, found.data(), dim)) << "in place " << dim;
      }
    }
  }
}

TEST(LaneRows, ARowIsAColumnOfItsBlock) {
  for (const size_t d : {1U, 3U, 4U, 5U, 16U, 31U}) {
    for (size_t count = 1; count <= lanes; ++count) {
      const Floats rows = test_data::gaussian(count, d, 13);
      Floats block(d * lanes, 7.0F);
      rows_to_lanes(rows.data(), count, d, block.data());
      for (size_t at = 0; at < block.size(); ++at) {
        const size_t lane = at % lanes;
        ASSERT_EQ(block[at], lane < count ? rows[lane * d + at / lanes] : 0.0F)
            << d << " " << count;
      }
      Floats back(count * d + 1, 7.0F);
      lanes_to_rows(block.data(), count, d, back.data());
      ASSERT_TRUE(same_bits(back.data(), rows.data(), rows.size())) << d << " " << count;
      ASSERT_EQ(back.back(), 7.0F);
    }
  }
}

struct Shape {
  size_t rows;
  size_t cols;
};
const std::vector<Shape> shapes = {{1, 1},   {3, 5},     {4, 4},     {5, 1},   {16, 16},
                                   {17, 31}, {100, 100}, {132, 129}, {33, 200}};

TEST_P(FrameKernel, MatrixBlockIsTheProductWithinRounding) {
  for (const Shape& shape : shapes) {
    const Floats m = test_data::gaussian(shape.rows, shape.cols, 5);
    const Lanes x = random_lanes(shape.cols, 6);
    Lanes y(shape.rows * lanes);
    kernels().matrix_block(m.data(), shape.rows, shape.cols, x.data(), y.data(), 1);
    for (size_t row = 0; row < shape.rows; ++row) {
      for (size_t lane = 0; lane < lanes; ++lane) {
        double sum = 0.0;
        double size = 0.0;
        for (size_t j = 0; j < shape.cols; ++j) {
          const double term = static_cast<double>(m[row * shape.cols + j]) *
                              static_cast<double>(x[j * lanes + lane]);
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(static_cast<double>(y[row * lanes + lane]), sum,
                    0x1p-24 * static_cast<double>(shape.cols + 1) * size)
            << shape.rows << " x " << shape.cols;
      }
    }
  }
}

TEST_P(FrameKernel, MatrixVectorHasTheBitsOfMatrixBlock) {
  for (const Shape& shape : shapes) {
    const Floats m = test_data::gaussian(shape.rows, shape.cols, 7);
    Floats mt(m.size());
    for (size_t i = 0; i < m.size(); ++i) {
      mt[i % shape.cols * shape.rows + i / shape.cols] = m[i];
    }
    const Lanes x = random_lanes(shape.cols, 8);
    Lanes block(shape.rows * lanes);
    kernels().matrix_block(m.data(), shape.rows, shape.cols, x.data(), block.data(), 1);
    for (size_t lane = 0; lane < lanes; ++lane) {
      Floats one(shape.cols);
      Floats expected(shape.rows);
      for (size_t j = 0; j < shape.cols; ++j) {
        one[j] = x[j * lanes + lane];
      }
      for (size_t row = 0; row < shape.rows; ++row) {
        expected[row] = block[row * lanes + lane];
      }
      Floats y(shape.rows);
      kernels().matrix_vector(mt.data(), shape.rows, shape.cols, one.data(), y.data());
      ASSERT_TRUE(same_bits(y, expected)) << shape.rows << " x " << shape.cols;
    }
  }
}

/// What lies between the rows of a result stays.
constexpr float between_rows = 7.0F;

/// n vectors, in rows that are farther apart than they are long, through `product`.
template <class Product>
Floats products(const Shape& shape, size_t n, const Product& product) {
  const size_t x_stride = shape.cols + 3;
  const size_t y_stride = shape.rows + 5;
  const Floats x = test_data::gaussian(n, x_stride, 10);
  Floats y(n * y_stride, between_rows);
  product(x.data(), x_stride, y.data(), y_stride);
  return y;
}

Floats one_by_one(const simd::KernelTable& kernels, const Floats& mt, const Shape& shape,
                  size_t n) {
  return products(shape, n, [&](const float* x, size_t x_stride, float* y, size_t y_stride) {
    for (size_t i = 0; i < n; ++i) {
      kernels.matrix_vector(mt.data(), shape.rows, shape.cols, x + i * x_stride, y + i * y_stride);
    }
  });
}

/// Rows and columns around what tiles and blocks hold.
const std::vector<Shape> many_shapes = {{64, 1},   {64, 100}, {128, 129}, {192, 3},
                                        {33, 257}, {1, 1},    {52, 128},  {100, 300}};
const std::vector<size_t> vector_counts = {0, 1, 2, 3, 4, 5, 7, 8, 9, 17};

/// multiply(mt, rows, ...): a kernel that takes n vectors; mt: a matrix as it takes it, of the
/// values of `wide`.
template <class Matrix, class Multiply>
void expect_each_as_one(const simd::KernelTable& kernels, const Shape& shape, const Matrix& mt,
                        const Floats& wide, const Multiply& multiply) {
  for (const size_t n : vector_counts) {
    const Floats found =
        products(shape, n, [&](const float* x, size_t x_stride, float* y, size_t y_stride) {
          multiply(mt.data(), shape.rows, shape.cols, x, x_stride, n, y, y_stride);
        });
    ASSERT_TRUE(same_bits(found, one_by_one(kernels, wide, shape, n)))
        << shape.rows << " x " << shape.cols << " n " << n;
  }
}

TEST_P(FrameKernel, MatrixVectorsHasTheBitsOfMatrixVector) {
  for (const Shape& shape : many_shapes) {
    const Floats mt = test_data::gaussian(shape.cols, shape.rows, 9);
    expect_each_as_one(kernels(), shape, mt, mt, kernels().matrix_vectors);
  }
}

TEST_P(FrameKernel, HalfMatrixVectorsHasTheBitsOfTheWidenedMatrix) {
  for (const Shape& shape : many_shapes) {
    std::vector<uint16_t> halves;
    Floats wide;
    for (const float v : test_data::gaussian(shape.cols, shape.rows, 11, 0.1F)) {
      halves.push_back(float_to_half(v));
      wide.push_back(half_to_float(halves.back()));
    }
    // The least and the largest halves, of either sign, and both zeros.
    const std::vector<uint16_t> edges = {0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF};
    for (size_t i = 0; i < std::min(edges.size(), halves.size()); ++i) {
      halves[i] = edges[i];
      wide[i] = half_to_float(edges[i]);
    }
    expect_each_as_one(kernels(), shape, halves, wide, kernels().half_matrix_vectors);
  }
}

TEST_P(FrameKernel, SeveralMatrixBlocksHaveTheBitsOfEach) {
  for (const Shape& shape : shapes) {
    const Floats m = test_data::gaussian(shape.rows, shape.cols, 5);
    constexpr size_t most = 3;
    const Lanes x = random_lanes(most * shape.cols, 6);
    Lanes expected(most * shape.rows * lanes);
    for (size_t b = 0; b < most; ++b) {
      kernels().matrix_block(m.data(), shape.rows, shape.cols, x.data() + b * shape.cols * lanes,
                             expected.data() + b * shape.rows * lanes, 1);
    }
    for (size_t blocks = 0; blocks <= most; ++blocks) {
      const size_t size = blocks * shape.rows * lanes;
      Lanes found(size + 1, 7.0F);
      kernels().matrix_block(m.data(), shape.rows, shape.cols, x.data(), found.data(), blocks);
      ASSERT_TRUE(same_bits(found.data(), expected.data(), size)) << shape.rows << " " << blocks;
      ASSERT_EQ(found[size], 7.0F);
    }
  }
}

// ---- tables ---------------------------------------------------------------------------------

using TableKernel = EveryKernelSet;

struct Table {
  Bytes entries;
  simd::TableScale scale{};

  Table(const simd::KernelTable& kernels, const Floats& columns, size_t tree_step, size_t quads,
        const Floats& query)
      : entries(quads * fanout) {
    Floats products(entries.size());
    scale = kernels.scan_table(columns.data(), tree_step, query.data(), quads, products.data(),
                               entries.data());
  }
};

/// What a table is by its definition, sums in the order of coordinates.
Table defined_table(const Floats& columns, size_t tree_step, size_t quads, const Floats& query) {
  Table table(simd::scalar_kernels, columns, tree_step, 0, query);
  Floats products;
  Floats least(quads);
  float widest = 0.0F;
  table.scale.bias = 0.0F;
  for (size_t quad = 0; quad < quads; ++quad) {
    for (size_t child = 0; child < fanout; ++child) {
      float sum = 0.0F;
      for (size_t k = 0; k < quad_dims; ++k) {
        sum += query[quad * quad_dims + k] * columns[quad * tree_step + k * fanout + child];
      }
      products.push_back(sum);
    }
    const auto [low, high] = std::minmax_element(products.end() - fanout, products.end());
    least[quad] = *low;
    widest = std::max(widest, *high - *low);
    table.scale.bias += *low;
  }
  table.scale.step = widest / 255.0F;
  for (size_t i = 0; i < products.size(); ++i) {
    const float entry = (products[i] - least[i / fanout]) * (1.0F / table.scale.step) + 0.5F;
    table.entries.push_back(static_cast<uint8_t>(std::min(entry, 255.0F)));
  }
  return table;
}

TEST_P(TableKernel, HasTheDefinedBytesAndIsNearTheProducts) {
  constexpr size_t tree = quad_dims * fanout;
  for (const size_t quads : {1U, 2U, 7U, 8U, 9U, 25U, 33U, 384U}) {
    for (const size_t tree_step : {size_t{0}, tree}) {
      const Floats columns = test_data::gaussian(tree_step == 0 ? 1 : quads, tree, 30 + quads);
      const Floats query = test_data::gaussian(quads, quad_dims, 31);
      const Table found(kernels(), columns, tree_step, quads, query);
      const Table expected = defined_table(columns, tree_step, quads, query);
      ASSERT_EQ(found.entries, expected.entries) << quads << " " << tree_step;
      ASSERT_TRUE(same_bits(&found.scale.step, &expected.scale.step, 1));
      ASSERT_TRUE(same_bits(&found.scale.bias, &expected.scale.bias, 1));
      // Any choice of entries is the sum of the products, half a step a quad off at most.
      Rng rng(quads);
      double product = 0.0;
      double sum = found.scale.bias;
      for (size_t quad = 0; quad < quads; ++quad) {
        const size_t child = rng.below(fanout);
        for (size_t k = 0; k < quad_dims; ++k) {
          product += static_cast<double>(query[quad * quad_dims + k]) *
                     static_cast<double>(columns[quad * tree_step + k * fanout + child]);
        }
        sum += static_cast<double>(found.scale.step) * found.entries[quad * fanout + child];
      }
      EXPECT_NEAR(sum, product,
                  0.51 * static_cast<double>(found.scale.step) * static_cast<double>(quads));
    }
  }
}

TEST_P(TableKernel, OfNothingIsNothing) {
  const Floats columns = test_data::gaussian(1, quad_dims * fanout, 32);
  const Table table(kernels(), columns, 0, 3, Floats(3 * quad_dims, 0.0F));
  EXPECT_EQ(table.entries, Bytes(3 * fanout, 0));
  EXPECT_EQ(table.scale.step, 0.0F);
  EXPECT_EQ(table.scale.bias, 0.0F);
}

// ---- fixed point ------------------------------------------------------------------------------

using FixedKernel = EveryKernelSet;

TEST_P(FixedKernel, LargestMagnitudeIsThatOfEitherSign) {
  EXPECT_EQ(kernels().largest_magnitude(nullptr, 0), 0.0F);
  for (const size_t n : {1U, 2U, 7U, 16U, 33U, 100U}) {
    Floats values = test_data::gaussian(1, n, 40 + n);
    for (const float large : {9.0F, -11.0F}) {
      values[n / 2] = large;
      EXPECT_EQ(kernels().largest_magnitude(values.data(), n), std::abs(large)) << n;
    }
  }
  const Floats little = {0.0F, -0.0F, 1e-45F, -1e-44F};
  EXPECT_EQ(kernels().largest_magnitude(little.data(), little.size()), 1e-44F);
}

TEST_P(FixedKernel, RoundsToTheNearestTiesToEven) {
  Floats values = {0.0F,  -0.0F,  0.5F,     1.5F,      2.5F,     -0.5F,    -1.5F,
                   -2.5F, 0.499F, 32766.5F, -32766.5F, 32767.0F, 40000.0F, -40000.0F};
  for (const float v : test_data::gaussian(1, 50, 41, 1e4F)) {
    values.push_back(v);
  }
  for (const size_t n : {size_t{1}, size_t{9}, values.size()}) {
    for (const float scale : {1.0F, 0.25F, -1.0F}) {
      std::vector<int16_t> fixed(n + 1, 7);
      kernels().to_fixed(values.data(), n, scale, fixed.data());
      for (size_t i = 0; i < n; ++i) {
        const float within = std::clamp(values[i] * scale, -32767.0F, 32767.0F);
        ASSERT_EQ(fixed[i], std::lrintf(within)) << values[i] << " times " << scale;
      }
      EXPECT_EQ(fixed[n], 7);
    }
  }
}

RQ_FOR_EVERY_KERNEL_SET(FrameKernel);
RQ_FOR_EVERY_KERNEL_SET(TableKernel);
RQ_FOR_EVERY_KERNEL_SET(FixedKernel);

}  // namespace
}  // namespace rotorquant
