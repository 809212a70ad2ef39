// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rotorquant {

/// A scalar quantiser of 2^bits levels that minimises the mean squared error (Lloyd 1957/1982,
/// Max 1960). A value type; const methods may run concurrently.
class ScalarCodebook {
 public:
  static constexpr int max_bits = 8;

  /// One level, 0, and no bits: encodes nothing.
  ScalarCodebook() = default;

  /// From 2^bits centroids in ascending order (equal neighbours allowed), bits 1..8; else Error.
  ScalarCodebook(int bits, std::vector<float> centroids);

  /// The optimal codebook of N(0, sigma^2): exact cell integrals in double, iterated to
  /// convergence; symmetric around 0. bits 1..8, sigma > 0, else Error. The centroids are rounded
  /// to float last, which hides the last-digit differences between mathematical libraries.
  static ScalarCodebook gaussian(int bits, double sigma);

  /// Fits `samples` (n floats, any order) by Lloyd's iteration from their quantiles; deterministic.
  /// Where there are fewer distinct values than levels, each is a centroid and the last repeats.
  /// Throws Error when n is 0, bits is not 1..8 or a sample is not finite. O(n log n).
  static ScalarCodebook from_samples(const float* samples, size_t n, int bits);

  [[nodiscard]] int bits() const { return bits_; }
  [[nodiscard]] size_t levels() const { return centroids_.size(); }

  /// levels() values, ascending.
  [[nodiscard]] const std::vector<float>& centroids() const { return centroids_; }

  /// levels() - 1 midpoints, ascending; boundaries()[i] lies between centroids i and i + 1.
  [[nodiscard]] const std::vector<float>& boundaries() const { return boundaries_; }

  /// Index of the nearest centroid; a value on a boundary goes to the lower one (NaN to 0).
  /// `bits` compares, no branches.
  [[nodiscard]] uint8_t encode(float value) const {
    size_t index = 0;
    for (size_t step = centroids_.size() / 2; step > 0; step /= 2) {
      index += boundaries_[index + step - 1] < value ? step : 0;
    }
    return static_cast<uint8_t>(index);
  }

  /// index < levels().
  [[nodiscard]] float decode(uint8_t index) const { return centroids_[index]; }

  /// n values to n indices, and back. The arrays do not overlap.
  void encode(const float* values, size_t n, uint8_t* indices) const;
  void decode(const uint8_t* indices, size_t n, float* values) const;

 private:
  int bits_ = 0;
  std::vector<float> centroids_{0.0F};
  std::vector<float> boundaries_;
};

/// Exact mean squared error of the codebook on N(0, sigma^2), sigma > 0; in the units of sigma^2.
/// At sigma = 1 the optima for 1 to 4 bits are 0.3634, 0.1175, 0.03454, 0.009497 (Max 1960).
double gaussian_distortion(const ScalarCodebook& codebook, double sigma);

/// Mean squared error of the codebook on n samples; 0 when n is 0.
double sample_distortion(const ScalarCodebook& codebook, const float* samples, size_t n);

}  // namespace rotorquant
