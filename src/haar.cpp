// SPDX-License-Identifier: MIT
#include "rotorquant/haar.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "rotorquant/error.h"
#include "rotorquant/random.h"

namespace rotorquant {
namespace {

// A stream of its own, so that a caller's Rng of the same seed is not correlated with the matrix.
constexpr uint64_t haar_stream = 0x48414152;

/// A square matrix, row-major.
struct Matrix {
  explicit Matrix(size_t size) : d(size), v(size * size) {}
  double* row(size_t i) { return v.data() + i * d; }

  size_t d;
  std::vector<double> v;
};

/// A reflection I - beta w w^T whose w is 0 above `first`; beta = 0 leaves everything as it is.
struct Reflector {
  size_t first = 0;
  double beta = 0.0;
  std::vector<double> w;  // from `first` on
};

/// The reflection that maps column k of a, from row k down, to (diagonal, 0, ..., 0).
Reflector make_reflector(Matrix& a, size_t k, double& diagonal) {
  Reflector h;
  h.first = k;
  double tail = 0.0;
  for (size_t i = k; i < a.d; ++i) {
    h.w.push_back(a.row(i)[k]);
    tail += i == k ? 0.0 : h.w.back() * h.w.back();
  }
  const double head = h.w[0];
  if (tail == 0.0) {  // the last column, or nothing left to annihilate
    diagonal = head;
    return h;
  }
  // The sign that avoids cancellation in head - diagonal.
  const double length = std::sqrt(head * head + tail);
  diagonal = head > 0.0 ? -length : length;
  h.w[0] = head - diagonal;
  h.beta = 2.0 / (h.w[0] * h.w[0] + tail);
  return h;
}

/// Applies h from the left to columns [from, d) of a. By rows, so that the loops vectorise without
/// changing the order of any sum; blocks of columns are independent and may run in parallel.
void apply(const Reflector& h, Matrix& a, size_t from) {
  constexpr size_t block = 128;
  constexpr size_t parallel_from = 256;  // below this, starting threads costs more than it saves
  const size_t blocks = (a.d - from + block - 1) / block;
#pragma omp parallel for schedule(static) if (a.d - from >= parallel_from)
  for (size_t b = 0; b < blocks; ++b) {
    const size_t begin = from + b * block;
    const size_t width = std::min(block, a.d - begin);
    std::array<double, block> dot{};
    for (size_t i = 0; i < h.w.size(); ++i) {
      const double* row = a.row(h.first + i) + begin;
      for (size_t j = 0; j < width; ++j) {
        dot[j] += h.w[i] * row[j];
      }
    }
    for (size_t i = 0; i < h.w.size(); ++i) {
      const double scale = h.beta * h.w[i];
      double* row = a.row(h.first + i) + begin;
      for (size_t j = 0; j < width; ++j) {
        row[j] -= scale * dot[j];
      }
    }
  }
}

Matrix gaussian_matrix(size_t d, uint64_t seed) {
  Rng rng(seed, haar_stream);
  Matrix a(d);
  for (double& v : a.v) {
    v = rng.gaussian();
  }
  return a;
}

}  // namespace

std::vector<float> haar_rotation(size_t d, uint64_t seed) {
  require(d > 0, "d", "at least 1", d);
  Matrix a = gaussian_matrix(d, seed);
  std::vector<Reflector> reflectors;
  std::vector<double> diagonal(d);
  for (size_t k = 0; k < d; ++k) {
    reflectors.push_back(make_reflector(a, k, diagonal[k]));
    apply(reflectors.back(), a, k + 1);
  }
  // Q = H_0 H_1 ... H_{d-1} diag(sign R_kk). Backwards, H_k meets zeros in the columns before k.
  Matrix q(d);
  for (size_t k = 0; k < d; ++k) {
    q.row(k)[k] = diagonal[k] < 0.0 ? -1.0 : 1.0;
  }
  for (size_t k = d; k-- > 0;) {
    apply(reflectors[k], q, k);
  }
  std::vector<float> rounded(d * d);
  std::transform(q.v.begin(), q.v.end(), rounded.begin(),
                 [](double v) { return static_cast<float>(v); });
  return rounded;
}

}  // namespace rotorquant
