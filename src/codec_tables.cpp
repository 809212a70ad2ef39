// SPDX-License-Identifier: MIT
// A codec's tables in the orders and the number formats that kernels read, and queries in the same.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>

#include "codec_access.h"
#include "lane_rows.h"

namespace rotorquant {
namespace {

/// Units a standard deviation of the code's coordinates has in fixed point: rounding is far below
/// what 8 bits a dimension leave, and a Gaussian coordinate takes 13 bits.
constexpr float finest_unit = 1024.0F;
constexpr float most_int16 = 32767.0F;
/// Vectors of 16-bit numbers are read this many at a time.
constexpr size_t fixed_padding = 32;

/// [tree][child][5]: coordinates, then half the squared norm.
std::vector<float> with_half_norms(const std::vector<float>& centroids) {
  std::vector<float> table(centroids.size() / 4 * 5);
  for (size_t i = 0; i < centroids.size() / 4; ++i) {
    float squared = 0.0F;
    for (size_t k = 0; k < 4; ++k) {
      const float c = centroids[i * 4 + k];
      table[i * 5 + k] = c;
      squared += c * c;
    }
    table[i * 5 + 4] = 0.5F * squared;
  }
  return table;
}

/// From [tree][parent][child][5] to [tree][parent][5][child].
AlignedVector<float> by_coordinate(const std::vector<float>& table) {
  constexpr size_t family = fanout * 5;
  AlignedVector<float> result(table.size());
  for (size_t at = 0; at < table.size(); ++at) {
    const size_t child = at % family / 5;
    result[at / family * family + at % 5 * fanout + child] = table[at];
  }
  return result;
}

float largest_magnitude(const std::vector<float>& values) {
  return simd::active_kernels().largest_magnitude(values.data(), values.size());
}

void fix_all(const std::vector<float>& values, float unit, AlignedVector<int16_t>& fixed) {
  fixed.resize(values.size());
  simd::active_kernels().to_fixed(values.data(), values.size(), unit, fixed.data());
}

/// The step that `values`, whose magnitudes add up to `sum`, are rounded to. The sum of products
/// with numbers up to `largest` must stay within 32 bits, whatever the signs: so must
/// largest * (sum |v| / step + 1/2 each).
float fixed_step(const std::vector<float>& values, double sum, int32_t largest) {
  constexpr double most_sum = std::numeric_limits<int32_t>::max();
  const double room = most_sum / std::max(largest, 1) - 0.5 * static_cast<double>(values.size());
  const double step =
      std::max(sum / room, static_cast<double>(largest_magnitude(values)) / 32766.0);
  // Where all is 0 any step will do; one that cannot be inverted will not.
  constexpr auto least_step = static_cast<double>(std::numeric_limits<float>::min());
  return static_cast<float>(std::max(step * 1.000001, least_step));
}

void fix_values(const std::vector<float>& values, float step, std::vector<int16_t>& fixed) {
  fixed.resize((values.size() + fixed_padding - 1) / fixed_padding * fixed_padding);
  simd::active_kernels().to_fixed(values.data(), values.size(), 1.0F / step, fixed.data());
}

/// The sums of 16 vectors side by side.
struct LaneSums {
  std::array<double, simd::lanes> magnitudes{};
  std::array<float, simd::lanes> variances{};
};

/// block: dims x 16. Adds up magnitudes; with `error` also squares times error.
LaneSums sums_of_lanes(const float* block, size_t dims, const float* error, size_t error_step) {
  LaneSums sums;
  for (size_t j = 0; j < dims; ++j) {
    const float* row = block + j * simd::lanes;
    for (size_t lane = 0; lane < simd::lanes; ++lane) {
      sums.magnitudes[lane] += std::fabs(static_cast<double>(row[lane]));
    }
    for (size_t lane = 0; error != nullptr && lane < simd::lanes; ++lane) {
      sums.variances[lane] += row[lane] * row[lane] * error[j * error_step];
    }
  }
  return sums;
}

}  // namespace

Codec::Tables::Tables(const QuadTrees& trees) {
  if (trees.levels >= 1) {
    const std::vector<float> flat = with_half_norms(trees.centroids[0]);
    level1.assign(flat.begin(), flat.end());
  }
  if (trees.levels >= 2) {
    level2 = by_coordinate(with_half_norms(trees.centroids[1]));
  }
  if (trees.levels >= 3) {
    fill_level3(trees);
  }
  fill_columns(trees);
  fill_fixed(trees);
}

void Codec::Tables::fill_level3(const QuadTrees& trees) {
  AlignedVector<float> table = by_coordinate(with_half_norms(trees.centroids[2]));
  if (trees.shared()) {
    level3 = std::move(table);
    return;
  }
  constexpr size_t family = fanout * quad_dims;
  const size_t parents = table.size() / (family + fanout);
  level3_halves.resize(parents * family + 1);  // gather_halves reads pairs
  level3_norms.resize(parents * fanout);
  for (size_t parent = 0; parent < parents; ++parent) {
    const float* from = table.data() + parent * (family + fanout);
    std::transform(from, from + family, level3_halves.data() + parent * family, float_to_half);
    std::copy_n(from + family, fanout, level3_norms.data() + parent * fanout);
  }
}

AlignedVector<float> CodecAccess::third_level(const Codec& codec) {
  return by_coordinate(with_half_norms(codec.trees_.centroids[2]));
}

void Codec::Tables::fill_columns(const QuadTrees& trees) {
  level1_columns.resize(trees.levels == 0 ? fanout * quad_dims : trees.centroids[0].size());
  for (size_t at = 0; at < level1_columns.size(); ++at) {
    const size_t tree = at / (fanout * quad_dims);
    const size_t k = at / fanout % quad_dims;
    const size_t child = at % fanout;
    const float sign = ((child >> k) & 1U) != 0 ? -1.0F : 1.0F;
    level1_columns[at] =
        trees.levels == 0 ? sign : trees.centroids[0][(tree * fanout + child) * quad_dims + k];
  }
}

void Codec::Tables::fill_fixed(const QuadTrees& trees) {
  float widest = 1.0F;
  for (const std::vector<float>& level : trees.centroids) {
    widest = std::max(widest, largest_magnitude(level));
  }
  unit = std::min(finest_unit, most_int16 / widest);
  for (size_t level = 0; level < fixed.size(); ++level) {
    fix_all(trees.centroids[level], unit, fixed[level]);
  }
  // scale * entry, in units, is the high half of a product of 16-bit numbers (vpmulhrsw).
  const EmbeddedScalar& scalar = embedded_scalar();
  float widest_entry = 0.0F;
  for (const auto& codebook : scalar.centroids) {
    for (const float entry : codebook) {
      widest_entry = std::max(widest_entry, std::fabs(entry));
    }
  }
  const float entry_unit = most_int16 / widest_entry;
  for (size_t m = 0; m < scalar.centroids.size(); ++m) {
    simd::active_kernels().to_fixed(scalar.centroids[m].data(), scalar.centroids[m].size(),
                                    entry_unit, fixed_entries[m].data());
  }
  fix_all(trees.leaf_scales, unit * 32768.0F / entry_unit, fixed_scales);
  const float widest_scale = largest_magnitude(trees.leaf_scales);
  largest = static_cast<int32_t>(
      std::ceil(std::min(most_int16, (widest + widest_scale * widest_entry) * unit + 2.0F)));
}

SignedQueries::SignedQueries(const Codec& codec)
    : codec_(codec),
      dims_(padded_dim(codec.dim())),
      error_(CodecAccess::scan_error(codec).data()),
      error_step_(CodecAccess::scan_error(codec).size() == 1 ? 0 : 1),
      scans_signs_(codec.layout().levels == 0) {}

void SignedQueries::take(const float* in_frame, size_t count) {
  sign_rows_.resize(count * dims_);
  if (count < few_rotated) {
    take_one_by_one(in_frame, count);
  } else {
    take_block(in_frame, count);
  }
}

void SignedQueries::take_one_by_one(const float* in_frame, size_t count) {
  const bool signs = codec_.layout().signs;
  if (signs) {
    CodecAccess::sign_map(codec_).apply(in_frame, count, sign_rows_.data());
  }
  for (size_t i = 0; i < count; ++i) {
    const float* frame = in_frame + i * dims_;
    const float* sign = signs ? sign_row(i) : frame;
    const float* scanned = scans_signs_ ? sign : frame;
    // Each sum waits for itself alone: three in one loop take the time of one.
    QuerySums sums;
    for (size_t j = 0; j < dims_; ++j) {
      sums.frame += std::fabs(static_cast<double>(frame[j]));
      sums.sign += std::fabs(static_cast<double>(sign[j]));
      sums.variance += scanned[j] * scanned[j] * error_[j * error_step_];
    }
    sums_[i] = sums;
  }
}

void SignedQueries::take_block(const float* in_frame, size_t count) {
  block_.resize(dims_ * simd::lanes);
  scratch_.resize(dims_ * simd::lanes);
  rows_to_lanes(in_frame, count, dims_, block_.data());
  const LaneSums frame =
      sums_of_lanes(block_.data(), dims_, scans_signs_ ? nullptr : error_, error_step_);
  LaneSums sign;
  if (codec_.layout().signs) {
    simd::active_kernels().rotor_forward(view_of(CodecAccess::sign_map(codec_)), block_.data(),
                                         scratch_.data());
    sign = sums_of_lanes(block_.data(), dims_, scans_signs_ ? error_ : nullptr, error_step_);
    lanes_to_rows(block_.data(), count, dims_, sign_rows_.data());
  }
  for (size_t i = 0; i < count; ++i) {
    sums_[i] = {frame.magnitudes[i], sign.magnitudes[i],
                (scans_signs_ ? sign : frame).variances[i]};
  }
}

void CodecAccess::fix_query(const Codec& codec, const QuerySums& sums, CodecQuery& query) {
  query.scan_variance = sums.variance;
  FixedQuery& fixed = query.fixed;
  const float frame_step = fixed_step(query.frame_query, sums.frame, codec.tables_->largest);
  fix_values(query.frame_query, frame_step, fixed.frame);
  fixed.level_step = frame_step / codec.tables_->unit;
  if (query.sign_query.empty()) {
    fixed.sign.clear();
    return;
  }
  fixed.sign_step = fixed_step(query.sign_query, sums.sign, 1);
  fix_values(query.sign_query, fixed.sign_step, fixed.sign);
}

void CodecAccess::fill_scan_table(const Codec& codec, const CodecQuery& query, size_t padded_quads,
                                  ScanTable& table, AlignedVector<float>& scratch) {
  const CodeLayout& layout = codec.layout_;
  const float* q = (layout.levels == 0 ? query.sign_query : query.frame_query).data();
  const AlignedVector<float>& columns = codec.tables_->level1_columns;
  const size_t tree_step = columns.size() == fanout * quad_dims ? 0 : fanout * quad_dims;
  scratch.resize(std::max(scratch.size(), layout.quads * fanout));
  table.entries.resize(padded_quads * fanout);
  std::fill(table.entries.begin() + static_cast<std::ptrdiff_t>(layout.quads * fanout),
            table.entries.end(), uint8_t{0});
  const simd::TableScale scale = simd::active_kernels().scan_table(
      columns.data(), tree_step, q, layout.quads, scratch.data(), table.entries.data());
  table.step = scale.step;
  table.bias = scale.bias;
  // Independent errors: the code's own, a coordinate, and the rounding of every table entry.
  const float rounding = scale.step * scale.step * static_cast<float>(layout.quads) / 12.0F;
  table.rounding = std::sqrt(rounding);
  table.sigma = std::sqrt(rounding + query.scan_variance);
}

}  // namespace rotorquant
