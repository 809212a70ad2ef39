// SPDX-License-Identifier: MIT
// The codec's measured constants, its file form and what scan and refine read of it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "codec_access.h"
#include "lane_rows.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

double dot(const float* a, const float* b, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

/// For a Haar O, E |O r|_1^2 = |r|^2 (1 + (P - 1) 2 / pi), so this times |y|/sqrt(P) times c is
/// unbiased whatever the levels are. Rotor layers fall 0.3 % short of it on quantisation residuals,
/// and joint rounds let the levels depend on O: hence the calibration, which starts from here.
float strict_gain_of_haar(size_t dims) {
  constexpr double two_over_pi = 0.63661977236758134308;
  const auto p = static_cast<double>(dims);
  return static_cast<float>(p / (1.0 + (p - 1.0) * two_over_pi));
}

}  // namespace

/// Measures the constants of a codec on vectors it encodes: sums over vectors, then means.
class Codec::Calibrator {
 public:
  explicit Calibrator(const Codec& codec)
      : codec_(codec),
        layout_(codec.layout_),
        dims_(padded_dim(codec.params_.d)),
        gain_(layout_.levels, 0.0),
        cos2_(layout_.levels + 1, 0.0),
        scan_error_(dims_, 0.0),
        levels_(rounded_to_lanes(dims_)),
        signs_(dims_),
        sign_y_(dims_) {}

  /// y: the vector in the frame.
  void add(const float* y, const uint8_t* code) {
    const CodeFactors factors = read_code_factors(layout_, code);
    squared_ = dot(y, y, dims_);
    if (squared_ <= 0.0 || factors.alpha1 <= 0.0F) {
      return;
    }
    ++count_;
    for (size_t level = 1; level <= layout_.levels; ++level) {
      add_level(y, code, level, factors);
    }
    if (layout_.signs) {
      add_signs(y, code, factors);
    } else {
      cos2_[0] = cos2_[layout_.levels];
      whole_.assign(levels_.begin(), levels_.end());
      scale_whole(factors.alpha);
    }
    if (layout_.planes > 1) {
      add_scan_error(factors.alpha1);
    }
  }

  Statistics result() const {
    Statistics statistics = neutral(codec_);
    if (count_ == 0) {
      return statistics;
    }
    const double mean = 1.0 / static_cast<double>(count_);
    const auto average = [mean](double sum) { return static_cast<float>(sum * mean); };
    std::transform(gain_.begin(), gain_.end(), statistics.prefix_gain.begin(), average);
    std::transform(cos2_.begin(), cos2_.end(), statistics.cos2.begin(), average);
    if (strict_given_ > 0.0) {
      statistics.strict_gain = static_cast<float>(strict_wanted_ / strict_given_);
    }
    if (codec_.params_.frame == FrameKind::learned && layout_.levels > 0) {
      statistics.scan_error.resize(dims_);
      std::transform(scan_error_.begin(), scan_error_.end(), statistics.scan_error.begin(),
                     average);
    } else {  // no coordinate is special: one number, the less noisy for it
      const double sum = std::accumulate(scan_error_.begin(), scan_error_.end(), 0.0);
      statistics.scan_error.assign(1, average(sum / static_cast<double>(dims_)));
    }
    return statistics;
  }

  /// What decoding assumes before anything is measured.
  static Statistics neutral(const Codec& codec) {
    Statistics statistics;
    statistics.prefix_gain.assign(codec.layout_.levels, 1.0F);
    statistics.cos2.assign(codec.layout_.levels + 1, 1.0F);
    statistics.scan_error.assign(1, 0.0F);
    statistics.strict_gain = strict_gain_of_haar(padded_dim(codec.params_.d));
    return statistics;
  }

 private:
  const Codec& codec_;
  const CodeLayout& layout_;
  size_t dims_;
  std::vector<double> gain_;        ///< [l - 1]
  std::vector<double> cos2_;        ///< [0] whole code, [l] l levels
  std::vector<double> scan_error_;  ///< a coordinate
  double strict_wanted_ = 0.0;
  double strict_given_ = 0.0;
  size_t count_ = 0;
  double squared_ = 0.0;
  AlignedVector<float> levels_;  ///< the last decoded prefix
  std::vector<float> first_level_;
  std::vector<float> whole_;  ///< alpha a + beta O^T s
  std::vector<float> signs_;
  std::vector<float> sign_y_;

  static size_t rounded_to_lanes(size_t n) {
    return (n + simd::lanes - 1) / simd::lanes * simd::lanes;
  }

  void add_level(const float* y, const uint8_t* code, size_t level, const CodeFactors& factors) {
    const simd::RefineView view = CodecAccess::refine_view(codec_, CodecQuery{}, level);
    simd::active_kernels().decode_levels(view, code, code + layout_.plane_bytes, levels_.data());
    const double product = dot(y, levels_.data(), dims_);
    const double energy = dot(levels_.data(), levels_.data(), dims_);
    const double own_alpha = squared_ / product;
    cos2_[level] += product * product / (squared_ * energy);
    gain_[level - 1] += own_alpha / static_cast<double>(factors.alpha);
    if (level == 1) {
      first_level_.assign(levels_.begin(), levels_.end());
    }
  }

  /// What the refine adds to the scan's estimate, in units of alpha_1.
  void add_scan_error(float alpha1) {
    for (size_t j = 0; j < dims_; ++j) {
      const auto error = static_cast<double>(whole_[j] / alpha1 - first_level_[j]);
      scan_error_[j] += error * error;
    }
  }

  void scale_whole(float alpha) {
    for (float& v : whole_) {
      v *= alpha;
    }
  }

  void add_signs(const float* y, const uint8_t* code, const CodeFactors& factors) {
    const bool has_levels = layout_.levels > 0;
    const uint8_t* plane = code + (layout_.planes - 1) * layout_.plane_bytes;
    for (size_t j = 0; j < dims_; ++j) {
      signs_[j] = ((plane[j / 8] >> (j % 8)) & 1U) != 0 ? -1.0F : 1.0F;
    }
    codec_.sign_map_.apply(y, 1, sign_y_.data());
    const double sign_product = dot(sign_y_.data(), signs_.data(), dims_);
    const double level_product = has_levels ? dot(y, levels_.data(), dims_) : 0.0;
    codec_.sign_map_.invert(signs_.data(), 1, signs_.data());
    whole_.resize(dims_);
    for (size_t j = 0; j < dims_; ++j) {
      const float level_part = has_levels ? factors.alpha * levels_[j] : 0.0F;
      whole_[j] = level_part + factors.beta * signs_[j];
    }
    const double energy = dot(whole_.data(), whole_.data(), dims_);
    const double product = static_cast<double>(factors.alpha) * level_product +
                           static_cast<double>(factors.beta) * sign_product;
    cos2_[0] += product * product / (squared_ * energy);
    if (factors.alpha > 0.0F) {
      // The strict estimate along y itself, nu <y, a> + g nu c <O y, s> = |y|^2, fixes g.
      const double nu = std::sqrt(squared_ / static_cast<double>(dims_));
      const auto c = static_cast<double>(factors.beta / factors.alpha);
      strict_wanted_ += squared_ - nu * level_product;
      strict_given_ += nu * c * sign_product;
    }
  }
};

void Codec::calibrate(const float* residuals, size_t n) {
  statistics_ = Calibrator::neutral(*this);
  const std::vector<float> no_additive(n, 0.0F);
  std::vector<uint8_t> codes(n * code_bytes());
  encode(residuals, no_additive.data(), n, codes.data());
  const size_t dims = padded_dim(params_.d);
  std::vector<float> y(n * dims);
  frame_.apply(residuals, n, y.data());
  Calibrator calibrator(*this);
  for (size_t i = 0; i < n; ++i) {
    calibrator.add(y.data() + i * dims, codes.data() + i * code_bytes());
  }
  statistics_ = calibrator.result();
}

simd::EncodeView CodecAccess::encode_view(const Codec& codec) {
  simd::EncodeView view{};
  view.layout = codec.layout_;
  view.dims = padded_dim(codec.params_.d);
  view.joint_rounds = codec.params_.joint_rounds;
  view.tree = refine_view(codec, CodecQuery{}, 0).tree;
  view.scalar = &embedded_scalar();
  view.sign_map = view_of(codec.sign_map_);
  return view;
}

simd::RefineView CodecAccess::refine_view(const Codec& codec, const CodecQuery& query,
                                          size_t levels) {
  const QuadTrees& trees = codec.trees_;
  simd::RefineView view{};
  view.layout = codec.layout_;
  view.levels = effective_levels(codec.layout_, levels);
  view.use_signs = reads_signs(codec.layout_, levels);
  view.scalar = &embedded_scalar();
  view.frame_query = query.frame_query.data();
  view.sign_query = query.sign_query.data();
  view.tree.levels = trees.levels;
  view.tree.trees = trees.trees;
  view.tree.scalar_bits =
      codec.layout_.levels > max_tree_levels ? codec.layout_.levels - max_tree_levels : 0;
  view.tree.level1 = codec.tables_->level1.data();
  view.tree.level1_columns = codec.tables_->level1_columns.data();
  view.tree.level2 = codec.tables_->level2.data();
  const auto place = [](const auto& table) { return table.empty() ? nullptr : table.data(); };
  view.tree.level3 = place(codec.tables_->level3);
  view.tree.level3_halves = place(codec.tables_->level3_halves);
  view.tree.level3_norms = place(codec.tables_->level3_norms);
  for (size_t level = 0; level < max_tree_levels; ++level) {
    view.tree.centroids[level] = trees.centroids[level].data();
  }
  view.tree.leaf_scales = trees.leaf_scales.data();
  for (size_t level = 0; level < max_tree_levels; ++level) {
    view.tree.fixed[level] = codec.tables_->fixed[level].data();
  }
  view.tree.fixed_scales = codec.tables_->fixed_scales.data();
  view.fixed_frame = query.fixed.frame.data();
  view.fixed_sign = query.fixed.sign.data();
  if (view.levels > max_tree_levels) {
    view.fixed_entries = codec.tables_->fixed_entries[view.levels - max_tree_levels - 1].data();
  }
  return view;
}

float CodecAccess::combine(const Codec& codec, const CodeFactors& factors, float level_product,
                           float sign_product, size_t levels, Estimator estimator, float norm) {
  const CodeLayout& layout = codec.layout_;
  const bool signs = reads_signs(layout, levels);
  const size_t read = effective_levels(layout, levels);
  if (estimator == Estimator::strict && signs && read > 0) {
    const float nu = norm >= 0.0F
                         ? norm / std::sqrt(static_cast<float>(padded_dim(codec.params_.d)))
                         : factors.alpha * codec.statistics_.cos2[0];
    const float c = factors.alpha > 0.0F ? factors.beta / factors.alpha : 0.0F;
    return nu * (level_product + codec.statistics_.strict_gain * c * sign_product);
  }
  if (signs == layout.signs && read == layout.levels) {  // the whole code
    return factors.alpha * level_product + factors.beta * sign_product;
  }
  const float alpha =
      read == 1 ? factors.alpha1 : factors.alpha * codec.statistics_.prefix_gain[read - 1];
  return alpha * level_product;
}

float CodecAccess::second_error(const Codec& codec) {
  // Rescaled codes are y + noise, orthogonal to y, of |y|^2 (1 / cos^2 - 1); a prefix's noise holds
  // that of the whole code, so that the squares of what lies between them are differences.
  const std::vector<float>& cos2 = codec.statistics_.cos2;
  const float whole = 1.0F / cos2[0];
  const float first = 1.0F / cos2[1] - whole;
  const float second = 1.0F / cos2[2] - whole;
  return first > 0.0F ? std::sqrt(std::max(second, 0.0F) / first) : 1.0F;
}

void Codec::write(ByteWriter& out) const {
  out.put<uint64_t>(params_.d);
  out.put<int32_t>(params_.bits);
  out.put<uint8_t>(params_.signs ? 1 : 0);
  out.put<uint8_t>(static_cast<uint8_t>(params_.frame));
  out.put<uint64_t>(params_.seed);
  out.put<uint64_t>(params_.rotor_layers);
  out.put<int32_t>(params_.joint_rounds);
  out.put<uint8_t>(is_trained() ? 1 : 0);
  if (!is_trained()) {
    return;
  }
  if (params_.frame == FrameKind::learned) {
    frame_.write(out);
    trees_.write(out);
  }
  out.put_array(statistics_.prefix_gain);
  out.put_array(statistics_.cos2);
  out.put_array(statistics_.scan_error);
  out.put<float>(statistics_.strict_gain);
}

Codec Codec::read(ByteReader& in, size_t expected_d) {
  CodecParams params;
  params.d = static_cast<size_t>(in.get<uint64_t>());
  params.bits = in.get<int32_t>();
  params.signs = in.get<uint8_t>() != 0;
  const auto frame = in.get<uint8_t>();
  require(frame <= static_cast<uint8_t>(FrameKind::haar), "codec frame", "0, 1 or 2",
          static_cast<int>(frame));
  params.frame = static_cast<FrameKind>(frame);
  params.seed = in.get<uint64_t>();
  params.rotor_layers = static_cast<size_t>(in.get<uint64_t>());
  params.joint_rounds = in.get<int32_t>();
  constexpr size_t largest_dim = size_t{1} << 20U;
  constexpr size_t most_layers = 1024;
  constexpr int most_rounds = 64;
  constexpr size_t largest_haar_dim = size_t{1} << 14U;
  constexpr size_t most_rotors = size_t{1} << 26U;
  require(params.d <= largest_dim, "codec dimension", "at most 1048576", params.d);
  require(expected_d == 0 || params.d == expected_d, "codec dimension", expected_d, params.d);
  require(params.rotor_layers <= most_layers, "rotor layers", "at most 1024", params.rotor_layers);
  require(params.rotor_layers * params.d <= most_rotors, "rotor layers x dimension",
          "at most 67108864", params.rotor_layers * params.d);
  require(params.frame != FrameKind::haar || params.d <= largest_haar_dim, "Haar dimension",
          "at most 16384", params.d);
  require(params.joint_rounds <= most_rounds, "joint rounds", "at most 64", params.joint_rounds);
  const bool trained = in.get<uint8_t>() != 0;
  const bool learned = params.frame == FrameKind::learned;
  require(trained || learned, "codec", "a trained one, where the frame is not learned",
          "untrained");
  Codec codec;
  codec.build(params);
  if (!trained) {
    return codec;
  }
  if (learned) {
    codec.frame_ = Frame::read(in);
    require(codec.frame_.dim() == params.d, "frame dimension", params.d, codec.frame_.dim());
    codec.trees_ = QuadTrees::read(in);
    const int levels = std::min(static_cast<int>(codec.layout_.levels), max_tree_levels);
    require(codec.trees_.levels == levels, "tree levels", levels, codec.trees_.levels);
    require(levels == 0 || codec.trees_.trees == codec.layout_.quads, "trees", codec.layout_.quads,
            codec.trees_.trees);
    codec.finish();
  }
  Statistics& statistics = codec.statistics_;
  statistics.prefix_gain = in.get_array<float>(codec.layout_.levels, "prefix gains");
  statistics.cos2 = in.get_array<float>(codec.layout_.levels + 1, "cos2");
  statistics.scan_error = in.get_array<float>();
  const size_t dims = padded_dim(params.d);
  require(statistics.scan_error.size() == 1 || statistics.scan_error.size() == dims,
          "scan error length", dims, statistics.scan_error.size());
  statistics.strict_gain = in.get<float>();
  for (const auto* values : {&statistics.prefix_gain, &statistics.cos2, &statistics.scan_error}) {
    require_finite(values->data(), 1, values->size(), "codec statistics");
  }
  require_finite(&statistics.strict_gain, 1, 1, "codec statistics");
  return codec;
}

}  // namespace rotorquant
