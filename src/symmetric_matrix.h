// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <vector>

namespace rotorquant {

/// Mean of x x^T over n rows of d (about the origin), d x d, in double by BLAS's
/// dsyrk: what rounding differs between machines is far below what a learned frame can feel.
std::vector<double> second_moments(const float* x, size_t n, size_t d);

struct SymmetricEigen {
  std::vector<double> values;   ///< d, ascending
  std::vector<double> vectors;  ///< d x d, one eigenvector a row
};

/// Eigen-decomposition of a symmetric matrix (d x d, row-major) by LAPACK's dsyevd. The sign of
/// each eigenvector is fixed: its entry of largest magnitude is positive.
/// Throws Error when LAPACK does not converge.
SymmetricEigen symmetric_eigen(std::vector<double> matrix, size_t d);

}  // namespace rotorquant
