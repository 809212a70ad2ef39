// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "reference_detail.h"
#include "rotorquant/error.h"
#include "rotorquant/random.h"
#include "rotorquant/reference.h"

namespace rotorquant {
namespace {

using reference_detail::bytes_of_bits;
using reference_detail::for_rows;
using reference_detail::get_bits;
using reference_detail::load_float;
using reference_detail::put_bits;
using reference_detail::RowScratch;
using reference_detail::store_float;

constexpr size_t header_bytes = 8;  // |x| and |r|
constexpr size_t table_entries = 256;

// The rotor of triple 1 has seed + 1 too: a stream of its own keeps S independent of it.
constexpr uint64_t sketch_stream = 0x514A4C;

std::vector<float> gaussian_entries(size_t count, uint64_t seed) {
  Rng rng(seed, sketch_stream);
  std::vector<float> entries(count);
  for (float& v : entries) {
    v = static_cast<float>(rng.gaussian());
  }
  return entries;
}

double dot(const float* a, const float* b, size_t n) {
  double sum = 0.0;
  for (size_t j = 0; j < n; ++j) {
    sum += static_cast<double>(a[j]) * static_cast<double>(b[j]);
  }
  return sum;
}

/// Published: one bit goes to the signs, but stage 1 keeps one at least.
int stage1_bits(int bits) {
  require(bits >= 1 && bits <= ScalarCodebook::max_bits, "bits", "1 to 8", bits);
  return std::max(bits - 1, 1);
}

/// Fills table[mask] with the sum of v[k], its sign + where bit k of mask is set, - elsewhere; one
/// addition an entry.
void fill_sign_table(const std::array<float, 8>& v, float* table) {
  table[0] = 0.0F;
  for (const float value : v) {
    table[0] -= value;
  }
  for (size_t k = 0; k < 8; ++k) {
    const size_t bit = size_t{1} << k;
    for (size_t mask = 0; mask < bit; ++mask) {
      table[bit + mask] = table[mask] + 2.0F * v[k];
    }
  }
}

/// Sum of query[j] * centroids[index j]. Eight indices fill `Bits` bytes exactly, so that a block
/// is one load and constant shifts; the query is padded with zeros to whole blocks and the codes
/// end after `bytes` bytes.
template <unsigned Bits>
float dot_packed(const std::vector<float>& query, const float* centroids, const uint8_t* packed,
                 size_t bytes) {
  constexpr uint64_t mask = (uint64_t{1} << Bits) - 1;
  std::array<float, 8> sums{};
  for (size_t j = 0, at = 0; j < query.size(); j += 8, at += Bits) {
    const size_t here = std::min<size_t>(Bits, bytes - at);
    uint64_t word = 0;
    for (size_t i = 0; i < here; ++i) {
      word |= static_cast<uint64_t>(packed[at + i]) << (8 * i);
    }
    for (size_t k = 0; k < 8; ++k) {
      sums[k] += query[j + k] * centroids[(word >> (Bits * k)) & mask];
    }
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

using DotPacked = float (*)(const std::vector<float>&, const float*, const uint8_t*, size_t);

constexpr std::array<DotPacked, 8> dot_packed_by_bits{dot_packed<1>, dot_packed<2>, dot_packed<3>,
                                                      dot_packed<4>, dot_packed<5>, dot_packed<6>,
                                                      dot_packed<7>, dot_packed<8>};

}  // namespace

RotorQuantProd::RotorQuantProd(size_t d, int bits, size_t qjl_dim, uint64_t seed, Rotation rotation)
    : bits_(bits),
      stage1_(d, stage1_bits(bits), seed, {}, rotation),
      qjl_dim_(qjl_dim == 0 ? d : qjl_dim),
      sketch_(qjl_dim_, d, gaussian_entries(qjl_dim_ * d, seed + 1)) {}

float RotorQuantProd::qjl_factor() const {
  return static_cast<float>(std::sqrt(0.5 * std::numbers::pi) / static_cast<double>(qjl_dim_));
}

size_t RotorQuantProd::scratch_floats() const {
  return stage1_.rotated_dim() + d() + qjl_dim_;
}

void RotorQuantProd::quantize_row(const float* x, uint8_t* indices, float* norms, float* sketch,
                                  float* scratch) const {
  float* residual = scratch + stage1_.rotated_dim();
  norms[0] = stage1_.quantize_row(x, indices, scratch);
  stage1_.dequantize_row(indices, norms[0], residual, scratch);
  for (size_t j = 0; j < d(); ++j) {
    residual[j] = x[j] - residual[j];
  }
  norms[1] = static_cast<float>(std::sqrt(dot(residual, residual, d())));
  sketch_.apply(residual, sketch);
}

ProdCodes RotorQuantProd::quantize(const float* x, size_t n) const {
  require_finite(x, n, d(), "x");
  const size_t width = stage1_.components();
  ProdCodes codes;
  codes.stage1 = {n, std::vector<uint8_t>(n * width), std::vector<float>(n)};
  codes.signs.resize(n * qjl_dim_);
  codes.residual_norms.resize(n);
  for_rows(n, scratch_floats(), 0, [&](size_t i, RowScratch scratch) {
    std::array<float, 2> norms{};
    float* sketch = scratch.floats + stage1_.rotated_dim() + d();
    quantize_row(x + i * d(), codes.stage1.indices.data() + i * width, norms.data(), sketch,
                 scratch.floats);
    codes.stage1.norms[i] = norms[0];
    codes.residual_norms[i] = norms[1];
    std::transform(sketch, sketch + qjl_dim_, codes.signs.data() + i * qjl_dim_,
                   [](float v) { return v >= 0.0F ? int8_t{1} : int8_t{-1}; });
  });
  return codes;
}

void RotorQuantProd::inner_products(const float* queries, size_t m, const ProdCodes& codes,
                                    float* products) const {
  const size_t n = codes.stage1.n;
  require_finite(queries, m, d(), "queries");
  require(codes.signs.size() == n * qjl_dim_, "signs", n * qjl_dim_, codes.signs.size());
  require(codes.residual_norms.size() == n, "residual_norms", n, codes.residual_norms.size());
  std::vector<float> reconstructed(n * d());
  stage1_.dequantize(codes.stage1, reconstructed.data());
  std::vector<float> sketched(m * qjl_dim_);
  for (size_t q = 0; q < m; ++q) {
    sketch_.apply(queries + q * d(), sketched.data() + q * qjl_dim_);
  }
  const auto factor = static_cast<double>(qjl_factor());
  for_rows(n, qjl_dim_, 0, [&](size_t i, RowScratch scratch) {
    std::copy_n(codes.signs.data() + i * qjl_dim_, qjl_dim_, scratch.floats);
    const double scale = factor * static_cast<double>(codes.residual_norms[i]);
    for (size_t q = 0; q < m; ++q) {
      const double stage1 = dot(queries + q * d(), reconstructed.data() + i * d(), d());
      const double signs = dot(sketched.data() + q * qjl_dim_, scratch.floats, qjl_dim_);
      products[q * n + i] = static_cast<float>(stage1 + scale * signs);
    }
  });
}

size_t RotorQuantProd::code_size() const {
  return header_bytes + stage1_.packed_index_bytes() + bytes_of_bits(qjl_dim_);
}

void RotorQuantProd::encode(const float* x, size_t n, uint8_t* codes) const {
  require_finite(x, n, d(), "x");
  const size_t size = code_size();
  for_rows(n, scratch_floats(), stage1_.components(), [&](size_t i, RowScratch scratch) {
    uint8_t* code = codes + i * size;
    std::array<float, 2> norms{};
    float* sketch = scratch.floats + stage1_.rotated_dim() + d();
    quantize_row(x + i * d(), scratch.bytes, norms.data(), sketch, scratch.floats);
    store_float(norms[0], code);
    store_float(norms[1], code + 4);
    stage1_.pack(scratch.bytes, code + header_bytes);
    uint8_t* signs = code + header_bytes + stage1_.packed_index_bytes();
    std::fill(signs, code + size, uint8_t{0});
    for (size_t k = 0; k < qjl_dim_; ++k) {
      put_bits(signs, k, 1, sketch[k] >= 0.0F ? 1U : 0U);
    }
  });
}

void RotorQuantProd::decode(const uint8_t* codes, size_t n, float* x) const {
  const size_t size = code_size();
  const float factor = qjl_factor();
  for_rows(n, scratch_floats(), stage1_.components(), [&](size_t i, RowScratch scratch) {
    const uint8_t* code = codes + i * size;
    const uint8_t* signs = code + header_bytes + stage1_.packed_index_bytes();
    float* residual = scratch.floats + stage1_.rotated_dim();
    float* sketch = residual + d();
    stage1_.unpack(code + header_bytes, scratch.bytes);
    stage1_.dequantize_row(scratch.bytes, load_float(code), x + i * d(), scratch.floats);
    for (size_t k = 0; k < qjl_dim_; ++k) {
      sketch[k] = get_bits(signs, k, 1) != 0 ? 1.0F : -1.0F;
    }
    sketch_.apply_transposed(sketch, residual);
    const float scale = factor * load_float(code + 4);
    for (size_t j = 0; j < d(); ++j) {
      x[i * d() + j] += scale * residual[j];
    }
  });
}

RotorQuantProd::QueryState RotorQuantProd::prepare_query(const float* y) const {
  require_finite(y, 1, d(), "query");
  QueryState state;
  state.rotated.resize((stage1_.rotated_dim() + 7) / 8 * 8);
  stage1_.rotate(y, state.rotated.data());
  const size_t groups = bytes_of_bits(qjl_dim_);
  std::vector<float> sketch(8 * groups);
  sketch_.apply(y, sketch.data());
  const float factor = qjl_factor();
  state.sign_tables.resize(groups * table_entries);
  for (size_t g = 0; g < groups; ++g) {
    std::array<float, 8> values{};
    for (size_t k = 0; k < 8; ++k) {
      values[k] = factor * sketch[8 * g + k];
    }
    fill_sign_table(values, state.sign_tables.data() + g * table_entries);
  }
  return state;
}

float RotorQuantProd::inner_product(const QueryState& query, const uint8_t* code) const {
  const size_t index_bytes = stage1_.packed_index_bytes();
  const uint8_t* packed = code + header_bytes;
  const ScalarCodebook& codebook = stage1_.codebook();
  const DotPacked dot_indices = dot_packed_by_bits[static_cast<size_t>(codebook.bits() - 1)];
  // The padded rotation is an isometry: <y, x^> = |x| <R y ~R, centroids>.
  const float stage1 = dot_indices(query.rotated, codebook.centroids().data(), packed, index_bytes);
  const uint8_t* signs = packed + index_bytes;
  std::array<float, 2> sums{};  // two chains: a look-up's latency is several additions
  const size_t groups = bytes_of_bits(qjl_dim_);
  for (size_t g = 0; g < groups; ++g) {
    sums[g % 2] += query.sign_tables[g * table_entries + signs[g]];
  }
  return load_float(code) * stage1 + load_float(code + 4) * (sums[0] + sums[1]);
}

RotorQuantKVCache::RotorQuantKVCache(size_t d_key, size_t d_value, int bits, uint64_t seed,
                                     Rotation rotation)
    : keys_(d_key, bits, d_key, seed, rotation), values_(d_value, bits, seed + 100, {}, rotation) {}

void RotorQuantKVCache::append(const float* keys, size_t key_rows, const float* values,
                               size_t value_rows) {
  require(key_rows == value_rows, "value rows", key_rows, value_rows);
  // size_ moves last: whatever throws before leaves only spare bytes behind.
  key_codes_.resize((size_ + key_rows) * keys_.code_size());
  value_codes_.resize((size_ + key_rows) * values_.code_size());
  keys_.encode(keys, key_rows, key_codes_.data() + size_ * keys_.code_size());
  values_.encode(values, key_rows, value_codes_.data() + size_ * values_.code_size());
  size_ += key_rows;
}

void RotorQuantKVCache::attention_scores(const float* queries, size_t m, float* scores) const {
  require_finite(queries, m, d_key(), "queries");
  const size_t code_size = keys_.code_size();
  for (size_t q = 0; q < m; ++q) {
    const auto state = keys_.prepare_query(queries + q * d_key());
    for_rows(size_, 0, 0, [&](size_t i, RowScratch) {
      scores[q * size_ + i] = keys_.inner_product(state, key_codes_.data() + i * code_size);
    });
  }
}

std::vector<float> RotorQuantKVCache::attention_scores(const float* queries, size_t m) const {
  std::vector<float> scores(m * size_);
  attention_scores(queries, m, scores.data());
  return scores;
}

std::vector<float> RotorQuantKVCache::get_values() const {
  std::vector<float> values(size_ * d_value());
  values_.decode(value_codes_.data(), size_, values.data());
  return values;
}

size_t RotorQuantKVCache::bytes() const {
  return size_ * (keys_.code_size() + values_.code_size());
}

void RotorQuantKVCache::clear() {
  size_ = 0;
  std::vector<uint8_t>().swap(key_codes_);
  std::vector<uint8_t>().swap(value_codes_);
}

}  // namespace rotorquant
