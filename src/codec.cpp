// SPDX-License-Identifier: MIT
#include "rotorquant/codec.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "codec_access.h"
#include "half.h"
#include "lane_rows.h"
#include "rotorquant/error.h"
#include "rotorquant/random.h"

namespace rotorquant {
namespace {

constexpr size_t max_training_rows = 65536;
constexpr size_t calibration_rows = 1024;
constexpr uint64_t sign_seed_offset = 0x5167'4E53ULL;  // O must not share rotors with F
constexpr size_t query_padding = 16;

size_t rounded_up(size_t n, size_t unit) {
  return (n + unit - 1) / unit * unit;
}

CodeLayout make_layout(const CodecParams& params) {
  CodeLayout layout;
  layout.quads = padded_dim(params.d) / quad_dims;
  layout.plane_bytes = (layout.quads + 1) / 2;
  layout.planes = static_cast<size_t>(params.bits);
  layout.signs = params.signs;
  layout.levels = layout.planes - (params.signs ? 1 : 0);
  layout.wide_factors = params.bits >= 6;
  return layout;
}

/// Evenly spaced rows, at most `most`.
std::vector<float> sample_rows(const float* x, size_t n, size_t d, size_t most) {
  const size_t count = std::min(n, most);
  std::vector<float> sample(count * d);
  for (size_t i = 0; i < count; ++i) {
    std::copy_n(x + i * n / count * d, d, sample.data() + i * d);
  }
  return sample;
}

/// Rows scaled to norm sqrt(P), so that a coordinate has unit variance; zero rows stay.
void to_unit_variance(float* y, size_t n, size_t dims) {
  for (size_t i = 0; i < n; ++i) {
    float* row = y + i * dims;
    double squared = 0.0;
    for (size_t j = 0; j < dims; ++j) {
      squared += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
    const float scale =
        squared > 0.0 ? static_cast<float>(std::sqrt(static_cast<double>(dims) / squared)) : 0.0F;
    for (size_t j = 0; j < dims; ++j) {
      row[j] *= scale;
    }
  }
}

void put_number(uint8_t*& out, float value, bool wide) {
  if (wide) {
    std::memcpy(out, &value, sizeof(value));
    out += sizeof(value);
  } else {
    const uint16_t bits = encode_factor(value);
    std::memcpy(out, &bits, sizeof(bits));
    out += sizeof(bits);
  }
}

/// Buffers of one thread's encode; lives across blocks.
class EncodeWorkspace {
 public:
  /// Vectors that go through the frame together: two lane blocks share what they load of a matrix.
  static constexpr size_t vectors = 2 * simd::lanes;

  EncodeWorkspace(size_t d, size_t dims, size_t planes)
      : residuals(vectors * d),
        in_frame(vectors * dims),
        frame_scratch(vectors * dims),
        rows_(3 * dims * simd::lanes),
        nibbles_(planes * (dims / quad_dims) * simd::lanes) {
    const size_t step = dims * simd::lanes;
    block.decoded = rows_.data();
    block.sign_part = rows_.data() + step;
    block.residual = rows_.data() + 2 * step;
    block.scratch = frame_scratch.data();
    block.nibbles = nibbles_.data();
  }
  AlignedVector<float> residuals;  ///< vectors x d
  std::array<float, vectors> additive{};
  AlignedVector<float> in_frame;  ///< lane blocks
  AlignedVector<float> frame_scratch;
  simd::EncodeBlock block{};  ///< of 16 of the vectors; y is left open

 private:
  AlignedVector<float> rows_;
  AlignedVector<uint8_t> nibbles_;
};

/// Rows of eight bytes become columns; byte c of rows[r] is the (c, r) of a matrix.
void transpose_bytes(std::array<uint64_t, 8>& rows) {
  constexpr std::array<uint64_t, 3> kept = {0x00000000FFFFFFFFULL, 0x0000FFFF0000FFFFULL,
                                            0x00FF00FF00FF00FFULL};
  for (size_t step = 0; step < kept.size(); ++step) {
    const size_t apart = 4U >> step;
    for (size_t row = 0; row < rows.size(); ++row) {
      if ((row & apart) != 0) {
        continue;
      }
      const uint64_t swapped = ((rows[row] >> (8 * apart)) ^ rows[row + apart]) & kept[step];
      rows[row + apart] ^= swapped;
      rows[row] ^= swapped << (8 * apart);
    }
  }
}

/// Quads 2 byte and 2 byte + 1 of a plane for eight lanes: a byte of each one's code.
uint64_t eight_bytes(const uint8_t* plane, size_t quads, size_t byte, size_t first_lane) {
  const uint8_t* low = plane + 2 * byte * simd::lanes + first_lane;
  auto bytes = load_unaligned<uint64_t>(low);
  if (2 * byte + 1 < quads) {
    bytes |= load_unaligned<uint64_t>(low + simd::lanes) << 4U;
  }
  return bytes;
}

/// Nibbles of the first `count` lanes as the planes of their codes.
void write_planes(const CodeLayout& layout, const uint8_t* nibbles, size_t count, uint8_t* codes,
                  size_t stride) {
  constexpr size_t eight = sizeof(uint64_t);
  for (size_t plane = 0; plane < layout.planes; ++plane) {
    const uint8_t* from = nibbles + plane * layout.quads * simd::lanes;
    uint8_t* to = codes + plane * layout.plane_bytes;
    for (size_t byte = 0; byte < layout.plane_bytes; byte += eight) {
      const size_t width = std::min(eight, layout.plane_bytes - byte);
      for (size_t lane = 0; lane < count; lane += eight) {
        std::array<uint64_t, eight> rows{};
        for (size_t i = 0; i < width; ++i) {
          rows[i] = eight_bytes(from, layout.quads, byte + i, lane);
        }
        transpose_bytes(rows);
        for (size_t i = 0; i < std::min(eight, count - lane); ++i) {
          std::memcpy(to + (lane + i) * stride + byte, &rows[i], width);
        }
      }
    }
  }
}

/// The first `count` lanes of an encoded block as canonical bytes.
void write_codes(const CodeLayout& layout, const simd::EncodeBlock& block, size_t count,
                 const float* additive, uint8_t* codes, size_t stride) {
  write_planes(layout, block.nibbles, count, codes, stride);
  for (size_t lane = 0; lane < count; ++lane) {
    uint8_t* out = codes + lane * stride + layout.scan_factor_offset();
    put_number(out, block.alpha1[lane], false);
    put_number(out, additive[lane], true);
    if (layout.planes > 1) {
      put_number(out, block.alpha[lane], layout.wide_factors);
      if (layout.signs) {
        put_number(out, block.beta[lane], layout.wide_factors);
      }
    }
  }
}

}  // namespace

Codec::Codec(const CodecParams& params) {
  build(params);
  if (params.frame == FrameKind::learned) {
    return;
  }
  Rng rng(params.seed, 1);
  std::vector<float> gaussian(calibration_rows * params.d);
  for (float& v : gaussian) {
    v = static_cast<float>(rng.gaussian());
  }
  calibrate(gaussian.data(), calibration_rows);
}

void Codec::build(const CodecParams& params) {
  require(params.d >= 1, "d", "at least 1", params.d);
  require(params.bits >= 1 && params.bits <= 8, "bits", "1 to 8", params.bits);
  require(params.joint_rounds >= 0, "joint_rounds", "at least 0", params.joint_rounds);
  params_ = params;
  layout_ = make_layout(params);
  const size_t dims = padded_dim(params.d);
  sign_map_ = RotorLayers(dims, RotorLayers::default_layers(dims), params.seed + sign_seed_offset);
  if (params.frame == FrameKind::learned) {
    return;
  }
  frame_ = params.frame == FrameKind::haar
               ? Frame::haar(params.d, params.seed)
               : Frame::rotor_layers(params.d, params.seed, params.rotor_layers);
  trees_ = QuadTrees::gaussian(std::min(static_cast<int>(layout_.levels), max_tree_levels));
  finish();
}

void Codec::train(const float* residuals, size_t n) {
  if (params_.frame != FrameKind::learned) {
    return;
  }
  require(n >= 1, "n", "at least 1 training row", n);
  const size_t d = params_.d;
  const std::vector<float> sample = sample_rows(residuals, n, d, max_training_rows);
  const size_t rows = sample.size() / d;
  LearnedFrameParams frame_params;
  if (layout_.levels ==
      0) {  // O spreads every error over all directions: weights would only add to it
    frame_params.query_weight = 0.0F;
  }
  frame_ = Frame::learned(sample.data(), rows, d, frame_params);
  std::vector<float> u(rows * frame_.padded());
#pragma omp parallel for schedule(static)
  for (size_t first = 0; first < rows; first += simd::lanes) {
    const size_t count = std::min(simd::lanes, rows - first);
    frame_.apply(sample.data() + first * d, count, u.data() + first * frame_.padded());
  }
  to_unit_variance(u.data(), rows, frame_.padded());
  trees_ = QuadTrees::fit(u.data(), rows, layout_.quads,
                          std::min(static_cast<int>(layout_.levels), max_tree_levels));
  finish();
  const std::vector<float> few = sample_rows(sample.data(), rows, d, calibration_rows);
  calibrate(few.data(), few.size() / d);
}

void Codec::finish() {
  tables_ = std::make_shared<const Tables>(trees_);
}

std::string Codec::name() const {
  std::string result = params_.frame == FrameKind::rotor_layers ? "RQ"
                       : params_.frame == FrameKind::learned    ? "ORQ"
                                                                : "HaarRQ";
  result += std::to_string(params_.bits);
  return params_.signs ? result : result + "mse";
}

void Codec::encode(const float* residuals, const float* additive, size_t n, uint8_t* codes,
                   EncodeEffort effort) const {
  const auto copy = [&](size_t first, size_t count, float* some, float* terms) {
    std::copy_n(residuals + first * params_.d, count * params_.d, some);
    std::copy_n(additive + first, count, terms);
    return all_finite(some, count * params_.d);
  };
  if (!encode(copy, n, codes, code_bytes(), effort)) {
    require_finite(residuals, n, params_.d, "vectors");
  }
}

bool Codec::encode(const ResidualSource& source, size_t n, uint8_t* codes, size_t stride,
                   EncodeEffort effort) const {
  require(is_trained(), "codec", "a trained codec", "an untrained one");
  require(stride >= code_bytes(), "stride", code_bytes(), stride);
  simd::EncodeView view = CodecAccess::encode_view(*this);
  view.joint_rounds = CodecAccess::joint_rounds(params_, effort);
  const simd::KernelTable& kernels = simd::active_kernels();
  const size_t d = params_.d;
  bool finite = true;
#pragma omp parallel if (n > 2 * EncodeWorkspace::vectors) reduction(&& : finite)
  {
    EncodeWorkspace workspace(d, view.dims, layout_.planes);
#pragma omp for schedule(dynamic, 2)
    for (size_t first = 0; first < n; first += EncodeWorkspace::vectors) {
      const size_t count = std::min(EncodeWorkspace::vectors, n - first);
      float* residuals = workspace.residuals.data();
      if (!source(first, count, residuals, workspace.additive.data())) {
        finite = false;
        continue;
      }
      frame_.apply_blocks(residuals, count, workspace.in_frame.data(),
                          workspace.frame_scratch.data());
      for (size_t at = 0; at < count; at += simd::lanes) {
        workspace.block.y = workspace.in_frame.data() + at * view.dims;
        kernels.encode_block(view, workspace.block);
        write_codes(layout_, workspace.block, std::min(simd::lanes, count - at),
                    workspace.additive.data() + at, codes + (first + at) * stride, stride);
      }
    }
  }
  return finite;
}

void Codec::decode(const uint8_t* codes, size_t n, float* residuals, size_t levels) const {
  require(is_trained(), "codec", "a trained codec", "an untrained one");
  const size_t dims = padded_dim(params_.d);
  const simd::KernelTable& kernels = simd::active_kernels();
  const simd::RefineView view = CodecAccess::refine_view(*this, CodecQuery{}, levels);
  const float shrink = statistics_.cos2[view.use_signs ? 0 : view.levels];
#pragma omp parallel for schedule(static) if (n > 4 * simd::lanes)
  for (size_t first = 0; first < n; first += simd::lanes) {
    const size_t count = std::min(simd::lanes, n - first);
    std::vector<float> y(count * dims, 0.0F);
    std::vector<float> signs(count * dims);
    AlignedVector<float> level_part(rounded_up(dims, query_padding));
    for (size_t i = 0; i < count; ++i) {
      const uint8_t* code = codes + (first + i) * code_bytes();
      const CodeFactors factors = read_code_factors(layout_, code);
      if (view.levels > 0) {
        kernels.decode_levels(view, code, code + layout_.plane_bytes, level_part.data());
        const float alpha =
            CodecAccess::combine(*this, factors, 1.0F, 0.0F, levels, Estimator::rescaled, -1.0F);
        for (size_t j = 0; j < dims; ++j) {
          y[i * dims + j] = shrink * alpha * level_part[j];
        }
      }
      const uint8_t* sign_plane = code + (layout_.planes - 1) * layout_.plane_bytes;
      for (size_t j = 0; view.use_signs && j < dims; ++j) {
        const bool negative = ((sign_plane[j / 8] >> (j % 8)) & 1U) != 0;
        signs[i * dims + j] = shrink * (negative ? -factors.beta : factors.beta);
      }
    }
    if (view.use_signs) {
      sign_map_.invert(signs.data(), count, signs.data());
      for (size_t j = 0; j < count * dims; ++j) {
        y[j] += signs[j];
      }
    }
    frame_.invert(y.data(), count, residuals + first * params_.d);
  }
}

CodecQuery Codec::prepare(const float* query) const {
  CodecQuery prepared;
  prepare(query, 1, &prepared);
  return prepared;
}

void Codec::prepare(const float* queries, size_t n, CodecQuery* prepared) const {
  require(is_trained(), "codec", "a trained codec", "an untrained one");
  // A learned frame's matrix is read once for all; the rest is best made of what is still in cache.
  const size_t at_once = params_.frame == FrameKind::learned ? n : std::min(n, simd::lanes);
  std::vector<float> in_frame(at_once * padded_dim(params_.d));
  for (size_t first = 0; first < n; first += at_once) {
    const size_t count = std::min(at_once, n - first);
    frame_.apply_query(queries + first * params_.d, count, in_frame.data());
    prepare_framed(in_frame, count, prepared + first);
  }
}

void Codec::prepare_framed(const std::vector<float>& in_frame, size_t n,
                           CodecQuery* prepared) const {
  const size_t dims = padded_dim(params_.d);
  const size_t padded = rounded_up(dims, query_padding);
  const auto fill = [&](const float* from, std::vector<float>& to) {
    to.resize(padded);
    std::fill(std::copy_n(from, dims, to.begin()), to.end(), 0.0F);
  };
  SignedQueries some(*this);
  for (size_t first = 0; first < n; first += simd::lanes) {
    const size_t count = std::min(simd::lanes, n - first);
    const float* frame_rows = in_frame.data() + first * dims;
    some.take(frame_rows, count);
    for (size_t i = 0; i < count; ++i) {
      CodecQuery& query = prepared[first + i];
      fill(frame_rows + i * dims, query.frame_query);
      if (layout_.signs) {
        fill(some.sign_row(i), query.sign_query);
      } else {
        query.sign_query.clear();
      }
      CodecAccess::fix_query(*this, some.sums(i), query);
    }
  }
}

CodecQuery CodecAccess::framed_offset(const Codec& codec, const float* offset) {
  std::vector<float> in_frame(padded_dim(codec.dim()));
  codec.frame().apply_query_map(offset, 1, in_frame.data());
  CodecQuery framed;
  codec.prepare_framed(in_frame, 1, &framed);
  return framed;
}

float Codec::estimate(const CodecQuery& query, const uint8_t* code, size_t levels,
                      Estimator estimator, float norm) const {
  const simd::RefineView view = CodecAccess::refine_view(*this, query, levels);
  const CodeProducts products =
      score(simd::active_kernels(), view, query.fixed, code, code + layout_.plane_bytes);
  return CodecAccess::combine(*this, read_code_factors(layout_, code), products.level,
                              products.sign, levels, estimator, norm);
}

float Codec::expected_distortion(size_t levels) const {
  require(is_trained(), "codec", "a trained codec", "an untrained one");
  const bool signs = CodecAccess::reads_signs(layout_, levels);
  return 1.0F - statistics_.cos2[signs ? 0 : CodecAccess::effective_levels(layout_, levels)];
}

}  // namespace rotorquant
