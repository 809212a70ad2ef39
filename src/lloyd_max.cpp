// SPDX-License-Identifier: MIT
#include "rotorquant/lloyd_max.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void require_bits(int bits) {
  require(bits >= 1 && bits <= ScalarCodebook::max_bits, "bits", "1 to 8", bits);
}

// ---- N(0, 1) ----------------------------------------------------------------------------------

double density(double x) {
  constexpr double root = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  return root * std::exp(-0.5 * x * x);
}

/// P(X > x): exact in the upper tail, where 1 - P(X < x) would cancel.
double upper_tail(double x) {
  return 0.5 * std::erfc(x / std::numbers::sqrt2);
}

/// The mass of a cell and its first moment.
struct Cell {
  double mass = 0.0;
  double moment = 0.0;
};

Cell gaussian_cell(double low, double high) {
  // Cells left of 0 are mirrored into the upper tail to keep their digits.
  const bool mirror = low < 0.0 && high <= 0.0;
  const double mass =
      mirror ? upper_tail(-high) - upper_tail(-low) : upper_tail(low) - upper_tail(high);
  return {mass, density(low) - density(high)};
}

/// The point that leaves `mass` < 1/2 above it, by bisection (only for a starting point).
double upper_quantile(double mass) {
  double low = 0.0;
  double high = 10.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (upper_tail(middle) > mass ? low : high) = middle;
  }
  return low;
}

/// The positive half of the codebook, ascending. Centroids of the optimal quantiser have density
/// proportional to pdf^(1/3) at high rate (Panter and Dite 1951): N(0, 3) here.
std::vector<double> initial_half(size_t half) {
  std::vector<double> c(half);
  for (size_t i = 0; i < half; ++i) {
    const double mass = (static_cast<double>(half - i) - 0.5) / (2.0 * static_cast<double>(half));
    c[i] = std::numbers::sqrt3 * upper_quantile(mass);
  }
  return c;
}

/// One row of the linearised centroid condition F_i = c_i - mean(cell i) = 0.
struct NewtonRow {
  double below = 0.0;  // dF_i / dc_{i-1}
  double own = 1.0;
  double above = 0.0;  // dF_i / dc_{i+1}
  double value = 0.0;  // F_i
};

NewtonRow newton_row(const std::vector<double>& c, size_t i) {
  const double low = i == 0 ? 0.0 : 0.5 * (c[i - 1] + c[i]);
  const double high = i + 1 == c.size() ? infinity : 0.5 * (c[i] + c[i + 1]);
  const Cell cell = gaussian_cell(low, high);
  const double mean = cell.moment / cell.mass;
  // d mean / d boundary, halved because a boundary moves half as far as its centroid. The boundary
  // at 0 is fixed by symmetry.
  const double by_low = i == 0 ? 0.0 : 0.5 * density(low) * (mean - low) / cell.mass;
  const double by_high = i + 1 == c.size() ? 0.0 : 0.5 * density(high) * (high - mean) / cell.mass;
  return {-by_low, 1.0 - by_low - by_high, -by_high, c[i] - mean};
}

/// One Newton step on the tridiagonal system (Thomas algorithm); returns the largest change.
double newton_step(std::vector<double>& c) {
  std::vector<NewtonRow> rows(c.size());
  for (size_t i = 0; i < c.size(); ++i) {
    rows[i] = newton_row(c, i);
  }
  for (size_t i = 1; i < rows.size(); ++i) {
    const double factor = rows[i].below / rows[i - 1].own;
    rows[i].own -= factor * rows[i - 1].above;
    rows[i].value -= factor * rows[i - 1].value;
  }
  double largest = 0.0;
  double next = 0.0;
  for (size_t i = rows.size(); i-- > 0;) {
    next = (rows[i].value - rows[i].above * next) / rows[i].own;
    c[i] -= next;
    largest = std::max(largest, std::abs(next));
  }
  return largest;
}

// ---- samples ----------------------------------------------------------------------------------

/// Sorted samples with running sums, so that a cell costs two binary searches, not a pass.
struct SortedSamples {
  SortedSamples(const float* samples, size_t n) : v(samples, samples + n), sum(n + 1) {
    std::sort(v.begin(), v.end());
    for (size_t i = 0; i < n; ++i) {
      sum[i + 1] = sum[i] + static_cast<double>(v[i]);
    }
  }

  /// Number of samples <= x.
  [[nodiscard]] size_t count_to(double x) const {
    return static_cast<size_t>(std::upper_bound(v.begin(), v.end(), x) - v.begin());
  }

  std::vector<float> v;
  std::vector<double> sum;
};

std::vector<double> distinct_values(const SortedSamples& s, size_t at_most) {
  std::vector<double> distinct;
  for (const float value : s.v) {
    if (distinct.empty() || distinct.back() != static_cast<double>(value)) {
      distinct.push_back(static_cast<double>(value));
      if (distinct.size() > at_most) {
        break;
      }
    }
  }
  return distinct;
}

/// Starting point from the quantiles. Optimal centroids have density pdf^(1/3) (Panter and Dite
/// 1951): a bin of fixed mass and width w gets a share of w^(2/3). Plain quantiles would leave the
/// tails so poor that Lloyd's iteration needs tens of thousands of rounds at 8 bits.
std::vector<double> initial_from_quantiles(const SortedSamples& s, size_t levels) {
  const size_t bins = std::min(64 * levels, s.v.size() - 1);
  const auto edge = [&](size_t i) { return static_cast<double>(s.v[i * (s.v.size() - 1) / bins]); };
  std::vector<double> share(bins + 1);
  for (size_t i = 0; i < bins; ++i) {
    const double width = edge(i + 1) - edge(i);
    share[i + 1] = share[i] + std::cbrt(width * width);
  }
  std::vector<double> c(levels);
  size_t bin = 0;
  for (size_t i = 0; i < levels; ++i) {
    const double wanted =
        share[bins] * (static_cast<double>(i) + 0.5) / static_cast<double>(levels);
    while (bin + 1 < bins && share[bin + 1] <= wanted) {
      ++bin;
    }
    const double into = (wanted - share[bin]) / (share[bin + 1] - share[bin]);
    c[i] = edge(bin) + into * (edge(bin + 1) - edge(bin));
  }
  return c;
}

/// Ends of the cells in the sorted samples: cell i is [ends[i], ends[i + 1]).
std::vector<size_t> cell_ends(const SortedSamples& s, const std::vector<double>& c) {
  std::vector<size_t> ends{0};
  for (size_t i = 0; i + 1 < c.size(); ++i) {
    ends.push_back(std::max(ends.back(), s.count_to(0.5 * (c[i] + c[i + 1]))));
  }
  ends.push_back(s.v.size());
  return ends;
}

/// Moves the centroids of empty cells (ties, small samples) into the widest cells.
void fill_empty_cells(const SortedSamples& s, const std::vector<size_t>& ends,
                      std::vector<double>& c) {
  std::vector<std::pair<double, size_t>> widths;
  std::vector<size_t> empty;
  for (size_t i = 0; i < c.size(); ++i) {
    if (ends[i] == ends[i + 1]) {
      empty.push_back(i);
      continue;
    }
    const auto low = static_cast<double>(s.v[ends[i]]);
    const auto high = static_cast<double>(s.v[ends[i + 1] - 1]);
    widths.emplace_back(low - high, i);  // ascending order: widest first, then lowest index
  }
  std::sort(widths.begin(), widths.end());
  for (size_t k = 0; k < std::min(empty.size(), widths.size()); ++k) {
    const size_t wide = widths[k].second;
    if (s.v[ends[wide]] != s.v[ends[wide + 1] - 1]) {
      c[wide] = static_cast<double>(s.v[ends[wide]]);
      c[empty[k]] = static_cast<double>(s.v[ends[wide + 1] - 1]);
    }
  }
  std::sort(c.begin(), c.end());
}

/// One round of Lloyd's iteration; returns the largest change of a centroid.
double lloyd_step(const SortedSamples& s, std::vector<double>& c) {
  const std::vector<size_t> ends = cell_ends(s, c);
  const std::vector<double> before = c;
  bool any_empty = false;
  for (size_t i = 0; i < c.size(); ++i) {
    if (ends[i] == ends[i + 1]) {
      any_empty = true;
    } else {
      c[i] = (s.sum[ends[i + 1]] - s.sum[ends[i]]) / static_cast<double>(ends[i + 1] - ends[i]);
    }
  }
  if (any_empty) {
    fill_empty_cells(s, ends, c);
  }
  double largest = 0.0;
  for (size_t i = 0; i < c.size(); ++i) {
    largest = std::max(largest, std::abs(c[i] - before[i]));
  }
  return largest;
}

std::vector<float> to_floats(const std::vector<double>& c) {
  std::vector<float> rounded(c.size());
  std::transform(c.begin(), c.end(), rounded.begin(),
                 [](double v) { return static_cast<float>(v); });
  return rounded;
}

}  // namespace

ScalarCodebook::ScalarCodebook(int bits, std::vector<float> centroids)
    : bits_(bits), centroids_(std::move(centroids)) {
  require_bits(bits);
  require(centroids_.size() == size_t{1} << static_cast<unsigned>(bits), "centroids",
          size_t{1} << static_cast<unsigned>(bits), centroids_.size());
  require_finite(centroids_.data(), 1, centroids_.size(), "centroids");
  require(std::is_sorted(centroids_.begin(), centroids_.end()), "centroids", "ascending order",
          "another order");
  for (size_t i = 0; i + 1 < centroids_.size(); ++i) {
    const double sum = static_cast<double>(centroids_[i]) + static_cast<double>(centroids_[i + 1]);
    boundaries_.push_back(static_cast<float>(0.5 * sum));
  }
}

ScalarCodebook ScalarCodebook::gaussian(int bits, double sigma) {
  require_bits(bits);
  require(sigma > 0.0 && std::isfinite(sigma), "sigma", "a positive number", sigma);
  // The density is log-concave, so the stationary point is the optimum and unique (Fleischer 1964).
  // Newton's method reaches it in about ten steps, where plain Lloyd iteration at 8 bits needs tens
  // of thousands; by symmetry half of the codebook is enough.
  std::vector<double> half = initial_half((size_t{1} << static_cast<unsigned>(bits)) / 2);
  constexpr int max_steps = 50;
  for (int step = 0; step < max_steps && newton_step(half) > 1e-14; ++step) {
  }
  std::vector<double> c;
  for (size_t i = half.size(); i-- > 0;) {
    c.push_back(-sigma * half[i]);
  }
  for (const double v : half) {
    c.push_back(sigma * v);
  }
  return {bits, to_floats(c)};
}

ScalarCodebook ScalarCodebook::from_samples(const float* samples, size_t n, int bits) {
  require_bits(bits);
  require(n > 0, "n", "at least 1 sample", n);
  require_finite(samples, n, 1, "samples");
  const SortedSamples s(samples, n);
  const size_t levels = size_t{1} << static_cast<unsigned>(bits);
  std::vector<double> c = distinct_values(s, levels);
  if (c.size() <= levels) {
    c.resize(levels, c.back());
    return {bits, to_floats(c)};
  }
  c = initial_from_quantiles(s, levels);
  const double scale = static_cast<double>(s.v.back()) - static_cast<double>(s.v.front());
  constexpr int max_steps = 2000;  // 8 bits creep for long at changes that no longer matter
  for (int step = 0; step < max_steps && lloyd_step(s, c) > 1e-8 * scale; ++step) {
  }
  return {bits, to_floats(c)};
}

void ScalarCodebook::encode(const float* values, size_t n, uint8_t* indices) const {
  for (size_t i = 0; i < n; ++i) {
    indices[i] = encode(values[i]);
  }
}

void ScalarCodebook::decode(const uint8_t* indices, size_t n, float* values) const {
  for (size_t i = 0; i < n; ++i) {
    values[i] = centroids_[indices[i]];
  }
}

double gaussian_distortion(const ScalarCodebook& codebook, double sigma) {
  require(sigma > 0.0 && std::isfinite(sigma), "sigma", "a positive number", sigma);
  double error = 1.0;  // E X^2, then - 2 c E[X; cell] + c^2 P(cell)
  double low = -infinity;
  for (size_t i = 0; i < codebook.levels(); ++i) {
    const bool last = i + 1 == codebook.levels();
    const double high = last ? infinity : static_cast<double>(codebook.boundaries()[i]) / sigma;
    const Cell cell = gaussian_cell(low, high);
    const double c = static_cast<double>(codebook.centroids()[i]) / sigma;
    error += c * (c * cell.mass - 2.0 * cell.moment);
    low = high;
  }
  return error * sigma * sigma;
}

double sample_distortion(const ScalarCodebook& codebook, const float* samples, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) {
    const double error = static_cast<double>(samples[i]) -
                         static_cast<double>(codebook.decode(codebook.encode(samples[i])));
    sum += error * error;
  }
  return n == 0 ? 0.0 : sum / static_cast<double>(n);
}

}  // namespace rotorquant
