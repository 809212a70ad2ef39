// SPDX-License-Identifier: MIT
// A codec's tables in the orders and the number formats that kernels read, and queries in the same.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>

#include "codec_access.h"

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

/// From [tree][parent][child][5] to [tree][child][5][parent] or [tree][parent][5][child].
AlignedVector<float> transposed(const std::vector<float>& table, size_t n_trees, size_t parents,
                                bool parents_last) {
  AlignedVector<float> result(table.size());
  for (size_t tree = 0; tree < n_trees; ++tree) {
    const size_t base = tree * parents * fanout * 5;
    for (size_t p = 0; p < parents; ++p) {
      for (size_t child = 0; child < fanout; ++child) {
        for (size_t k = 0; k < 5; ++k) {
          const size_t to =
              parents_last ? (child * 5 + k) * parents + p : (p * 5 + k) * fanout + child;
          result[base + to] = table[base + (p * fanout + child) * 5 + k];
        }
      }
    }
  }
  return result;
}

float largest_magnitude(const std::vector<float>& values) {
  float largest = 0.0F;
  for (const float v : values) {
    largest = std::max(largest, std::fabs(v));
  }
  return largest;
}

int16_t to_fixed(float value) {
  return static_cast<int16_t>(std::lrintf(std::clamp(value, -most_int16, most_int16)));
}

void fix_all(const std::vector<float>& values, float unit, AlignedVector<int16_t>& fixed) {
  fixed.resize(values.size());
  std::transform(values.begin(), values.end(), fixed.begin(),
                 [unit](float v) { return to_fixed(v * unit); });
}

/// The step that `values` are rounded to. The sum of products with numbers up to `largest` must
/// stay within 32 bits, whatever the signs: so must largest * (sum |v| / step + 1/2 each).
float fixed_step(const std::vector<float>& values, int32_t largest) {
  double sum = 0.0;
  for (const float v : values) {
    sum += std::fabs(static_cast<double>(v));
  }
  constexpr double most_sum = std::numeric_limits<int32_t>::max();
  const double room = most_sum / std::max(largest, 1) - 0.5 * static_cast<double>(values.size());
  const double step =
      std::max(sum / room, static_cast<double>(largest_magnitude(values)) / 32766.0);
  // Where all is 0 any step will do; one that cannot be inverted will not.
  constexpr auto least_step = static_cast<double>(std::numeric_limits<float>::min());
  return static_cast<float>(std::max(step * 1.000001, least_step));
}

std::vector<int16_t> fix_values(const std::vector<float>& values, float step) {
  std::vector<int16_t> fixed((values.size() + fixed_padding - 1) / fixed_padding * fixed_padding);
  const float inverse = 1.0F / step;
  std::transform(values.begin(), values.end(), fixed.begin(),
                 [inverse](float v) { return to_fixed(v * inverse); });
  return fixed;
}

}  // namespace

Codec::Tables::Tables(const QuadTrees& trees) {
  if (trees.levels >= 1) {
    const std::vector<float> flat = with_half_norms(trees.centroids[0]);
    level1.assign(flat.begin(), flat.end());
  }
  if (trees.levels >= 2) {
    level2 = transposed(with_half_norms(trees.centroids[1]), trees.trees, fanout, true);
  }
  if (trees.levels >= 3) {
    level3 = transposed(with_half_norms(trees.centroids[2]), trees.trees, fanout * fanout, false);
  }
  fill_columns(trees);
  fill_fixed(trees);
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
    std::transform(scalar.centroids[m].begin(), scalar.centroids[m].end(), fixed_entries[m].begin(),
                   [entry_unit](float entry) { return to_fixed(entry * entry_unit); });
  }
  fix_all(trees.leaf_scales, unit * 32768.0F / entry_unit, fixed_scales);
  const float widest_scale = largest_magnitude(trees.leaf_scales);
  largest = static_cast<int32_t>(
      std::ceil(std::min(most_int16, (widest + widest_scale * widest_entry) * unit + 2.0F)));
}

void CodecAccess::fix_query(const Codec& codec, const std::vector<float>& frame_query,
                            const std::vector<float>& sign_query, FixedQuery& fixed) {
  const float frame_step = fixed_step(frame_query, codec.tables_->largest);
  fixed.frame = fix_values(frame_query, frame_step);
  fixed.level_step = frame_step / codec.tables_->unit;
  if (sign_query.empty()) {
    fixed.sign.clear();
    return;
  }
  fixed.sign_step = fixed_step(sign_query, 1);
  fixed.sign = fix_values(sign_query, fixed.sign_step);
}

void CodecAccess::fill_scan_table(const Codec& codec, const CodecQuery& query, size_t padded_quads,
                                  ScanTable& table) {
  const CodeLayout& layout = codec.layout_;
  const float* q = (layout.levels == 0 ? query.sign_query : query.frame_query).data();
  const AlignedVector<float>& columns = codec.tables_->level1_columns;
  const size_t tree_step = columns.size() == fanout * quad_dims ? 0 : fanout * quad_dims;
  table.entries.assign(padded_quads * fanout, 0);
  std::vector<float> products(layout.quads * fanout);
  const simd::TableScale scale = simd::active_kernels().scan_table(
      columns.data(), tree_step, q, layout.quads, products.data(), table.entries.data());
  table.step = scale.step;
  table.bias = scale.bias;
  // Independent errors: the code's own, a coordinate, and the rounding of every table entry.
  const float rounding = scale.step * scale.step * static_cast<float>(layout.quads) / 12.0F;
  const std::vector<float>& error = codec.statistics_.scan_error;
  float variance = 0.0F;
  for (size_t j = 0; j < padded_dim(codec.params_.d); ++j) {
    variance += q[j] * q[j] * error[error.size() == 1 ? 0 : j];
  }
  table.rounding = std::sqrt(rounding);
  table.sigma = std::sqrt(rounding + variance);
}

}  // namespace rotorquant
