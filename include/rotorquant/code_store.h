// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "rotorquant/aligned.h"
#include "rotorquant/codec.h"
#include "rotorquant/error.h"
#include "rotorquant/page_buffer.h"

namespace rotorquant {

namespace simd {
struct KernelTable;
}

/// Vectors a scan block holds.
constexpr size_t block_vectors = 64;

/// Order of the level-1 nibbles in memory; each scan kernel reads one of them. Files do not
/// depend on it: pack() and append() speak canonical codes (codec.h).
enum class ScanLayout : uint8_t {
  /// For vpshufb / tbl: 64 bytes a pair of quads, one a vector; the low nibble is the even quad.
  row_per_quad = 0,
  /// For vpermb + vpdpbusd: 32 dwords a group of four quads, byte c for quad c; dword v holds
  /// vector v in its low and vector v + 32 in its high nibbles.
  dword_per_vector = 1,
};

/// Codes of one flat index or one inverted list: scan blocks (level 1 with its factors) and
/// refine rows (everything else), kept apart so that a scan reads nothing it does not need.
///
/// A block is 64 vectors: nibbles of `padded_quads()` quads in the kernel's order
/// (padded_quads() * 32 bytes), 64 alpha_1 as uf16, 64 additive terms as fp32. Unused places of
/// the last block have alpha_1 0 and additive term +infinity: no scan can select them.
///
/// Not thread-safe for writing; const methods may run concurrently.
class CodeStore {
 public:
  CodeStore() = default;
  /// Uses the kernels active now (simd.h) for its whole life.
  explicit CodeStore(const CodeLayout& layout);

  /// Codes that are already in blocks and rows, in the active kernels' order; the buffers may be
  /// views (page_buffer.h), then the store is read-only. Throws Error unless they are as long as
  /// `size` codes are.
  static CodeStore adopt(const CodeLayout& layout, size_t size, PageBuffer scan, PageBuffer rows) {
    CodeStore store(layout);
    store.size_ = size;
    require(scan.size() == store.blocks() * store.block_bytes_, "blocks: bytes",
            store.blocks() * store.block_bytes_, scan.size());
    require(rows.size() == size * layout.row_bytes(), "rows: bytes", size * layout.row_bytes(),
            rows.size());
    store.scan_ = std::move(scan);
    store.rows_ = std::move(rows);
    return store;
  }

  size_t size() const { return size_; }
  size_t blocks() const { return (size_ + block_vectors - 1) / block_vectors; }
  const CodeLayout& layout() const { return layout_; }
  const simd::KernelTable& kernels() const { return *kernels_; }
  size_t padded_quads() const { return padded_quads_; }

  void reserve(size_t n);
  /// Appends n canonical codes (n x layout().code_bytes()).
  void append(const uint8_t* codes, size_t n);
  /// Writes codes first .. first + n - 1 in canonical form.
  void pack(size_t first, size_t n, uint8_t* codes) const;
  /// Replaces the code at `i`.
  void assign(size_t i, const uint8_t* code);
  /// Copies code `from` over code `to`.
  void copy_within(size_t from, size_t to);
  /// Drops everything from `n` on and gives the memory of whole unused blocks back.
  void truncate(size_t n);
  void clear() { truncate(0); }

  size_t block_bytes() const { return block_bytes_; }
  const uint8_t* block(size_t b) const { return scan_.data() + b * block_bytes_; }
  const uint8_t* row(size_t i) const { return rows_.data() + i * layout_.row_bytes(); }
  /// Bytes held, slack included.
  size_t memory_bytes() const { return scan_.capacity() + rows_.capacity(); }

  /// Plane 1 of vector i as canonical nibbles (padded_quads() / 2 bytes; beyond the last quad 0).
  void scan_nibbles(size_t i, uint8_t* plane) const;
  /// Starts loading row(i). Always inlined: GCC takes a function that only prefetches for one
  /// without effect, and drops calls of it.
  __attribute__((always_inline)) void prefetch_row(size_t i) const {
    const uint8_t* first = row(i);
    const size_t bytes = layout_.row_bytes();
    for (size_t at = 0; at < bytes; at += cache_line) {
      __builtin_prefetch(first + at);
    }
    if (bytes > 0) {  // signs or one level alone have no rows
      __builtin_prefetch(first + bytes - 1);
    }
  }
  float scan_alpha(size_t i) const;
  float additive(size_t i) const;
  /// Overwrites the additive term of vector i (an inverted list folds its centroid in).
  void set_additive(size_t i, float value);

 private:
  CodeLayout layout_;
  const simd::KernelTable* kernels_ = nullptr;
  size_t padded_quads_ = 0;
  size_t block_bytes_ = 0;
  size_t size_ = 0;
  PageBuffer scan_;
  PageBuffer rows_;

  uint8_t* block_of(size_t i) { return scan_.data() + i / block_vectors * block_bytes_; }
  const uint8_t* block_of(size_t i) const { return block(i / block_vectors); }
  void set_scan_nibbles(size_t i, const uint8_t* plane);
  /// Canonical nibbles of quads 4 group .. 4 group + 3.
  uint32_t plane_word(const uint8_t* plane, size_t group) const;
  void grow_to(size_t n);
};

}  // namespace rotorquant
