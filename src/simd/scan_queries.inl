// SPDX-License-Identifier: MIT
// Scanning blocks for one to four queries at a time: what every target does around its look-ups.
// Included inside an anonymous namespace, after the parts that a target brings:
//
//   BoundLanes   a register of floats
//   template <int Q, class Use> void for_bounds(const uint8_t* block, size_t padded_quads,
//                                               const ScanQuery* queries, Use use)
//       use(q, v, bounds) for the bounds of vectors v, v + 1 ... of a block, of Q queries
//   void store_bounds(float* to, BoundLanes bounds)   to: 64-byte aligned but for its v
//   BoundLanes lesser(BoundLanes a, BoundLanes b)     lane by lane
//   BoundLanes infinite_unless(BoundLanes bounds, uint64_t allowed)   one bit a lane
//   bool any_within(BoundLanes least, float limit)    whether one lane is <= limit
//   template <int Q> void least_of_each(const BoundLanes* least, float* to)
//       the least lane of each of Q registers
//   void append_within(const float* bounds, float above, float limit, uint64_t allowed,
//                      uint32_t first_id, Selection& out)
//       appends the allowed ones of 64 bounds that are > above and <= limit

/// Calls scan.operator()<Q>(first) for groups of Q queries: the nibbles of a block are taken apart
/// once for all of a group, and the sums of four fit in registers.
template <class Scan>
RQ_INLINE void for_query_groups(size_t n_queries, Scan scan) {
  size_t q = 0;
  for (; q + 4 <= n_queries; q += 4) {
    scan.template operator()<4>(q);
  }
  if (q + 2 <= n_queries) {
    scan.template operator()<2>(q);
    q += 2;
  }
  if (q < n_queries) {
    scan.template operator()<1>(q);
  }
}

constexpr uint64_t all_allowed = ~uint64_t{0};

/// The 64 bounds of Q queries, to bounds[q] (64-byte aligned), and the least of them, lane by lane,
/// to least[q].
template <int Q>
RQ_INLINE void scan_block(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                          float* const* bounds, BoundLanes* least) {
  for_bounds<Q>(block, padded_quads, queries, [&](int q, size_t v, BoundLanes found) {
    store_bounds(bounds[q] + v, found);
    least[q] = v == 0 ? found : lesser(least[q], found);
  });
}

/// The least of the allowed bounds alone, lane by lane.
template <int Q>
RQ_INLINE void least_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                            uint64_t allowed, BoundLanes* least) {
  if (allowed == all_allowed) {
    for_bounds<Q>(block, padded_quads, queries, [&](int q, size_t v, BoundLanes found) {
      least[q] = v == 0 ? found : lesser(least[q], found);
    });
  } else {
    for_bounds<Q>(block, padded_quads, queries, [&](int q, size_t v, BoundLanes found) {
      const BoundLanes kept = infinite_unless(found, allowed >> v);
      least[q] = v == 0 ? kept : lesser(least[q], kept);
    });
  }
}

/// Bytes that blocks are asked for ahead of their use: processors by themselves stop at page ends.
constexpr size_t prefetch_distance = 4096;

RQ_INLINE void prefetch_block(const uint8_t* block, size_t block_bytes) {
  for (size_t at = 0; at < block_bytes; at += 64) {
    __builtin_prefetch(block + at);
  }
}

RQ_INLINE void prefetch_ahead(const uint8_t* block, size_t block_bytes) {
  prefetch_block(block + prefetch_distance, block_bytes);
}

// from_memory: nothing has read these blocks lately; later groups of queries find them in the
// cache.

template <int Q>
void minima_of_queries(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                       size_t padded_quads, const ScanQuery* queries, const uint64_t* allowed,
                       bool from_memory, float* minima, size_t stride) {
  for (size_t b = 0; b < n_blocks; ++b) {
    const uint64_t mask = allowed == nullptr ? all_allowed : allowed[b];
    float found[Q];
    if (mask != 0) {
      const uint8_t* block = blocks + b * block_bytes;
      if (from_memory) {
        prefetch_ahead(block, block_bytes);
      }
      BoundLanes least[Q];
      least_bounds<Q>(block, padded_quads, queries, mask, least);
      least_of_each<Q>(least, found);
    }
    for (int q = 0; q < Q; ++q) {
      minima[static_cast<size_t>(q) * stride + b] = mask == 0 ? __builtin_inff() : found[q];
    }
  }
}

void block_minima(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const uint64_t* allowed,
                  float* minima, size_t stride) {
  for_query_groups(n_queries, [&]<int Q>(size_t q) {
    minima_of_queries<Q>(blocks, n_blocks, block_bytes, padded_quads, queries + q, allowed, q == 0,
                         minima + q * stride, stride);
  });
}

/// Blocks whose bounds are kept until the ones worth keeping are picked out.
constexpr size_t strip_blocks = 8;

/// Blocks of a strip with a bound within one query's limit. Filled without a branch on what was
/// found, which would be mispredicted for every other candidate.
struct StripHits {
  alignas(64) float bounds[strip_blocks + 1][block_vectors];
  uint32_t block[strip_blocks + 1];
  size_t count;
};

template <int Q>
void select_for_queries(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                        size_t padded_quads, const ScanQuery* queries, const float* limits,
                        const uint64_t* allowed, bool from_memory, uint32_t first_id,
                        Selection* out) {
  StripHits hits[Q];
  for (size_t first = 0; first < n_blocks; first += strip_blocks) {
    const size_t last = first + strip_blocks < n_blocks ? first + strip_blocks : n_blocks;
    for (int q = 0; q < Q; ++q) {
      hits[q].count = 0;
    }
    for (size_t b = first; b < last; ++b) {
      if (allowed != nullptr && allowed[b] == 0) {
        continue;
      }
      const uint8_t* block = blocks + b * block_bytes;
      if (from_memory) {
        prefetch_ahead(block, block_bytes);
      }
      float* places[Q];
      for (int q = 0; q < Q; ++q) {
        places[q] = hits[q].bounds[hits[q].count];
      }
      BoundLanes least[Q];
      scan_block<Q>(block, padded_quads, queries, places, least);
      for (int q = 0; q < Q; ++q) {
        hits[q].block[hits[q].count] = static_cast<uint32_t>(b);
        hits[q].count += any_within(least[q], limits[q]) ? 1 : 0;
      }
    }
    for (int q = 0; q < Q; ++q) {
      for (size_t i = 0; i < hits[q].count; ++i) {
        const uint32_t b = hits[q].block[i];
        append_within(hits[q].bounds[i], -__builtin_inff(), limits[q],
                      allowed == nullptr ? all_allowed : allowed[b],
                      first_id + b * uint32_t{block_vectors}, out[q]);
      }
    }
  }
}

void select(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
            const ScanQuery* queries, size_t n_queries, const float* limits,
            const uint64_t* allowed, uint32_t first_id, Selection* out) {
  for_query_groups(n_queries, [&]<int Q>(size_t q) {
    select_for_queries<Q>(blocks, n_blocks, block_bytes, padded_quads, queries + q, limits + q,
                          allowed, q == 0, first_id, out + q);
  });
}

/// Blocks that select_again() lists before it looks at them.
constexpr size_t listed_blocks = 512;

/// Blocks with a minimum that one query at least asks for: their numbers, and a bit a query.
struct ListedBlocks {
  uint32_t queries[listed_blocks];
  uint32_t block[listed_blocks + 1];
  size_t count;
};

RQ_INLINE void list_blocks(const float* minima, size_t stride, size_t n_blocks,
                           const SelectRange* ranges, size_t n_queries, ListedBlocks& listed) {
  for (size_t b = 0; b < n_blocks; ++b) {
    listed.queries[b] = 0;
  }
  for (size_t q = 0; q < n_queries; ++q) {
    const float above = ranges[q].blocks_above;
    const float to = ranges[q].blocks_to;
    const uint32_t bit = uint32_t{1} << q;
    for (size_t b = 0; b < n_blocks; ++b) {
      const float least = minima[q * stride + b];
      listed.queries[b] |= least > above && least <= to ? bit : 0;
    }
  }
  listed.count = 0;
  for (size_t b = 0; b < n_blocks; ++b) {
    listed.block[listed.count] = static_cast<uint32_t>(b);
    listed.count += listed.queries[b] != 0 ? 1 : 0;
  }
}

/// Whom of the queries, given by number, a block holds candidates for.
template <int Q>
RQ_INLINE void select_of_block(const uint8_t* block, size_t padded_quads, const ScanQuery* queries,
                               const uint32_t* which, const SelectRange* ranges, uint64_t allowed,
                               uint32_t first_id, Selection* out) {
  alignas(64) float bounds[Q][block_vectors];
  ScanQuery chosen[Q];
  for (int q = 0; q < Q; ++q) {
    chosen[q] = queries[which[q]];
  }
  for_bounds<Q>(block, padded_quads, chosen,
                [&](int q, size_t v, BoundLanes found) { store_bounds(bounds[q] + v, found); });
  for (int q = 0; q < Q; ++q) {
    const SelectRange& range = ranges[which[q]];
    append_within(bounds[q], range.above, range.to, allowed, first_id, out[which[q]]);
  }
}

void select_again(const uint8_t* blocks, size_t n_blocks, size_t block_bytes, size_t padded_quads,
                  const ScanQuery* queries, size_t n_queries, const float* minima, size_t stride,
                  const SelectRange* ranges, const uint64_t* allowed, uint32_t first_id,
                  Selection* out) {
  ListedBlocks listed;
  for (size_t first = 0; first < n_blocks; first += listed_blocks) {
    const size_t some = first + listed_blocks < n_blocks ? listed_blocks : n_blocks - first;
    list_blocks(minima + first, stride, some, ranges, n_queries, listed);
    for (size_t i = 0; i < listed.count; ++i) {
      const size_t b = first + listed.block[i];
      const uint8_t* block = blocks + b * block_bytes;
      if (i + 1 < listed.count) {
        prefetch_block(blocks + (first + listed.block[i + 1]) * block_bytes, block_bytes);
      }
      uint32_t which[most_select_queries];
      size_t count = 0;
      for (uint32_t mask = listed.queries[listed.block[i]]; mask != 0; mask &= mask - 1) {
        which[count++] = static_cast<uint32_t>(__builtin_ctz(mask));
      }
      const uint64_t kept = allowed == nullptr ? all_allowed : allowed[b];
      const uint32_t id = first_id + static_cast<uint32_t>(b * block_vectors);
      for_query_groups(count, [&]<int Q>(size_t q) {
        select_of_block<Q>(block, padded_quads, queries, which + q, ranges, kept, id, out);
      });
    }
  }
}

void block_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                  float* bounds) {
  alignas(64) float found[block_vectors];
  for_bounds<1>(block, padded_quads, &query,
                [&](int, size_t v, BoundLanes some) { store_bounds(found + v, some); });
  __builtin_memcpy(bounds, found, sizeof(found));
}
