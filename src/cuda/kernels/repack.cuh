// SPDX-License-Identifier: MIT
#pragma once

// Between canonical codes (codec.h) and the device's layout (views.h), both ways.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

RQ_DEVICE unsigned place_of(const RepackArgs& args, unsigned i) {
  return args.places == nullptr ? args.first + i : args.places[i];
}

/// args.count canonical codes -> their places in the store.
RQ_KERNEL unpack_codes(RepackArgs args) {
  const CodeShape& code = args.store.code;
  const TileLayout layout = args.store.tile;
  const unsigned plane_part = (code.planes - 1) * code.plane_bytes;
  for (unsigned i = block_x() * threads() + thread_id(); i < args.count;
       i += blocks_x() * threads()) {
    const uint8_t* from = args.codes + size_t{i} * code.code_bytes;
    const unsigned place = place_of(args, i);
    const unsigned v = place % tile_vectors;
    uint8_t* tile = args.store.tiles + place / tile_vectors * layout.bytes();
    for (unsigned w = 0; w < layout.words; ++w) {
      uint32_t word = 0;
      for (unsigned b = 0; b < 4; ++b) {
        const unsigned byte = w * 4 + b;
        word |= byte < code.plane_bytes ? static_cast<uint32_t>(from[byte]) << (8 * b) : 0U;
      }
      *reinterpret_cast<uint32_t*>(tile + layout.word_offset(w, v)) = word;
    }
    const uint8_t* factors = from + code.scan_factor_offset;
    reinterpret_cast<uint16_t*>(tile + layout.alpha_offset())[v] =
        static_cast<uint16_t>(factors[0] | (factors[1] << 8U));
    reinterpret_cast<float*>(tile + layout.additive_offset())[v] = load_wide(factors + 2);
    uint8_t* row = args.store.rows + size_t{place} * code.row_bytes;
    for (unsigned b = 0; b < plane_part; ++b) {
      row[b] = from[code.plane_bytes + b];
    }
    for (unsigned b = plane_part; b < code.row_bytes; ++b) {
      row[b] = from[code.factor_offset + b - plane_part];
    }
    if (args.store.terms != nullptr) {
      args.store.terms[place] = args.terms[i];
    }
  }
}

/// The inverse.
RQ_KERNEL pack_codes(RepackArgs args) {
  const CodeShape& code = args.store.code;
  const TileLayout layout = args.store.tile;
  const unsigned plane_part = (code.planes - 1) * code.plane_bytes;
  for (unsigned i = block_x() * threads() + thread_id(); i < args.count;
       i += blocks_x() * threads()) {
    uint8_t* to = args.codes + size_t{i} * code.code_bytes;
    const unsigned place = place_of(args, i);
    const unsigned v = place % tile_vectors;
    const uint8_t* tile = args.store.tiles + place / tile_vectors * layout.bytes();
    for (unsigned byte = 0; byte < code.plane_bytes; ++byte) {
      to[byte] = tile[layout.word_offset(byte / 4, v) + byte % 4];
    }
    const uint8_t* row = args.store.rows + size_t{place} * code.row_bytes;
    for (unsigned b = 0; b < plane_part; ++b) {
      to[code.plane_bytes + b] = row[b];
    }
    uint8_t* factors = to + code.scan_factor_offset;
    for (unsigned b = 0; b < 2; ++b) {
      factors[b] = tile[layout.alpha_offset() + v * 2 + b];
    }
    for (unsigned b = 0; b < 4; ++b) {
      factors[2 + b] = tile[layout.additive_offset() + v * 4 + b];
    }
    for (unsigned b = plane_part; b < code.row_bytes; ++b) {
      to[code.factor_offset + b - plane_part] = row[b];
    }
    if (args.store.terms != nullptr) {
      args.terms[i] = args.store.terms[place];
    }
  }
}

/// Makes places unused.
RQ_KERNEL clear_places(RepackArgs args) {
  const TileLayout layout = args.store.tile;
  for (unsigned i = block_x() * threads() + thread_id(); i < args.count;
       i += blocks_x() * threads()) {
    const unsigned place = place_of(args, i);
    const unsigned v = place % tile_vectors;
    uint8_t* tile = args.store.tiles + place / tile_vectors * layout.bytes();
    for (unsigned w = 0; w < layout.words; ++w) {
      *reinterpret_cast<uint32_t*>(tile + layout.word_offset(w, v)) = 0;
    }
    reinterpret_cast<uint16_t*>(tile + layout.alpha_offset())[v] = 0;
    reinterpret_cast<float*>(tile + layout.additive_offset())[v] = bits_float(0x7F800000U);
  }
}

}  // namespace rotorquant::gpu
