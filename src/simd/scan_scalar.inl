// SPDX-License-Identifier: MIT
// The scan's specification, on row_per_quad blocks (code_store.h). Included inside an anonymous
// namespace.

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  for (size_t v = 0; v < block_vectors; ++v) {
    sums[v] = 0;
  }
  for (size_t quad = 0; quad < padded_quads; quad += 2) {
    const uint8_t* pair = block + quad / 2 * block_vectors;
    const uint8_t* even = table + quad * fanout;
    const uint8_t* odd = even + fanout;
    for (size_t v = 0; v < block_vectors; ++v) {
      sums[v] += static_cast<uint32_t>(even[pair[v] & 0xFU]) + odd[pair[v] >> 4U];
    }
  }
}

/// bound = additive - alpha_1 * (scale * sum + offset), both steps fused so that every target
/// rounds alike.
void block_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                  float* bounds) {
  uint32_t sums[block_vectors];
  block_sums(block, padded_quads, query.table, sums);
  const uint8_t* factors = block + padded_quads * block_vectors / 2;
  for (size_t v = 0; v < block_vectors; ++v) {
    uint16_t alpha_bits = 0;
    float additive = 0.0F;
    __builtin_memcpy(&alpha_bits, factors + v * sizeof(alpha_bits), sizeof(alpha_bits));
    __builtin_memcpy(&additive, factors + block_vectors * sizeof(alpha_bits) + v * sizeof(additive),
                     sizeof(additive));
    const float product = __builtin_fmaf(query.scale, static_cast<float>(sums[v]), query.offset);
    bounds[v] = __builtin_fmaf(-decode_factor_bits(alpha_bits), product, additive);
  }
}

void block_minima(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const uint64_t* allowed,
                  float* minima, size_t stride) {
  for (size_t b = 0; b < n_blocks; ++b) {
    const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
    for (size_t q = 0; q < n_queries; ++q) {
      float least = __builtin_inff();
      float bounds[block_vectors];
      if (mask != 0) {
        block_bounds(blocks + b * block_bytes, padded_quads, queries[q], bounds);
        for (size_t v = 0; v < block_vectors; ++v) {
          least = ((mask >> v) & 1U) != 0 && bounds[v] < least ? bounds[v] : least;
        }
      }
      minima[q * stride + b] = least;
    }
  }
}

void select_one(const uint8_t* block, size_t padded_quads, const ScanQuery& query, float above,
                float limit, uint64_t mask, uint32_t first_id, Selection& out) {
  float bounds[block_vectors];
  block_bounds(block, padded_quads, query, bounds);
  for (uint32_t v = 0; v < block_vectors; ++v) {
    if (((mask >> v) & 1U) != 0 && bounds[v] > above && bounds[v] <= limit) {
      out.bounds[out.count] = bounds[v];
      out.ids[out.count] = first_id + v;
      ++out.count;
    }
  }
}

void select(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
            const ScanQuery* queries, size_t n_queries, const float* limits,
            const uint64_t* allowed, uint32_t first_id, Selection* out) {
  for (size_t b = 0; b < n_blocks; ++b) {
    const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
    for (size_t q = 0; mask != 0 && q < n_queries; ++q) {
      select_one(blocks + b * block_bytes, padded_quads, queries[q], -__builtin_inff(), limits[q],
                 mask, first_id + static_cast<uint32_t>(b * block_vectors), out[q]);
    }
  }
}

void select_again(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const float* minima, size_t stride,
                  const SelectRange* ranges, const uint64_t* allowed, uint32_t first_id,
                  Selection* out) {
  for (size_t b = 0; b < n_blocks; ++b) {
    for (size_t q = 0; q < n_queries; ++q) {
      const SelectRange& range = ranges[q];
      const float least = minima[q * stride + b];
      if (least > range.blocks_above && least <= range.blocks_to) {
        select_one(blocks + b * block_bytes, padded_quads, queries[q], range.above, range.to,
                   allowed == nullptr ? ~uint64_t{0} : allowed[b],
                   first_id + static_cast<uint32_t>(b * block_vectors), out[q]);
      }
    }
  }
}

#include "simd/scan_plane_rows.inl"
