// SPDX-License-Identifier: MIT
// src/symmetric_matrix.cpp without BLAS and LAPACK: slow, and all that the kernel tests need.
#include "symmetric_matrix.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace rotorquant {

std::vector<double> second_moments(const float* x, size_t n, size_t d) {
  std::vector<double> sum(d * d, 0.0);
  for (size_t row = 0; row < n; ++row, x += d) {
    for (size_t i = 0; i < d; ++i) {
      for (size_t j = 0; j < d; ++j) {
        sum[i * d + j] += static_cast<double>(x[i]) * static_cast<double>(x[j]);
      }
    }
  }
  for (double& moment : sum) {
    moment /= static_cast<double>(std::max<size_t>(n, 1));
  }
  return sum;
}

namespace {

/// Turns rows a and b of a d x d matrix by the angle whose cosine and sine are given.
void rotate_rows(std::vector<double>& m, size_t d, size_t a, size_t b, double c, double s) {
  for (size_t j = 0; j < d; ++j) {
    const double x = m[a * d + j];
    const double y = m[b * d + j];
    m[a * d + j] = c * x - s * y;
    m[b * d + j] = s * x + c * y;
  }
}

void rotate_columns(std::vector<double>& m, size_t d, size_t a, size_t b, double c, double s) {
  for (size_t i = 0; i < d; ++i) {
    const double x = m[i * d + a];
    const double y = m[i * d + b];
    m[i * d + a] = c * x - s * y;
    m[i * d + b] = s * x + c * y;
  }
}

}  // namespace

/// Jacobi's method: 30 sweeps are many more than it takes to converge.
SymmetricEigen symmetric_eigen(std::vector<double> matrix, size_t d) {
  std::vector<double> vectors(d * d, 0.0);
  for (size_t i = 0; i < d; ++i) {
    vectors[i * d + i] = 1.0;
  }
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (size_t a = 0; a + 1 < d; ++a) {
      for (size_t b = a + 1; b < d; ++b) {
        const double off = matrix[a * d + b];
        if (off == 0.0) {
          continue;
        }
        const double angle = 0.5 * std::atan2(2.0 * off, matrix[b * d + b] - matrix[a * d + a]);
        const double c = std::cos(angle);
        const double s = std::sin(angle);
        rotate_rows(matrix, d, a, b, c, s);
        rotate_columns(matrix, d, a, b, c, s);
        rotate_rows(vectors, d, a, b, c, s);
      }
    }
  }
  std::vector<size_t> order(d);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return matrix[a * d + a] < matrix[b * d + b]; });
  SymmetricEigen result;
  for (const size_t i : order) {
    result.values.push_back(matrix[i * d + i]);
    const auto row = vectors.begin() + static_cast<std::ptrdiff_t>(i * d);
    const auto shorter = [](double x, double y) { return std::fabs(x) < std::fabs(y); };
    if (*std::max_element(row, row + static_cast<std::ptrdiff_t>(d), shorter) < 0.0) {
      std::transform(row, row + static_cast<std::ptrdiff_t>(d), row, std::negate<>());
    }
    result.vectors.insert(result.vectors.end(), row, row + static_cast<std::ptrdiff_t>(d));
  }
  return result;
}

}  // namespace rotorquant
