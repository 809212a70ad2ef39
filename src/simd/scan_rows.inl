// SPDX-License-Identifier: MIT
// Summing table entries over row_per_quad blocks (code_store.h) in 16 bits, for several queries at
// a time. Included inside an anonymous namespace, after the parts that a target brings:
//
//   CodeBytes                    a register of bytes, one a vector; register_vectors of them
//   CodeBytes load_codes(const uint8_t* codes)
//   CodeBytes low_nibbles(CodeBytes codes), high_nibbles(CodeBytes codes)
//   CodeBytes load_table(const uint8_t* table)                16 entries, ready for look_up
//   CodeBytes look_up(CodeBytes table, CodeBytes nibbles)
//   HalfSums                     16-bit sums of as many vectors
//   void clear(HalfSums& sums)
//   void add_entries(CodeBytes entries, HalfSums& sums)
//   void flush(const HalfSums& sums, bool add, uint32_t* out)
//       writes the sums as 32 bits in vector order (64-byte aligned), or adds them to what is there

/// Quads whose entries fit 16-bit sums: 256 * 255 < 2^16.
constexpr size_t quads_per_flush = 256;

/// Sums of Q queries over R registers of vectors, the first of them at `codes`.
template <int Q, int R>
RQ_INLINE void sum_registers(const uint8_t* codes, size_t padded_quads,
                             const uint8_t* const* tables, uint32_t* const* out) {
  size_t first = 0;
  do {
    const size_t last =
        first + quads_per_flush < padded_quads ? first + quads_per_flush : padded_quads;
    HalfSums sums[Q][R];
    for (int q = 0; q < Q; ++q) {
      for (int r = 0; r < R; ++r) {
        clear(sums[q][r]);
      }
    }
    for (size_t quad = first; quad < last; quad += 2) {
      CodeBytes low[R];
      CodeBytes high[R];
      for (int r = 0; r < R; ++r) {
        const CodeBytes pair = load_codes(codes + quad / 2 * block_vectors +
                                          static_cast<size_t>(r) * register_vectors);
        low[r] = low_nibbles(pair);
        high[r] = high_nibbles(pair);
      }
      for (int q = 0; q < Q; ++q) {
        const CodeBytes even_table = load_table(tables[q] + quad * fanout);
        const CodeBytes odd_table = load_table(tables[q] + (quad + 1) * fanout);
        for (int r = 0; r < R; ++r) {
          add_entries(look_up(even_table, low[r]), sums[q][r]);
          add_entries(look_up(odd_table, high[r]), sums[q][r]);
        }
      }
    }
    for (int q = 0; q < Q; ++q) {
      for (int r = 0; r < R; ++r) {
        flush(sums[q][r], first != 0, out[q] + static_cast<size_t>(r) * register_vectors);
      }
    }
    first = last;
  } while (first < padded_quads);
}

/// The 64 sums of Q queries, R registers at a time: sums[q] are 64 each.
template <int Q, int R>
RQ_INLINE void sum_rows(const uint8_t* block, size_t padded_quads, const uint8_t* const* tables,
                        uint32_t* const* sums) {
  for (size_t v = 0; v < block_vectors; v += R * register_vectors) {
    uint32_t* out[Q];
    for (int q = 0; q < Q; ++q) {
      out[q] = sums[q] + v;
    }
    sum_registers<Q, R>(block + v, padded_quads, tables, out);
  }
}
