// SPDX-License-Identifier: MIT
// NEON, as every AArch64 processor has it.

#include <arm_neon.h>

#include "simd/kernels.h"

namespace rotorquant::simd {
namespace {

// The scalar kernels, which are to stay plain, see __ARM_NEON too.
#define RQ_NEON
#include "simd/lanes.inl"
// lanes.inl first: the others build on it.
#include "simd/lane_kernels.inl"
#include "simd/scan_plane_rows.inl"
#include "simd/score_stored.inl"

/// Vectors that a register of codes holds.
constexpr size_t register_vectors = 16;
using CodeBytes = uint8x16_t;

RQ_INLINE CodeBytes load_codes(const uint8_t* codes) {
  return vld1q_u8(codes);
}

RQ_INLINE CodeBytes low_nibbles(CodeBytes codes) {
  return vandq_u8(codes, vdupq_n_u8(0x0F));
}

RQ_INLINE CodeBytes high_nibbles(CodeBytes codes) {
  return vshrq_n_u8(codes, 4);
}

RQ_INLINE CodeBytes load_table(const uint8_t* table) {
  return vld1q_u8(table);
}

RQ_INLINE CodeBytes look_up(CodeBytes table, CodeBytes nibbles) {
  return vqtbl1q_u8(table, nibbles);
}

/// 16-bit sums of 16 vectors, in their order.
struct HalfSums {
  uint16x8_t low;
  uint16x8_t high;
};

RQ_INLINE void clear(HalfSums& sums) {
  sums = {vdupq_n_u16(0), vdupq_n_u16(0)};
}

RQ_INLINE void add_entries(CodeBytes entries, HalfSums& sums) {
  sums.low = vaddw_u8(sums.low, vget_low_u8(entries));
  sums.high = vaddw_high_u8(sums.high, entries);
}

RQ_INLINE void flush(const HalfSums& sums, bool add, uint32_t* out) {
  const uint32x4_t parts[4] = {vmovl_u16(vget_low_u16(sums.low)), vmovl_high_u16(sums.low),
                               vmovl_u16(vget_low_u16(sums.high)), vmovl_high_u16(sums.high)};
  for (int i = 0; i < 4; ++i) {
    uint32_t* p = out + 4 * i;
    vst1q_u32(p, add ? vaddq_u32(vld1q_u32(p), parts[i]) : parts[i]);
  }
}

#include "simd/scan_rows.inl"

/// Of 32 registers 16 hold sums: two queries over a whole block or four over half of one.
template <int Q>
constexpr int registers_at_once = Q <= 2 ? 4 : 2;

#include "simd/scan_stored.inl"

using BoundLanes = float32x4_t;

template <int Q, class Use>
RQ_INLINE void for_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                          Use use) {
  const uint8_t* tables[Q];
  for (int q = 0; q < Q; ++q) {
    tables[q] = queries[q].table;
  }
  BlockSums<Q> sums;
  sum_block<Q>(block, padded_quads, tables, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  const uint8_t* additives = factors + block_vectors * sizeof(uint16_t);
  for (size_t v = 0; v < block_vectors; v += 4) {
    const uint16x4_t bits = vld1_u16(reinterpret_cast<const uint16_t*>(factors) + v);
    const float32x4_t alpha = vreinterpretq_f32_u32(vshll_n_u16(bits, 15));
    const float32x4_t additive = vld1q_f32(reinterpret_cast<const float*>(additives) + v);
    for (int q = 0; q < Q; ++q) {
      const float32x4_t sum = vcvtq_f32_u32(vld1q_u32(sums.sum[q] + v));
      const float32x4_t product =
          vfmaq_f32(vdupq_n_f32(queries[q].offset), vdupq_n_f32(queries[q].scale), sum);
      use(q, v, vfmsq_f32(additive, alpha, product));
    }
  }
}

RQ_INLINE void store_bounds(float* to, BoundLanes bounds) {
  vst1q_f32(to, bounds);
}

RQ_INLINE BoundLanes lesser(BoundLanes a, BoundLanes b) {
  return vminq_f32(a, b);
}

RQ_INLINE BoundLanes infinite_unless(BoundLanes bounds, uint64_t allowed) {
  const uint32x4_t bit_of_lane = {1, 2, 4, 8};
  const uint32x4_t chosen = vtstq_u32(vdupq_n_u32(static_cast<uint32_t>(allowed)), bit_of_lane);
  return vbslq_f32(chosen, bounds, vdupq_n_f32(__builtin_inff()));
}

RQ_INLINE bool any_within(BoundLanes least, float limit) {
  return vminvq_f32(least) <= limit;
}

template <int Q>
RQ_INLINE void least_of_each(const BoundLanes* least, float* to) {
  for (int q = 0; q < Q; ++q) {
    to[q] = vminvq_f32(least[q]);
  }
}

RQ_INLINE void append_within(const float* bounds, float above, float limit, uint64_t allowed,
                             uint32_t first_id, Selection& out) {
  const uint32x4_t bit_of_lane = {1, 2, 4, 8};
  uint64_t chosen = 0;
  for (size_t v = 0; v < block_vectors; v += 4) {
    const float32x4_t found = vld1q_f32(bounds + v);
    const uint32x4_t within =
        vandq_u32(vcleq_f32(found, vdupq_n_f32(limit)), vcgtq_f32(found, vdupq_n_f32(above)));
    chosen |= uint64_t{vaddvq_u32(vandq_u32(within, bit_of_lane))} << v;
  }
  append_chosen(bounds, chosen & allowed, first_id, out);
}

#include "simd/scan_queries.inl"

}  // namespace

const KernelTable neon_kernels = RQ_KERNEL_TABLE("neon", row_per_quad);

}  // namespace rotorquant::simd
