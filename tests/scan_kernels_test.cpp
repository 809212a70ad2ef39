// SPDX-License-Identifier: MIT
// The scan of blocks: every kernel set against the scalar one, which is the specification.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel_test_data.h"
#include "rotorquant/random.h"
#include "simd/kernels.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::EveryKernelSet;
using test_data::Floats;
using test_data::random_codes;
using test_data::same_bits;
using test_data::store_of;

CodeLayout one_plane(size_t quads) {
  CodeLayout layout;
  layout.quads = quads;
  layout.plane_bytes = (quads + 1) / 2;
  layout.planes = 1;
  layout.levels = 1;
  return layout;
}

/// Tables of several queries; every third is all 255, the most that sums can reach.
struct Queries {
  std::vector<AlignedVector<uint8_t>> tables;
  std::vector<simd::ScanQuery> scans;

  Queries(size_t count, size_t padded_quads, uint64_t seed) {
    Rng rng(seed);
    for (size_t q = 0; q < count; ++q) {
      AlignedVector<uint8_t> table(padded_quads * fanout);
      for (uint8_t& entry : table) {
        entry = q % 3 == 2 ? uint8_t{255} : static_cast<uint8_t>(rng.bits());
      }
      tables.push_back(std::move(table));
      scans.push_back({tables.back().data(), static_cast<float>(rng.uniform()),
                       static_cast<float>(rng.gaussian())});
    }
  }
};

// 1024 quads: AVX2's 16-bit sums need emptying four times.
const std::vector<size_t> quad_counts = {1, 2, 4, 5, 25, 33, 384, 1024};
const std::vector<size_t> store_sizes = {0, 1, 31, 32, 33, 63, 64, 65, 200};

using ScanKernel = EveryKernelSet;

TEST_P(ScanKernel, BlockSumsAddUpTheTableEntries) {
  for (const size_t quads : quad_counts) {
    const CodeLayout layout = one_plane(quads);
    for (const size_t n : store_sizes) {
      const CodeStore store = store_of(kernels(), layout, random_codes(layout, n, quads + n));
      const Queries queries(3, store.padded_quads(), n);
      Bytes plane(store.padded_quads() / 2);
      for (size_t b = 0; b < store.blocks(); ++b) {
        for (const simd::ScanQuery& query : queries.scans) {
          std::vector<uint32_t> sums(block_vectors);
          kernels().block_sums(store.block(b), store.padded_quads(), query.table, sums.data());
          for (size_t v = 0; v < std::min(block_vectors, n - b * block_vectors); ++v) {
            store.scan_nibbles(b * block_vectors + v, plane.data());
            uint32_t expected = 0;
            for (size_t quad = 0; quad < store.padded_quads(); ++quad) {
              const unsigned nibble =
                  quad < quads ? (plane[quad / 2] >> (quad % 2 * 4)) & 0xFU : 0U;
              expected += query.table[quad * fanout + nibble];
            }
            ASSERT_EQ(sums[v], expected) << quads << " quads, n " << n << ", vector " << v;
          }
        }
      }
    }
  }
}

TEST_P(ScanKernel, BlockBoundsHaveTheScalarBits) {
  for (const size_t quads : quad_counts) {
    const CodeLayout layout = one_plane(quads);
    for (const size_t n : store_sizes) {
      const Bytes codes = random_codes(layout, n, quads + n);
      const CodeStore store = store_of(kernels(), layout, codes);
      const CodeStore reference = store_of(simd::scalar_kernels, layout, codes);
      const Queries queries(3, store.padded_quads(), n);
      for (size_t b = 0; b < store.blocks(); ++b) {
        for (const simd::ScanQuery& query : queries.scans) {
          Floats expected(block_vectors);
          Floats found(block_vectors);
          simd::scalar_kernels.block_bounds(reference.block(b), store.padded_quads(), query,
                                            expected.data());
          kernels().block_bounds(store.block(b), store.padded_quads(), query, found.data());
          ASSERT_TRUE(same_bits(found, expected)) << quads << " quads, n " << n;
        }
      }
    }
  }
}

TEST_P(ScanKernel, ABoundIsAdditiveLessAlphaTimesTheScaledSum) {
  const CodeLayout layout = one_plane(33);
  const CodeStore store = store_of(kernels(), layout, random_codes(layout, 64, 12));
  const Queries queries(2, store.padded_quads(), 13);
  for (const simd::ScanQuery& query : queries.scans) {
    std::vector<uint32_t> sums(block_vectors);
    Floats bounds(block_vectors);
    kernels().block_sums(store.block(0), store.padded_quads(), query.table, sums.data());
    kernels().block_bounds(store.block(0), store.padded_quads(), query, bounds.data());
    for (size_t v = 0; v < block_vectors; ++v) {
      const float product = std::fmaf(query.scale, static_cast<float>(sums[v]), query.offset);
      ASSERT_EQ(bounds[v], std::fmaf(-store.scan_alpha(v), product, store.additive(v))) << v;
    }
  }
}

/// One mask a block: none, all, one vector, random, random ...
std::vector<uint64_t> masks(size_t blocks, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> result;
  for (size_t b = 0; b < blocks; ++b) {
    const uint64_t bits = rng.bits();
    result.push_back(b % 5 == 0   ? uint64_t{0}
                     : b % 5 == 1 ? ~uint64_t{0}
                     : b % 5 == 2 ? uint64_t{1} << (bits % 64)
                                  : bits);
  }
  return result;
}

void expect_minima(const simd::KernelTable& kernels, const CodeStore& store, const Queries& queries,
                   const std::vector<uint64_t>& allowed) {
  const size_t blocks = store.blocks();
  const size_t stride = blocks + 3;
  constexpr float untouched = -12345.0F;
  Floats minima(queries.scans.size() * stride, untouched);
  kernels.block_minima(store.block(0), blocks, store.block_bytes(), store.padded_quads(),
                       queries.scans.data(), queries.scans.size(),
                       allowed.empty() ? nullptr : allowed.data(), minima.data(), stride);
  for (size_t q = 0; q < queries.scans.size(); ++q) {
    for (size_t b = 0; b < blocks; ++b) {
      Floats bounds(block_vectors);
      kernels.block_bounds(store.block(b), store.padded_quads(), queries.scans[q], bounds.data());
      float least = std::numeric_limits<float>::infinity();
      for (size_t v = 0; v < block_vectors; ++v) {
        const bool counts = allowed.empty() || ((allowed[b] >> v) & 1U) != 0;
        least = counts ? std::min(least, bounds[v]) : least;
      }
      ASSERT_TRUE(same_bits(&minima[q * stride + b], &least, 1)) << "query " << q << " block " << b;
    }
    for (size_t b = blocks; b < stride; ++b) {
      ASSERT_EQ(minima[q * stride + b], untouched);
    }
  }
}

TEST_P(ScanKernel, BlockMinimaAreTheLeastAllowedBounds) {
  for (const size_t quads : {1U, 5U, 25U, 33U, 384U}) {
    const CodeLayout layout = one_plane(quads);
    for (const size_t n : {0U, 1U, 33U, 64U, 65U, 700U}) {
      const CodeStore store = store_of(kernels(), layout, random_codes(layout, n, quads + n));
      for (const size_t count : {1U, 2U, 3U, 4U, 5U, 7U, 8U}) {
        const Queries queries(count, store.padded_quads(), n + count);
        expect_minima(kernels(), store, queries, {});
        if (n > 0) {
          expect_minima(kernels(), store, queries, masks(store.blocks(), count));
        }
      }
    }
  }
}

constexpr uint32_t first_selected_id = 640;

/// What a selecting kernel found for each of some queries, with the room that its contract asks
/// for.
class Selections {
 public:
  Selections(size_t queries, size_t blocks) {
    for (size_t q = 0; q < queries; ++q) {
      bounds_.emplace_back(blocks * block_vectors + 18);
      ids_.emplace_back(bounds_.back().size());
      ids_.back()[1] = 77;
    }
    for (size_t q = 0; q < queries; ++q) {
      out_.push_back({bounds_[q].data(), ids_[q].data(), 2});  // two entries are there already
    }
  }
  simd::Selection* out() { return out_.data(); }

  /// Expects, after the two, the allowed vectors that wanted(q, block, bound) is true of.
  template <class Wanted>
  void expect(const simd::KernelTable& kernels, const CodeStore& store, const Queries& queries,
              const std::vector<uint64_t>& allowed, const Wanted& wanted) const {
    for (size_t q = 0; q < out_.size(); ++q) {
      std::vector<uint32_t> ids = {0, 77};
      Floats expected = {0.0F, 0.0F};
      for (size_t b = 0; b < store.blocks(); ++b) {
        Floats bounds(block_vectors);
        kernels.block_bounds(store.block(b), store.padded_quads(), queries.scans[q], bounds.data());
        for (size_t v = 0; v < block_vectors; ++v) {
          const bool counts = allowed.empty() || ((allowed[b] >> v) & 1U) != 0;
          if (counts && wanted(q, b, bounds[v])) {
            ids.push_back(static_cast<uint32_t>(first_selected_id + b * block_vectors + v));
            expected.push_back(bounds[v]);
          }
        }
      }
      ASSERT_EQ(out_[q].count, ids.size()) << "query " << q << " of " << out_.size();
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), out_[q].ids)) << "query " << q;
      ASSERT_TRUE(same_bits(out_[q].bounds, expected.data(), expected.size())) << "query " << q;
    }
  }

 private:
  std::vector<Floats> bounds_;
  std::vector<std::vector<uint32_t>> ids_;
  std::vector<simd::Selection> out_;
};

void expect_selection(const simd::KernelTable& kernels, const CodeStore& store,
                      const Queries& queries, const Floats& limits,
                      const std::vector<uint64_t>& allowed) {
  const size_t count = queries.scans.size();
  Selections found(count, store.blocks());
  kernels.select(store.block(0), store.blocks(), store.block_bytes(), store.padded_quads(),
                 queries.scans.data(), count, limits.data(),
                 allowed.empty() ? nullptr : allowed.data(), first_selected_id, found.out());
  found.expect(kernels, store, queries, allowed,
               [&](size_t q, size_t /*block*/, float bound) { return bound <= limits[q]; });
}

TEST_P(ScanKernel, SelectFindsTheAllowedVectorsWithinTheLimit) {
  for (const size_t quads : {1U, 5U, 25U, 384U}) {
    const CodeLayout layout = one_plane(quads);
    for (const size_t n : {1U, 33U, 64U, 65U, 700U}) {
      const CodeStore store = store_of(kernels(), layout, random_codes(layout, n, quads + n));
      for (const size_t count : {1U, 2U, 3U, 4U, 5U, 7U, 8U}) {
        const Queries queries(count, store.padded_quads(), n + count);
        // From nothing over a share to everything, and exactly one of the bounds.
        Floats bounds(block_vectors);
        kernels().block_bounds(store.block(0), store.padded_quads(), queries.scans[0],
                               bounds.data());
        const Floats choices = {bounds[0], -100.0F, std::numeric_limits<float>::max(), -1e30F};
        Floats limits(count);
        for (size_t q = 0; q < count; ++q) {
          limits[q] = choices[q % choices.size()];
        }
        expect_selection(kernels(), store, queries, limits, {});
        expect_selection(kernels(), store, queries, limits, masks(store.blocks(), count));
      }
    }
  }
}

/// select_again() finds what its ranges ask for, block by block and bound by bound.
void expect_selection_again(const simd::KernelTable& kernels, const CodeStore& store,
                            const Queries& queries, const std::vector<simd::SelectRange>& ranges,
                            const std::vector<uint64_t>& allowed) {
  const size_t count = queries.scans.size();
  const size_t stride = store.blocks() + 1;
  const uint64_t* masks = allowed.empty() ? nullptr : allowed.data();
  Floats minima(count * stride);
  kernels.block_minima(store.block(0), store.blocks(), store.block_bytes(), store.padded_quads(),
                       queries.scans.data(), count, masks, minima.data(), stride);
  Selections found(count, store.blocks());
  kernels.select_again(store.block(0), store.blocks(), store.block_bytes(), store.padded_quads(),
                       queries.scans.data(), count, minima.data(), stride, ranges.data(), masks,
                       first_selected_id, found.out());
  found.expect(kernels, store, queries, allowed, [&](size_t q, size_t block, float bound) {
    const simd::SelectRange& range = ranges[q];
    const float least = minima[q * stride + block];
    return least > range.blocks_above && least <= range.blocks_to && bound > range.above &&
           bound <= range.to;
  });
}

TEST_P(ScanKernel, SelectAgainFindsWhatItsRangesAskFor) {
  constexpr float everything = std::numeric_limits<float>::max();
  for (const size_t quads : {1U, 25U, 33U}) {
    const CodeLayout layout = one_plane(quads);
    // The last has more blocks than a kernel lists at a time.
    for (const size_t n : {1U, 64U, 65U, 700U, 40000U}) {
      const CodeStore store = store_of(kernels(), layout, random_codes(layout, n, quads + n));
      for (const size_t count : {1U, 2U, 3U, 4U, 7U, 32U}) {
        const Queries queries(count, store.padded_quads(), n + count);
        std::vector<simd::SelectRange> ranges;
        for (size_t q = 0; q < count; ++q) {
          Floats bounds(block_vectors);
          kernels().block_bounds(store.block(0), store.padded_quads(), queries.scans[q],
                                 bounds.data());
          const float least = *std::min_element(bounds.begin(), bounds.end());
          const std::vector<simd::SelectRange> choices = {
              {-everything, least, -everything, bounds[0]},  // block 0 is just within
              {least, everything, -everything, bounds[0]},   // and just not
              {-everything, everything, bounds[0], everything},
              {-everything, everything, -everything, everything}};
          ranges.push_back(choices[q % choices.size()]);
        }
        expect_selection_again(kernels(), store, queries, ranges, {});
        expect_selection_again(kernels(), store, queries, ranges, masks(store.blocks(), count));
      }
    }
  }
}

TEST_P(ScanKernel, UnusedPlacesAreInfinitelyFar) {
  const CodeLayout layout = one_plane(25);
  const CodeStore store = store_of(kernels(), layout, random_codes(layout, 65, 14));
  const Queries queries(1, store.padded_quads(), 15);
  Floats bounds(block_vectors);
  kernels().block_bounds(store.block(1), store.padded_quads(), queries.scans[0], bounds.data());
  EXPECT_TRUE(std::isfinite(bounds[0]));
  for (size_t v = 1; v < block_vectors; ++v) {
    EXPECT_EQ(bounds[v], std::numeric_limits<float>::infinity()) << v;
  }
}

RQ_FOR_EVERY_KERNEL_SET(ScanKernel);

}  // namespace
}  // namespace rotorquant
