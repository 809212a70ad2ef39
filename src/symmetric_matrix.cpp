// SPDX-License-Identifier: MIT
#include "symmetric_matrix.h"

#include <algorithm>
#include <cmath>

#include "rotorquant/error.h"

// Fortran BLAS and LAPACK, declared here as FAISS does: no header comes with every BLAS.
extern "C" void dsyevd_(const char* jobz, const char* uplo, const int* n, double* a, const int* lda,
                        double* w, double* work, const int* lwork, int* iwork, const int* liwork,
                        int* info);
extern "C" void dsyrk_(const char* uplo, const char* trans, const int* n, const int* k,
                       const double* alpha, const double* a, const int* lda, const double* beta,
                       double* c, const int* ldc);

namespace rotorquant {

std::vector<double> second_moments(const float* x, size_t n, size_t d) {
  constexpr size_t block_rows = 1024;  // a few MB of doubles at a time
  const int dim = static_cast<int>(d);
  const double one = 1.0;
  std::vector<double> sum(d * d, 0.0);
  std::vector<double> block;
  for (size_t first = 0; first < n; first += block_rows) {
    const size_t rows = std::min(block_rows, n - first);
    block.assign(x + first * d, x + (first + rows) * d);
    const int k = static_cast<int>(rows);
    // Fortran sees d x rows, and its upper triangle is the lower one here.
    dsyrk_("U", "N", &dim, &k, &one, block.data(), &dim, &one, sum.data(), &dim);
  }
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      sum[i * d + j] /= static_cast<double>(std::max<size_t>(n, 1));
      sum[j * d + i] = sum[i * d + j];
    }
  }
  return sum;
}

SymmetricEigen symmetric_eigen(std::vector<double> matrix, size_t d) {
  const int n = static_cast<int>(d);
  SymmetricEigen result;
  result.values.resize(d);
  int info = 0;
  int lwork = -1;
  int liwork = -1;
  double work_size = 0.0;
  int iwork_size = 0;
  dsyevd_("V", "U", &n, matrix.data(), &n, result.values.data(), &work_size, &lwork, &iwork_size,
          &liwork, &info);
  require(info == 0, "dsyevd workspace query", "info 0", info);
  lwork = static_cast<int>(work_size);
  liwork = iwork_size;
  std::vector<double> work(static_cast<size_t>(lwork));
  std::vector<int> iwork(static_cast<size_t>(liwork));
  dsyevd_("V", "U", &n, matrix.data(), &n, result.values.data(), work.data(), &lwork, iwork.data(),
          &liwork, &info);
  require(info == 0, "dsyevd", "info 0 (convergence)", info);
  for (size_t i = 0; i < d; ++i) {  // column i of the Fortran matrix is row i here
    double* v = matrix.data() + i * d;
    size_t largest = 0;
    for (size_t j = 1; j < d; ++j) {
      largest = std::fabs(v[j]) > std::fabs(v[largest]) ? j : largest;
    }
    if (v[largest] < 0.0) {
      for (size_t j = 0; j < d; ++j) {
        v[j] = -v[j];
      }
    }
  }
  result.vectors = std::move(matrix);
  return result;
}

}  // namespace rotorquant
