// SPDX-License-Identifier: MIT
// Prints src/gaussian_tree.inc: the LBG tree of N(0, I_4), its aligned offsets, the spread below
// its level-2 nodes and the embedded scalar quantiser. Run once; the numbers are frozen, because
// every oblivious code ever written depends on them.
//
//   build/release/make_gaussian_tree > src/gaussian_tree.inc

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <vector>

#include "quad_fit.h"
#include "rotorquant/random.h"

namespace {

using rotorquant::fanout;
using rotorquant::Quad;
using rotorquant::Sixteen;

constexpr size_t sample_count = 1U << 23U;
constexpr double centroid_unit = 4096.0;
constexpr double scale_unit = 65536.0;

std::vector<Quad> gaussian_quads(size_t n, uint64_t seed) {
  rotorquant::Rng rng(seed);
  std::vector<Quad> samples(n);
  for (Quad& x : samples) {
    for (float& v : x) {
      v = static_cast<float>(rng.gaussian());
    }
  }
  return samples;
}

/// Best of several random starts on a part of the samples, then polished on all of them.
Sixteen best_of(std::span<const Quad> samples, int starts, rotorquant::Rng& rng) {
  const auto part = samples.first(std::min<size_t>(samples.size(), 40000));
  Sixteen best{};
  double least = std::numeric_limits<double>::infinity();
  for (int start = 0; start < starts; ++start) {
    Sixteen guess;
    for (Quad& c : guess) {
      c = part[rng.below(part.size())];
    }
    guess = rotorquant::lloyd16(part, guess, 0.0F, 60);
    const double distortion = rotorquant::distortion16(part, guess);
    if (distortion < least) {
      least = distortion;
      best = guess;
    }
  }
  return rotorquant::lloyd16(samples, best, 0.0F, 40);
}

void print_quads(const char* name, std::span<const Quad> quads) {
  std::printf("constexpr std::array<std::int16_t, %zu> %s = {", quads.size() * 4, name);
  size_t column = 0;
  for (const Quad& q : quads) {
    for (const float v : q) {
      std::printf("%s%ld,", column++ % 20 == 0 ? "\n" : "",
                  std::lround(static_cast<double>(v) * centroid_unit));
    }
  }
  std::printf("};\n");
}

void print_numbers(const char* name, const char* type, std::span<const double> values,
                   double unit) {
  std::printf("constexpr std::array<%s, %zu> %s = {", type, values.size(), name);
  size_t column = 0;
  for (const double v : values) {
    std::printf("%s%ld,", column++ % 20 == 0 ? "\n" : "", std::lround(v * unit));
  }
  std::printf("};\n");
}

double mean(std::span<const float> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) /
         static_cast<double>(std::max<size_t>(values.size(), 1));
}

/// Splits ascending values in two by Lloyd's rule; returns the first index of the upper part.
size_t split_in_two(std::span<const float> values) {
  size_t cut = values.size() / 2;
  for (int iteration = 0; iteration < 200; ++iteration) {
    const double threshold = 0.5 * (mean(values.first(cut)) + mean(values.subspan(cut)));
    const auto next = static_cast<size_t>(
        std::lower_bound(values.begin(), values.end(), static_cast<float>(threshold)) -
        values.begin());
    if (next == cut) {
      break;
    }
    cut = next;
  }
  return cut;
}

struct Embedded {
  std::vector<double> thresholds = std::vector<double>(32, 0.0);
  std::vector<double> centroids = std::vector<double>(5 * 32, 0.0);
};

void split_recursively(std::span<const float> values, size_t heap, int depth, Embedded& out) {
  if (depth > 0) {
    const size_t first = static_cast<size_t>(1) << static_cast<unsigned>(depth);
    out.centroids[static_cast<size_t>(depth - 1) * 32 + heap - first] = mean(values);
  }
  if (depth == 5) {
    return;
  }
  const size_t cut = split_in_two(values);
  out.thresholds[heap] = 0.5 * (mean(values.first(cut)) + mean(values.subspan(cut)));
  split_recursively(values.first(cut), 2 * heap, depth + 1, out);
  split_recursively(values.subspan(cut), 2 * heap + 1, depth + 1, out);
}

}  // namespace

int main() {
  rotorquant::Rng rng(2026);
  std::vector<Quad> samples = gaussian_quads(sample_count, 4);
  const Sixteen level1 = best_of(samples, 400, rng);
  std::fprintf(stderr, "level 1 distortion %.5f\n", rotorquant::distortion16(samples, level1) / 4);

  const auto bounds1 = rotorquant::partition16(samples, level1);
  std::array<Sixteen, fanout> level2{};
  std::vector<double> weights(fanout * fanout, 1.0);
  for (size_t p = 0; p < fanout; ++p) {
    level2[p] =
        best_of(std::span(samples).subspan(bounds1[p], bounds1[p + 1] - bounds1[p]), 40, rng);
  }
  std::array<Sixteen, fanout> best_level2 = level2;
  Sixteen offsets{};
  double least = std::numeric_limits<double>::infinity();
  for (int start = 0; start < 400; ++start) {
    std::array<Sixteen, fanout> trial = level2;
    rng.below(fanout);  // a draw of the sequence that the frozen table came from
    const size_t parent = rng.below(fanout);
    Sixteen guess = trial[parent];
    for (Quad& c : guess) {
      for (size_t k = 0; k < 4; ++k) {
        c[k] += static_cast<float>(0.2 * rng.gaussian()) - level1[parent][k];
      }
    }
    double misfit = 0.0;
    const Sixteen e = rotorquant::align_children(level1, trial, weights, guess, &misfit);
    if (misfit < least) {
      least = misfit;
      best_level2 = trial;
      offsets = e;
    }
  }
  level2 = best_level2;
  std::fprintf(stderr, "aligned misfit a coordinate %.5f\n", least / 256 / 4);

  std::vector<Quad> all2;
  std::vector<Quad> all3;
  std::vector<double> scales;
  std::vector<float> residuals;
  double sum1 = 0.0;
  double sum3 = 0.0;
  for (size_t p = 0; p < fanout; ++p) {
    auto node1 = std::span(samples).subspan(bounds1[p], bounds1[p + 1] - bounds1[p]);
    sum1 += rotorquant::distortion16(node1, level2[p]) * static_cast<double>(node1.size());
    const auto bounds2 = rotorquant::partition16(node1, level2[p]);
    for (size_t c = 0; c < fanout; ++c) {
      const auto node2 = node1.subspan(bounds2[c], bounds2[c + 1] - bounds2[c]);
      const Sixteen level3 = best_of(node2, 12, rng);
      all2.push_back(level2[p][c]);
      all3.insert(all3.end(), level3.begin(), level3.end());
      std::array<double, 4> spread{};
      for (const Quad& x : node2) {
        const Quad& leaf = level3[rotorquant::nearest16(level3, x)];
        for (size_t k = 0; k < 4; ++k) {
          const double r = static_cast<double>(x[k] - leaf[k]);
          spread[k] += r * r;
        }
      }
      for (double& s : spread) {
        sum3 += s;
        s = std::sqrt(s / static_cast<double>(node2.size()));
        scales.push_back(s);
      }
      for (size_t i = 0; i < std::min<size_t>(node2.size(), 4000); ++i) {
        const Quad& leaf = level3[rotorquant::nearest16(level3, node2[i])];
        for (size_t k = 0; k < 4; ++k) {
          residuals.push_back(
              static_cast<float>(static_cast<double>(node2[i][k] - leaf[k]) / spread[k]));
        }
      }
    }
  }
  const auto total = static_cast<double>(sample_count) * 4;
  std::fprintf(stderr, "level 2 distortion %.5f, level 3 %.5f\n", sum1 / total, sum3 / total);

  std::sort(residuals.begin(), residuals.end());
  Embedded embedded;
  split_recursively(residuals, 1, 0, embedded);

  std::printf(
      "// SPDX-License-Identifier: MIT\n"
      "// Generated by tools/generate/make_gaussian_tree.cpp; frozen with the file format.\n"
      "// Centroids, offsets and scalar tables in 1/4096, scales in 1/65536.\n");
  print_quads("gaussian_level1", level1);
  print_quads("gaussian_level2", all2);
  print_quads("gaussian_level3", all3);
  print_quads("gaussian_offsets", offsets);
  print_numbers("gaussian_scales", "std::uint16_t", scales, scale_unit);
  print_numbers("embedded_thresholds", "std::int16_t", embedded.thresholds, centroid_unit);
  print_numbers("embedded_centroids", "std::int16_t", embedded.centroids, centroid_unit);
  return 0;
}
