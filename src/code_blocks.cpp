// SPDX-License-Identifier: MIT
#include "rotorquant/code_blocks.h"

#include <cstring>
#include <vector>

#include "rotorquant/error.h"
#include "simd/kernels.h"

namespace rotorquant {
namespace {

constexpr size_t factor_bytes = block_vectors * (sizeof(uint16_t) + sizeof(float));

/// The nibble of a quad of vector v, as code_store.h describes the two orders.
uint8_t nibble_at(const uint8_t* block, ScanLayout order, size_t v, size_t quad) {
  if (order == ScanLayout::row_per_quad) {
    return static_cast<uint8_t>(block[quad / 2 * block_vectors + v] >> (quad % 2 * 4) & 0xFU);
  }
  constexpr size_t half = block_vectors / 2;
  const uint8_t* dword = block + quad / 4 * half * 4 + v % half * 4;
  return static_cast<uint8_t>(dword[quad % 4] >> (v / half * 4) & 0xFU);
}

/// One canonical code.
void unpack(const CodeLayout& layout, ScanLayout order, const uint8_t* block, size_t v,
            const uint8_t* row, uint8_t* code) {
  std::memset(code, 0, layout.plane_bytes);
  for (size_t quad = 0; quad < layout.quads; ++quad) {
    const unsigned nibble = nibble_at(block, order, v, quad);
    code[quad / 2] = static_cast<uint8_t>(code[quad / 2] | nibble << (quad % 2 * 4));
  }
  const size_t planes = (layout.planes - 1) * layout.plane_bytes;
  std::memcpy(code + layout.plane_bytes, row, planes);
  std::memcpy(code + layout.factor_offset(), row + planes, layout.factor_bytes());
  const uint8_t* alphas = block + blocks_bytes(layout, 1) - factor_bytes;
  uint8_t* scan_factors = code + layout.scan_factor_offset();
  std::memcpy(scan_factors, alphas + v * sizeof(uint16_t), sizeof(uint16_t));
  std::memcpy(scan_factors + sizeof(uint16_t),
              alphas + block_vectors * sizeof(uint16_t) + v * sizeof(float), sizeof(float));
}

}  // namespace

ScanLayout active_scan_layout() {
  return simd::active_kernels().layout;
}

size_t blocks_bytes(const CodeLayout& layout, size_t size) {
  const CodeStore empty(layout);
  return (size + block_vectors - 1) / block_vectors * empty.block_bytes();
}

CodeStore store_of_blocks(const CodeLayout& layout, ScanLayout order, size_t size,
                          std::span<const uint8_t> scan, std::span<const uint8_t> rows,
                          const std::shared_ptr<const void>& owner) {
  require(scan.size() == blocks_bytes(layout, size), "blocks: bytes", blocks_bytes(layout, size),
          scan.size());
  require(rows.size() == size * layout.row_bytes(), "rows: bytes", size * layout.row_bytes(),
          rows.size());
  if (order == active_scan_layout()) {
    return CodeStore::adopt(layout, size, PageBuffer::view(scan.data(), scan.size(), owner),
                            PageBuffer::view(rows.data(), rows.size(), owner));
  }
  CodeStore store(layout);
  store.reserve(size);
  std::vector<uint8_t> code(layout.code_bytes());
  for (size_t i = 0; i < size; ++i) {
    unpack(layout, order, scan.data() + i / block_vectors * store.block_bytes(), i % block_vectors,
           rows.data() + i * layout.row_bytes(), code.data());
    store.append(code.data(), 1);
  }
  return store;
}

}  // namespace rotorquant
