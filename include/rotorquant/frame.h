// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "rotorquant/aligned.h"
#include "rotorquant/bytes.h"

namespace rotorquant {

/// Coordinates are handled in quads, so a frame maps R^d to R^P with P = d rounded up to quads.
constexpr size_t quad_dims = 4;

constexpr size_t padded_dim(size_t d) {
  return (d + quad_dims - 1) / quad_dims * quad_dims;
}

enum class FrameKind : uint8_t {
  rotor_layers = 0,  ///< data-oblivious: layers of random Cl(3,0) rotors on permuted triples
  learned = 1,       ///< balanced eigenvectors of the training covariance (parametric OPQ)
  haar = 2,          ///< dense Haar rotation, for comparison
};

/// Layers of independent random rotors: each layer permutes the coordinates (the first does not)
/// and rotates every triple by the 3 x 3 matrix of its rotor. One or two coordinates left over
/// pass unchanged or turn by a planar rotor, so the map is an isometry of R^dim for every dim.
/// Four parameters a rotor, O(layers * dim) work, no dim x dim matrix. Immutable once built.
class RotorLayers {
 public:
  /// ceil(log3(d)) + 3: cannot be told from a Haar rotation (docs/codec.md).
  static size_t default_layers(size_t d);

  RotorLayers() = default;
  RotorLayers(size_t dim, size_t layers, uint64_t seed);

  size_t dim() const { return dim_; }
  size_t layers() const { return layers_; }
  uint64_t seed() const { return seed_; }

  /// y = R x for n rows: x and y are n x dim, row-major; they may be the same array.
  void apply(const float* x, size_t n, float* y) const;
  /// The inverse (the reverse rotors in reverse order); same shapes.
  void invert(const float* y, size_t n, float* x) const;

  /// Row `layer * dim + i`: which input coordinate feeds position i of that layer.
  const std::vector<uint32_t>& permutation() const { return permutation_; }
  /// Nine numbers a triple, row-major, `triples() + 1` of them a layer: the last holds the planar
  /// rotor of two left-over coordinates (its first 2 x 2 entries) or the identity.
  const std::vector<float>& matrices() const { return matrices_; }
  size_t triples() const { return dim_ / 3; }

  /// The layers in the order in which one vector alone runs through them, 16 triples at a time:
  /// the arrays of simd::RotorVectorView (src/simd/kernels.h).
  struct VectorOrder {
    size_t groups = 0;
    AlignedVector<uint32_t> sources;
    AlignedVector<float> matrices;
    AlignedVector<uint32_t> places;
  };
  const VectorOrder& vector_order() const { return vector_order_; }

 private:
  size_t dim_ = 0;
  size_t layers_ = 0;
  uint64_t seed_ = 0;
  std::vector<uint32_t> permutation_;
  std::vector<float> matrices_;
  VectorOrder vector_order_;

  void fill_vector_order();
};

/// A pair of linear maps with <G a, F b> = <a, b>, held as P x d matrices, row-major.
struct DenseFrame {
  std::vector<float> data_map;     ///< F
  std::vector<float> query_map;    ///< G; the inverse of F is G^T
  std::vector<float> query_map_t;  ///< G^T (d x P): one vector's product runs down columns

  // Of learned frames, G = D^-1 V with D a diagonal and V exact in fp16: one query reads half the
  // bytes, which in a large dimension is half the time.
  std::vector<uint16_t> half_directions_t;  ///< V^T in fp16
  std::vector<float> query_scale;           ///< the diagonal of D^-1
};

struct LearnedFrameParams {
  /// F = L^(g/2) V^T, G = L^(-g/2) V^T: g > 0 spends more precision on directions in which
  /// queries are strong. 0 gives plain balanced PCA.
  float query_weight = 0.25F;
  /// Eigenvalues over their mean are clamped to this before balancing and weighting.
  float eigenvalue_floor = 1e-3F;
};

/// The map from a centred vector to its rotor frame. A value type; const methods are thread-safe.
class Frame {
 public:
  Frame() = default;

  /// layers = 0 picks RotorLayers::default_layers(d).
  static Frame rotor_layers(size_t d, uint64_t seed, size_t layers = 0);
  /// x: n x d, row-major, already centred. Eigenvectors are dealt into quads so that the products
  /// of the quads' variances balance (Ge et al., CVPR 2013).
  static Frame learned(const float* x, size_t n, size_t d, const LearnedFrameParams& params = {});
  static Frame haar(size_t d, uint64_t seed);

  FrameKind kind() const { return kind_; }
  size_t dim() const { return d_; }
  size_t padded() const { return padded_dim(d_); }
  bool ready() const { return d_ != 0; }

  /// Data: y = F x. x: n x d, y: n x P, row-major, not overlapping.
  void apply(const float* x, size_t n, float* y) const;
  /// apply() of vectors (count x d) into what encoders work on: for every 16 of them a block of
  /// P x 16, one vector a column, columns without a vector 0. scratch: as large as the blocks. Both
  /// 64-byte aligned.
  void apply_blocks(const float* x, size_t count, float* blocks, float* scratch) const;
  /// Queries: y = G x; the same shapes. Equal to apply unless the frame is learned.
  void apply_query(const float* x, size_t n, float* y) const;
  /// The same by the matrix G itself, whose entries are rounded: what inverted lists fold their
  /// centroids in with, and files rely on to the last bit.
  void apply_query_map(const float* x, size_t n, float* y) const;
  /// x = F^-1 y (least squares where P > d). y: n x P, x: n x d.
  void invert(const float* y, size_t n, float* x) const;

  /// What the frame is made of, for other implementations of it: one of the two, the other null.
  const RotorLayers* as_layers() const { return std::get_if<RotorLayers>(&map_); }
  const DenseFrame* as_dense() const { return std::get_if<DenseFrame>(&map_); }

  void write(ByteWriter& out) const;
  static Frame read(ByteReader& in);

 private:
  FrameKind kind_ = FrameKind::rotor_layers;
  size_t d_ = 0;
  uint64_t seed_ = 0;
  std::variant<RotorLayers, DenseFrame> map_;
  // What a learned frame is stored as: V in fp16 (P x d) and one weight a row.
  std::vector<uint16_t> eigenvectors_;
  std::vector<float> weights_;

  void build_dense();
};

}  // namespace rotorquant
