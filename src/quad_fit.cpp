// SPDX-License-Identifier: MIT
#include "quad_fit.h"

#include <algorithm>
#include <limits>

namespace rotorquant {
namespace {

float squared_distance(const Quad& a, const Quad& b) {
  float sum = 0.0F;
  for (size_t k = 0; k < 4; ++k) {
    sum += (a[k] - b[k]) * (a[k] - b[k]);
  }
  return sum;
}

Quad offset(const Quad& child, const Quad& parent) {
  Quad result;
  for (size_t k = 0; k < 4; ++k) {
    result[k] = child[k] - parent[k];
  }
  return result;
}

/// Weighted mean offset of every child number over the parents.
Sixteen mean_offsets(const Sixteen& parents, const std::array<Sixteen, fanout>& children,
                     const std::vector<double>& weights) {
  Sixteen result{};
  for (size_t j = 0; j < fanout; ++j) {
    std::array<double, 4> sum{};
    double total = 0.0;
    for (size_t p = 0; p < fanout; ++p) {
      const Quad delta = offset(children[p][j], parents[p]);
      const double weight = weights[p * fanout + j] + 1e-3;  // an all-empty number still has a mean
      for (size_t k = 0; k < 4; ++k) {
        sum[k] += weight * static_cast<double>(delta[k]);
      }
      total += weight;
    }
    for (size_t k = 0; k < 4; ++k) {
      result[j][k] = static_cast<float>(sum[k] / total);
    }
  }
  return result;
}

/// Renumbers one parent's children to fit e best; returns the weighted misfit afterwards.
double renumber(const Quad& parent, Sixteen& children, std::span<double> weights,
                const Sixteen& e) {
  std::array<double, fanout * fanout> cost{};
  for (size_t child = 0; child < fanout; ++child) {
    const Quad delta = offset(children[child], parent);
    for (size_t j = 0; j < fanout; ++j) {
      cost[child * fanout + j] =
          (weights[child] + 1e-3) * static_cast<double>(squared_distance(delta, e[j]));
    }
  }
  const std::array<uint8_t, fanout> number = assign16(cost);
  Sixteen renumbered{};
  std::array<double, fanout> moved{};
  double misfit = 0.0;
  for (size_t child = 0; child < fanout; ++child) {
    renumbered[number[child]] = children[child];
    moved[number[child]] = weights[child];
    misfit += cost[child * fanout + number[child]];
  }
  children = renumbered;
  std::copy(moved.begin(), moved.end(), weights.begin());
  return misfit;
}

}  // namespace

uint8_t nearest16(const Sixteen& centroids, const Quad& x) {
  float best = std::numeric_limits<float>::infinity();
  size_t index = 0;
  for (size_t j = 0; j < fanout; ++j) {
    const float d = squared_distance(centroids[j], x);
    if (d < best) {
      best = d;
      index = j;
    }
  }
  return static_cast<uint8_t>(index);
}

Sixteen lloyd16(std::span<const Quad> samples, const Sixteen& start, float prior_samples,
                int iterations) {
  Sixteen centroids = start;
  for (int iteration = 0; iteration < iterations; ++iteration) {
    std::array<std::array<double, 4>, fanout> sum{};
    std::array<double, fanout> count{};
    for (const Quad& x : samples) {
      const size_t j = nearest16(centroids, x);
      for (size_t k = 0; k < 4; ++k) {
        sum[j][k] += static_cast<double>(x[k]);
      }
      count[j] += 1.0;
    }
    Sixteen next = centroids;
    for (size_t j = 0; j < fanout; ++j) {
      const double total = count[j] + static_cast<double>(prior_samples);
      if (total == 0.0) {
        continue;
      }
      for (size_t k = 0; k < 4; ++k) {
        const double prior = static_cast<double>(prior_samples) * static_cast<double>(start[j][k]);
        next[j][k] = static_cast<float>((sum[j][k] + prior) / total);
      }
    }
    if (next == centroids) {
      break;
    }
    centroids = next;
  }
  return centroids;
}

double distortion16(std::span<const Quad> samples, const Sixteen& centroids) {
  double sum = 0.0;
  for (const Quad& x : samples) {
    sum += static_cast<double>(squared_distance(centroids[nearest16(centroids, x)], x));
  }
  return samples.empty() ? 0.0 : sum / static_cast<double>(samples.size());
}

std::array<size_t, fanout + 1> partition16(std::span<Quad> samples, const Sixteen& centroids) {
  std::array<std::vector<Quad>, fanout> nodes;
  for (const Quad& x : samples) {
    nodes[nearest16(centroids, x)].push_back(x);
  }
  std::array<size_t, fanout + 1> bounds{};
  auto out = samples.begin();
  for (size_t j = 0; j < fanout; ++j) {
    out = std::copy(nodes[j].begin(), nodes[j].end(), out);
    bounds[j + 1] = bounds[j] + nodes[j].size();
  }
  return bounds;
}

Sixteen align_children(const Sixteen& parents, std::array<Sixteen, fanout>& children,
                       std::vector<double> weights, const Sixteen& start, double* misfit) {
  constexpr int max_rounds = 40;
  Sixteen e = start;
  double last = std::numeric_limits<double>::infinity();
  for (int round = 0; round < max_rounds; ++round) {
    double total = 0.0;
    for (size_t p = 0; p < fanout; ++p) {
      total += renumber(parents[p], children[p], std::span(weights).subspan(p * fanout, fanout), e);
    }
    e = mean_offsets(parents, children, weights);
    if (total >= last * (1.0 - 1e-9)) {
      break;
    }
    last = total;
  }
  if (misfit != nullptr) {
    *misfit = last;
  }
  return e;
}

}  // namespace rotorquant
