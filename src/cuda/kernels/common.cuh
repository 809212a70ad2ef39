// SPDX-License-Identifier: MIT
#pragma once

// Device functions that several kernels share.

#include "cuda/device.h"
#include "cuda/views.h"
#include "half.h"

namespace rotorquant::gpu {

RQ_DEVICE uint32_t nibble_of(const uint8_t* plane, unsigned quad) {
  return (static_cast<uint32_t>(plane[quad / 2]) >> (quad % 2 * 4)) & 0xFU;
}

/// fp32 or uf16 at any address.
RQ_DEVICE float load_wide(const uint8_t* p) {
  return bits_float(static_cast<uint32_t>(p[0]) | (static_cast<uint32_t>(p[1]) << 8U) |
                    (static_cast<uint32_t>(p[2]) << 16U) | (static_cast<uint32_t>(p[3]) << 24U));
}
RQ_DEVICE float load_narrow(const uint8_t* p) {
  return decode_factor(static_cast<uint16_t>(p[0] | (p[1] << 8U)));
}

struct Factors {
  float alpha1;
  float alpha;
  float beta;
};

/// tail: alpha and beta as stored; alpha1 stands in where there is only one plane.
RQ_DEVICE Factors read_factors(const CodeShape& code, float alpha1, const uint8_t* tail) {
  Factors f{alpha1, 0.0F, 0.0F};
  if (code.planes == 1) {
    (code.signs ? f.beta : f.alpha) = alpha1;
  } else if (code.wide_factors) {
    f.alpha = load_wide(tail);
    f.beta = code.signs ? load_wide(tail + 4) : 0.0F;
  } else {
    f.alpha = load_narrow(tail);
    f.beta = code.signs ? load_narrow(tail + 2) : 0.0F;
  }
  return f;
}

/// <q - mu, x - mu> from the two inner products: CodecAccess::combine on the device.
RQ_DEVICE float combine(const Combination& how, const Factors& f, float level_product,
                        float sign_product, float norm, unsigned dims) {
  if (how.kind == Combination::Kind::strict) {
    const float nu = norm >= 0.0F ? norm / root(static_cast<float>(dims)) : f.alpha * how.cos2;
    const float c = f.alpha > 0.0F ? f.beta / f.alpha : 0.0F;
    return nu * (level_product + how.gain * c * sign_product);
  }
  if (how.kind == Combination::Kind::whole) {
    return f.alpha * level_product + f.beta * sign_product;
  }
  const float alpha = how.kind == Combination::Kind::first_level ? f.alpha1 : f.alpha * how.gain;
  return alpha * level_product;
}

/// Coordinate k of a quad from its first `levels` levels. nibble1: its level-1 nibble; row: planes
/// 2, 3, ... one after the other.
RQ_DEVICE float decode_coordinate(const CodecView& codec, unsigned levels, uint32_t nibble1,
                                  const uint8_t* row, unsigned quad, unsigned k) {
  const unsigned stride = codec.code.plane_bytes;
  const size_t tree = codec.tree.trees == 1 ? 0 : quad;
  if (levels < 2) {
    return codec.tree.centroids[0][(tree * 16 + nibble1) * 4 + k];
  }
  const uint32_t node2 = nibble1 * 16 + nibble_of(row, quad);
  if (levels < 3) {
    return codec.tree.centroids[1][(tree * 256 + node2) * 4 + k];
  }
  const uint32_t leaf = node2 * 16 + nibble_of(row + stride, quad);
  float value = codec.tree.centroids[2][(tree * 4096 + leaf) * 4 + k];
  if (levels > 3) {
    const unsigned bits = levels - 3;
    uint32_t index = 0;
    for (unsigned level = 0; level < bits; ++level) {
      index = 2 * index + ((nibble_of(row + (2 + level) * stride, quad) >> k) & 1U);
    }
    value += codec.tree.leaf_scales[(tree * 256 + node2) * 4 + k] *
             codec.scalar_centroids[(bits - 1) * 32 + index];
  }
  return value;
}

/// Words 4 chunk .. 4 chunk + 3 of vector v of a tile, 0 beyond the last.
RQ_DEVICE Words4 load_chunk(const uint8_t* tile, const TileLayout& layout, unsigned chunk,
                            unsigned v) {
  const uint8_t* p = tile + layout.word_offset(chunk * 4, v);
  if (layout.is_whole(chunk)) {
    return load_streaming(reinterpret_cast<const Words4*>(p));
  }
  Words4 words{};
  RQ_UNROLL
  for (unsigned w = 0; w < 3; ++w) {
    if (w < layout.words % 4) {
      words.w[w] = load_streaming(reinterpret_cast<const uint32_t*>(p + w * 128));
    }
  }
  return words;
}

RQ_DEVICE float tile_alpha(const uint8_t* tile, const TileLayout& layout, unsigned v) {
  return decode_factor(reinterpret_cast<const uint16_t*>(tile + layout.alpha_offset())[v]);
}
RQ_DEVICE float tile_additive(const uint8_t* tile, const TileLayout& layout, unsigned v) {
  return reinterpret_cast<const float*>(tile + layout.additive_offset())[v];
}

/// The last limit: all but the unused places of a tile are within it.
constexpr float no_limit = 3.402823466e+38F;

}  // namespace rotorquant::gpu
