// SPDX-License-Identifier: MIT
#include "rotorquant/codebook.h"

#include <algorithm>
#include <cmath>

#include "half.h"
#include "quad_fit.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

#include "gaussian_tree.inc"

constexpr float centroid_unit = 1.0F / 4096.0F;
constexpr float scale_unit = 1.0F / 65536.0F;

size_t nodes_at(int level) {
  return static_cast<size_t>(1) << (4U * static_cast<unsigned>(level));
}

template <class Table>
std::vector<float> scaled(const Table& table, float unit) {
  std::vector<float> values(table.size());
  std::transform(table.begin(), table.end(), values.begin(),
                 [unit](auto v) { return static_cast<float>(v) * unit; });
  return values;
}

EmbeddedScalar make_embedded_scalar() {
  EmbeddedScalar scalar{};
  for (size_t i = 0; i < scalar.thresholds.size(); ++i) {
    scalar.thresholds[i] = static_cast<float>(embedded_thresholds[i]) * centroid_unit;
  }
  constexpr size_t width = 1U << max_scalar_levels;
  for (size_t m = 0; m < max_scalar_levels; ++m) {
    for (size_t i = 0; i < width; ++i) {
      scalar.centroids[m][i] =
          static_cast<float>(embedded_centroids[m * width + i]) * centroid_unit;
    }
  }
  return scalar;
}

Quad quad_at(const float* table, size_t index) {
  const float* p = table + index * 4;
  return {p[0], p[1], p[2], p[3]};
}

Sixteen children_at(const std::vector<float>& table, size_t parent) {
  Sixteen children;
  for (size_t j = 0; j < fanout; ++j) {
    children[j] = quad_at(table.data(), parent * fanout + j);
  }
  return children;
}

/// Standard deviation of the samples about `centre`, a coordinate, shrunk towards `prior`.
Quad spread_about(std::span<const Quad> samples, const Quad& centre, const Quad& prior,
                  float prior_samples) {
  Quad result;
  for (size_t k = 0; k < 4; ++k) {
    double sum = static_cast<double>(prior_samples) * static_cast<double>(prior[k] * prior[k]);
    for (const Quad& x : samples) {
      const auto delta = static_cast<double>(x[k] - centre[k]);
      sum += delta * delta;
    }
    const double total = static_cast<double>(samples.size()) + static_cast<double>(prior_samples);
    result[k] = static_cast<float>(std::sqrt(sum / std::max(total, 1.0)));
  }
  return result;
}

/// The Gaussian tree's children of node `node` of `level`, moved to `parent` and stretched from
/// the Gaussian node's spread to this node's: the shape a node starts from, and keeps when thin.
Sixteen prior_children(const QuadTrees& gaussian, int level, size_t node, const Quad& parent,
                       const Quad& stretch) {
  Sixteen children = children_at(gaussian.centroids[static_cast<size_t>(level)], node);
  const Quad centre = level == 0 ? Quad{} : quad_at(gaussian.level_table(level, 0), node);
  for (Quad& child : children) {
    for (size_t k = 0; k < 4; ++k) {
      child[k] = parent[k] + (child[k] - centre[k]) * stretch[k];
    }
  }
  return children;
}

/// Root mean square offset of 16 children from their parent: the spread of a Gaussian node, up to
/// the distortion of its own children.
Quad gaussian_spread(const QuadTrees& gaussian, int level, size_t node) {
  const Sixteen children = children_at(gaussian.centroids[static_cast<size_t>(level)], node);
  const Quad centre = level == 0 ? Quad{} : quad_at(gaussian.level_table(level, 0), node);
  return spread_about(children, centre, Quad{}, 0.0F);
}

/// The tree of one quad, fitted node by node.
class TreeFit {
 public:
  TreeFit(std::vector<Quad> samples, int levels, const QuadTrees::FitParams& params,
          const QuadTrees& gaussian)
      : samples_(std::move(samples)), levels_(levels), params_(params), gaussian_(gaussian) {}

  void run() {
    const std::span<Quad> all(samples_);
    level1_ = fit_children(all, 0, 0, Quad{}, Quad{1.0F, 1.0F, 1.0F, 1.0F});
    if (levels_ < 2) {
      return;
    }
    const auto bounds = partition16(all, level1_);
    std::vector<double> weights;
    for (size_t p = 0; p < fanout; ++p) {
      const auto node = all.subspan(bounds[p], bounds[p + 1] - bounds[p]);
      const Quad spread = node_spread(node, level1_[p], 1, p);
      level2_[p] = fit_children(node, 1, p, level1_[p], spread);
      for (const size_t count : child_counts(node, level2_[p])) {
        weights.push_back(static_cast<double>(count));
      }
    }
    Sixteen start = mean_gaussian_offsets();
    aligned_ = align_children(level1_, level2_, weights, start, nullptr);
    if (levels_ >= 3) {
      fit_third_level(all, bounds);
    }
  }

  void store(QuadTrees& out, size_t tree) const {
    store_quads(out.centroids[0], tree * fanout, level1_);
    if (levels_ < 2) {
      return;
    }
    store_quads(out.aligned_offsets, tree * fanout, aligned_);
    for (size_t p = 0; p < fanout; ++p) {
      store_quads(out.centroids[1], (tree * fanout + p) * fanout, level2_[p]);
    }
    for (size_t node = 0; levels_ >= 3 && node < level3_.size(); ++node) {
      store_quads(out.centroids[2], (tree * 256 + node) * fanout, level3_[node]);
      store_quad(out.leaf_scales, tree * 256 + node, scales_[node]);
    }
  }

 private:
  std::vector<Quad> samples_;
  int levels_;
  QuadTrees::FitParams params_;
  const QuadTrees& gaussian_;
  Sixteen level1_{};
  std::array<Sixteen, fanout> level2_{};
  Sixteen aligned_{};
  std::vector<Sixteen> level3_;
  std::vector<Quad> scales_;

  static void store_quad(std::vector<float>& table, size_t index, const Quad& q) {
    for (size_t k = 0; k < 4; ++k) {  // fp16 is what files hold, so it is what memory holds
      table[index * 4 + k] = half_to_float(float_to_half(q[k]));
    }
  }
  static void store_quads(std::vector<float>& table, size_t first, const Sixteen& quads) {
    for (size_t j = 0; j < fanout; ++j) {
      store_quad(table, first + j, quads[j]);
    }
  }

  static std::array<size_t, fanout> child_counts(std::span<const Quad> samples,
                                                 const Sixteen& children) {
    std::array<size_t, fanout> counts{};
    for (const Quad& x : samples) {
      ++counts[nearest16(children, x)];
    }
    return counts;
  }

  /// How much wider than its Gaussian twin a node is, a coordinate.
  Quad node_spread(std::span<const Quad> samples, const Quad& centre, int level,
                   size_t node) const {
    const Quad twin = gaussian_spread(gaussian_, level, node);
    const Quad own = spread_about(samples, centre, twin, params_.prior_samples);
    Quad ratio;
    for (size_t k = 0; k < 4; ++k) {
      // The twin's spread is that of its children's centroids, short of the samples' own by the
      // children's distortion; the factor is the same for all nodes, and k-means takes it out.
      ratio[k] = own[k] / std::max(twin[k], 1e-6F);
    }
    return ratio;
  }

  Sixteen fit_children(std::span<const Quad> samples, int level, size_t node, const Quad& parent,
                       const Quad& stretch) const {
    const Sixteen start = prior_children(gaussian_, level, node, parent, stretch);
    return lloyd16(samples, start, params_.prior_samples, params_.iterations);
  }

  Sixteen mean_gaussian_offsets() const {
    Sixteen e;
    for (size_t j = 0; j < fanout; ++j) {
      e[j] = quad_at(gaussian_.aligned_offsets.data(), j);
    }
    return e;
  }

  void fit_third_level(std::span<Quad> all, const std::array<size_t, fanout + 1>& bounds) {
    for (size_t p = 0; p < fanout; ++p) {
      const auto node1 = all.subspan(bounds[p], bounds[p + 1] - bounds[p]);
      const auto inner = partition16(node1, level2_[p]);
      for (size_t c = 0; c < fanout; ++c) {
        const auto node2 = node1.subspan(inner[c], inner[c + 1] - inner[c]);
        const size_t node = p * fanout + c;
        const Quad stretch = node_spread(node2, level2_[p][c], 2, node);
        level3_.push_back(fit_children(node2, 2, node, level2_[p][c], stretch));
        scales_.push_back(leaf_scale(node2, level3_.back(), node, stretch));
      }
    }
  }

  Quad leaf_scale(std::span<const Quad> samples, const Sixteen& leaves, size_t node,
                  const Quad& stretch) const {
    std::vector<Quad> residuals;
    residuals.reserve(samples.size());
    for (const Quad& x : samples) {
      const Quad& leaf = leaves[nearest16(leaves, x)];
      residuals.push_back({x[0] - leaf[0], x[1] - leaf[1], x[2] - leaf[2], x[3] - leaf[3]});
    }
    Quad prior = quad_at(gaussian_.leaf_scales.data(), node);
    for (size_t k = 0; k < 4; ++k) {
      prior[k] *= stretch[k];
    }
    // Sixteen leaves share the scale, so it takes a prior of that many leaves' weight.
    Quad scale = spread_about(residuals, Quad{}, prior, 16.0F * params_.prior_samples);
    for (float& s : scale) {
      s = std::max(s, 1e-3F);  // a dead coordinate must not divide by zero
    }
    return scale;
  }
};

void write_halves(ByteWriter& out, const std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  std::transform(values.begin(), values.end(), halves.begin(), float_to_half);
  out.put_array(halves);
}

std::vector<float> read_halves(ByteReader& in, size_t count, const char* what) {
  const std::vector<uint16_t> halves = in.get_array<uint16_t>(count, what);
  std::vector<float> values(count);
  std::transform(halves.begin(), halves.end(), values.begin(), half_to_float);
  for (const float v : values) {
    require(std::isfinite(v), what, "finite numbers", v);
  }
  return values;
}

/// Allocates the tables that `levels` levels need.
void size_tables(QuadTrees& trees) {
  for (int level = 1; level <= trees.levels; ++level) {
    trees.centroids[static_cast<size_t>(level - 1)].resize(trees.trees * nodes_at(level) * 4);
  }
  if (trees.levels >= 2) {
    trees.aligned_offsets.resize(trees.trees * fanout * 4);
  }
  if (trees.levels >= 3) {
    trees.leaf_scales.resize(trees.trees * 256 * 4);
  }
}

}  // namespace

const EmbeddedScalar& embedded_scalar() {
  static const EmbeddedScalar scalar = make_embedded_scalar();
  return scalar;
}

const float* QuadTrees::level_table(int level, size_t quad) const {
  const size_t tree = shared() ? 0 : quad;
  return centroids[static_cast<size_t>(level - 1)].data() + tree * nodes_at(level) * 4;
}

const float* QuadTrees::leaf_scale_table(size_t quad) const {
  return leaf_scales.data() + (shared() ? 0 : quad) * 256 * 4;
}

QuadTrees QuadTrees::gaussian(int levels) {
  require(levels >= 0 && levels <= max_tree_levels, "levels", "0 to 3", levels);
  QuadTrees result;
  result.levels = levels;
  result.trees = 1;
  if (levels >= 1) {
    result.centroids[0] = scaled(gaussian_level1, centroid_unit);
  }
  if (levels >= 2) {
    result.centroids[1] = scaled(gaussian_level2, centroid_unit);
    result.aligned_offsets = scaled(gaussian_offsets, centroid_unit);
  }
  if (levels >= 3) {
    result.centroids[2] = scaled(gaussian_level3, centroid_unit);
    result.leaf_scales = scaled(gaussian_scales, scale_unit);
  }
  return result;
}

QuadTrees QuadTrees::fit(const float* u, size_t n, size_t quads, int levels,
                         const FitParams& params) {
  require(levels >= 0 && levels <= max_tree_levels, "levels", "0 to 3", levels);
  require(quads >= 1, "quads", "at least 1", quads);
  const QuadTrees gaussian_tree = gaussian(max_tree_levels);
  QuadTrees result;
  result.levels = levels;
  result.trees = quads;
  size_tables(result);
  if (levels == 0) {
    return result;
  }
#pragma omp parallel for schedule(dynamic)
  for (size_t quad = 0; quad < quads; ++quad) {
    std::vector<Quad> samples(n);
    for (size_t i = 0; i < n; ++i) {
      samples[i] = quad_at(u + (i * quads + quad) * 4, 0);
    }
    TreeFit fit(std::move(samples), levels, params, gaussian_tree);
    fit.run();
    fit.store(result, quad);
  }
  return result;
}

void QuadTrees::write(ByteWriter& out) const {
  out.put<int32_t>(levels);
  out.put<uint64_t>(trees);
  for (int level = 0; level < levels; ++level) {
    write_halves(out, centroids[static_cast<size_t>(level)]);
  }
  write_halves(out, aligned_offsets);
  write_halves(out, leaf_scales);
}

QuadTrees QuadTrees::read(ByteReader& in) {
  QuadTrees result;
  result.levels = in.get<int32_t>();
  require(result.levels >= 0 && result.levels <= max_tree_levels, "tree levels", "0 to 3",
          result.levels);
  result.trees = static_cast<size_t>(in.get<uint64_t>());
  // Each tree takes at least 128 bytes: bounds the allocation below by what the file can hold.
  require(result.trees >= 1 && (result.levels == 0 || result.trees <= in.left() / 128), "trees",
          "1 to what the section can hold", result.trees);
  for (int level = 1; level <= result.levels; ++level) {
    result.centroids[static_cast<size_t>(level - 1)] =
        read_halves(in, result.trees * nodes_at(level) * 4, "centroids");
  }
  result.aligned_offsets =
      read_halves(in, result.levels >= 2 ? result.trees * fanout * 4 : 0, "aligned offsets");
  result.leaf_scales =
      read_halves(in, result.levels >= 3 ? result.trees * 256 * 4 : 0, "leaf scales");
  return result;
}

}  // namespace rotorquant
