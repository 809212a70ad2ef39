// SPDX-License-Identifier: MIT
#include "rotorquant/codec.h"

#include <algorithm>
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
  EncodeWorkspace(size_t dims, size_t planes)
      : rows_(5 * dims * simd::lanes), nibbles_(planes * (dims / quad_dims) * simd::lanes) {
    float* p = rows_.data();
    const size_t step = dims * simd::lanes;
    block.y = p;
    block.decoded = p + step;
    block.sign_part = p + 2 * step;
    block.target = p + 3 * step;
    block.scratch = p + 4 * step;
    block.nibbles = nibbles_.data();
  }
  simd::EncodeBlock block{};

 private:
  AlignedVector<float> rows_;
  AlignedVector<uint8_t> nibbles_;
};

/// One lane of an encoded block as canonical bytes.
void write_code(const CodeLayout& layout, const simd::EncodeBlock& block, size_t lane,
                float additive, uint8_t* out) {
  for (size_t plane = 0; plane < layout.planes; ++plane) {
    const uint8_t* nibbles = block.nibbles + plane * layout.quads * simd::lanes + lane;
    for (size_t byte = 0; byte < layout.plane_bytes; ++byte) {
      const unsigned low = nibbles[2 * byte * simd::lanes];
      const unsigned high =
          2 * byte + 1 < layout.quads ? nibbles[(2 * byte + 1) * simd::lanes] : 0U;
      *out++ = static_cast<uint8_t>(low | (high << 4U));
    }
  }
  put_number(out, block.alpha1[lane], false);
  put_number(out, additive, true);
  if (layout.planes > 1) {
    put_number(out, block.alpha[lane], layout.wide_factors);
    if (layout.signs) {
      put_number(out, block.beta[lane], layout.wide_factors);
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
  require(is_trained(), "codec", "a trained codec", "an untrained one");
  require_finite(residuals, n, params_.d, "vectors");
  simd::EncodeView view = CodecAccess::encode_view(*this);
  view.joint_rounds = CodecAccess::joint_rounds(params_, effort);
  const simd::KernelTable& kernels = simd::active_kernels();
  const size_t dims = view.dims;
#pragma omp parallel if (n > 4 * simd::lanes)
  {
    EncodeWorkspace workspace(dims, layout_.planes);
#pragma omp for schedule(dynamic, 4)
    for (size_t first = 0; first < n; first += simd::lanes) {
      const size_t count = std::min(simd::lanes, n - first);
      frame_.apply_block(residuals + first * params_.d, count, workspace.block.y,
                         workspace.block.scratch);
      kernels.encode_block(view, workspace.block);
      for (size_t lane = 0; lane < count; ++lane) {
        write_code(layout_, workspace.block, lane, additive[first + lane],
                   codes + (first + lane) * code_bytes());
      }
    }
  }
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
  std::vector<float> in_frame(n * padded_dim(params_.d));
  frame_.apply_query(queries, n, in_frame.data());
  prepare_framed(in_frame, n, prepared);
}

void Codec::prepare_framed(const std::vector<float>& in_frame, size_t n,
                           CodecQuery* prepared) const {
  const size_t dims = padded_dim(params_.d);
  const size_t padded = rounded_up(dims, query_padding);
  std::vector<float> in_sign_map;
  if (layout_.signs) {
    in_sign_map.resize(n * dims);
    sign_map_.apply(in_frame.data(), n, in_sign_map.data());
  }
  const auto fill = [&](const std::vector<float>& from, size_t i, std::vector<float>& to) {
    to.assign(padded, 0.0F);
    std::copy_n(from.data() + i * dims, dims, to.data());
  };
  for (size_t i = 0; i < n; ++i) {
    CodecQuery& query = prepared[i];
    fill(in_frame, i, query.frame_query);
    query.sign_query.clear();
    if (layout_.signs) {
      fill(in_sign_map, i, query.sign_query);
    }
    CodecAccess::fix_query(*this, query.frame_query, query.sign_query, query.fixed);
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
