// SPDX-License-Identifier: MIT
#pragma once

// The scan: level-1 bounds of every vector of some tiles for some queries, in the CPU's integers
// and with its rounding, so that both find the same candidates.
//
//   scan_lut   tables in shared memory, lane = vector, four queries a look-up: few queries
//   scan_mma   sums on tensor cores, 64 queries at a time: many queries
//
// Tensor cores multiply, they do not look up. So a nibble becomes a column of 16 bytes, 1 where its
// value is and 0 elsewhere, and the table of a quad a row: the product is the table's entry, and
// mma.m16n8k32 adds two quads of 16 vectors for 8 queries, exactly. That costs four times the
// multiplications of int8 coordinates, but the sums are the CPU's: one shortlist, no tolerance.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

RQ_DEVICE uint32_t tile_mask(const ScanArgs& args, unsigned tile) {
  return args.allowed == nullptr ? 0xFFFFFFFFU : args.allowed[tile];
}
RQ_DEVICE unsigned tile_number(const ScanArgs& args, unsigned i) {
  return args.first_tile + i * args.tile_step;
}
RQ_DEVICE const uint8_t* tile_at(const ScanArgs& args, unsigned tile) {
  return args.store.tiles + size_t{tile} * args.store.tile.bytes();
}

/// bound = A - alpha_1 (scale * sum + offset), both steps fused, as in every scan kernel.
RQ_DEVICE float bound_of(float alpha, float additive, float scale, float offset, uint32_t sum) {
  return fused(-alpha, fused(scale, static_cast<float>(sum), offset), additive);
}

RQ_DEVICE void append_candidate(const CandidateView& to, unsigned query, unsigned at,
                                uint64_t key) {
  if (at < to.capacity) {
    to.keys[size_t{query} * to.capacity + at] = key;
  }
}

/// Appends the keys of those lanes that pass; every lane of the warp comes.
RQ_DEVICE void append_passing(const CandidateView& to, unsigned query, bool passes, uint64_t key) {
  const uint32_t found = ballot(passes);
  if (found == 0) {
    return;
  }
  uint32_t first = 0;
  if (lane_id() == 0) {
    first = atomic_add(to.counts + query, count_bits(found));
  }
  first = shuffle(first, 0);
  if (passes) {
    const uint32_t before = found & ((1U << lane_id()) - 1);
    append_candidate(to, query, first + count_bits(before), key);
  }
}

/// Sums of four queries, two 16-bit halves a word until flush(): each adds at most 255.
struct PackedSums {
  uint32_t even = 0;
  uint32_t odd = 0;
  uint32_t sums[4] = {0, 0, 0, 0};

  /// Eight quads. entry(i): the bytes of four queries, quad i / 16, nibble i mod 16.
  template <class Entry>
  RQ_DEVICE_MEMBER void add(const Entry& entry, unsigned first, uint32_t nibbles) {
    RQ_UNROLL
    for (unsigned i = 0; i < 8; ++i) {
      const uint32_t entries = entry(first + i * 16 + ((nibbles >> (4 * i)) & 0xFU));
      even += entries & 0x00FF00FFU;
      odd += (entries >> 8U) & 0x00FF00FFU;
    }
  }
  /// Chunk `chunk` of a tile.
  template <class Entry>
  RQ_DEVICE_MEMBER void add_chunk(const Entry& entry, const TileLayout& layout, unsigned chunk,
                                  const Words4& codes) {
    const unsigned first = chunk * 4 * 128;
    if (layout.is_whole(chunk)) {
      RQ_UNROLL
      for (unsigned w = 0; w < 4; ++w) {
        add(entry, first + w * 128, codes.w[w]);
      }
    } else {
      RQ_UNROLL
      for (unsigned w = 0; w < 3; ++w) {
        if (w < layout.words % 4) {
          add(entry, first + w * 128, codes.w[w]);
        }
      }
    }
    if (chunk + 1 == layout.chunks() || chunk % 8 == 7) {  // 256 quads: no half has left 16 bits
      flush();
    }
  }
  RQ_DEVICE_MEMBER void flush() {
    sums[0] += even & 0xFFFFU;
    sums[1] += odd & 0xFFFFU;
    sums[2] += even >> 16U;
    sums[3] += odd >> 16U;
    even = 0;
    odd = 0;
  }
};

/// What becomes of one tile's bounds for one query; every lane of the warp comes.
RQ_DEVICE void take_bounds(const ScanArgs& args, unsigned query, unsigned i, unsigned tile,
                           bool allowed, float bound) {
  const uint32_t id = tile * tile_vectors + lane_id();
  if (args.minima != nullptr) {
    uint64_t key = allowed && bound <= no_limit ? make_key(bound, id) : no_key;
    for (unsigned width = warp_lanes / 2; width > 0; width /= 2) {
      key = smaller(key, shuffle_xor(key, width));
    }
    if (lane_id() == 0) {
      args.minima[size_t{query} * args.tiles + i] = key;
    }
    return;
  }
  const bool passes = allowed && bound <= smaller(args.limit[query], no_limit);
  append_passing(args.found, query, passes, make_key(bound, id));
}

/// block_y: group of four queries. Warps take tiles; the next one's codes are on their way while
/// one is summed.
RQ_KERNEL scan_lut(ScanArgs args) {
  const TileLayout layout = args.store.tile;
  const unsigned words = layout.padded_quads() * 16;
  const auto* table = reinterpret_cast<const uint32_t*>(args.tables) + size_t{block_y()} * words;
  if (args.table_quads > 0) {  // else the table is too large for shared memory
    auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
    for (unsigned i = thread_id(); i < words; i += threads()) {
      shared[i] = table[i];
    }
    block_barrier();
    table = shared;
  }
  const unsigned first_query = block_y() * 4;
  const unsigned live = smaller(4U, args.queries - first_query);
  const unsigned step = blocks_x() * warps();
  unsigned i = block_x() * warps() + warp_id();
  Words4 ahead{};
  if (i < args.tiles) {
    ahead = load_chunk(tile_at(args, tile_number(args, i)), layout, 0, lane_id());
  }
  for (; i < args.tiles; i += step) {
    const unsigned tile = tile_number(args, i);
    const uint8_t* data = tile_at(args, tile);
    const float alpha = tile_alpha(data, layout, lane_id());
    const float additive = tile_additive(data, layout, lane_id());
    const uint32_t mask = tile_mask(args, tile);
    PackedSums sums;
    for (unsigned chunk = 0; chunk < layout.chunks(); ++chunk) {
      const Words4 codes = ahead;
      const bool last = chunk + 1 == layout.chunks();
      if (!last) {
        ahead = load_chunk(data, layout, chunk + 1, lane_id());
      } else if (i + step < args.tiles) {
        ahead = load_chunk(tile_at(args, tile_number(args, i + step)), layout, 0, lane_id());
      }
      if (mask == 0) {
        continue;
      }
      sums.add_chunk([table](unsigned entry) { return table[entry]; }, layout, chunk, codes);
    }
    if (mask == 0 && args.minima == nullptr) {
      continue;
    }
    const bool allowed = ((mask >> lane_id()) & 1U) != 0;
    RQ_UNROLL
    for (unsigned q = 0; q < 4; ++q) {
      if (q < live) {
        const unsigned query = first_query + q;
        const float bound =
            bound_of(alpha, additive, args.scale[query], args.offset[query], sums.sums[q]);
        take_bounds(args, query, i, tile, allowed, bound);
      }
    }
  }
}

constexpr unsigned mma_queries = 64;
constexpr unsigned mma_columns = 8;  ///< query tiles of 8

/// The bytes 4 t .. 4 t + 3 of a nibble's column of 16.
RQ_DEVICE uint32_t one_hot(uint32_t nibble, unsigned t) {
  return nibble / 4 == t ? 1U << (nibble % 4 * 8) : 0U;
}

/// One word (8 quads) of the warp's 32 vectors times 64 queries. codes[m]: the word of vector g +
/// 8 m with g = lane / 4; fragments: of its first pair of quads.
RQ_DEVICE void multiply_word(const uint32_t* codes, const Words2* fragments,
                             int32_t (&sums)[2][mma_columns][4]) {
  const unsigned t = lane_id() % 4;
  RQ_UNROLL
  for (unsigned pair = 0; pair < 4; ++pair) {
    uint32_t a[2][4];
    RQ_UNROLL
    for (unsigned half = 0; half < 2; ++half) {  // vectors 0 .. 15, 16 .. 31
      RQ_UNROLL
      for (unsigned part = 0; part < 4; ++part) {
        const uint32_t word = codes[2 * half + part % 2];
        a[half][part] = one_hot((word >> (8 * pair + part / 2 * 4)) & 0xFU, t);
      }
    }
    RQ_UNROLL
    for (unsigned column = 0; column < mma_columns; ++column) {
      const Words2 b = fragments[(pair * mma_columns + column) * warp_lanes + lane_id()];
      mma_bytes(sums[0][column], a[0], b.w);
      mma_bytes(sums[1][column], a[1], b.w);
    }
  }
}

/// Limits, scales and offsets of a block's queries, in shared memory.
struct MmaQueries {
  float scale[mma_queries];
  float offset[mma_queries];
  float limit[mma_queries];
};

/// Candidates, or the minima, among one tile's 32 x 64 sums.
RQ_DEVICE void take_sums(const ScanArgs& args, const MmaQueries& queries, unsigned i, unsigned tile,
                         const int32_t (&sums)[2][mma_columns][4]) {
  const TileLayout layout = args.store.tile;
  const uint8_t* data = tile_at(args, tile);
  const uint32_t mask = tile_mask(args, tile);
  const unsigned g = lane_id() / 4;
  float alpha[4];
  float additive[4];
  RQ_UNROLL
  for (unsigned m = 0; m < 4; ++m) {
    alpha[m] = tile_alpha(data, layout, g + 8 * m);
    additive[m] = tile_additive(data, layout, g + 8 * m);
  }
  RQ_UNROLL
  for (unsigned column = 0; column < mma_columns; ++column) {
    RQ_UNROLL
    for (unsigned side = 0; side < 2; ++side) {
      const unsigned own = column * 8 + lane_id() % 4 * 2 + side;
      const unsigned query = block_y() * mma_queries + own;
      uint64_t least = no_key;
      RQ_UNROLL
      for (unsigned m = 0; m < 4; ++m) {
        const unsigned v = g + 8 * m;
        const auto sum = static_cast<uint32_t>(sums[m / 2][column][m % 2 * 2 + side]);
        const float bound =
            bound_of(alpha[m], additive[m], queries.scale[own], queries.offset[own], sum);
        if (bound <= queries.limit[own] && ((mask >> v) & 1U) != 0) {
          const uint64_t key = make_key(bound, tile * tile_vectors + v);
          if (args.minima != nullptr) {
            least = smaller(least, key);
          } else {
            append_candidate(args.found, query, atomic_add(args.found.counts + query, 1), key);
          }
        }
      }
      if (args.minima != nullptr) {
        for (unsigned width = 4; width < warp_lanes; width *= 2) {
          least = smaller(least, shuffle_xor(least, width));
        }
        if (g == 0 && query < args.queries) {
          args.minima[size_t{query} * args.tiles + i] = least;
        }
      }
    }
  }
}

/// block_y: group of 64 queries. A warp a tile; the table's fragments stay in shared memory when
/// they fit, and are read part by part for each round of tiles when they do not.
RQ_KERNEL scan_mma(ScanArgs args) {
  const TileLayout layout = args.store.tile;
  auto& queries = *reinterpret_cast<MmaQueries*>(shared_memory());
  auto* fragments = reinterpret_cast<Words2*>(shared_memory() + sizeof(MmaQueries));
  constexpr unsigned word_fragments = 4 * mma_columns * warp_lanes;
  const auto* table = reinterpret_cast<const Words2*>(args.tables) +
                      size_t{block_y()} * layout.words * word_fragments;
  for (unsigned q = thread_id(); q < mma_queries; q += threads()) {
    const unsigned query = block_y() * mma_queries + q;
    const bool live = query < args.queries;
    queries.scale[q] = live ? args.scale[query] : 0.0F;
    queries.offset[q] = live ? args.offset[query] : 0.0F;
    // Nothing is within minus infinity: places without a query find nothing.
    const bool minima = args.minima != nullptr;
    queries.limit[q] = !live    ? bits_float(0xFF800000U)
                       : minima ? no_limit
                                : smaller(args.limit[query], no_limit);
  }
  const unsigned held_chunks = args.table_quads / 32;
  bool held = false;
  for (unsigned base = block_x() * warps(); base < args.tiles; base += blocks_x() * warps()) {
    const unsigned i = base + warp_id();
    const unsigned tile = tile_number(args, smaller(i, args.tiles - 1));
    const bool busy = i < args.tiles && (tile_mask(args, tile) != 0 || args.minima != nullptr);
    const uint8_t* data = tile_at(args, tile);
    int32_t sums[2][mma_columns][4] = {};
    for (unsigned first = 0; first < layout.chunks(); first += held_chunks) {
      const unsigned last = smaller(first + held_chunks, layout.chunks());
      if (!held) {
        block_barrier();  // nobody reads the part before any more
        const unsigned size = (smaller(last * 4, layout.words) - first * 4) * word_fragments;
        for (unsigned k = thread_id(); k < size; k += threads()) {
          fragments[k] = table[first * 4 * word_fragments + k];
        }
        block_barrier();
        held = held_chunks >= layout.chunks();
      }
      for (unsigned chunk = first; busy && chunk < last; ++chunk) {
        Words4 codes[4];
        RQ_UNROLL
        for (unsigned m = 0; m < 4; ++m) {
          codes[m] = load_chunk(data, layout, chunk, lane_id() / 4 + 8 * m);
        }
        RQ_UNROLL
        for (unsigned w = 0; w < 4; ++w) {
          if (w < layout.chunk_words(chunk)) {
            const uint32_t words[4] = {codes[0].w[w], codes[1].w[w], codes[2].w[w], codes[3].w[w]};
            multiply_word(words, fragments + ((chunk - first) * 4 + w) * word_fragments, sums);
          }
        }
      }
    }
    if (busy) {
      take_sums(args, queries, i, tile, sums);
    }
  }
}

}  // namespace rotorquant::gpu
