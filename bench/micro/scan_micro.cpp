// SPDX-License-Identifier: MIT
//
// The scan: level-1 sums of blocks, for one query and for several in one pass.
#include <algorithm>
#include <string>
#include <vector>

#include "micro.h"
#include "rotorquant/random.h"

namespace rotorquant::bench {
namespace {

/// Blocks a kernel call passes over, as in a search: the tables of many queries and these stay in
/// cache together.
constexpr size_t chunk_blocks = 64;
/// One vector in so many passes a selection.
constexpr size_t selectivity = 500;

struct Fixture {
  const simd::KernelTable& kernels;
  CodeStore store;
  std::vector<AlignedVector<uint8_t>> tables;
  std::vector<simd::ScanQuery> queries;

  Fixture(const simd::KernelTable& set, size_t d, size_t scan_bytes, size_t query_count)
      : kernels(set), store(sized_store(set, d, scan_bytes)) {
    Rng rng(d);
    for (size_t q = 0; q < query_count; ++q) {
      AlignedVector<uint8_t> table(store.padded_quads() * fanout);
      std::generate(table.begin(), table.end(), [&] { return static_cast<uint8_t>(rng.bits()); });
      tables.push_back(std::move(table));
      queries.push_back({tables.back().data(), 0.01F, 0.0F});
    }
  }

  static CodeStore sized_store(const simd::KernelTable& set, size_t d, size_t scan_bytes) {
    const CodeLayout layout = make_codec(d, {1, false, FrameKind::rotor_layers}).layout();
    const CodeStore empty = random_store(set, layout, 0);
    return random_store(set, layout, scan_bytes / empty.block_bytes() * block_vectors);
  }

  size_t lookups() const { return store.size() * store.padded_quads() * queries.size(); }
  size_t bytes() const { return store.blocks() * store.block_bytes(); }

  /// Calls work(first block, blocks) over the store.
  template <class Work>
  void each_chunk(const Work& work) const {
    for (size_t b = 0; b < store.blocks(); b += chunk_blocks) {
      work(b, std::min(chunk_blocks, store.blocks() - b));
    }
  }
};

void minima(benchmark::State& state, const simd::KernelTable& kernels, size_t d, size_t scan_bytes,
            size_t query_count) {
  const Fixture f(kernels, d, scan_bytes, query_count);
  std::vector<float> least(f.store.blocks() * query_count);
  const Report report(state);
  for (auto _ : state) {
    f.each_chunk([&](size_t first, size_t blocks) {
      kernels.block_minima(f.store.block(first), blocks, f.store.block_bytes(),
                           f.store.padded_quads(), f.queries.data(), query_count, nullptr,
                           least.data() + first, f.store.blocks());
    });
    benchmark::ClobberMemory();
  }
  report.bytes(f.bytes());
  report.lookups(kernels, f.lookups());
}

/// The limit that one vector in `selectivity` of the first blocks keeps within.
std::vector<float> limits_of(const Fixture& f) {
  std::vector<float> limits;
  const size_t blocks = std::min<size_t>(f.store.blocks(), 256);
  for (const simd::ScanQuery& query : f.queries) {
    std::vector<float> bounds(blocks * block_vectors);
    for (size_t b = 0; b < blocks; ++b) {
      f.kernels.block_bounds(f.store.block(b), f.store.padded_quads(), query,
                             bounds.data() + b * block_vectors);
    }
    const auto at = bounds.begin() + static_cast<std::ptrdiff_t>(bounds.size() / selectivity);
    std::nth_element(bounds.begin(), at, bounds.end());
    limits.push_back(*at);
  }
  return limits;
}

void select(benchmark::State& state, const simd::KernelTable& kernels, size_t d, size_t scan_bytes,
            size_t query_count) {
  const Fixture f(kernels, d, scan_bytes, query_count);
  const std::vector<float> limits = limits_of(f);
  constexpr size_t room = chunk_blocks * block_vectors + simd::lanes;
  std::vector<float> bounds(query_count * room);
  std::vector<uint32_t> ids(query_count * room);
  std::vector<simd::Selection> out(query_count);
  size_t selected = 0;
  const Report report(state);
  for (auto _ : state) {
    f.each_chunk([&](size_t first, size_t blocks) {
      for (size_t q = 0; q < query_count; ++q) {
        out[q] = {bounds.data() + q * room, ids.data() + q * room, 0};
      }
      kernels.select(f.store.block(first), blocks, f.store.block_bytes(), f.store.padded_quads(),
                     f.queries.data(), query_count, limits.data(), nullptr,
                     static_cast<uint32_t>(first * block_vectors), out.data());
      for (const simd::Selection& found : out) {
        selected += found.count;
      }
    });
  }
  report.bytes(f.bytes());
  report.lookups(kernels, f.lookups());
  state.counters["selected"] =
      benchmark::Counter(static_cast<double>(selected) / static_cast<double>(query_count),
                         benchmark::Counter::kAvgIterations);
}

/// Gathering the nibbles of one vector, for the refine.
void plane(benchmark::State& state, const simd::KernelTable& kernels, size_t d) {
  const Fixture f(kernels, d, size_t{1} << 18, 0);
  AlignedVector<uint8_t> nibbles(f.store.padded_quads() / 2);
  size_t i = 0;
  const Report report(state);
  for (auto _ : state) {
    kernels.scan_plane(f.store.block(i / block_vectors), f.store.padded_quads(), i % block_vectors,
                       nibbles.data());
    benchmark::ClobberMemory();
    i = (i + 37) % f.store.size();  // candidates are not neighbours
  }
  report.bytes(nibbles.size());
}

struct Place {
  const char* name;
  size_t scan_bytes;
};

}  // namespace

void register_scan(const simd::KernelTable& kernels) {
  const std::string set(kernels.name);
  for (const size_t d : dimensions) {
    benchmark::RegisterBenchmark(
        ("scan_plane/" + set + "/d" + std::to_string(d)).c_str(),
        [&kernels, d](benchmark::State& state) { plane(state, kernels, d); });
  }
  for (const Place& place : {Place{"256KB", size_t{1} << 18}, Place{"64MB", size_t{1} << 26}}) {
    for (const size_t d : dimensions) {
      for (const size_t queries : {size_t{1}, size_t{4}, size_t{16}}) {
        const std::string suffix = "/" + set + "/d" + std::to_string(d) + "/" + place.name +
                                   "/queries" + std::to_string(queries);
        benchmark::RegisterBenchmark(("scan_minima" + suffix).c_str(),
                                     [&kernels, d, place, queries](benchmark::State& state) {
                                       minima(state, kernels, d, place.scan_bytes, queries);
                                     })
            ->Unit(benchmark::kMicrosecond);
        benchmark::RegisterBenchmark(("scan_select" + suffix).c_str(),
                                     [&kernels, d, place, queries](benchmark::State& state) {
                                       select(state, kernels, d, place.scan_bytes, queries);
                                     })
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace rotorquant::bench
