// SPDX-License-Identifier: MIT
// For targets with row_per_quad blocks whose registers cannot hold the sums of a group of queries.
// Included inside an anonymous namespace, after scan_rows.inl and
//
//   template <int Q> constexpr int registers_at_once   registers of vectors that sums are kept for

/// 64 sums of Q queries, in vector order.
template <int Q>
struct BlockSums {
  alignas(64) uint32_t sum[Q][block_vectors];
};

template <int Q>
RQ_INLINE void sum_block(const uint8_t* block, size_t padded_quads, const uint8_t* const* tables,
                         BlockSums<Q>& sums) {
  uint32_t* places[Q];
  for (int q = 0; q < Q; ++q) {
    places[q] = sums.sum[q];
  }
  sum_rows<Q, registers_at_once<Q>>(block, padded_quads, tables, places);
}

/// Appends those of 64 bounds that a bit of `chosen` marks.
RQ_INLINE void append_chosen(const float* bounds, uint64_t chosen, uint32_t first_id,
                             Selection& out) {
  for (; chosen != 0; chosen &= chosen - 1) {
    const auto v = static_cast<uint32_t>(__builtin_ctzll(chosen));
    out.bounds[out.count] = bounds[v];
    out.ids[out.count] = first_id + v;
    ++out.count;
  }
}

void block_sums(const uint8_t* block, size_t padded_quads, const uint8_t* table, uint32_t* sums) {
  BlockSums<1> found;
  sum_block<1>(block, padded_quads, &table, found);
  __builtin_memcpy(sums, found.sum[0], sizeof(found.sum[0]));
}
