// SPDX-License-Identifier: MIT
#pragma once

// What scan, refine and code store read of a codec, beyond its public interface.

#include <algorithm>
#include <array>
#include <cstring>

#include "half.h"
#include "rotorquant/aligned.h"
#include "rotorquant/codec.h"
#include "simd/kernels.h"

namespace rotorquant {

/// The numbers beside a code's nibbles.
struct CodeFactors {
  float alpha1 = 0.0F;
  float additive = 0.0F;
  float alpha = 0.0F;
  float beta = 0.0F;
};

template <class T>
T load_unaligned(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

/// alpha and beta from the tail of a refine row; alpha1 stands in where there is only one plane.
inline void read_row_factors(const CodeLayout& layout, const uint8_t* p, CodeFactors& factors) {
  if (layout.planes == 1) {
    (layout.signs ? factors.beta : factors.alpha) = factors.alpha1;
    return;
  }
  if (layout.wide_factors) {
    factors.alpha = load_unaligned<float>(p);
    factors.beta = layout.signs ? load_unaligned<float>(p + sizeof(float)) : 0.0F;
  } else {
    factors.alpha = decode_factor(load_unaligned<uint16_t>(p));
    factors.beta =
        layout.signs ? decode_factor(load_unaligned<uint16_t>(p + sizeof(uint16_t))) : 0.0F;
  }
}

/// All factors of a canonical code.
inline CodeFactors read_code_factors(const CodeLayout& layout, const uint8_t* code) {
  CodeFactors factors;
  const uint8_t* scan = code + layout.scan_factor_offset();
  factors.alpha1 = decode_factor(load_unaligned<uint16_t>(scan));
  factors.additive = load_unaligned<float>(scan + sizeof(uint16_t));
  read_row_factors(layout, code + layout.factor_offset(), factors);
  return factors;
}

/// The two inner products of one code: <q', a> and <O q', s>.
struct CodeProducts {
  float level;
  float sign;

  /// The whole code's rescaled estimate of <q - mu, x - mu>.
  float whole(const CodeFactors& factors) const {
    return factors.alpha * level + factors.beta * sign;
  }
};

inline CodeProducts products_of(const simd::RefineSums& sums, const FixedQuery& query) {
  return {query.level_step * static_cast<float>(sums.level),
          query.sign_step * static_cast<float>(sums.sign)};
}

/// Scores one code: plane1 and row as in KernelTable::score, `view` of the same query.
inline CodeProducts score(const simd::KernelTable& kernels, const simd::RefineView& view,
                          const FixedQuery& query, const uint8_t* plane1, const uint8_t* row) {
  return products_of(kernels.score(view, plane1, row), query);
}

/// The trees in the orders that the encoder walks, and in the fixed point that the refine reads.
struct Codec::Tables {
  AlignedVector<float> level1;  ///< [tree][child][5]
  AlignedVector<float> level2;  ///< [tree][node][5][child]
  AlignedVector<float> level3;  ///< [tree][node][5][child]; empty for learned trees
  /// Learned: [tree][node][4][child], and half the squared norms: [tree][node][child]. Half as
  /// large, and as quick as caches hold them.
  AlignedVector<uint16_t> level3_halves;
  AlignedVector<float> level3_norms;

  /// Level 1 (of signs alone: the signs) by coordinate, for scan tables: [tree][4][child].
  AlignedVector<float> level1_columns;

  /// Coordinates times `unit`, rounded: [level - 1][tree][node][4].
  std::array<AlignedVector<int16_t>, max_tree_levels> fixed;
  /// What an entry of the scalar codebook is multiplied by: [tree][node of level 2][4].
  AlignedVector<int16_t> fixed_scales;
  /// [m - 1][index]: the m-bit scalar codebook.
  std::array<std::array<int16_t, 1U << max_scalar_levels>, max_scalar_levels> fixed_entries{};
  float unit = 1.0F;
  /// No decoded coordinate is beyond this, in units.
  int32_t largest = 0;

  explicit Tables(const QuadTrees& trees);

 private:
  void fill_level3(const QuadTrees& trees);
  void fill_columns(const QuadTrees& trees);
  void fill_fixed(const QuadTrees& trees);
};

/// A query's level-1 table, quantised to bytes: <q', a_1> = bias + step * sum of entries, within a
/// rounding error whose standard deviation is part of `sigma`.
struct ScanTable {
  AlignedVector<uint8_t> entries;  ///< padded_quads x 16
  float step = 0.0F;
  float bias = 0.0F;
  /// Standard deviation of the table's own rounding.
  float rounding = 0.0F;
  /// Standard deviation of (refined estimate - scan estimate) / alpha_1, rounding included.
  float sigma = 0.0F;
};

/// What a query's coordinates add up to, each sum in the order of coordinates.
struct QuerySums {
  double frame = 0.0;     ///< |q'|
  double sign = 0.0;      ///< |O q'|
  float variance = 0.0F;  ///< CodecQuery::scan_variance
};

/// Up to 16 queries on their way from the frame: O q', and sums over both. Few go one by one, more
/// side by side; the bits are the same. Memory is kept from one call to the next.
class SignedQueries {
 public:
  explicit SignedQueries(const Codec& codec);
  /// in_frame: count x P. Must stay while results are asked for.
  void take(const float* in_frame, size_t count);
  const float* sign_row(size_t i) const { return sign_rows_.data() + i * dims_; }
  const QuerySums& sums(size_t i) const { return sums_[i]; }

 private:
  const Codec& codec_;
  size_t dims_;
  const float* error_;  ///< one number, or one a coordinate
  size_t error_step_;
  bool scans_signs_;
  std::vector<float> sign_rows_;
  AlignedVector<float> block_;
  AlignedVector<float> scratch_;
  std::array<QuerySums, simd::lanes> sums_;

  void take_one_by_one(const float* in_frame, size_t count);
  void take_block(const float* in_frame, size_t count);
};

class CodecAccess {
 public:
  /// A list's offset as a query, in the rounding that files rely on (Frame::apply_query_map).
  static CodecQuery framed_offset(const Codec& codec, const float* offset);
  static simd::EncodeView encode_view(const Codec& codec);
  static simd::RefineView refine_view(const Codec& codec, const CodecQuery& query, size_t levels);
  /// Fills in what follows from frame_query and sign_query. sums: theirs.
  static void fix_query(const Codec& codec, const QuerySums& sums, CodecQuery& query);
  /// O; without layers where codes have no signs.
  static const RotorLayers& sign_map(const Codec& codec) { return codec.sign_map_; }
  /// No decoded coordinate is beyond this, in fixed point.
  static int64_t largest_coordinate(const Codec& codec) { return codec.tables_->largest; }
  /// How often encode() goes round.
  static int joint_rounds(const CodecParams& params, EncodeEffort effort) {
    constexpr int most_useful_rounds = 12;
    switch (effort) {
      case EncodeEffort::fast:
        return 0;
      case EncodeEffort::best:
        return std::max(params.joint_rounds, most_useful_rounds);
      case EncodeEffort::standard:
        break;
    }
    return params.joint_rounds;
  }
  /// What the device's copy of a codec needs beyond the views (src/cuda): level 3 as
  /// TreeView::level3, of learned trees too.
  static AlignedVector<float> third_level(const Codec& codec);
  static float fixed_unit(const Codec& codec) { return codec.tables_->unit; }
  static const Codec::Statistics& statistics(const Codec& codec) { return codec.statistics_; }
  /// scratch grows to what is needed; the next table wants as much.
  static void fill_scan_table(const Codec& codec, const CodecQuery& query, size_t padded_quads,
                              ScanTable& table, AlignedVector<float>& scratch);
  /// What the scan's error bound weighs the squares of q' by: one number, or one a coordinate.
  static const std::vector<float>& scan_error(const Codec& codec) {
    return codec.statistics_.scan_error;
  }
  /// The standard deviation of what the whole code adds to two levels, over that of what it adds to
  /// one (docs/codec.md, "Inverted lists").
  static float second_error(const Codec& codec);
  /// <q - mu, x - mu> from the two inner products of a refine. norm < 0: unknown.
  static float combine(const Codec& codec, const CodeFactors& factors, float level_product,
                       float sign_product, size_t levels, Estimator estimator, float norm);
  /// Levels that a request for `levels` reads, and whether signs count: (0, signs) = everything.
  static size_t effective_levels(const CodeLayout& layout, size_t levels) {
    return levels == 0 || levels > layout.levels ? layout.levels : levels;
  }
  static bool reads_signs(const CodeLayout& layout, size_t levels) {
    return layout.signs && (levels == 0 || layout.levels == 0);
  }
  /// Where |y| = |x - mu|, so that L2's additive term tells the norm.
  static bool is_isometric(const Codec& codec) {
    return codec.params().frame != FrameKind::learned;
  }
};

}  // namespace rotorquant
