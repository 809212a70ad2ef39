// SPDX-License-Identifier: MIT
// Shapes of the launches. Included once by kernels.cu and once by kernels_emulated.cpp.

#include "cuda/kernels.h"
#include "cuda/kernels/coarse.cuh"
#include "cuda/kernels/encode.cuh"
#include "cuda/kernels/prepare.cuh"
#include "cuda/kernels/reference.cuh"
#include "cuda/kernels/refine.cuh"
#include "cuda/kernels/repack.cuh"
#include "cuda/kernels/rotate.cuh"
#include "cuda/kernels/scan.cuh"
#include "cuda/kernels/scan_lists.cuh"
#include "cuda/kernels/select.cuh"

namespace rotorquant::gpu {
namespace {

#if defined(__CUDACC__)
constexpr unsigned block_threads = 256;
#else
constexpr unsigned block_threads = 96;  // three warps show what warps do to each other
#endif
constexpr unsigned block_warps = block_threads / warp_lanes;
constexpr unsigned most_blocks = 65535;
/// Blocks that a multiprocessor runs side by side; kernels stride over what is more.
constexpr unsigned resident_blocks = 4;

unsigned blocks_for(size_t items, size_t items_a_block) {
  const size_t blocks = (items + items_a_block - 1) / items_a_block;
  return static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks);
}

/// No more than the device runs at a time: for kernels whose blocks set something up.
unsigned resident_for(const Device& device, size_t items, size_t items_a_block,
                      unsigned a_processor, unsigned rows = 1) {
  const unsigned wanted = blocks_for(items, items_a_block);
  const unsigned room = (device.multiprocessors() * a_processor + rows - 1) / rows;
  return smaller(wanted, larger(room, 1U));
}

/// One thread an item.
template <class Args>
void launch_items(void (*kernel)(Args), size_t items, Device& device, const Args& args) {
  if (items > 0) {
    launch(kernel, LaunchShape{blocks_for(items, block_threads), 1, block_threads, 0}, device,
           args);
  }
}

unsigned tile_blocks(const Device& device, unsigned n) {
  return resident_for(device, n, tile_vectors, resident_blocks);
}

constexpr size_t rotate_floats(unsigned dim) {
  return size_t{2} * dim * tile_vectors;
}

/// Floats of global working memory, where shared memory is too small.
size_t workspace_for(const Device& device, size_t floats_a_block, unsigned n) {
  const bool fits = floats_a_block * sizeof(float) <= device.shared_bytes_a_block();
  return fits ? 0 : floats_a_block * tile_blocks(device, n);
}

constexpr size_t lut_bytes(const TileLayout& layout) {
  return size_t{layout.padded_quads()} * 16 * sizeof(uint32_t);
}
/// Tables of 64 queries: bytes a chunk of four words.
constexpr size_t mma_chunk_bytes = size_t{16} * mma_columns * warp_lanes * 8;
/// Fragments that scan_mma holds at most: two chunks, d = 256.
constexpr size_t mma_shared_bytes = size_t{64} << 10U;

}  // namespace

void unpack_codes(Device& device, const RepackArgs& args) {
  launch_items(unpack_codes, args.count, device, args);
}
void pack_codes(Device& device, const RepackArgs& args) {
  launch_items(pack_codes, args.count, device, args);
}
void clear_places(Device& device, const RepackArgs& args) {
  launch_items(clear_places, args.count, device, args);
}

void query_terms(Device& device, const CoarseArgs& args) {
  if (args.n > 0) {
    launch(query_terms, LaunchShape{blocks_for(args.n, block_warps), 1, block_threads, 0}, device,
           args);
  }
}
void rank_lists(Device& device, const CoarseArgs& args) {
  const size_t groups = (args.n + coarse_queries - 1) / coarse_queries;
  launch_items(rank_lists, groups * args.lists.lists, device, args);
}

void split_rows(Device& device, const ResidualArgs& args) {
  launch_items(split_rows, size_t{args.n} * 8, device, args);
}
void add_centre(Device& device, const ResidualArgs& args) {
  launch_items(add_centre, size_t{args.n} * args.d, device, args);
}
void add_rows(Device& device, const ResidualArgs& args) {
  launch_items(add_rows, size_t{args.n} * args.d, device, args);
}

size_t rotate_workspace(const Device& device, unsigned dim, unsigned n) {
  return workspace_for(device, rotate_floats(dim), n);
}
void rotate_rows(Device& device, const RotateArgs& args) {
  if (args.n == 0) {
    return;
  }
  const size_t bytes = rotate_floats(static_cast<unsigned>(args.map.dim)) * sizeof(float);
  launch(rotate_rows,
         LaunchShape{tile_blocks(device, args.n), 1, block_threads,
                     args.workspace == nullptr ? bytes : 0},
         device, args);
}

size_t encode_workspace(const Device& device, const CodeShape& code, unsigned n) {
  return workspace_for(device, encode_work_floats(code), n);
}
void encode_rows(Device& device, const EncodeArgs& args) {
  if (args.n == 0) {
    return;
  }
  const size_t bytes = encode_work_floats(args.codec.code) * sizeof(float);
  launch(encode_rows,
         LaunchShape{tile_blocks(device, args.n), 1, block_threads,
                     args.workspace == nullptr ? bytes : 0},
         device, args);
}
void decode_rows(Device& device, const DecodeArgs& args) {
  launch_items(decode_rows, size_t{args.n} * args.codec.code.dims, device, args);
}

void fix_queries(Device& device, const TableArgs& args) {
  if (args.n > 0) {
    launch(fix_queries, LaunchShape{blocks_for(args.n, 1), 1, block_threads, 16}, device, args);
  }
}
size_t scan_table_bytes(ScanTableOrder order, unsigned n, unsigned padded_quads) {
  const unsigned group = queries_of(order);
  return size_t{(n + group - 1) / group} * group * padded_quads * 16;
}
void fill_scan_tables(Device& device, const TableArgs& args) {
  if (args.n > 0) {
    launch(fill_scan_tables, LaunchShape{blocks_for(args.n, 1), 1, block_threads, 16}, device,
           args);
  }
}

void scan_tiles(Device& device, ScanArgs args, ScanTableOrder order) {
  if (args.tiles == 0 || args.queries == 0) {
    return;
  }
  const TileLayout& layout = args.store.tile;
  const unsigned groups = (args.queries + queries_of(order) - 1) / queries_of(order);
  if (order == ScanTableOrder::four_queries) {
    const bool fits = lut_bytes(layout) <= device.shared_bytes_a_block();
    args.table_quads = fits ? layout.padded_quads() : 0;
    launch(scan_lut,
           LaunchShape{resident_for(device, args.tiles, block_warps, resident_blocks, groups),
                       groups, block_threads, fits ? lut_bytes(layout) : 0},
           device, args);
    return;
  }
  const size_t room = smaller(mma_shared_bytes, device.shared_bytes_a_block() - sizeof(MmaQueries));
  const auto most_chunks = static_cast<unsigned>(room / mma_chunk_bytes);
  const unsigned chunks = smaller(layout.chunks(), larger(most_chunks, 1U));
  args.table_quads = chunks * 32;
  launch(scan_mma,
         LaunchShape{resident_for(device, args.tiles, block_warps, 2, groups), groups,
                     block_threads, sizeof(MmaQueries) + chunks * mma_chunk_bytes},
         device, args);
}

void scan_lists(Device& device, ScanListsArgs args) {
  if (args.count == 0) {
    return;
  }
  constexpr size_t query_bytes = ListVisit::width * sizeof(VisitQuery);
  const size_t table_bytes = lut_bytes(args.store.tile);
  args.shared_table = query_bytes + table_bytes <= device.shared_bytes_a_block();
  launch(scan_lists,
         LaunchShape{resident_for(device, args.count, 1, resident_blocks), 1, block_threads,
                     query_bytes + (args.shared_table ? table_bytes : 0)},
         device, args);
}

void refine_candidates(Device& device, const RefineArgs& args, unsigned queries) {
  if (queries > 0 && args.capacity > 0) {
    launch(refine_candidates,
           LaunchShape{resident_for(device, args.capacity, block_warps, 8, queries), queries,
                       block_threads, 0},
           device, args);
  }
}

void select_best(Device& device, const SelectArgs& args, unsigned rows) {
  if (rows > 0) {
    launch(select_best,
           LaunchShape{rows, 1, block_threads, (2 * select_room(args.k) + 1) * sizeof(uint64_t)},
           device, args);
  }
}

void finish_results(Device& device, FinishArgs args, unsigned rows) {
  args.padded_k = 1;
  while (args.padded_k < args.k) {
    args.padded_k *= 2;
  }
  if (rows > 0) {
    launch(finish_results, LaunchShape{rows, 1, block_threads, args.padded_k * sizeof(uint64_t)},
           device, args);
  }
}

void mse_encode(Device& device, const MseEncodeArgs& args) {
  if (args.n > 0) {
    launch(mse_encode,
           LaunchShape{blocks_for(args.n, block_warps), 1, block_threads,
                       size_t{block_warps} * args.mse.triples * 3},
           device, args);
  }
}
void mse_decode(Device& device, const MseDecodeArgs& args) {
  launch_items(mse_decode, size_t{args.n} * args.mse.triples, device, args);
}
void sketch_signs(Device& device, const SketchSignsArgs& args) {
  launch_items(sketch_signs, size_t{args.n} * ((args.m + 7) / 8), device, args);
}
void attention_scores(Device& device, const AttentionArgs& args, unsigned queries) {
  if (queries > 0 && args.keys > 0) {
    launch(attention_scores,
           LaunchShape{resident_for(device, args.keys, block_warps, resident_blocks, queries),
                       queries, block_threads, size_t{args.mse.triples} * 3 * sizeof(float)},
           device, args);
  }
}

}  // namespace rotorquant::gpu
