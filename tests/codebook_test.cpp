// SPDX-License-Identifier: MIT
#include "rotorquant/codebook.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "quad_fit.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::Floats;
using test_data::message_of;

using Costs = std::array<double, fanout * fanout>;

double total_cost(const Costs& cost, const std::array<uint8_t, fanout>& column_of_row) {
  double sum = 0.0;
  for (size_t row = 0; row < fanout; ++row) {
    sum += cost[row * fanout + column_of_row[row]];
  }
  return sum;
}

bool is_permutation_of_columns(const std::array<uint8_t, fanout>& columns) {
  std::set<uint8_t> seen(columns.begin(), columns.end());
  return seen.size() == fanout && *seen.rbegin() == fanout - 1;
}

Costs random_costs(uint64_t seed) {
  Rng rng(seed);
  Costs cost{};
  for (double& c : cost) {
    c = rng.gaussian();
  }
  return cost;
}

TEST(Assign16, FindsAHiddenPermutation) {
  Rng rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    const std::vector<uint32_t> hidden = rng.permutation(fanout);
    Costs cost{};
    for (size_t row = 0; row < fanout; ++row) {
      for (size_t column = 0; column < fanout; ++column) {
        cost[row * fanout + column] = hidden[row] == column ? -1.0 : rng.uniform();
      }
    }
    const auto found = assign16(cost);
    ASSERT_TRUE(std::equal(found.begin(), found.end(), hidden.begin())) << trial;
  }
}

TEST(Assign16, AgreesWithBruteForceOnSevenRows) {
  // Rows and columns 7..15 are tied to each other by a cost that nothing else can beat.
  constexpr size_t free_rows = 7;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Costs cost = random_costs(seed);
    for (size_t row = 0; row < fanout; ++row) {
      for (size_t column = 0; column < fanout; ++column) {
        if (row >= free_rows || column >= free_rows) {
          cost[row * fanout + column] = row == column ? 0.0 : 1e6;
        }
      }
    }
    std::array<uint8_t, fanout> order{};
    std::iota(order.begin(), order.end(), uint8_t{0});
    double least = std::numeric_limits<double>::infinity();
    do {
      least = std::min(least, total_cost(cost, order));
    } while (std::next_permutation(order.begin(), order.begin() + free_rows));
    ASSERT_NEAR(total_cost(cost, assign16(cost)), least, 1e-9) << seed;
  }
}

TEST(Assign16, NoSwapOrRotationOfThreeImprovesIt) {
  for (uint64_t seed = 100; seed < 150; ++seed) {
    const Costs cost = random_costs(seed);
    const auto found = assign16(cost);
    ASSERT_TRUE(is_permutation_of_columns(found));
    const double least = total_cost(cost, found);
    for (size_t a = 0; a < fanout; ++a) {
      for (size_t b = 0; b < fanout; ++b) {
        for (size_t c = 0; c < fanout; ++c) {
          auto other = found;
          std::swap(other[a], other[b]);
          std::swap(other[b], other[c]);
          ASSERT_GE(total_cost(cost, other), least - 1e-9) << seed;
        }
      }
    }
  }
}

TEST(Assign16, TiesAndExtremeCostsStillGiveAPermutation) {
  Costs cost{};
  EXPECT_TRUE(is_permutation_of_columns(assign16(cost)));
  cost.fill(1e300);
  EXPECT_TRUE(is_permutation_of_columns(assign16(cost)));
}

std::vector<Quad> gaussian_quads(size_t n, uint64_t seed) {
  const Floats x = test_data::gaussian(n, 4, seed);
  std::vector<Quad> quads(n);
  for (size_t i = 0; i < n; ++i) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(i * 4), 4, quads[i].begin());
  }
  return quads;
}

Sixteen sixteen_at(const float* table, size_t parent) {
  Sixteen result;
  for (size_t j = 0; j < fanout; ++j) {
    std::copy_n(table + (parent * fanout + j) * 4, 4, result[j].begin());
  }
  return result;
}

double squared_distance(const Quad& a, const Quad& b) {
  double sum = 0.0;
  for (size_t k = 0; k < 4; ++k) {
    sum += std::pow(static_cast<double>(a[k]) - static_cast<double>(b[k]), 2);
  }
  return sum;
}

/// Node of each level that greedy descent picks for x in tree `quad`.
std::vector<size_t> descend(const QuadTrees& trees, size_t quad, const Quad& x) {
  std::vector<size_t> nodes;
  size_t node = 0;
  for (int level = 1; level <= trees.levels; ++level) {
    node = node * fanout + nearest16(sixteen_at(trees.level_table(level, quad), node), x);
    nodes.push_back(node);
  }
  return nodes;
}

Quad centroid(const QuadTrees& trees, size_t quad, int level, size_t node) {
  Quad result;
  std::copy_n(trees.level_table(level, quad) + node * 4, 4, result.begin());
  return result;
}

/// Mean squared error a coordinate at each level, for samples of one quad.
std::vector<double> distortions(const QuadTrees& trees, size_t quad,
                                const std::vector<Quad>& samples) {
  std::vector<double> sums(static_cast<size_t>(trees.levels));
  for (const Quad& x : samples) {
    const std::vector<size_t> nodes = descend(trees, quad, x);
    for (size_t l = 0; l < nodes.size(); ++l) {
      sums[l] += squared_distance(x, centroid(trees, quad, static_cast<int>(l) + 1, nodes[l]));
    }
  }
  for (double& sum : sums) {
    sum /= 4.0 * static_cast<double>(samples.size());
  }
  return sums;
}

TEST(GaussianTree, DistortionsAreTheContracts) {
  const std::vector<double> found =
      distortions(QuadTrees::gaussian(3), 0, gaussian_quads(200000, 11));
  EXPECT_NEAR(found[0], 0.340, 0.004);
  EXPECT_NEAR(found[1], 0.102, 0.001);
  EXPECT_NEAR(found[2], 0.0276, 0.0004);
}

TEST(GaussianTree, AlignedOffsetsApproximateEveryParentsChildren) {
  const QuadTrees trees = QuadTrees::gaussian(2);
  double sum = 0.0;
  const std::vector<Quad> samples = gaussian_quads(100000, 12);
  for (const Quad& x : samples) {
    const std::vector<size_t> nodes = descend(trees, 0, x);
    Quad approximation = centroid(trees, 0, 1, nodes[0]);
    const float* e = trees.aligned_offsets.data() + nodes[1] % fanout * 4;
    for (size_t k = 0; k < 4; ++k) {
      approximation[k] += e[k];
    }
    sum += squared_distance(x, approximation);
  }
  const double found = sum / 4.0 / static_cast<double>(samples.size());
  EXPECT_GT(found, 0.17);
  EXPECT_LT(found, 0.195);
}

TEST(GaussianTree, FewerLevelsAreAPrefix) {
  const QuadTrees whole = QuadTrees::gaussian(3);
  EXPECT_TRUE(whole.shared());
  for (int levels = 0; levels <= 3; ++levels) {
    const QuadTrees part = QuadTrees::gaussian(levels);
    EXPECT_EQ(part.levels, levels);
    for (size_t l = 0; l < max_tree_levels; ++l) {
      EXPECT_EQ(part.centroids[l], l < static_cast<size_t>(levels) ? whole.centroids[l] : Floats{});
    }
    EXPECT_EQ(part.aligned_offsets.size(), levels >= 2 ? fanout * 4 : 0U);
    EXPECT_EQ(part.leaf_scales.size(), levels >= 3 ? 256U * 4 : 0U);
  }
  EXPECT_THROW(QuadTrees::gaussian(4), Error);
  EXPECT_THROW(QuadTrees::gaussian(-1), Error);
}

TEST(GaussianTree, LeafScalesAreTheSpreadOfWhatLevelThreeLeaves) {
  const QuadTrees trees = QuadTrees::gaussian(3);
  double ratio_sum = 0.0;
  const std::vector<Quad> samples = gaussian_quads(200000, 13);
  for (const Quad& x : samples) {
    const std::vector<size_t> nodes = descend(trees, 0, x);
    const Quad leaf = centroid(trees, 0, 3, nodes[2]);
    for (size_t k = 0; k < 4; ++k) {
      const double scale = static_cast<double>(trees.leaf_scales[nodes[1] * 4 + k]);
      ASSERT_GT(scale, 0.0);
      ratio_sum += std::pow(static_cast<double>(x[k] - leaf[k]) / scale, 2);
    }
  }
  EXPECT_NEAR(ratio_sum / 4.0 / static_cast<double>(samples.size()), 1.0, 0.02);
}

/// Thresholds of the subtree under heap node `node` in order, down to `bits` levels.
void in_order(const EmbeddedScalar& scalar, size_t node, size_t bits, Floats& out) {
  if (node >= (size_t{1} << bits)) {
    return;
  }
  in_order(scalar, 2 * node, bits, out);
  out.push_back(scalar.thresholds[node]);
  in_order(scalar, 2 * node + 1, bits, out);
}

TEST(EmbeddedScalar, EveryDepthIsAnOrderedQuantiser) {
  // The m-bit index is the first m turns of one search, so index prefixes hold by construction;
  // what can go wrong is the order: each centroid must lie between its cell's thresholds.
  const EmbeddedScalar& scalar = embedded_scalar();
  for (size_t bits = 1; bits <= max_scalar_levels; ++bits) {
    Floats thresholds;
    in_order(scalar, 1, bits, thresholds);
    ASSERT_EQ(thresholds.size(), (size_t{1} << bits) - 1);
    ASSERT_TRUE(std::is_sorted(thresholds.begin(), thresholds.end()));
    for (size_t i = 0; i < thresholds.size(); ++i) {
      ASSERT_LT(scalar.centroids[bits - 1][i], thresholds[i]) << bits << " " << i;
      ASSERT_GT(scalar.centroids[bits - 1][i + 1], thresholds[i]) << bits << " " << i;
    }
  }
}

TEST(EmbeddedScalar, ACentroidIsBetweenItsTwoRefinements) {
  const EmbeddedScalar& scalar = embedded_scalar();
  for (size_t m = 0; m + 1 < max_scalar_levels; ++m) {
    for (size_t i = 0; i < (size_t{2} << m); ++i) {
      EXPECT_LT(scalar.centroids[m + 1][2 * i], scalar.centroids[m][i]) << m << " " << i;
      EXPECT_GT(scalar.centroids[m + 1][2 * i + 1], scalar.centroids[m][i]) << m << " " << i;
    }
  }
}

TEST(EmbeddedScalar, EveryBitTakesALevelsWorthOfDistortion) {
  const QuadTrees trees = QuadTrees::gaussian(3);
  const EmbeddedScalar& scalar = embedded_scalar();
  std::array<double, max_scalar_levels> error{};
  double variance = 0.0;
  for (const Quad& x : gaussian_quads(50000, 14)) {
    const std::vector<size_t> nodes = descend(trees, 0, x);
    const Quad leaf = centroid(trees, 0, 3, nodes[2]);
    for (size_t k = 0; k < 4; ++k) {
      const float scale = trees.leaf_scales[nodes[1] * 4 + k];
      const float value = (x[k] - leaf[k]) / scale;
      variance += std::pow(static_cast<double>(value * scale), 2);
      size_t heap = 1;
      for (size_t m = 0; m < max_scalar_levels; ++m) {
        heap = 2 * heap + (value >= scalar.thresholds[heap] ? 1 : 0);
        const float guess = scalar.centroids[m][heap - (size_t{2} << m)];
        error[m] += std::pow(static_cast<double>((value - guess) * scale), 2);
      }
    }
  }
  // A Gaussian's first bit leaves 0.363 and every further one about a third; the residual inside a
  // leaf is close to uniform, and the embedding costs the later bits a little.
  EXPECT_LT(error[0] / variance, 0.40);
  for (size_t m = 1; m < max_scalar_levels; ++m) {
    EXPECT_LT(error[m], error[m - 1] / 2.7) << m + 1 << " bits";
  }
}

/// n rows of one quad, as fit takes them.
Floats flat(const std::vector<Quad>& quads) {
  Floats x;
  for (const Quad& q : quads) {
    x.insert(x.end(), q.begin(), q.end());
  }
  return x;
}

TEST(QuadTreesFit, WithoutSamplesTheTreeIsTheGaussianOne) {
  const QuadTrees gaussian = QuadTrees::gaussian(3);
  const QuadTrees fitted = QuadTrees::fit(nullptr, 0, 2, 3);
  ASSERT_EQ(fitted.trees, 2U);
  for (size_t quad = 0; quad < 2; ++quad) {
    // Leaves may be numbered otherwise, so what counts is how well they quantise.
    const std::vector<Quad> samples = gaussian_quads(20000, 15);
    const std::vector<double> expected = distortions(gaussian, 0, samples);
    const std::vector<double> found = distortions(fitted, quad, samples);
    for (size_t l = 0; l < 3; ++l) {
      EXPECT_NEAR(found[l], expected[l], 0.005 * expected[l]) << l + 1;
    }
  }
}

TEST(QuadTreesFit, AFewSamplesMoveTheirOwnBranchAndKeepItsShape) {
  // One sample, ten times: its leaf goes there; the opposite branch keeps the Gaussian shape.
  const Quad sample = {2.0F, 2.0F, 2.0F, 2.0F};
  const QuadTrees fitted = QuadTrees::fit(flat(std::vector<Quad>(10, sample)).data(), 10, 1, 3);
  const std::vector<double> near_sample = distortions(fitted, 0, {sample});
  EXPECT_LT(near_sample[2], distortions(QuadTrees::gaussian(3), 0, {sample})[0]);
  const std::vector<double> all = distortions(fitted, 0, gaussian_quads(20000, 16));
  const std::vector<double> gaussian =
      distortions(QuadTrees::gaussian(3), 0, gaussian_quads(20000, 16));
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_LT(all[l], 1.3 * gaussian[l]) << l + 1;
  }
}

TEST(QuadTreesFit, ManyGaussianSamplesGiveTheGaussianTreesDistortion) {
  const std::vector<Quad> training = gaussian_quads(60000, 17);
  const QuadTrees fitted = QuadTrees::fit(flat(training).data(), training.size(), 1, 3);
  const std::vector<double> found = distortions(fitted, 0, gaussian_quads(40000, 18));
  EXPECT_NEAR(found[0], 0.340, 0.007);
  EXPECT_NEAR(found[1], 0.102, 0.004);
  EXPECT_NEAR(found[2], 0.0276, 0.003);
}

std::vector<Quad> stretched_quads(size_t n, uint64_t seed) {
  std::vector<Quad> quads = gaussian_quads(n, seed);
  for (Quad& q : quads) {
    q = {1.9F * q[0], 0.5F * q[1], 0.2F * q[2] + 0.1F * q[0] * q[0], 0.0F};
  }
  return quads;
}

TEST(QuadTreesFit, LearnsAShapeThatTheGaussianTreeDoesNotFit) {
  const std::vector<Quad> training = stretched_quads(30000, 19);
  const QuadTrees fitted = QuadTrees::fit(flat(training).data(), training.size(), 1, 3);
  const std::vector<Quad> fresh = stretched_quads(20000, 20);
  const std::vector<double> found = distortions(fitted, 0, fresh);
  const std::vector<double> gaussian = distortions(QuadTrees::gaussian(3), 0, fresh);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_LT(found[l], 0.6 * gaussian[l]) << l + 1;
  }
  for (const Floats& table : fitted.centroids) {
    EXPECT_TRUE(std::all_of(table.begin(), table.end(), [](float v) { return std::isfinite(v); }));
  }
  for (const float scale : fitted.leaf_scales) {  // the last coordinate is dead: still no zero
    EXPECT_GT(scale, 0.0F);
  }
}

TEST(QuadTreesFit, EachQuadGetsItsOwnTree) {
  const std::vector<Quad> a = gaussian_quads(3000, 21);
  const std::vector<Quad> b = stretched_quads(3000, 22);
  Floats both;
  for (size_t i = 0; i < a.size(); ++i) {
    both.insert(both.end(), a[i].begin(), a[i].end());
    both.insert(both.end(), b[i].begin(), b[i].end());
  }
  const QuadTrees fitted = QuadTrees::fit(both.data(), a.size(), 2, 2);
  const QuadTrees alone = QuadTrees::fit(flat(b).data(), b.size(), 1, 2);
  for (int level = 1; level <= 2; ++level) {
    const size_t count = (level == 1 ? fanout : fanout * fanout) * 4;
    EXPECT_TRUE(
        test_data::same_bits(fitted.level_table(level, 1), alone.level_table(level, 0), count));
    EXPECT_FALSE(
        test_data::same_bits(fitted.level_table(level, 0), fitted.level_table(level, 1), count));
  }
}

bool equal_trees(const QuadTrees& a, const QuadTrees& b) {
  return a.levels == b.levels && a.trees == b.trees && a.centroids == b.centroids &&
         a.aligned_offsets == b.aligned_offsets && a.leaf_scales == b.leaf_scales;
}

TEST(QuadTreesFit, DoesNotDependOnTheNumberOfThreads) {
  const Floats u = test_data::gaussian(800, 20, 23);
  const auto fit_with = [&](int threads) {
    const test_data::ScopedThreads scoped(threads);
    return QuadTrees::fit(u.data(), 800, 5, 3);
  };
  const QuadTrees one = fit_with(1);
  EXPECT_TRUE(equal_trees(one, fit_with(2)));
  EXPECT_TRUE(equal_trees(one, fit_with(3)));
}

TEST(QuadTreesFit, RefusesWhatItCannotFit) {
  const Floats u(16);
  EXPECT_THROW(QuadTrees::fit(u.data(), 1, 0, 1), Error);
  EXPECT_THROW(QuadTrees::fit(u.data(), 1, 4, 4), Error);
  EXPECT_THROW(QuadTrees::fit(u.data(), 1, 4, -1), Error);
  EXPECT_EQ(QuadTrees::fit(u.data(), 1, 4, 0).levels, 0);
}

Bytes written(const QuadTrees& trees) {
  ByteWriter out;
  trees.write(out);
  return out.take();
}

TEST(QuadTreesFile, AFittedTreeComesBackExactly) {
  const Floats u = test_data::gaussian(300, 12, 24);
  for (int levels = 0; levels <= 3; ++levels) {
    const QuadTrees trees = QuadTrees::fit(u.data(), 300, 3, levels);
    const Bytes bytes = written(trees);
    ByteReader in(bytes);
    EXPECT_TRUE(equal_trees(trees, QuadTrees::read(in))) << levels;
    EXPECT_EQ(in.left(), 0U) << levels;
  }
}

TEST(QuadTreesFile, EveryTruncationIsRefused) {
  const Floats u = test_data::gaussian(50, 8, 25);
  const Bytes bytes = written(QuadTrees::fit(u.data(), 50, 2, 2));
  for (size_t size = 0; size < bytes.size(); ++size) {
    ByteReader in(test_data::first_bytes(bytes, size));
    EXPECT_THROW(QuadTrees::read(in), Error) << size;
  }
}

std::string message_with(Bytes bytes, size_t offset, const Bytes& patch) {
  std::copy(patch.begin(), patch.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  return message_of([&] {
    ByteReader in(bytes);
    QuadTrees::read(in);
  });
}

TEST(QuadTreesFile, ImpossibleNumbersAreRefusedByName) {
  const Floats u = test_data::gaussian(50, 8, 26);
  const Bytes bytes = written(QuadTrees::fit(u.data(), 50, 2, 2));
  const auto expect_refusal = [&](size_t offset, const Bytes& patch, const std::string& what) {
    const std::string message = message_with(bytes, offset, patch);
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  expect_refusal(0, {4}, "tree levels");
  expect_refusal(0, {0xFF, 0xFF, 0xFF, 0xFF}, "tree levels");
  expect_refusal(4, {0}, "trees");
  expect_refusal(4, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, "trees");
  expect_refusal(4, {3}, "centroids");
  expect_refusal(20, {0x00, 0x7C}, "centroids");  // an infinite half
  expect_refusal(20, {0x01, 0xFE}, "centroids");  // a NaN
}

}  // namespace
}  // namespace rotorquant
