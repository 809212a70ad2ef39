// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "rotorquant/lloyd_max.h"

/// The published RotorQuant algorithm, kept as it was published so that its figures can be
/// reproduced and compared: one pass of Cl(3,0) rotors over zero-padded triples, scalar Lloyd-Max
/// codebooks of N(0, 1/d), QJL signs of the residual (arXiv:2406.03482). With Rotation::haar the
/// same classes are TurboQuant (arXiv:2504.19874): one dense random rotation in place of the
/// rotors.
///
/// Arrays are row-major, `n x d` floats; the caller owns them, inputs and outputs do not overlap.
/// Every random number follows from the seed, and results do not depend on the number of threads.
/// Const methods may run concurrently. Errors (a dimension, a number of bits, a value that is not
/// finite) are thrown as rotorquant::Error before anything is written.
namespace rotorquant {

enum class Rotation {
  rotor_blocks,  ///< an independent random rotor for each triple of coordinates (RotorQuant)
  haar,          ///< one dense d x d Haar rotation (TurboQuant)
};

enum class Grade { scalar, vector, bivector, trivector };

/// Bits (1..8) for each grade of the rotated multivectors. An empty map, or one without `vector`,
/// spends the class's `bits` on the vector grade. The sandwich of a vector is a vector, so the
/// other grades hold zeros: they are accepted, quantised and counted in the size, and reconstruct
/// to nothing in the extracted vector.
using GradeBits = std::map<Grade, int>;

/// A dense linear map kept in both orders, so that it and its transpose run along memory.
class DenseMap {
 public:
  DenseMap() = default;

  /// rows x cols, row-major.
  DenseMap(size_t rows, size_t cols, std::vector<float> m);

  void apply(const float* x, float* y) const;             ///< y (rows) = M x (cols)
  void apply_transposed(const float* y, float* x) const;  ///< x (cols) = M^T y (rows)
  [[nodiscard]] const std::vector<float>& matrix() const { return m_; }  ///< rows x cols

 private:
  size_t rows_ = 0;
  size_t cols_ = 0;
  std::vector<float> m_;
  std::vector<float> transposed_;
};

/// Indices and norms of n quantised vectors.
struct MseCodes {
  size_t n = 0;
  std::vector<uint8_t> indices;  ///< n x components(): see RotorQuantMse::components
  std::vector<float> norms;      ///< n
};

/// Rotation and scalar quantisation: minimises the squared error, biased in inner products.
class RotorQuantMse {
 public:
  /// d >= 1; bits 1..8. Triple g is turned by the rotor of seed + g; the Haar rotation has `seed`
  /// and takes no grade but `vector`.
  RotorQuantMse(size_t d, int bits, uint64_t seed = 42, const GradeBits& grade_bits = {},
                Rotation rotation = Rotation::rotor_blocks);

  [[nodiscard]] size_t d() const { return d_; }
  [[nodiscard]] int bits() const { return bits_; }
  [[nodiscard]] Rotation rotation() const { return rotation_; }

  /// Coordinates after the rotation: 3 ceil(d/3) for rotors (padding included), d for Haar.
  [[nodiscard]] size_t rotated_dim() const { return rotated_dim_; }

  /// Indices a vector: rotated_dim() for the vector grade, then, where they are named, one a triple
  /// for the scalar, three for the bivector and one for the trivector grade.
  [[nodiscard]] size_t components() const;

  /// The codebook of the vector grade, for N(0, 1/d).
  [[nodiscard]] const ScalarCodebook& codebook() const { return fields_.front().codebook; }

  /// A row-major 3 x 3 matrix for each triple; empty for Haar.
  [[nodiscard]] const std::vector<float>& rotors() const { return rotors_; }

  /// Numbers that describe the rotation: 4 a rotor (3 degrees of freedom), d^2 for Haar.
  [[nodiscard]] size_t parameters() const;

  /// Multiply-adds to rotate a vector: 9 a triple (rotors as 3 x 3 matrices), d^2 for Haar.
  [[nodiscard]] size_t multiply_adds() const;

  /// x: n x d. Norms (at least 1e-8) are kept apart; each rotated component of x/|x| is replaced by
  /// its nearest centroid.
  [[nodiscard]] MseCodes quantize(const float* x, size_t n) const;

  /// x: n x d, written.
  void dequantize(const MseCodes& codes, float* x) const;

  /// y (n x d) = dequantize(quantize(x)).
  void forward(const float* x, size_t n, float* y) const;

  /// Bytes of one packed code: the norm (fp32, little-endian), then the indices, `bits` each, from
  /// the lowest bit of the first byte on.
  [[nodiscard]] size_t code_size() const;

  /// The same number under its descriptive name.
  [[nodiscard]] size_t code_bytes() const { return code_size(); }

  /// x: n x d; codes: n x code_size() bytes. The same numbers as quantize and dequantize.
  void encode(const float* x, size_t n, uint8_t* codes) const;
  void decode(const uint8_t* codes, size_t n, float* x) const;

 private:
  friend class RotorQuantProd;

  /// One grade's share of a vector's indices.
  struct Field {
    ScalarCodebook codebook;
    size_t count = 0;
  };

  void add_field(const GradeBits& grade_bits, Grade grade, size_t count, double sigma);

  // One vector at a time; `scratch` holds rotated_dim() floats.
  void rotate(const float* x, float* rotated) const;
  void rotate_back(const float* rotated, float* x) const;
  float quantize_row(const float* x, uint8_t* indices, float* scratch) const;
  void dequantize_row(const uint8_t* indices, float norm, float* x, float* scratch) const;
  [[nodiscard]] size_t packed_index_bytes() const;
  void pack(const uint8_t* indices, uint8_t* packed) const;
  void unpack(const uint8_t* packed, uint8_t* indices) const;

  size_t d_;
  int bits_;
  Rotation rotation_;
  size_t rotated_dim_;
  std::vector<float> rotors_;  // a row-major 3 x 3 matrix for each triple
  DenseMap haar_;
  std::vector<Field> fields_;  // the vector grade first
};

/// Codes of RotorQuantProd: stage 1, the signs of the sketched residual, and its norm.
struct ProdCodes {
  MseCodes stage1;
  std::vector<int8_t> signs;          ///< n x qjl_dim, +1 or -1
  std::vector<float> residual_norms;  ///< n
};

/// Stage 1 at max(bits - 1, 1) bits and QJL signs of its residual: inner products without bias.
class RotorQuantProd {
 public:
  /// d >= 1; bits 1..8; qjl_dim = 0 stands for d. S (qjl_dim x d, standard Gaussian) has seed + 1,
  /// stage 1 has `seed`.
  RotorQuantProd(size_t d, int bits, size_t qjl_dim = 0, uint64_t seed = 42,
                 Rotation rotation = Rotation::rotor_blocks);

  [[nodiscard]] size_t d() const { return stage1_.d(); }
  [[nodiscard]] int bits() const { return bits_; }
  [[nodiscard]] size_t qjl_dim() const { return qjl_dim_; }
  [[nodiscard]] const RotorQuantMse& stage1() const { return stage1_; }
  /// S, qjl_dim() x d().
  [[nodiscard]] const std::vector<float>& sketch() const { return sketch_.matrix(); }

  /// x: n x d. The sign of 0 is +1.
  [[nodiscard]] ProdCodes quantize(const float* x, size_t n) const;

  /// products: m x n, written: the estimate <y, x^> + |r| sqrt(pi/2)/qjl_dim <S y, signs> for each
  /// query y (m x d) and code. Over the choice of S it is unbiased whatever x^ is, with variance
  /// (pi/2 |r|^2 |y|^2 - <r, y>^2) / qjl_dim (QJL, arXiv:2406.03482, lemmas 3.4 and 3.5).
  void inner_products(const float* queries, size_t m, const ProdCodes& codes,
                      float* products) const;

  /// Bytes of one packed code: |x| and |r| (fp32, little-endian), stage-1 indices from the lowest
  /// bit of the first byte on, then from a new byte the signs (1 is +), lowest bit first.
  [[nodiscard]] size_t code_size() const;

  /// The same number under its descriptive name.
  [[nodiscard]] size_t code_bytes() const { return code_size(); }

  /// x: n x d; codes: n x code_size() bytes. The same numbers as quantize.
  void encode(const float* x, size_t n, uint8_t* codes) const;

  /// x: n x d, written: x^ + |r| sqrt(pi/2)/qjl_dim S^T signs, whose inner product with y is the
  /// estimate above.
  void decode(const uint8_t* codes, size_t n, float* x) const;

  /// What inner_product needs of one query. Immutable; may be shared between threads.
  struct QueryState {
    std::vector<float> rotated;      ///< the query in the rotated frame, padded to whole groups
    std::vector<float> sign_tables;  ///< 256 sums for each byte of signs, the QJL factor included
  };

  /// y: d floats. Costs the rotation, S y and 32 qjl_dim additions.
  [[nodiscard]] QueryState prepare_query(const float* y) const;

  /// The estimate for one packed code, without decoding it: a multiply-add a component and a
  /// look-up for 8 signs. Equal to inner_products up to float rounding.
  [[nodiscard]] float inner_product(const QueryState& query, const uint8_t* code) const;

 private:
  [[nodiscard]] float qjl_factor() const;
  [[nodiscard]] size_t scratch_floats() const;

  // One vector: indices (components()), |x| and |r|; leaves S r in `scratch`.
  void quantize_row(const float* x, uint8_t* indices, float* norms, float* sketch,
                    float* scratch) const;

  int bits_;
  RotorQuantMse stage1_;
  size_t qjl_dim_;
  DenseMap sketch_;  // S
};

/// A cache of attention keys and values. Const methods may run concurrently with each other, not
/// with append or clear.
class RotorQuantKVCache {
 public:
  /// Keys: RotorQuantProd(d_key, bits, d_key, seed); values: RotorQuantMse(d_value, bits,
  /// seed + 100).
  RotorQuantKVCache(size_t d_key, size_t d_value, int bits = 3, uint64_t seed = 42,
                    Rotation rotation = Rotation::rotor_blocks);

  /// keys: key_rows x d_key; values: value_rows x d_value. Leading dimensions of any shape are
  /// flattened to rows by the caller. Throws Error unless the row counts are equal. After any
  /// exception the cache is as before.
  void append(const float* keys, size_t key_rows, const float* values, size_t value_rows);

  /// scores: m x size(), written: inner products of the queries (m x d_key) with the keys in order
  /// of appending, not scaled, no softmax. An empty cache writes nothing.
  void attention_scores(const float* queries, size_t m, float* scores) const;

  /// The same, returned: m x size().
  [[nodiscard]] std::vector<float> attention_scores(const float* queries, size_t m) const;

  /// size() x d_value, in order of appending.
  [[nodiscard]] std::vector<float> get_values() const;

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] size_t d_key() const { return keys_.d(); }
  [[nodiscard]] size_t d_value() const { return values_.d(); }

  /// Bytes of the packed codes; the rotations and S are not counted.
  [[nodiscard]] size_t bytes() const;

  /// Forgets every row and frees the memory.
  void clear();

 private:
  RotorQuantProd keys_;
  RotorQuantMse values_;
  size_t size_ = 0;
  std::vector<uint8_t> key_codes_;    // size_ rows, perhaps more bytes after a failed append
  std::vector<uint8_t> value_codes_;  // likewise
};

}  // namespace rotorquant
