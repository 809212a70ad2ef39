// SPDX-License-Identifier: MIT
#include "rotorquant/reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "reference_detail.h"
#include "rotorquant/clifford.h"
#include "rotorquant/error.h"
#include "rotorquant/haar.h"

namespace rotorquant {
namespace {

using reference_detail::bytes_of_bits;
using reference_detail::for_rows;
using reference_detail::get_bits;
using reference_detail::load_float;
using reference_detail::put_bits;
using reference_detail::RowScratch;
using reference_detail::store_float;

constexpr float smallest_norm = 1e-8F;  // published; keeps x/|x| finite for x = 0
constexpr size_t norm_bytes = 4;

std::vector<float> random_rotors(size_t triples, uint64_t seed) {
  std::vector<float> matrices;
  matrices.reserve(9 * triples);
  for (size_t g = 0; g < triples; ++g) {
    Rng rng(seed + g);
    const std::array<float, 9> m = rotation_matrix(Rotor::random(rng));
    matrices.insert(matrices.end(), m.begin(), m.end());
  }
  return matrices;
}

float vector_norm(const float* x, size_t d) {
  double sum = 0.0;
  for (size_t j = 0; j < d; ++j) {
    sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  }
  return static_cast<float>(std::sqrt(sum));
}

/// y = M^T x for M rows x cols: a multiple of a row of M at a time, which vectorises without
/// changing the order of any sum.
void add_rows(const std::vector<float>& m, size_t rows, size_t cols, const float* x, float* y) {
  std::fill(y, y + cols, 0.0F);
  for (size_t i = 0; i < rows; ++i) {
    const float* row = m.data() + i * cols;
    for (size_t j = 0; j < cols; ++j) {
      y[j] += x[i] * row[j];
    }
  }
}

/// M v for a row-major 3 x 3 matrix by the strides (3, 1); M^T v by (1, 3).
void turn(const float* m, size_t row_stride, size_t column_stride, const float* v, float* out) {
  for (size_t i = 0; i < 3; ++i) {
    const float* row = m + i * row_stride;
    out[i] = row[0] * v[0] + row[column_stride] * v[1] + row[2 * column_stride] * v[2];
  }
}

}  // namespace

DenseMap::DenseMap(size_t rows, size_t cols, std::vector<float> m)
    : rows_(rows), cols_(cols), m_(std::move(m)), transposed_(m_.size()) {
  require(m_.size() == rows * cols, "m", rows * cols, m_.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) {
      transposed_[j * rows + i] = m_[i * cols + j];
    }
  }
}

void DenseMap::apply(const float* x, float* y) const {
  add_rows(transposed_, cols_, rows_, x, y);
}

void DenseMap::apply_transposed(const float* y, float* x) const {
  add_rows(m_, rows_, cols_, y, x);
}

RotorQuantMse::RotorQuantMse(size_t d, int bits, uint64_t seed, const GradeBits& grade_bits,
                             Rotation rotation)
    : d_(d), bits_(bits), rotation_(rotation), rotated_dim_(d) {
  require(d > 0, "d", "at least 1", d);
  require(bits >= 1 && bits <= ScalarCodebook::max_bits, "bits", "1 to 8", bits);
  const bool only_vector = grade_bits.size() == grade_bits.count(Grade::vector);
  require(rotation == Rotation::rotor_blocks || only_vector, "grade_bits",
          "no grade but vector with a Haar rotation", "another grade");
  const size_t triples = triple_count(d);
  if (rotation == Rotation::rotor_blocks) {
    rotated_dim_ = 3 * triples;
    rotors_ = random_rotors(triples, seed);
  } else {
    haar_ = DenseMap(d, d, haar_rotation(d, seed));
  }
  const double sigma = 1.0 / std::sqrt(static_cast<double>(d));
  const auto vector_bits = grade_bits.find(Grade::vector);
  const int kept = vector_bits == grade_bits.end() ? bits : vector_bits->second;
  fields_.push_back({ScalarCodebook::gaussian(kept, sigma), rotated_dim_});
  add_field(grade_bits, Grade::scalar, triples, sigma);
  add_field(grade_bits, Grade::bivector, 3 * triples, sigma);
  add_field(grade_bits, Grade::trivector, triples, sigma);
}

void RotorQuantMse::add_field(const GradeBits& grade_bits, Grade grade, size_t count,
                              double sigma) {
  const auto found = grade_bits.find(grade);
  if (found != grade_bits.end()) {
    fields_.push_back({ScalarCodebook::gaussian(found->second, sigma), count});
  }
}

size_t RotorQuantMse::components() const {
  size_t sum = 0;
  for (const Field& field : fields_) {
    sum += field.count;
  }
  return sum;
}

size_t RotorQuantMse::parameters() const {
  return rotation_ == Rotation::haar ? d_ * d_ : 4 * triple_count(d_);
}

size_t RotorQuantMse::multiply_adds() const {
  return rotation_ == Rotation::haar ? d_ * d_ : 9 * triple_count(d_);
}

void RotorQuantMse::rotate(const float* x, float* rotated) const {
  if (rotation_ == Rotation::haar) {
    haar_.apply(x, rotated);
    return;
  }
  const size_t whole = d_ / 3;
  for (size_t g = 0; g < whole; ++g) {
    turn(rotors_.data() + 9 * g, 3, 1, x + 3 * g, rotated + 3 * g);
  }
  if (3 * whole < d_) {
    std::array<float, 3> padded{};
    std::copy(x + 3 * whole, x + d_, padded.begin());
    turn(rotors_.data() + 9 * whole, 3, 1, padded.data(), rotated + 3 * whole);
  }
}

void RotorQuantMse::rotate_back(const float* rotated, float* x) const {
  if (rotation_ == Rotation::haar) {
    haar_.apply_transposed(rotated, x);
    return;
  }
  const size_t whole = d_ / 3;
  for (size_t g = 0; g < whole; ++g) {
    turn(rotors_.data() + 9 * g, 1, 3, rotated + 3 * g, x + 3 * g);
  }
  if (3 * whole < d_) {
    std::array<float, 3> padded{};
    turn(rotors_.data() + 9 * whole, 1, 3, rotated + 3 * whole, padded.data());
    std::copy(padded.begin(), padded.begin() + (d_ - 3 * whole), x + 3 * whole);
  }
}

float RotorQuantMse::quantize_row(const float* x, uint8_t* indices, float* scratch) const {
  const float norm = std::max(vector_norm(x, d_), smallest_norm);
  rotate(x, scratch);
  for (size_t j = 0; j < rotated_dim_; ++j) {
    scratch[j] /= norm;  // after the rotation, which is linear: one buffer less
  }
  fields_.front().codebook.encode(scratch, rotated_dim_, indices);
  uint8_t* next = indices + rotated_dim_;
  for (size_t f = 1; f < fields_.size(); ++f) {
    // R v ~R is of grade 1: the other grades hold exact zeros.
    std::fill(next, next + fields_[f].count, fields_[f].codebook.encode(0.0F));
    next += fields_[f].count;
  }
  return norm;
}

void RotorQuantMse::dequantize_row(const uint8_t* indices, float norm, float* x,
                                   float* scratch) const {
  // Indices of the other grades are skipped: ~R m R keeps them off the vector that is extracted.
  fields_.front().codebook.decode(indices, rotated_dim_, scratch);
  rotate_back(scratch, x);
  for (size_t j = 0; j < d_; ++j) {
    x[j] *= norm;
  }
}

MseCodes RotorQuantMse::quantize(const float* x, size_t n) const {
  require_finite(x, n, d_, "x");
  MseCodes codes{n, std::vector<uint8_t>(n * components()), std::vector<float>(n)};
  const size_t width = components();
  for_rows(n, rotated_dim_, 0, [&](size_t i, RowScratch scratch) {
    codes.norms[i] = quantize_row(x + i * d_, codes.indices.data() + i * width, scratch.floats);
  });
  return codes;
}

void RotorQuantMse::dequantize(const MseCodes& codes, float* x) const {
  const size_t width = components();
  require(codes.indices.size() == codes.n * width, "indices", codes.n * width,
          codes.indices.size());
  require(codes.norms.size() == codes.n, "norms", codes.n, codes.norms.size());
  // Unpacked indices may come from anywhere: one too large would read past the codebook.
  for (size_t i = 0; i < codes.n; ++i) {
    const uint8_t* row = codes.indices.data() + i * width;
    const size_t largest = *std::max_element(row, row + rotated_dim_);
    require(largest < codebook().levels(), "index", "a level of the codebook", largest);
  }
  for_rows(codes.n, rotated_dim_, 0, [&](size_t i, RowScratch scratch) {
    dequantize_row(codes.indices.data() + i * width, codes.norms[i], x + i * d_, scratch.floats);
  });
}

void RotorQuantMse::forward(const float* x, size_t n, float* y) const {
  dequantize(quantize(x, n), y);
}

size_t RotorQuantMse::packed_index_bytes() const {
  size_t bits = 0;
  for (const Field& field : fields_) {
    bits += field.count * static_cast<size_t>(field.codebook.bits());
  }
  return bytes_of_bits(bits);
}

size_t RotorQuantMse::code_size() const {
  return norm_bytes + packed_index_bytes();
}

void RotorQuantMse::pack(const uint8_t* indices, uint8_t* packed) const {
  std::fill(packed, packed + packed_index_bytes(), uint8_t{0});
  size_t position = 0;
  for (const Field& field : fields_) {
    const auto bits = static_cast<unsigned>(field.codebook.bits());
    for (size_t i = 0; i < field.count; ++i, position += bits) {
      put_bits(packed, position, bits, *indices++);
    }
  }
}

void RotorQuantMse::unpack(const uint8_t* packed, uint8_t* indices) const {
  size_t position = 0;
  for (const Field& field : fields_) {
    const auto bits = static_cast<unsigned>(field.codebook.bits());
    for (size_t i = 0; i < field.count; ++i, position += bits) {
      *indices++ = get_bits(packed, position, bits);
    }
  }
}

void RotorQuantMse::encode(const float* x, size_t n, uint8_t* codes) const {
  require_finite(x, n, d_, "x");
  const size_t size = code_size();
  for_rows(n, rotated_dim_, components(), [&](size_t i, RowScratch scratch) {
    uint8_t* code = codes + i * size;
    store_float(quantize_row(x + i * d_, scratch.bytes, scratch.floats), code);
    pack(scratch.bytes, code + norm_bytes);
  });
}

void RotorQuantMse::decode(const uint8_t* codes, size_t n, float* x) const {
  const size_t size = code_size();
  for_rows(n, rotated_dim_, components(), [&](size_t i, RowScratch scratch) {
    const uint8_t* code = codes + i * size;
    unpack(code + norm_bytes, scratch.bytes);
    dequantize_row(scratch.bytes, load_float(code), x + i * d_, scratch.floats);
  });
}

}  // namespace rotorquant
