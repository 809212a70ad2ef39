// SPDX-License-Identifier: MIT
#pragma once

// What kernels are told: plain structs of numbers and device pointers, passed by value.

#include <cstddef>
#include <cstdint>

#include "simd/kernels.h"

namespace rotorquant::gpu {

/// Vectors of a scan tile: one a lane.
constexpr unsigned tile_vectors = 32;

/// Scan data of 32 vectors, `bytes()` long, 64-byte aligned:
///
///   words x 128   level-1 nibbles; word w of a vector is bytes 4w .. 4w + 3 of its canonical plane
///                 (quad q in bits 4 (q mod 8) of word q / 8). Whole groups of four words lie as 16
///                 bytes a vector, 512 a group; the one to three words left over as rows of 128.
///   64            alpha_1 of the 32 vectors, uf16
///   128           their additive terms, fp32
///
/// Unused places of the last tile hold zeros and an additive term of +infinity.
struct TileLayout {
  unsigned words = 0;  ///< ceil(quads / 8)

  constexpr unsigned padded_quads() const { return words * 8; }
  constexpr unsigned chunks() const { return (words + 3) / 4; }
  constexpr bool is_whole(unsigned chunk) const { return chunk < words / 4; }
  constexpr unsigned chunk_words(unsigned chunk) const { return is_whole(chunk) ? 4 : words % 4; }
  constexpr size_t word_offset(unsigned w, unsigned v) const {
    return is_whole(w / 4) ? size_t{w / 4} * 512 + v * 16 + w % 4 * 4 : size_t{w} * 128 + v * 4;
  }
  constexpr size_t alpha_offset() const { return size_t{words} * 128; }
  constexpr size_t additive_offset() const { return alpha_offset() + 64; }
  constexpr size_t bytes() const { return additive_offset() + 128; }
};

/// CodeLayout in numbers that device code can read.
struct CodeShape {
  unsigned d = 0;
  unsigned dims = 0;  ///< P
  unsigned quads = 0;
  unsigned plane_bytes = 0;
  unsigned planes = 0;
  unsigned levels = 0;
  unsigned row_bytes = 0;
  unsigned code_bytes = 0;
  unsigned scan_factor_offset = 0;
  unsigned factor_offset = 0;
  bool signs = false;
  bool wide_factors = false;
};

/// Codes on the device: scan tiles and, row-major, refine rows (planes 2 .. b, alpha, beta: the
/// bytes of CodeStore's).
struct StoreView {
  CodeShape code;
  TileLayout tile;
  uint8_t* tiles = nullptr;
  uint8_t* rows = nullptr;
  float* terms = nullptr;  ///< inverted lists: the refine's additive terms; null: the scan's
};

/// A codec's tables in device memory.
struct CodecView {
  CodeShape code;
  simd::RotorLayersView frame{};  ///< no layers: a dense frame, which GEMM applies
  simd::RotorLayersView sign_map{};
  simd::TreeView tree{};
  const float* scalar_centroids = nullptr;   ///< [5][32], EmbeddedScalar
  const float* scalar_thresholds = nullptr;  ///< [32]
  const float* scan_error = nullptr;         ///< one number, or one a coordinate
  unsigned scan_errors = 0;
  const int16_t* fixed_entries = nullptr;  ///< [5][32], the scalar codebook in fixed point
  float fixed_unit = 1.0F;                 ///< see Codec::Tables
  int32_t largest_fixed = 0;
};

/// How the two products of a refine become <q', y>; see CodecAccess::combine.
struct Combination {
  enum class Kind : uint8_t { whole, first_level, prefix, strict };
  Kind kind = Kind::whole;
  unsigned levels = 0;  ///< levels to read
  bool signs = false;
  float gain = 0.0F;  ///< prefix: that of its length; strict: strict_gain
  float cos2 = 0.0F;
  bool norm_from_additive = false;
};

/// Prepared queries, one a row: CodecQuery.
struct QueryView {
  unsigned stride = 0;        ///< floats a row: dims to a multiple of 16
  float* frame = nullptr;     ///< n x stride: q'
  float* sign = nullptr;      ///< n x stride: O q'; null without signs
  unsigned fixed_stride = 0;  ///< numbers a row: dims to a multiple of 32
  int16_t* fixed_frame = nullptr;
  int16_t* fixed_sign = nullptr;
  float* level_step = nullptr;
  float* sign_step = nullptr;
  float* scale = nullptr;  ///< bound = A - alpha_1 (scale * sum + offset)
  float* offset = nullptr;
};

struct RepackArgs {
  StoreView store;
  uint8_t* codes;          ///< count canonical codes
  float* terms;            ///< count; null where the store has none
  unsigned first;          ///< place of the first in the store
  const uint32_t* places;  ///< the places themselves; null: first, first + 1, ...
  unsigned count;
};

struct ResidualArgs {
  const float* x;       ///< n x d
  const float* centre;  ///< d; null: the origin
  unsigned n;
  unsigned d;
  bool squared;  ///< L2: |x - mu|^2; else an inner product, see Space
  bool query;    ///< inner product: with x itself (base), not with x - mu (additive)
  float* residual;
  float* term;
  uint32_t* bad_row;  ///< lowered to the first row that holds a NaN or an infinity
};

/// Rows through rotor layers. Working memory as in EncodeArgs: two tiles of dims.
struct RotateArgs {
  simd::RotorLayersView map;
  bool inverse;
  const float* in;  ///< n x in_width, zero-extended to map.dim
  unsigned in_width;
  float* out;  ///< n x out_stride; the first out_width coordinates are written
  unsigned out_width;
  unsigned out_stride;
  unsigned n;
  const float* shift;  ///< out_width, added at the end; null: nothing
  float* workspace;    ///< null: shared memory
};

struct EncodeArgs {
  CodecView codec;
  const float* y;         ///< n x dims, in the frame
  const float* additive;  ///< n
  unsigned n;
  int joint_rounds;
  uint8_t* codes;
  float* workspace;  ///< encode_work_floats() a block; null: shared memory
};

struct DecodeArgs {
  CodecView codec;
  const uint8_t* codes;
  unsigned n;
  Combination combination;
  float shrink;
  float* level_part;  ///< n x dims
  float* sign_part;   ///< n x dims, before O^T; null without signs
};

enum class ScanTableOrder : uint8_t {
  one_query,        ///< scan_lists: [query][padded quad][16] bytes
  four_queries,     ///< scan_lut: [group of 4][padded quad][16] words, byte q mod 4
  tensor_fragments  ///< scan_mma: [group of 64][pair of quads][8][lane] two words, as mma_bytes
};
constexpr unsigned queries_of(ScanTableOrder order) {
  constexpr unsigned queries[] = {1, 4, 64};
  return queries[static_cast<unsigned>(order)];
}

struct TableArgs {
  CodecView codec;
  QueryView queries;
  unsigned n;
  ScanTableOrder order;
  unsigned padded_quads;
  float weight;
  float error_scale;   ///< margin = error_scale * sigma ...
  bool rounding_only;  ///< ... or of the table's own rounding
  float* low;          ///< n x quads, working memory
  float* range;        ///< n x quads
  uint8_t* tables;     ///< zeroed before
  float* bias;         ///< n, or null: what a margin of another kind starts from,
  float* rounding;     ///< ... and the standard deviation of the table's own rounding
};

/// Where a scan puts what passes.
struct CandidateView {
  uint64_t* keys;    ///< queries x capacity: (bound, place) of what is within the limit
  uint32_t* counts;  ///< may run beyond capacity; the keys beyond are lost
  unsigned capacity;
};

struct ScanArgs {
  StoreView store;
  const uint8_t* tables;
  const float* scale;
  const float* offset;
  const float* limit;
  const uint32_t* allowed;  ///< a mask a tile, or null
  unsigned queries;
  unsigned first_tile;
  unsigned tiles;  ///< how many, tile_step apart
  unsigned tile_step;
  CandidateView found;
  uint64_t* minima;  ///< queries x tiles: the least (bound, place) of each tile, in place of keys
  unsigned table_quads;  ///< quads of the table that shared memory holds at a time; 0: none
};

// ---- inverted lists --------------------------------------------------------------------------

/// Centroids on the device and what n queries make of them: IvfGeometry, IvfQuery and Probe
/// (src/ivf_scan.h) in arrays.
struct ListsView {
  unsigned lists = 0;
  unsigned d = 0;
  bool squared = false;                    ///< L2; else a negated inner product
  const float* table = nullptr;            ///< mu_c - g: [block of 64][dimension][64]; null: all 0
  const float* squared_offsets = nullptr;  ///< lists: |mu_c - g|^2
  const float* centre_products = nullptr;  ///< lists: <g, mu_c - g>
  const float* centre = nullptr;           ///< d: g
  float error_ratio = 0.0F;
  const uint32_t* tile_lists = nullptr;  ///< the list of every tile
};
struct ProbeView {
  float* squared = nullptr;         ///< n: |q - g|^2
  float* centre_product = nullptr;  ///< n: <q, g>
  float* products = nullptr;        ///< n x lists: <q - g, mu_c - g>
};

struct CoarseArgs {
  ListsView lists;
  ProbeView probes;
  const float* queries;  ///< n x d
  const float* centred;  ///< n x d: q - g
  unsigned n;
  uint64_t* keys;  ///< n x lists: (rank of the list for the query, list)
};

/// A part of one list and up to four queries that visit it.
struct ListVisit {
  static constexpr unsigned width = 4;
  static constexpr uint32_t nobody = 0xFFFFFFFFU;
  uint32_t list;
  uint32_t first;  ///< of `tiles` numbers in ScanListsArgs::tiles
  uint32_t tiles;
  uint32_t queries[width];
};

struct ScanListsArgs {
  StoreView store;
  ListsView lists;
  ProbeView probes;
  const ListVisit* visits;
  unsigned count;  ///< of visits
  const uint32_t* tiles;
  const uint8_t* tables;  ///< ScanTableOrder::one_query
  const float* scale;     ///< a query, as the next three
  const float* bias;
  const float* rounding;
  const float* limit;       ///< of bounds with their base
  const uint32_t* allowed;  ///< a mask a tile, or null
  float weight;
  float error_scale;
  bool rounding_only;
  CandidateView found;
  bool shared_table;
};

/// What a refine of inverted lists needs beyond that of a store.
struct RefineLists {
  ListsView lists;
  ProbeView probes;
  const uint32_t* labels = nullptr;  ///< of every place, in the order of ids
  bool second_bound = false;         ///< score no less than the bound by two levels
  float second_gain = 0.0F;
  float second_scale = 0.0F;  ///< margin = second_scale * (first_gain * sigma)
  float first_gain = 0.0F;
};

struct RefineArgs {
  CodecView codec;
  StoreView store;
  QueryView queries;
  RefineLists lists;  ///< no lists: a store, whose query bases are added later
  Combination combination;
  float weight;
  bool by_bound;         ///< score max(refined, bound); else refined alone
  const uint64_t* keys;  ///< queries x capacity, (bound, id)
  const uint32_t* counts;
  unsigned capacity;
  uint64_t* scored;  ///< same shape; may be keys itself
};

struct SelectArgs {
  const uint64_t* keys;    ///< rows x capacity
  const uint32_t* counts;  ///< a row; null: capacity each
  unsigned capacity;
  unsigned k;
  uint64_t* best;  ///< rows x k, ascending, no_key beyond the end
  bool keep;       ///< best holds earlier results that take part
  float* reached;  ///< a row: the k-th least distance, +infinity where there are fewer than k
};

struct FinishArgs {
  const uint64_t* best;      ///< rows x k
  const int64_t* label_ids;  ///< what the keys' ids stand for; null: themselves
  const float* base;
  unsigned k;
  unsigned padded_k;  ///< a power of two, >= k
  float sign;         ///< +-1: what distances are multiplied by at last
  float missing;
  float* distances;  ///< rows x k
  int64_t* ids;
};

// ---- the published algorithm (reference.h) ---------------------------------------------------

struct RotorMseView {
  unsigned d = 0;
  unsigned triples = 0;
  unsigned bits = 0;
  unsigned index_bytes = 0;       ///< of a packed code
  const float* rotors = nullptr;  ///< triples x 9
  const float* centroids = nullptr;
  const float* boundaries = nullptr;
};

struct MseEncodeArgs {
  RotorMseView mse;
  const float* x;
  unsigned n;
  uint8_t* codes;  ///< n x code_stride: norm, [residual norm,] indices
  unsigned code_stride;
  unsigned header;   ///< bytes before the indices
  float* residuals;  ///< n x d, or null
};

struct MseDecodeArgs {
  RotorMseView mse;
  const uint8_t* codes;
  unsigned n;
  unsigned code_stride;
  unsigned header;
  float* x;
};

struct SketchSignsArgs {
  const float* sketch;  ///< n x m: S r
  unsigned n;
  unsigned m;
  uint8_t* codes;
  unsigned code_stride;
  unsigned sign_offset;
};

struct AttentionArgs {
  RotorMseView mse;
  const uint8_t* codes;
  unsigned keys;
  unsigned code_stride;
  unsigned header;
  unsigned sign_offset;
  unsigned m;             ///< signs a key
  float factor;           ///< sqrt(pi/2) / m
  const float* queries;   ///< queries x d
  const float* sketches;  ///< queries x m: S q
  float* scores;          ///< queries x keys
};

}  // namespace rotorquant::gpu
