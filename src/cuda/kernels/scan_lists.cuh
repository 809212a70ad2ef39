// SPDX-License-Identifier: MIT
#pragma once

// The scan of inverted lists: a block takes a part of one list for up to four queries that visit
// it. The sums are scan_lut's; only a bound's base and margin depend on query and list.

#include "cuda/kernels/coarse.cuh"
#include "cuda/kernels/scan.cuh"

namespace rotorquant::gpu {

/// What one query of a visit has in common for all tiles.
struct VisitQuery {
  float scale;
  float offset;
  float base;
  float limit;
};

/// IvfScan::margin and scan_query.
RQ_DEVICE VisitQuery visit_query(const ScanListsArgs& args, unsigned q, unsigned list) {
  const ListDistance distance = list_distance(args.lists, args.probes, q, list);
  const float rounding = args.rounding[q];
  const float variance = args.lists.error_ratio * distance.squared;
  const float deviation = args.rounding_only ? rounding : root(rounding * rounding + variance);
  const float margin = args.error_scale * deviation;
  return {args.scale[q], args.weight * (args.bias[q] + margin), distance.base,
          smaller(args.limit[q], no_limit)};
}

/// The bytes of four queries' tables at one place, a word.
RQ_DEVICE uint32_t gather_entry(const ScanListsArgs& args, const ListVisit& visit, unsigned at) {
  const size_t table_bytes = size_t{args.store.tile.padded_quads()} * 16;
  uint32_t word = 0;
  RQ_UNROLL
  for (unsigned i = 0; i < ListVisit::width; ++i) {
    if (visit.queries[i] != ListVisit::nobody) {
      word |= static_cast<uint32_t>(args.tables[visit.queries[i] * table_bytes + at]) << (8 * i);
    }
  }
  return word;
}

/// One tile for the queries of a visit; every lane of the warp comes.
template <class Entry>
RQ_DEVICE void scan_visited_tile(const ScanListsArgs& args, const ListVisit& visit,
                                 const VisitQuery* queries, unsigned tile, const Entry& entry) {
  const TileLayout layout = args.store.tile;
  const uint32_t mask = args.allowed == nullptr ? 0xFFFFFFFFU : args.allowed[tile];
  if (mask == 0) {
    return;
  }
  const uint8_t* data = args.store.tiles + size_t{tile} * layout.bytes();
  PackedSums sums;
  for (unsigned chunk = 0; chunk < layout.chunks(); ++chunk) {
    sums.add_chunk(entry, layout, chunk, load_chunk(data, layout, chunk, lane_id()));
  }
  const float alpha = tile_alpha(data, layout, lane_id());
  const float additive = tile_additive(data, layout, lane_id());
  const bool allowed = ((mask >> lane_id()) & 1U) != 0;
  RQ_UNROLL
  for (unsigned i = 0; i < ListVisit::width; ++i) {
    if (visit.queries[i] != ListVisit::nobody) {
      const VisitQuery& query = queries[i];
      const float bound =
          query.base + bound_of(alpha, additive, query.scale, query.offset, sums.sums[i]);
      append_passing(args.found, visit.queries[i], allowed && bound <= query.limit,
                     make_key(bound, tile * tile_vectors + lane_id()));
    }
  }
}

/// Blocks take visits, warps tiles.
RQ_KERNEL scan_lists(ScanListsArgs args) {
  auto* queries = reinterpret_cast<VisitQuery*>(shared_memory());
  auto* table = reinterpret_cast<uint32_t*>(queries + ListVisit::width);
  const unsigned words = args.store.tile.padded_quads() * 16;
  for (unsigned i = block_x(); i < args.count; i += blocks_x()) {
    const ListVisit visit = args.visits[i];
    block_barrier();  // nobody reads the table before any more
    if (thread_id() < ListVisit::width && visit.queries[thread_id()] != ListVisit::nobody) {
      queries[thread_id()] = visit_query(args, visit.queries[thread_id()], visit.list);
    }
    for (unsigned at = thread_id(); args.shared_table && at < words; at += threads()) {
      table[at] = gather_entry(args, visit, at);
    }
    block_barrier();
    for (unsigned t = warp_id(); t < visit.tiles; t += warps()) {
      const unsigned tile = args.tiles[visit.first + t];
      if (args.shared_table) {
        scan_visited_tile(args, visit, queries, tile, [table](unsigned at) { return table[at]; });
      } else {  // too large for shared memory
        scan_visited_tile(args, visit, queries, tile,
                          [&](unsigned at) { return gather_entry(args, visit, at); });
      }
    }
  }
}

}  // namespace rotorquant::gpu
