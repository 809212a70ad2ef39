// SPDX-License-Identifier: MIT
#pragma once

// Launches of the kernels, one function each. Asynchronous; nothing is launched where there is
// nothing to do. Defined in kernels.inl, compiled by nvcc (kernels.cu) or for the CPU
// (kernels_emulated.cpp).

#include "cuda/runtime.h"
#include "cuda/views.h"

namespace rotorquant::gpu {

void unpack_codes(Device& device, const RepackArgs& args);
void pack_codes(Device& device, const RepackArgs& args);
void clear_places(Device& device, const RepackArgs& args);

void query_terms(Device& device, const CoarseArgs& args);
void rank_lists(Device& device, const CoarseArgs& args);

void split_rows(Device& device, const ResidualArgs& args);
/// residual = x + centre.
void add_centre(Device& device, const ResidualArgs& args);
/// residual += x.
void add_rows(Device& device, const ResidualArgs& args);
/// Floats of working memory that rotate_rows needs in `workspace`; 0: shared memory does.
size_t rotate_workspace(const Device& device, unsigned dim, unsigned n);
void rotate_rows(Device& device, const RotateArgs& args);

size_t encode_workspace(const Device& device, const CodeShape& code, unsigned n);
void encode_rows(Device& device, const EncodeArgs& args);
void decode_rows(Device& device, const DecodeArgs& args);

void fix_queries(Device& device, const TableArgs& args);
void fill_scan_tables(Device& device, const TableArgs& args);
/// Bytes of the tables of n queries, zeroed by the caller.
size_t scan_table_bytes(ScanTableOrder order, unsigned n, unsigned padded_quads);
/// Chooses scan_lut or scan_mma by the order of the tables. args.table_quads is filled in.
void scan_tiles(Device& device, ScanArgs args, ScanTableOrder order);
/// args.shared_table is filled in.
void scan_lists(Device& device, ScanListsArgs args);
void refine_candidates(Device& device, const RefineArgs& args, unsigned queries);
/// k up to most_selectable.
void select_best(Device& device, const SelectArgs& args, unsigned rows);
void finish_results(Device& device, FinishArgs args, unsigned rows);
constexpr unsigned most_selectable = 2048;

void mse_encode(Device& device, const MseEncodeArgs& args);
void mse_decode(Device& device, const MseDecodeArgs& args);
void sketch_signs(Device& device, const SketchSignsArgs& args);
void attention_scores(Device& device, const AttentionArgs& args, unsigned queries);

}  // namespace rotorquant::gpu
