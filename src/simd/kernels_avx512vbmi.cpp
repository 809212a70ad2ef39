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

/// Adds the four bytes of a dword to its sum. In assembly because GCC 12, given the intrinsic,
/// copies half of the sums in every step and spills some.
RQ_INLINE void add_fours(__m512i bytes, __m512i ones, __m512i& sum) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(ones));
}

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
  size_t g = 0;
  do {
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
        add_fours(_mm512_permutexvar_epi8(index[v], table), ones, sums.sum[q][v]);
      }
    }
  } while (++g < padded_quads / 4);
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

/// From the block to the look-up in registers, without a canonical plane in between.
void score_two_levels(const RefineView& view, size_t padded_quads, const StoredCode* codes,
                      size_t n, uint8_t* /*plane*/, int32_t* sums) {
  for (size_t i = 0; i < n; ++i) {
    const StoredCode& code = codes[i];
    const auto parents = [&](size_t first) {
      return quads_of(code.block, padded_quads / 4, first / 4, code.place);
    };
    sums[i] = score_pairs(view, parents, code.row, code.query);
  }
}

}  // namespace

const KernelTable avx512vbmi_kernels = RQ_KERNEL_TABLE("avx512vbmi", dword_per_vector);

}  // namespace rotorquant::simd
