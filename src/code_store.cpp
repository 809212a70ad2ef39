// SPDX-License-Identifier: MIT
#include "rotorquant/code_store.h"

#include <algorithm>
#include <limits>

#include "codec_access.h"
#include "rotorquant/aligned.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr size_t quad_group = 4;  ///< blocks hold whole groups: what a 32-bit lane looks up at once
constexpr size_t alpha_bytes = block_vectors * sizeof(uint16_t);
constexpr size_t factor_bytes = alpha_bytes + block_vectors * sizeof(float);

constexpr size_t group_bytes = quad_group * block_vectors / 2;
constexpr uint32_t nibble_of_each_byte = 0x0F0F0F0FU;

/// Where vector v's dword lies inside a group of four quads, and which nibbles are its own.
struct DwordPlace {
  size_t offset;
  unsigned shift;

  explicit DwordPlace(size_t v)
      : offset(v % (block_vectors / 2) * sizeof(uint32_t)),
        shift(static_cast<unsigned>(v / (block_vectors / 2) * 4)) {}
};

/// Four nibbles of 16 bits into the low nibbles of four bytes.
uint32_t spread_nibbles(uint32_t word) {
  word = (word | (word << 8U)) & 0x00FF00FFU;
  return (word | (word << 4U)) & nibble_of_each_byte;
}

}  // namespace

CodeStore::CodeStore(const CodeLayout& layout)
    : layout_(layout),
      kernels_(&simd::active_kernels()),
      padded_quads_((layout.quads + quad_group - 1) / quad_group * quad_group),
      block_bytes_(padded_quads_ * block_vectors / 2 + factor_bytes) {}

void CodeStore::reserve(size_t n) {
  scan_.reserve((n + block_vectors - 1) / block_vectors * block_bytes_);
  rows_.reserve(n * layout_.row_bytes());
}

void CodeStore::grow_to(size_t n) {
  const size_t old_blocks = blocks();
  size_ = n;
  scan_.resize(blocks() * block_bytes_);
  rows_.resize(n * layout_.row_bytes());
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t b = old_blocks; b < blocks(); ++b) {
    uint8_t* additive = scan_.data() + (b + 1) * block_bytes_ - block_vectors * sizeof(float);
    for (size_t v = 0; v < block_vectors; ++v) {
      std::memcpy(additive + v * sizeof(float), &infinity, sizeof(float));
    }
  }
}

void CodeStore::append(const uint8_t* codes, size_t n) {
  const size_t first = size_;
  grow_to(size_ + n);
  for (size_t i = 0; i < n; ++i) {
    assign(first + i, codes + i * layout_.code_bytes());
  }
}

void CodeStore::assign(size_t i, const uint8_t* code) {
  require(i < size_, "i", "below the store's size", i);
  set_scan_nibbles(i, code);
  uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2;
  const size_t v = i % block_vectors;
  const uint8_t* scan_factors = code + layout_.scan_factor_offset();
  std::memcpy(factors + v * sizeof(uint16_t), scan_factors, sizeof(uint16_t));
  std::memcpy(factors + alpha_bytes + v * sizeof(float), scan_factors + sizeof(uint16_t),
              sizeof(float));
  const size_t plane_part = (layout_.planes - 1) * layout_.plane_bytes;
  uint8_t* row = rows_.data() + i * layout_.row_bytes();
  std::copy_n(code + layout_.plane_bytes, plane_part, row);
  std::copy_n(code + layout_.factor_offset(), layout_.factor_bytes(), row + plane_part);
}

void CodeStore::pack(size_t first, size_t n, uint8_t* codes) const {
  require(first <= size_ && n <= size_ - first, "codes to pack", size_, first + n);
  const size_t plane_part = (layout_.planes - 1) * layout_.plane_bytes;
  std::vector<uint8_t> plane(padded_quads_ / 2);
  for (size_t i = first; i < first + n; ++i) {
    scan_nibbles(i, plane.data());
    std::copy_n(plane.data(), layout_.plane_bytes, codes);
    std::copy_n(row(i), plane_part, codes + layout_.plane_bytes);
    const uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2;
    const size_t v = i % block_vectors;
    uint8_t* scan_factors = codes + layout_.scan_factor_offset();
    std::memcpy(scan_factors, factors + v * sizeof(uint16_t), sizeof(uint16_t));
    std::memcpy(scan_factors + sizeof(uint16_t), factors + alpha_bytes + v * sizeof(float),
                sizeof(float));
    std::copy_n(row(i) + plane_part, layout_.factor_bytes(), codes + layout_.factor_offset());
    codes += layout_.code_bytes();
  }
}

void CodeStore::copy_within(size_t from, size_t to) {
  if (from == to) {
    return;
  }
  std::vector<uint8_t> code(layout_.code_bytes());
  pack(from, 1, code.data());
  assign(to, code.data());
}

void CodeStore::truncate(size_t n) {
  require(n <= size_, "n", "at most the store's size", n);
  const size_t old_size = size_;
  size_ = n;
  scan_.resize(blocks() * block_bytes_);
  rows_.resize(n * layout_.row_bytes());
  const std::vector<uint8_t> nothing(layout_.plane_bytes, 0);
  for (size_t i = n; i < std::min(old_size, blocks() * block_vectors); ++i) {
    set_scan_nibbles(i, nothing.data());
    uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2;
    std::memset(factors + i % block_vectors * sizeof(uint16_t), 0, sizeof(uint16_t));
    const float infinity = std::numeric_limits<float>::infinity();
    std::memcpy(factors + alpha_bytes + i % block_vectors * sizeof(float), &infinity,
                sizeof(float));
  }
  // Only worth a copy when much is free; amortised like growth.
  if (scan_.capacity() > 2 * scan_.size() || rows_.capacity() > 2 * rows_.size()) {
    scan_.shrink_to_fit();
    rows_.shrink_to_fit();
  }
}

void CodeStore::set_scan_nibbles(size_t i, const uint8_t* plane) {
  uint8_t* block = block_of(i);
  const size_t v = i % block_vectors;
  if (kernels_->layout == ScanLayout::row_per_quad) {  // a pair of quads is a canonical byte
    for (size_t byte = 0; byte < layout_.plane_bytes; ++byte) {
      block[byte * block_vectors + v] = plane[byte];
    }
    return;
  }
  const DwordPlace place(v);
  for (size_t group = 0; group < padded_quads_ / quad_group; ++group) {
    uint8_t* p = block + group * group_bytes + place.offset;
    const uint32_t others = load_unaligned<uint32_t>(p) & ~(nibble_of_each_byte << place.shift);
    const uint32_t own = spread_nibbles(plane_word(plane, group)) << place.shift;
    const uint32_t dword = others | own;
    std::memcpy(p, &dword, sizeof(dword));
  }
}

void CodeStore::scan_nibbles(size_t i, uint8_t* plane) const {
  kernels_->scan_plane(block_of(i), padded_quads_, i % block_vectors, plane);
}

uint32_t CodeStore::plane_word(const uint8_t* plane, size_t group) const {
  const size_t byte = group * 2;
  uint32_t word = byte < layout_.plane_bytes ? plane[byte] : 0U;
  if (byte + 1 < layout_.plane_bytes) {
    word |= static_cast<uint32_t>(plane[byte + 1]) << 8U;
  }
  return word;
}

float CodeStore::scan_alpha(size_t i) const {
  const uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2;
  return decode_factor(load_unaligned<uint16_t>(factors + i % block_vectors * sizeof(uint16_t)));
}

float CodeStore::additive(size_t i) const {
  const uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2 + alpha_bytes;
  return load_unaligned<float>(factors + i % block_vectors * sizeof(float));
}

void CodeStore::set_additive(size_t i, float value) {
  require(i < size_, "i", "below the store's size", i);
  uint8_t* factors = block_of(i) + padded_quads_ * block_vectors / 2 + alpha_bytes;
  std::memcpy(factors + i % block_vectors * sizeof(float), &value, sizeof(float));
}

}  // namespace rotorquant
