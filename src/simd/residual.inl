// SPDX-License-Identifier: MIT
// Vectors relative to their centre. Included inside an anonymous namespace.

/// residual = x - centre (d numbers). Returns <weights, residual> (null: |residual|^2) in double,
/// in eight partial sums, coordinate j in sum j % 8, which are added up from the first to the last.
/// Products of floats are exact in double, so that it does not matter who fuses them.
double residual(const float* x, const float* centre, const float* weights, size_t d,
                float* residual) {
  constexpr size_t parts = 8;
  double sums[parts] = {};
  const float* factors = weights == nullptr ? residual : weights;
  size_t j = 0;
#if defined(__AVX512F__)
  __m512d eight = _mm512_setzero_pd();
  for (; j + parts <= d; j += parts) {
    const __m256 r = _mm256_sub_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(centre + j));
    _mm256_storeu_ps(residual + j, r);
    const __m256 factor = weights == nullptr ? r : _mm256_loadu_ps(weights + j);
    eight = _mm512_fmadd_pd(_mm512_cvtps_pd(factor), _mm512_cvtps_pd(r), eight);
  }
  _mm512_storeu_pd(sums, eight);
#elif defined(__AVX2__)
  __m256d four[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
  for (; j + parts <= d; j += parts) {
    for (size_t i = 0; i < 2; ++i) {
      const size_t at = j + 4 * i;
      const __m128 r = _mm_sub_ps(_mm_loadu_ps(x + at), _mm_loadu_ps(centre + at));
      _mm_storeu_ps(residual + at, r);
      const __m128 factor = weights == nullptr ? r : _mm_loadu_ps(weights + at);
      four[i] = _mm256_fmadd_pd(_mm256_cvtps_pd(factor), _mm256_cvtps_pd(r), four[i]);
    }
  }
  _mm256_storeu_pd(sums, four[0]);
  _mm256_storeu_pd(sums + 4, four[1]);
#else
  for (; j + parts <= d; j += parts) {
    for (size_t i = 0; i < parts; ++i) {
      residual[j + i] = x[j + i] - centre[j + i];
      sums[i] += static_cast<double>(factors[j + i]) * static_cast<double>(residual[j + i]);
    }
  }
#endif
  for (; j < d; ++j) {
    residual[j] = x[j] - centre[j];
    sums[j % parts] += static_cast<double>(factors[j]) * static_cast<double>(residual[j]);
  }
  double sum = 0.0;
  for (const double part : sums) {
    sum += part;
  }
  return sum;
}
