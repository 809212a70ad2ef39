// SPDX-License-Identifier: MIT
// AVX-512 with VBMI and VNNI: Ice Lake, Sapphire Rapids, Zen 4 and later.

#include <immintrin.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"
#include "simd/scan512.inl"
#include "simd/scan_queries.inl"

constexpr size_t group_bytes = 128;  ///< four quads of a block: 32 dwords

/// Four tables share a register: byte index = nibble + 16 * (quad mod 4); vpdpbusd then adds the
/// four entries of a vector's dword into its 32-bit sum.
template <int Q>
RQ_INLINE void sum_block(const uint8_t* block, size_t padded_quads, const uint8_t* const* tables,
                         BlockSums<Q>& sums) {
  const __m512i low_nibbles = _mm512_set1_epi8(0x0F);
  const __m512i table_of_byte = _mm512_set1_epi32(0x30201000);
  const __m512i ones = _mm512_set1_epi8(1);
  constexpr int and_or = 0xEA;  // (a & b) | c
  clear(sums);
  for (size_t g = 0; g < padded_quads / 4; ++g) {
    const __m512i a = _mm512_load_si512(block + g * group_bytes);
    const __m512i b = _mm512_load_si512(block + g * group_bytes + 64);
    const __m512i index[4] = {
        _mm512_ternarylogic_epi32(a, low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(b, low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(a, 4), low_nibbles, table_of_byte, and_or),
        _mm512_ternarylogic_epi32(_mm512_srli_epi16(b, 4), low_nibbles, table_of_byte, and_or),
    };
    for (int q = 0; q < Q; ++q) {
      const __m512i table = _mm512_load_si512(tables[q] + g * 64);
      for (int v = 0; v < 4; ++v) {
        sums.sum[q][v] =
            _mm512_dpbusd_epi32(sums.sum[q][v], _mm512_permutexvar_epi8(index[v], table), ones);
      }
    }
  }
}

/// The level-1 nibbles of a vector from group g on, 64 quads: one a byte.
RQ_INLINE __m512i quads_of(const uint8_t* block, size_t groups, size_t g, size_t v) {
  const uint8_t* first = block + v % (block_vectors / 2) * sizeof(uint32_t) + g * group_bytes;
  const __m128i shift = _mm_cvtsi32_si128(v < block_vectors / 2 ? 0 : 4);
  const __m512i steps =
      _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(static_cast<int>(group_bytes)));
  const auto valid = static_cast<__mmask16>(groups - g >= 16 ? 0xFFFFU : (1U << (groups - g)) - 1);
  const __m512i dwords =
      _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), valid, steps, first, 1);
  return _mm512_and_si512(_mm512_srl_epi32(dwords, shift), _mm512_set1_epi8(0x0F));
}

void scan_plane(const uint8_t* block, size_t padded_quads, size_t v, uint8_t* plane) {
  const size_t groups = padded_quads / 4;
  for (size_t g = 0; g < groups; g += 16) {
    const __m512i nibbles = quads_of(block, groups, g, v);
    // Two bytes of one nibble each into one byte of two.
    const __m512i pairs = _mm512_or_si512(nibbles, _mm512_srli_epi16(nibbles, 4));
    const __mmask32 bytes =
        groups - g >= 16 ? ~__mmask32{0} : (__mmask32{1} << (2 * (groups - g))) - 1;
    _mm256_mask_storeu_epi8(plane + 2 * g, bytes, _mm512_cvtepi16_epi8(pairs));
  }
}

/// Up to 64 nibbles of a canonical plane, one a byte.
RQ_INLINE __m512i spread_plane(const uint8_t* plane, size_t bytes) {
  const auto valid = static_cast<__mmask32>(bytes >= 32 ? ~0U : (1U << bytes) - 1);
  const __m512i wide = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(valid, plane));
  return _mm512_and_si512(_mm512_or_si512(wide, _mm512_slli_epi16(wide, 4)),
                          _mm512_set1_epi8(0x0F));
}

/// Nodes stay in registers from the block to the look-up, and codes do not wait for each other.
void score_two_levels(const RefineView& view, size_t padded_quads, const StoredCode* codes,
                      size_t n, uint8_t* /*plane*/, int32_t* sums) {
  constexpr int64_t tree_nodes = 256;
  constexpr size_t quads_at_once = 64;
  const size_t quads = view.layout.quads;
  const __m512i quad_of_lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const int64_t tree_step = view.tree.trees == 1 ? 0 : tree_nodes;
  const __m512i tree_of_lane = _mm512_mullo_epi64(quad_of_lane, _mm512_set1_epi64(tree_step));
  const __m512i trees_of_eight = _mm512_set1_epi64(8 * tree_step);
  const __m512i eight = _mm512_set1_epi8(8);
  constexpr __mmask64 low_byte_of_lane = 0x0101010101010101U;
  for (size_t i = 0; i < n; ++i) {
    const StoredCode& code = codes[i];
    __m512i sum = _mm512_setzero_si512();
    __m512i tree = tree_of_lane;
    for (size_t first = 0; first < quads; first += quads_at_once) {
      const __m512i parent = quads_of(code.block, padded_quads / 4, first / 4, code.place);
      const __m512i child = spread_plane(code.row + first / 2, view.layout.plane_bytes - first / 2);
      const __m512i nodes = _mm512_or_si512(_mm512_slli_epi16(parent, 4), child);
      const size_t last = first + quads_at_once < quads ? first + quads_at_once : quads;
      __m512i pick = quad_of_lane;  // the low bytes of lanes pick eight nodes
      for (size_t quad = first; quad < last; quad += scored_quads) {
        const __m512i node = _mm512_maskz_permutexvar_epi8(low_byte_of_lane, pick, nodes);
        const size_t left = last - quad;
        const auto valid = static_cast<__mmask8>(left >= scored_quads ? 0xFFU : (1U << left) - 1);
        const __m512i value = _mm512_mask_i64gather_epi64(
            _mm512_setzero_si512(), valid, _mm512_add_epi64(node, tree), view.tree.fixed[1], 8);
        sum = add_products(sum, value, _mm512_loadu_si512(code.query + quad * 4));
        tree = _mm512_add_epi64(tree, trees_of_eight);
        pick = _mm512_add_epi8(pick, eight);
      }
    }
    sums[i] = _mm512_reduce_add_epi32(sum);
  }
}

}  // namespace

const KernelTable avx512vbmi_kernels = {
    "avx512vbmi",     ScanLayout::dword_per_vector,
    rotor_forward,    rotor_inverse,
    matrix_block,     matrix_vector,
    matrix_vectors,   encode_block,
    scan_table,       block_minima,
    select,           block_bounds,
    block_sums,       scan_plane,
    refine,           score,
    score_two_levels, decode_levels,
};

}  // namespace rotorquant::simd
