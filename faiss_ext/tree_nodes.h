// SPDX-License-Identifier: MIT
#pragma once

// What the writer and the reader of index trees share (tree_io.h).

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "rotorquant/error.h"

namespace rotorquant {

using Kind = std::array<char, 8>;

/// What a node is, padded with zeros: the first eight bytes of its section.
constexpr Kind kind_of(std::string_view name) {
  Kind kind{};
  std::copy(name.begin(), name.end(), kind.begin());
  return kind;
}
inline constexpr Kind kind_rotorquant = kind_of("rotorq");
inline constexpr Kind kind_ivf = kind_of("rqivf");
inline constexpr Kind kind_mappable = kind_of("rotorqm");
inline constexpr Kind kind_mappable_ivf = kind_of("rqivfm");
inline constexpr Kind kind_reference = kind_of("rqref");
inline constexpr Kind kind_id_map = kind_of("idmap");
inline constexpr Kind kind_id_map2 = kind_of("idmap2");
inline constexpr Kind kind_transform = kind_of("pretrans");
inline constexpr Kind kind_refine = kind_of("refine");
inline constexpr Kind kind_refine_flat = kind_of("rflat");
inline constexpr Kind kind_hnsw = kind_of("hnsw");
inline constexpr Kind kind_nsg = kind_of("nsg");
inline constexpr Kind kind_shards = kind_of("shards");
inline constexpr Kind kind_replicas = kind_of("replicas");
inline constexpr Kind kind_faiss = kind_of("faiss");

/// Nested deeper than any sensible index; bounds the recursion on crafted files.
inline constexpr size_t max_depth = 32;
inline constexpr size_t chunk_bytes = size_t{1} << 20;

inline size_t rows_in_chunk(size_t code_bytes) {
  return std::max<size_t>(1, chunk_bytes / code_bytes);
}

inline std::string section_name(size_t node, const std::string& what) {
  return "n" + std::to_string(node) + "." + what;
}

/// FAISS multiplies k by it unchecked.
inline void check_k_factor(float k_factor) {
  constexpr float largest = 65536.0F;
  require(k_factor >= 1.0F && k_factor <= largest, "IndexRefine: k_factor", "1 to 65536", k_factor);
}

}  // namespace rotorquant
