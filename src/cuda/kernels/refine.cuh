// SPDX-License-Identifier: MIT
#pragma once

// Whole codes of the scan's candidates against their queries, in the CPU's fixed point
// (src/simd/score.inl): a warp a candidate, a lane a quad. Integer sums have no order, so a
// distance is the CPU's to the last bit.

#include "cuda/kernels/coarse.cuh"
#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

/// Four fixed-point coordinates as one 8-byte load.
struct alignas(8) Quad16 {
  int16_t at[4];
};

RQ_DEVICE Quad16 load_quad(const int16_t* table, size_t quad) {
  return reinterpret_cast<const Quad16*>(table)[quad];
}

/// The rounded high half of the product: scaled_entry in score.inl.
RQ_DEVICE int32_t scaled_entry(int16_t scale, int16_t entry) {
  return static_cast<int16_t>((static_cast<int32_t>(scale) * entry + 0x4000) >> 15);
}

/// Product of one quad of the query with what its levels decode to.
RQ_DEVICE int32_t quad_score(const CodecView& codec, unsigned levels, uint32_t nibble1,
                             const uint8_t* row, unsigned quad, const Quad16& query) {
  const unsigned stride = codec.code.plane_bytes;
  const size_t tree = codec.tree.trees == 1 ? 0 : quad;
  uint32_t node2 = nibble1;
  size_t node = tree * 16 + nibble1;
  if (levels >= 2) {
    node2 = nibble1 * 16 + nibble_of(row, quad);
    node = tree * 256 + node2;
  }
  if (levels >= 3) {
    node = tree * 4096 + node2 * 16 + nibble_of(row + stride, quad);
  }
  const unsigned depth = smaller(levels, 3U);
  Quad16 value = load_quad(codec.tree.fixed[depth - 1], node);
  if (levels > 3) {
    const Quad16 scale = load_quad(codec.tree.fixed_scales, tree * 256 + node2);
    uint32_t index[4] = {0, 0, 0, 0};
    for (unsigned level = 3; level < levels; ++level) {
      const uint32_t bits = nibble_of(row + (level - 1) * stride, quad);
      for (unsigned k = 0; k < 4; ++k) {
        index[k] = 2 * index[k] + ((bits >> k) & 1U);
      }
    }
    const int16_t* entries = codec.fixed_entries + (levels - 4) * 32;
    for (unsigned k = 0; k < 4; ++k) {
      value.at[k] =
          static_cast<int16_t>(value.at[k] + scaled_entry(scale.at[k], entries[index[k]]));
    }
  }
  int32_t sum = 0;
  for (unsigned k = 0; k < 4; ++k) {
    sum += static_cast<int32_t>(value.at[k]) * query.at[k];
  }
  return sum;
}

RQ_DEVICE int32_t sign_score(uint32_t nibble, const Quad16& query) {
  int32_t sum = 0;
  for (unsigned k = 0; k < 4; ++k) {
    sum += ((nibble >> k) & 1U) != 0 ? -query.at[k] : query.at[k];
  }
  return sum;
}

template <class T>
RQ_DEVICE T warp_sum(T value) {
  for (unsigned width = warp_lanes / 2; width > 0; width /= 2) {
    value += shuffle_xor(value, width);
  }
  return value;
}

/// Distance of one stored vector, every lane of the warp comes and gets it: in a store without the
/// query's base, in lists with it, and no less than the bound by two levels.
RQ_DEVICE float refined_distance(const RefineArgs& args, unsigned q, uint32_t place) {
  const CodeShape& code = args.codec.code;
  const TileLayout layout = args.store.tile;
  const uint8_t* tile = args.store.tiles + size_t{place / tile_vectors} * layout.bytes();
  const unsigned v = place % tile_vectors;
  const uint8_t* row = args.store.rows + size_t{place} * code.row_bytes;
  const QueryView& queries = args.queries;
  const int16_t* frame = queries.fixed_frame + size_t{q} * queries.fixed_stride;
  int32_t level_sum = 0;
  int32_t sign_sum = 0;
  int32_t second_sum = 0;
  for (unsigned quad = lane_id(); quad < code.quads; quad += warp_lanes) {
    const uint8_t byte = tile[layout.word_offset(quad / 8, v) + quad % 8 / 2];
    const uint32_t nibble1 = (static_cast<uint32_t>(byte) >> (quad % 2 * 4)) & 0xFU;
    const Quad16 part = load_quad(frame, quad);
    if (args.combination.levels > 0) {
      level_sum += quad_score(args.codec, args.combination.levels, nibble1, row, quad, part);
    }
    if (args.lists.second_bound) {
      second_sum += quad_score(args.codec, 2, nibble1, row, quad, part);
    }
    if (args.combination.signs) {
      const int16_t* sign = queries.fixed_sign + size_t{q} * queries.fixed_stride;
      const uint32_t nibble =
          code.planes == 1 ? nibble1 : nibble_of(row + (code.planes - 2) * code.plane_bytes, quad);
      sign_sum += sign_score(nibble, load_quad(sign, quad));
    }
  }
  level_sum = warp_sum(level_sum);
  sign_sum = warp_sum(sign_sum);
  const float level_product = queries.level_step[q] * static_cast<float>(level_sum);
  const float sign_product =
      args.combination.signs ? queries.sign_step[q] * static_cast<float>(sign_sum) : 0.0F;
  const Factors factors =
      read_factors(code, tile_alpha(tile, layout, v), row + (code.planes - 1) * code.plane_bytes);
  const float scan_term = tile_additive(tile, layout, v);
  const float term = args.store.terms == nullptr ? scan_term : args.store.terms[place];
  const float norm = args.combination.norm_from_additive ? root(term) : -1.0F;
  const float product =
      combine(args.combination, factors, level_product, sign_product, norm, code.dims);
  const float relative = term - args.weight * product;
  const RefineLists& of = args.lists;
  if (of.lists.lists == 0) {
    return relative;
  }
  const float base =
      list_distance(of.lists, of.probes, q, of.lists.tile_lists[place / tile_vectors]).base;
  const float distance = base + relative;
  if (!of.second_bound) {
    return distance;
  }
  const float second = queries.level_step[q] * static_cast<float>(warp_sum(second_sum));
  const float margin =
      of.second_scale * (of.first_gain * root(of.lists.error_ratio * of.probes.squared[q]));
  const float bound =
      base + (term - args.weight * factors.alpha * (of.second_gain * second + margin));
  return larger(distance, bound);
}

/// block_y: query. Warps take candidates.
RQ_KERNEL refine_candidates(RefineArgs args) {
  const unsigned q = block_y();
  const unsigned count = smaller(args.counts[q], args.capacity);
  const uint64_t* keys = args.keys + size_t{q} * args.capacity;
  for (unsigned i = block_x() * warps() + warp_id(); i < count; i += blocks_x() * warps()) {
    const uint64_t key = keys[i];
    // Rows that were never filled: fewer minima than there was room for.
    if (key == no_key) {
      if (lane_id() == 0) {
        args.scored[size_t{q} * args.capacity + i] = no_key;
      }
      continue;
    }
    const uint32_t place = key_id(key);
    const float refined = refined_distance(args, q, place);
    const float score = args.by_bound ? larger(refined, key_distance(key)) : refined;
    if (lane_id() == 0) {
      const uint32_t label = args.lists.labels == nullptr ? place : args.lists.labels[place];
      args.scored[size_t{q} * args.capacity + i] = make_key(score, label);
    }
  }
}

}  // namespace rotorquant::gpu
