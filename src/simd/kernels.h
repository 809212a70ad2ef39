// SPDX-License-Identifier: MIT
#pragma once

// The table of kernels that each instruction set fills in. The scalar table is the specification:
// every other one returns the same integers and, for floats, the same bits (operations in a fixed
// order, none fused), except for matrix_* where a fused multiply-add may round differently.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "rotorquant/code_store.h"

namespace rotorquant::simd {

/// Vectors are encoded 16 at a time, one a lane: a "lane block" of r rows is r x 16 floats,
/// row = coordinate, 64-byte aligned.
constexpr size_t lanes = 16;

struct RotorLayersView {
  size_t dim;
  size_t layers;
  const uint32_t* permutation;  ///< layers x dim
  const float* matrices;        ///< layers x (dim / 3 + 1) x 9
};

/// The same layers for one vector, 16 triples at a time: lane i of group g is triple 16 g + i. A
/// layer reads and writes rows of (groups * 3 + 1) x 16 floats, slot (3 g + k) * 16 + i for
/// coordinate k of that triple; the last 16 are 0, and stand for what there is not.
/// RotorLayers::VectorOrder owns the arrays.
struct RotorVectorView {
  size_t dim;
  size_t layers;
  size_t groups;            ///< coordinates left over count as one more triple
  const uint32_t* sources;  ///< layers x groups x 3 x 16: the slots that triples read
  const float* matrices;    ///< layers x groups x 9 x 16
  const uint32_t* places;   ///< the slots of the coordinates; padded to 16
};

/// Centroid tables of one tree in the orders that the encoder walks (codec tables own them).
struct TreeView {
  int levels;          ///< tree levels, 0 to 3
  size_t scalar_bits;  ///< levels beyond the tree
  size_t trees;        ///< 1 or one a quad
  /// [tree][child][5]: four coordinates and half the squared norm.
  const float* level1;
  /// [tree][4][child]: the coordinates alone; of signs alone, theirs.
  const float* level1_columns;
  /// [tree][node 16][5][child 16]
  const float* level2;
  /// [tree][node 256][5][child 16]
  const float* level3;
  /// Level 3 of learned trees instead, whose centroids are halves: [tree][node 256][4][child 16],
  /// with half the squared norms: [tree][node 256][child 16].
  const uint16_t* level3_halves;
  const float* level3_norms;
  /// [tree][16^level][4] absolute centroids
  const float* centroids[max_tree_levels];
  const float* leaf_scales;  ///< [tree][256][4]
  /// The same in fixed point (codec_access.h), for scoring.
  const int16_t* fixed[max_tree_levels];  ///< [tree][16^level][4]
  const int16_t* fixed_scales;            ///< [tree][256][4]
};

struct EncodeView {
  CodeLayout layout;
  size_t dims;  ///< P
  int joint_rounds;
  TreeView tree;
  const EmbeddedScalar* scalar;
  RotorLayersView sign_map;  ///< O; used with signs only
};

/// Working memory and results of one block of 16 vectors. `rows` = max(P, 1) lane rows each.
struct EncodeBlock {
  float* y;        ///< in: P x 16, the vectors in the frame; overwritten
  float* decoded;  ///< out: P x 16, x^ = a + c O^T s for unit-variance u
  float* sign_part;
  float* residual;
  float* scratch;
  uint8_t* nibbles;  ///< out: planes x quads x 16
  float alpha1[lanes];
  float alpha[lanes];
  float beta[lanes];
  float cos2[lanes];  ///< out: cos^2 between u and x^
};

/// One query against scan blocks. bound = additive - alpha_1 * (scale * sum + offset), where sum is
/// the integer sum of the table entries that the vector's nibbles pick.
struct ScanQuery {
  const uint8_t* table;  ///< padded_quads x 16
  float scale;
  float offset;
};

/// What the sums of a table's entries mean: product = bias + step * sum.
struct TableScale {
  float step;
  float bias;
};

/// Queries of a select_again(): bits of a mask a block.
constexpr size_t most_select_queries = 32;

/// What select_again() looks for; see there.
struct SelectRange {
  float blocks_above;
  float blocks_to;
  float above;
  float to;
};

/// Where select() writes the vectors it finds for one query. Both arrays must have room for 64
/// entries a block, and 16 more, beyond `count`.
struct Selection {
  float* bounds;
  uint32_t* ids;
  size_t count;
};

/// What a refine needs of codec and query; see refine() in refine.inl.
struct RefineView {
  CodeLayout layout;
  TreeView tree;
  const EmbeddedScalar* scalar;
  size_t levels;  ///< levels to read, <= layout.levels
  bool use_signs;
  const float* frame_query;  ///< padded to 16 floats
  const float* sign_query;
  const int16_t* fixed_frame;  ///< padded to 32 numbers
  const int16_t* fixed_sign;
  const int16_t* fixed_entries;  ///< the scalar codebook of levels - 3 bits: 32 numbers
};

/// The two inner products of one code with a query in fixed point.
struct RefineSums {
  int32_t level;  ///< q' with the decoded levels
  int32_t sign;   ///< O q' with the signs
};

/// The level-1 nibbles of a code in canonical order, and its refine row.
struct CodePlaces {
  const uint8_t* plane1;
  const uint8_t* row;
};

/// A code in its store, and the query that it is scored against.
struct StoredCode {
  const uint8_t* block;
  const uint8_t* row;
  const int16_t* query;  ///< as RefineView::fixed_frame
  size_t place;          ///< in the block
};

struct KernelTable {
  std::string_view name;
  ScanLayout layout;

  /// In place; scratch: dim x 16.
  void (*rotor_forward)(const RotorLayersView& map, float* block, float* scratch);
  void (*rotor_inverse)(const RotorLayersView& map, float* block, float* scratch);
  /// y = the layers of x (dim each, may be the same), to the bits of rotor_forward. scratch: two
  /// rows as RotorVectorView has them.
  void (*rotor_vector)(const RotorVectorView& map, const float* x, float* y, float* scratch);
  /// y (rows x 16) = m (rows x cols, row-major) x (cols x 16), for `blocks` such x and y in a row.
  void (*matrix_block)(const float* m, size_t rows, size_t cols, const float* x, float* y,
                       size_t blocks);
  /// y (rows) = m x for one vector, m given as its transpose mt (cols x rows): the same sums in
  /// the same order as matrix_block.
  void (*matrix_vector)(const float* mt, size_t rows, size_t cols, const float* x, float* y);
  /// n vectors of matrix_vector: x + v * x_stride makes y + v * y_stride, each as by itself.
  void (*matrix_vectors)(const float* mt, size_t rows, size_t cols, const float* x, size_t x_stride,
                         size_t n, float* y, size_t y_stride);
  /// The same with a matrix of IEEE halves, all finite, each widened first.
  void (*half_matrix_vectors)(const uint16_t* mt, size_t rows, size_t cols, const float* x,
                              size_t x_stride, size_t n, float* y, size_t y_stride);

  /// residual = x - centre (d numbers each); returns <weights, residual>, or |residual|^2 without
  /// weights, in double precision: NaN or infinite if and only if a residual is.
  double (*residual)(const float* x, const float* centre, const float* weights, size_t d,
                     float* residual);
  void (*encode_block)(const EncodeView& view, EncodeBlock& block);

  float (*largest_magnitude)(const float* values, size_t n);
  /// fixed[i] = values[i] * scale rounded, ties to even, -32767 to 32767. Magnitudes of products up
  /// to 2^22.
  void (*to_fixed)(const float* values, size_t n, float scale, int16_t* fixed);
  /// The 16 products of each quad of a query with the columns [4][16] of its tree (tree_step
  /// numbers further for every quad), rounded to bytes: quads x 16 entries. products: scratch, as
  /// many.
  TableScale (*scan_table)(const float* columns, size_t tree_step, const float* query, size_t quads,
                           float* products, uint8_t* entries);

  /// minima[q * stride + b] = least bound over the vectors of block b, for every query; with
  /// `allowed` (one mask a block, may be null) over the allowed vectors, +infinity for none.
  void (*block_minima)(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                       size_t padded_quads, const ScanQuery* queries, size_t n_queries,
                       const uint64_t* allowed, float* minima, size_t stride);
  /// Appends to out[q] every vector of the blocks whose bound is <= limits[q] (and, with `allowed`,
  /// that its mask allows). Ids count from first_id, 64 a block.
  void (*select)(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                 const ScanQuery* queries, size_t n_queries, const float* limits,
                 const uint64_t* allowed, uint32_t first_id, Selection* out);
  /// The same after block_minima: of the blocks whose minimum lies in (ranges[q].blocks_above,
  /// ranges[q].blocks_to], the bounds in (ranges[q].above, ranges[q].to]. At most
  /// most_select_queries.
  void (*select_again)(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                       size_t padded_quads, const ScanQuery* queries, size_t n_queries,
                       const float* minima, size_t stride, const SelectRange* ranges,
                       const uint64_t* allowed, uint32_t first_id, Selection* out);
  /// The 64 bounds of one block.
  void (*block_bounds)(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                       float* bounds);
  /// 64 sums of one block: the integers behind the bounds.
  void (*block_sums)(const uint8_t* block, size_t padded_quads, const uint8_t* table,
                     uint32_t* sums);

  /// The level-1 nibbles of vector v of a block in canonical order: padded_quads / 2 bytes.
  void (*scan_plane)(const uint8_t* block, size_t padded_quads, size_t v, uint8_t* plane);

  /// The two inner products of one code: <q', a> over `levels` levels and <O q', s>.
  /// plane1: plane_bytes of scan nibbles; row: its refine row.
  void (*refine)(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                 float* level_product, float* sign_product);
  /// The same in integers: exact sums of the fixed-point query and code.
  RefineSums (*score)(const RefineView& view, const uint8_t* plane1, const uint8_t* row);
  /// The same for n codes: faster than one by one.
  void (*score_codes)(const RefineView& view, const CodePlaces* codes, size_t n, RefineSums* sums);
  /// sums[i] = the level sum of codes[i] from its first two levels, for n codes of one layout, each
  /// with a query of its own. view: of two levels. plane: scratch, padded_quads / 2 bytes.
  void (*score_two_levels)(const RefineView& view, size_t padded_quads, const StoredCode* codes,
                           size_t n, uint8_t* plane, int32_t* sums);
  /// Decodes the levels into P floats (padded to 16).
  void (*decode_levels)(const RefineView& view, const uint8_t* plane1, const uint8_t* row,
                        float* a);
};

extern const KernelTable scalar_kernels;
#ifdef ROTORQUANT_HAVE_AVX2
extern const KernelTable avx2_kernels;
#endif
#ifdef ROTORQUANT_HAVE_AVX512BW
extern const KernelTable avx512bw_kernels;
#endif
#ifdef ROTORQUANT_HAVE_AVX512VBMI
extern const KernelTable avx512vbmi_kernels;
#endif
#ifdef ROTORQUANT_HAVE_NEON
extern const KernelTable neon_kernels;
#endif

/// Kernel sets that this machine can run, best first.
const std::vector<const KernelTable*>& available_kernels();
/// The one in force: see simd.h. Reads the environment once.
const KernelTable& active_kernels();

/// Forces a kernel set while it lives; for tests. Not thread-safe.
class ScopedKernels {
 public:
  explicit ScopedKernels(const KernelTable& kernels);
  ~ScopedKernels();
  ScopedKernels(const ScopedKernels&) = delete;
  ScopedKernels& operator=(const ScopedKernels&) = delete;

 private:
  const KernelTable* previous_;
};

}  // namespace rotorquant::simd
