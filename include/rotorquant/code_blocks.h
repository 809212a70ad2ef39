// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "rotorquant/code_store.h"

namespace rotorquant {

/// The order of nibbles in blocks made now (simd.h says which kernels are active).
ScanLayout active_scan_layout();

/// Blocks and rows of `size` codes as a store holds them, without copying where they are in the
/// active kernels' order: then the store is a read-only view that `owner` keeps alive. Blocks in
/// another order, of a file from another machine, are made anew and belong to the store.
/// scan and rows: as long as `size` codes need, aligned to a cache line. Throws Error otherwise.
CodeStore store_of_blocks(const CodeLayout& layout, ScanLayout order, size_t size,
                          std::span<const uint8_t> scan, std::span<const uint8_t> rows,
                          const std::shared_ptr<const void>& owner);

/// Bytes of the blocks of `size` codes.
size_t blocks_bytes(const CodeLayout& layout, size_t size);

}  // namespace rotorquant
