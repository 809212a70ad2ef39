// SPDX-License-Identifier: MIT
// Scanning blocks for one to four queries at a time: what every target does around its look-ups.
// Included inside an anonymous namespace, after the parts that a target brings:
//
//   BoundLanes   a register of floats
//   template <int Q> void scan_block(const uint8_t* block, size_t padded_quads,
//                                    const ScanQuery* queries, float* const* bounds,
//                                    BoundLanes* least)
//       the 64 bounds of Q queries, to bounds[q] (64-byte aligned), and the least of them, lane by
//       lane, to least[q]
//   bool any_within(BoundLanes least, float limit)   whether one lane is <= limit
//   float least_of(BoundLanes least)                 the least lane
//   void append_within(const float* bounds, float limit, uint64_t allowed, uint32_t first_id,
//                      Selection& out)
//       appends the allowed ones of 64 bounds that are <= limit

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

/// The least bound that the mask allows, +infinity for none.
RQ_INLINE float least_allowed(const float* bounds, uint64_t allowed) {
  float least = __builtin_inff();
  for (; allowed != 0; allowed &= allowed - 1) {
    const float bound = bounds[__builtin_ctzll(allowed)];
    least = bound < least ? bound : least;
  }
  return least;
}

/// Bytes that blocks are asked for ahead of their use: processors by themselves stop at page ends.
constexpr size_t prefetch_distance = 4096;

RQ_INLINE void prefetch_ahead(const uint8_t* block, size_t block_bytes) {
  for (size_t at = 0; at < block_bytes; at += 64) {
    __builtin_prefetch(block + prefetch_distance + at);
  }
}

// from_memory: nothing has read these blocks lately; later groups of queries find them in the
// cache.

template <int Q>
void minima_of_queries(const uint8_t* blocks, size_t n_blocks, size_t block_bytes,
                       size_t padded_quads, const ScanQuery* queries, const uint64_t* allowed,
                       bool from_memory, float* minima, size_t stride) {
  alignas(64) float bounds[Q][block_vectors];
  float* places[Q];
  for (int q = 0; q < Q; ++q) {
    places[q] = bounds[q];
  }
  for (size_t b = 0; b < n_blocks; ++b) {
    const uint64_t mask = allowed == nullptr ? ~uint64_t{0} : allowed[b];
    BoundLanes least[Q];
    if (mask != 0) {
      const uint8_t* block = blocks + b * block_bytes;
      if (from_memory) {
        prefetch_ahead(block, block_bytes);
      }
      scan_block<Q>(block, padded_quads, queries, places, least);
    }
    for (int q = 0; q < Q; ++q) {
      minima[static_cast<size_t>(q) * stride + b] = mask == 0 ? __builtin_inff()
                                                    : mask == ~uint64_t{0}
                                                        ? least_of(least[q])
                                                        : least_allowed(bounds[q], mask);
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
        append_within(hits[q].bounds[i], limits[q], allowed == nullptr ? ~uint64_t{0} : allowed[b],
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

void block_bounds(const uint8_t* block, size_t padded_quads, const ScanQuery& query,
                  float* bounds) {
  alignas(64) float found[block_vectors];
  float* place = found;
  BoundLanes least[1];
  scan_block<1>(block, padded_quads, &query, &place, least);
  __builtin_memcpy(bounds, found, sizeof(found));
}
