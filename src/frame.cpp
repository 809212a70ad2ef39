// SPDX-License-Identifier: MIT
#include "rotorquant/frame.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "half.h"
#include "lane_rows.h"
#include "rotorquant/clifford.h"
#include "rotorquant/error.h"
#include "rotorquant/haar.h"
#include "rotorquant/random.h"
#include "simd/kernels.h"
#include "symmetric_matrix.h"

namespace rotorquant {
namespace {

constexpr size_t matrix_size = 9;

template <class Number>
std::vector<Number> transposed(const std::vector<Number>& m, size_t rows, size_t cols) {
  std::vector<Number> t(m.size());
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) {
      t[j * rows + i] = m[i * cols + j];
    }
  }
  return t;
}

/// y = M x for n rows of x (n x cols) -> y (n x rows), 16 at a time.
void multiply_blocks(const std::vector<float>& m, size_t rows, size_t cols, const float* x,
                     size_t n, float* y) {
  const simd::KernelTable& kernels = simd::active_kernels();
  AlignedVector<float> in(cols * simd::lanes);
  AlignedVector<float> out(rows * simd::lanes);
  for (size_t first = 0; first < n; first += simd::lanes) {
    const size_t count = std::min(simd::lanes, n - first);
    rows_to_lanes(x + first * cols, count, cols, in.data());
    kernels.matrix_block(m.data(), rows, cols, in.data(), out.data(), 1);
    lanes_to_rows(out.data(), count, rows, y + first * rows);
  }
}

/// Fewer vectors run down the columns of M's transpose one by one, more share each entry of M in
/// blocks. Both add up in the same order, so a vector's result does not depend on its company.
constexpr size_t few_vectors = simd::lanes / 2;

/// y = M x; mt is M's transpose.
void multiply_rows(const std::vector<float>& m, const std::vector<float>& mt, size_t rows,
                   size_t cols, const float* x, size_t n, float* y) {
  if (n >= few_vectors) {
    multiply_blocks(m, rows, cols, x, n, y);
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    simd::active_kernels().matrix_vector(mt.data(), rows, cols, x + i * cols, y + i * rows);
  }
}

using RotorKernel = void (*)(const simd::RotorLayersView&, float*, float*);

void run_layers(const RotorLayers& layers, RotorKernel kernel, const float* x, size_t n, float* y) {
  const size_t dim = layers.dim();
  const simd::RotorLayersView view = view_of(layers);
  AlignedVector<float> block(dim * simd::lanes);
  AlignedVector<float> scratch(dim * simd::lanes);
  for (size_t first = 0; first < n; first += simd::lanes) {
    const size_t count = std::min(simd::lanes, n - first);
    rows_to_lanes(x + first * dim, count, dim, block.data());
    kernel(view, block.data(), scratch.data());
    lanes_to_rows(block.data(), count, dim, y + first * dim);
  }
}

void run_one_by_one(const RotorLayers& layers, const float* x, size_t n, float* y) {
  const simd::RotorVectorView view = vector_view_of(layers);
  AlignedVector<float> scratch(vector_scratch(layers));
  for (size_t i = 0; i < n; ++i) {
    simd::active_kernels().rotor_vector(view, x + i * view.dim, y + i * view.dim, scratch.data());
  }
}

/// Entry k of the 3 x 3 matrix that does to `left` coordinates and zeros what a layer does to
/// coordinates left over: one passes, two are turned by `m`. What is multiplied by the zeros is -0,
/// which changes no sum, not even -0.
float left_over_entry(const float* m, size_t left, size_t k) {
  const size_t row = k / 3;
  const size_t column = k % 3;
  if (row >= left) {
    return 0.0F;
  }
  if (column >= left) {
    return -0.0F;
  }
  return left == 1 ? 1.0F : m[k];
}

/// Deals eigenvalues, largest first, each into the open quad with the least product so far: what
/// eigenvalue allocation of parametric OPQ does. Returns the eigenvector of each coordinate.
std::vector<size_t> balanced_order(const std::vector<double>& eigenvalues, size_t quads) {
  std::vector<size_t> by_size(eigenvalues.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return eigenvalues[a] > eigenvalues[b]; });
  std::vector<double> log_product(quads, 0.0);
  std::vector<std::vector<size_t>> members(quads);
  // Dividing by the least eigenvalue keeps every logarithm >= 0, so that a quad with fewer
  // members always counts as smaller.
  const double least = eigenvalues[by_size.back()];
  for (const size_t index : by_size) {
    size_t best = quads;
    for (size_t q = 0; q < quads; ++q) {
      const bool open = members[q].size() < quad_dims;
      if (open &&
          (best == quads || log_product[q] < log_product[best] ||
           (log_product[q] == log_product[best] && members[q].size() < members[best].size()))) {
        best = q;
      }
    }
    members[best].push_back(index);
    log_product[best] += portable_log(eigenvalues[index] / least);
  }
  std::vector<size_t> order(quads * quad_dims, eigenvalues.size());
  for (size_t q = 0; q < quads; ++q) {
    std::copy(members[q].begin(), members[q].end(),
              order.begin() + static_cast<std::ptrdiff_t>(q * quad_dims));
  }
  return order;
}

}  // namespace

size_t RotorLayers::default_layers(size_t d) {
  size_t layers = 3;
  for (size_t reach = 1; reach < d; reach *= 3) {
    ++layers;
  }
  return layers;
}

RotorLayers::RotorLayers(size_t dim, size_t layers, uint64_t seed)
    : dim_(dim), layers_(layers), seed_(seed) {
  require(dim >= 1, "dim", "at least 1", dim);
  require(layers >= 1, "layers", "at least 1", layers);
  permutation_.reserve(layers * dim);
  matrices_.assign(layers * (triples() + 1) * matrix_size, 0.0F);
  for (size_t layer = 0; layer < layers; ++layer) {
    Rng rng(seed, layer);
    std::vector<uint32_t> order(dim);
    std::iota(order.begin(), order.end(), 0U);
    if (layer > 0) {
      order = rng.permutation(dim);
    }
    permutation_.insert(permutation_.end(), order.begin(), order.end());
    float* matrices = matrices_.data() + layer * (triples() + 1) * matrix_size;
    for (size_t t = 0; t <= triples(); ++t) {
      const bool left_over = t == triples();
      const Rotor rotor = left_over ? Rotor::random_planar(rng) : Rotor::random(rng);
      const auto m = rotation_matrix(rotor);
      std::transform(m.begin(), m.end(), matrices + t * matrix_size,
                     [](auto v) { return static_cast<float>(v); });
    }
  }
  fill_vector_order();
}

void RotorLayers::fill_vector_order() {
  const bool left_over = dim_ % 3 != 0;
  const size_t all_triples = triples() + (left_over ? 1 : 0);
  VectorOrder& order = vector_order_;
  order.groups = (all_triples + simd::lanes - 1) / simd::lanes;
  const size_t width = order.groups * 3 * simd::lanes;
  const auto nothing = static_cast<uint32_t>(width);
  const auto slot = [](size_t coordinate) {
    const size_t triple = coordinate / 3;
    return static_cast<uint32_t>((triple / simd::lanes * 3 + coordinate % 3) * simd::lanes +
                                 triple % simd::lanes);
  };
  order.sources.assign(layers_ * width, nothing);
  order.matrices.assign(layers_ * width * 3, 0.0F);
  for (size_t layer = 0; layer < layers_; ++layer) {
    uint32_t* sources = order.sources.data() + layer * width;
    for (size_t i = 0; i < dim_; ++i) {
      const uint32_t from = permutation_[layer * dim_ + i];
      sources[slot(i)] = layer == 0 ? from : slot(from);
    }
    for (size_t t = 0; t < all_triples; ++t) {
      const float* m = matrices_.data() + (layer * (triples() + 1) + t) * matrix_size;
      float* to = order.matrices.data() + layer * width * 3 +
                  t / simd::lanes * matrix_size * simd::lanes + t % simd::lanes;
      for (size_t k = 0; k < matrix_size; ++k) {
        to[k * simd::lanes] = left_over && t == triples() ? left_over_entry(m, dim_ % 3, k) : m[k];
      }
    }
  }
  order.places.assign((dim_ + simd::lanes - 1) / simd::lanes * simd::lanes, nothing);
  for (size_t i = 0; i < dim_; ++i) {
    order.places[i] = slot(i);
  }
}

void RotorLayers::apply(const float* x, size_t n, float* y) const {
  const size_t rest = n % simd::lanes;
  const size_t in_blocks = rest < few_rotated ? n - rest : n;
  if (in_blocks > 0) {
    run_layers(*this, simd::active_kernels().rotor_forward, x, in_blocks, y);
  }
  if (in_blocks < n) {
    run_one_by_one(*this, x + in_blocks * dim_, n - in_blocks, y + in_blocks * dim_);
  }
}

void RotorLayers::invert(const float* y, size_t n, float* x) const {
  run_layers(*this, simd::active_kernels().rotor_inverse, y, n, x);
}

Frame Frame::rotor_layers(size_t d, uint64_t seed, size_t layers) {
  require(d >= 1, "d", "at least 1", d);
  Frame frame;
  frame.kind_ = FrameKind::rotor_layers;
  frame.d_ = d;
  frame.seed_ = seed;
  frame.map_ =
      RotorLayers(padded_dim(d), layers == 0 ? RotorLayers::default_layers(d) : layers, seed);
  return frame;
}

Frame Frame::haar(size_t d, uint64_t seed) {
  require(d >= 1, "d", "at least 1", d);
  Frame frame;
  frame.kind_ = FrameKind::haar;
  frame.d_ = d;
  frame.seed_ = seed;
  frame.build_dense();
  return frame;
}

Frame Frame::learned(const float* x, size_t n, size_t d, const LearnedFrameParams& params) {
  require(d >= 1, "d", "at least 1", d);
  require(n >= 1, "n", "at least 1 training row", n);
  require_finite(x, n, d, "training vectors");
  SymmetricEigen eigen = symmetric_eigen(second_moments(x, n, d), d);
  const double mean =
      std::accumulate(eigen.values.begin(), eigen.values.end(), 0.0) / static_cast<double>(d);
  for (double& value : eigen.values) {
    value = mean > 0.0 ? std::max(value / mean, static_cast<double>(params.eigenvalue_floor)) : 1.0;
  }
  Frame frame;
  frame.kind_ = FrameKind::learned;
  frame.d_ = d;
  const size_t padded = frame.padded();
  const std::vector<size_t> order = balanced_order(eigen.values, padded / quad_dims);
  frame.eigenvectors_.assign(padded * d, 0);
  frame.weights_.assign(padded, 1.0F);
  for (size_t row = 0; row < padded; ++row) {
    if (order[row] >= d) {
      continue;  // padding: a zero row
    }
    for (size_t j = 0; j < d; ++j) {
      frame.eigenvectors_[row * d + j] =
          float_to_half(static_cast<float>(eigen.vectors[order[row] * d + j]));
    }
    frame.weights_[row] = static_cast<float>(
        std::pow(eigen.values[order[row]], 0.5 * static_cast<double>(params.query_weight)));
  }
  frame.build_dense();
  return frame;
}

void Frame::build_dense() {
  DenseFrame dense;
  const size_t padded = this->padded();
  dense.data_map.assign(padded * d_, 0.0F);
  if (kind_ == FrameKind::haar) {
    // d of the P columns of a Haar rotation of R^P: an isometry into R^P.
    const std::vector<float> rotation = haar_rotation(padded, seed_);
    for (size_t i = 0; i < padded; ++i) {
      for (size_t j = 0; j < d_; ++j) {
        dense.data_map[i * d_ + j] = rotation[i * padded + j];
      }
    }
    dense.query_map = dense.data_map;
  } else {
    dense.query_map.assign(padded * d_, 0.0F);
    dense.query_scale.resize(padded);
    for (size_t i = 0; i < padded; ++i) {
      for (size_t j = 0; j < d_; ++j) {
        const float v = half_to_float(eigenvectors_[i * d_ + j]);
        dense.data_map[i * d_ + j] = v * weights_[i];
        dense.query_map[i * d_ + j] = v / weights_[i];
      }
      dense.query_scale[i] = 1.0F / weights_[i];
    }
    dense.half_directions_t = transposed(eigenvectors_, padded, d_);
  }
  dense.query_map_t = transposed(dense.query_map, padded, d_);
  map_ = std::move(dense);
}

void Frame::apply(const float* x, size_t n, float* y) const {
  const size_t padded = this->padded();
  if (const auto* dense = std::get_if<DenseFrame>(&map_)) {
    multiply_blocks(dense->data_map, padded, d_, x, n, y);
    return;
  }
  const auto& layers = std::get<RotorLayers>(map_);
  if (padded == d_) {
    layers.apply(x, n, y);
    return;
  }
  std::fill(y, y + n * padded, 0.0F);
  for (size_t i = 0; i < n; ++i) {
    std::copy(x + i * d_, x + (i + 1) * d_, y + i * padded);
  }
  layers.apply(y, n, y);
}

void Frame::apply_blocks(const float* x, size_t count, float* blocks, float* scratch) const {
  const simd::KernelTable& kernels = simd::active_kernels();
  const auto* dense = std::get_if<DenseFrame>(&map_);
  const size_t in_rows = dense != nullptr ? d_ : padded();
  float* in = dense != nullptr ? scratch : blocks;
  for (size_t first = 0; first < count; first += simd::lanes) {
    float* block = in + first * in_rows;
    rows_to_lanes(x + first * d_, std::min(simd::lanes, count - first), d_, block);
    std::fill(block + d_ * simd::lanes, block + in_rows * simd::lanes, 0.0F);
    if (dense == nullptr) {
      kernels.rotor_forward(view_of(std::get<RotorLayers>(map_)), block, scratch);
    }
  }
  if (dense != nullptr) {
    kernels.matrix_block(dense->data_map.data(), padded(), d_, in, blocks,
                         (count + simd::lanes - 1) / simd::lanes);
  }
}

void Frame::apply_query(const float* x, size_t n, float* y) const {
  if (kind_ != FrameKind::learned) {
    apply(x, n, y);
    return;
  }
  const auto& dense = std::get<DenseFrame>(map_);
  simd::active_kernels().half_matrix_vectors(dense.half_directions_t.data(), padded(), d_, x, d_, n,
                                             y, padded());
  for (size_t i = 0; i < n; ++i, y += padded()) {
    std::transform(dense.query_scale.begin(), dense.query_scale.end(), y, y,
                   [](float scale, float v) { return scale * v; });
  }
}

void Frame::apply_query_map(const float* x, size_t n, float* y) const {
  if (kind_ != FrameKind::learned) {
    apply(x, n, y);
    return;
  }
  const auto& dense = std::get<DenseFrame>(map_);
  multiply_rows(dense.query_map, dense.query_map_t, padded(), d_, x, n, y);
}

void Frame::invert(const float* y, size_t n, float* x) const {
  const size_t padded = this->padded();
  if (const auto* dense = std::get_if<DenseFrame>(&map_)) {
    // F^-1 = G^T, whose transpose is G itself.
    multiply_rows(dense->query_map_t, dense->query_map, d_, padded, y, n, x);
    return;
  }
  std::vector<float> whole(n * padded);
  std::get<RotorLayers>(map_).invert(y, n, whole.data());
  for (size_t i = 0; i < n; ++i) {
    std::copy_n(whole.data() + i * padded, d_, x + i * d_);
  }
}

void Frame::write(ByteWriter& out) const {
  out.put<uint8_t>(static_cast<uint8_t>(kind_));
  out.put<uint64_t>(d_);
  out.put<uint64_t>(seed_);
  const auto* layers = std::get_if<RotorLayers>(&map_);
  out.put<uint64_t>(layers != nullptr ? layers->layers() : 0);
  if (kind_ == FrameKind::learned) {
    out.put_array(eigenvectors_);
    out.put_array(weights_);
  }
}

Frame Frame::read(ByteReader& in) {
  const auto kind = in.get<uint8_t>();
  require(kind <= static_cast<uint8_t>(FrameKind::haar), "frame kind", "0, 1 or 2",
          static_cast<int>(kind));
  const auto d = static_cast<size_t>(in.get<uint64_t>());
  const auto seed = in.get<uint64_t>();
  const auto layers = static_cast<size_t>(in.get<uint64_t>());
  constexpr size_t largest_dim = size_t{1} << 20U;
  constexpr size_t most_layers = 1024;
  require(d >= 1 && d <= largest_dim, "frame dimension", "1 to 1048576", d);
  switch (static_cast<FrameKind>(kind)) {
    case FrameKind::rotor_layers:
      require(layers >= 1 && layers <= most_layers, "rotor layers", "1 to 1024", layers);
      return rotor_layers(d, seed, layers);
    case FrameKind::haar:
      return haar(d, seed);
    case FrameKind::learned:
      break;
  }
  Frame frame;
  frame.kind_ = FrameKind::learned;
  frame.d_ = d;
  frame.seed_ = seed;
  frame.eigenvectors_ = in.get_array<uint16_t>(frame.padded() * d, "eigenvectors");
  frame.weights_ = in.get_array<float>(frame.padded(), "frame weights");
  for (const float w : frame.weights_) {
    require(std::isfinite(w) && w > 0.0F, "frame weights", "positive numbers", w);
  }
  for (const uint16_t v : frame.eigenvectors_) {
    require((v & 0x7C00U) != 0x7C00U, "eigenvectors", "finite numbers", v);
  }
  frame.build_dense();
  return frame;
}

}  // namespace rotorquant
