// SPDX-License-Identifier: MIT
//
// Frames: rotor layers on blocks of 16 vectors (data and, as the sign map O, the signs) and on one,
// the learned frame's matrix on blocks, on one vector and on a batch of queries, and a query's
// tables.
#include <string>
#include <vector>

#include "codec_access.h"
#include "half.h"
#include "lane_rows.h"
#include "micro.h"

namespace rotorquant::bench {
namespace {

void rotor(benchmark::State& state, const simd::KernelTable& kernels, size_t d, bool forward) {
  const RotorLayers layers(d, RotorLayers::default_layers(d), 1);
  const simd::RotorLayersView view = view_of(layers);
  const std::vector<float> vectors = gaussian(d, simd::lanes, 7);
  AlignedVector<float> block(vectors.begin(), vectors.end());
  AlignedVector<float> scratch(block.size());
  const auto map = forward ? kernels.rotor_forward : kernels.rotor_inverse;
  const Report report(state);
  for (auto _ : state) {
    map(view, block.data(), scratch.data());  // an isometry: values stay as large as they are
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(simd::lanes));
  report.bytes(layers.layers() * block.size() * sizeof(float));
}

/// One vector by itself.
void rotor_vector(benchmark::State& state, const simd::KernelTable& kernels, size_t d) {
  const RotorLayers layers(d, RotorLayers::default_layers(d), 1);
  const simd::RotorVectorView view = vector_view_of(layers);
  std::vector<float> vector = gaussian(1, d, 7);
  AlignedVector<float> scratch(vector_scratch(layers));
  const Report report(state);
  for (auto _ : state) {
    kernels.rotor_vector(view, vector.data(), vector.data(), scratch.data());
    benchmark::ClobberMemory();
  }
  report.bytes(layers.vector_order().matrices.size() * sizeof(float) +
               layers.vector_order().sources.size() * sizeof(uint32_t));
}

/// The learned frame of a batch of queries.
void half_matrix_vectors(benchmark::State& state, const simd::KernelTable& kernels, size_t d) {
  constexpr size_t n = 32;
  std::vector<uint16_t> mt;
  for (const float v : gaussian(d, d, 8)) {
    mt.push_back(float_to_half(v));
  }
  const std::vector<float> x = gaussian(n, d, 9);
  std::vector<float> y(x.size());
  const Report report(state);
  for (auto _ : state) {
    kernels.half_matrix_vectors(mt.data(), d, d, x.data(), d, n, y.data(), d);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(n));
  report.bytes(mt.size() * sizeof(uint16_t));
}

void matrix_block(benchmark::State& state, const simd::KernelTable& kernels, size_t d) {
  const std::vector<float> m = gaussian(d, d, 8);
  const std::vector<float> vectors = gaussian(d, simd::lanes, 9);
  const AlignedVector<float> x(vectors.begin(), vectors.end());
  AlignedVector<float> y(x.size());
  const Report report(state);
  for (auto _ : state) {
    kernels.matrix_block(m.data(), d, d, x.data(), y.data(), 1);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(simd::lanes));
  report.bytes(m.size() * sizeof(float));
}

void matrix_vector(benchmark::State& state, const simd::KernelTable& kernels, size_t d) {
  const std::vector<float> mt = gaussian(d, d, 8);
  const std::vector<float> x = gaussian(1, d, 9);
  std::vector<float> y(d);
  const Report report(state);
  for (auto _ : state) {
    kernels.matrix_vector(mt.data(), d, d, x.data(), y.data());
    benchmark::ClobberMemory();
  }
  report.bytes(mt.size() * sizeof(float));
}

/// Codec::prepare and the scan's table: what a query costs before it looks at a vector.
void tables(benchmark::State& state, const simd::KernelTable& kernels, size_t d, bool learned) {
  const simd::ScopedKernels scoped(kernels);
  const Codec codec =
      make_codec(d, {3, true, learned ? FrameKind::learned : FrameKind::rotor_layers});
  const CodeStore store(codec.layout());
  const std::vector<float> query = gaussian(1, d, 10);
  ScanTable table;
  AlignedVector<float> scratch;
  for (auto _ : state) {
    const CodecQuery prepared = codec.prepare(query.data());
    CodecAccess::fill_scan_table(codec, prepared, store.padded_quads(), table, scratch);
    benchmark::DoNotOptimize(table.entries.data());
  }
}

}  // namespace

void register_frame(const simd::KernelTable& kernels) {
  const auto add = [&](const std::string& what, size_t d, const auto& run) {
    const std::string name = what + "/" + std::string(kernels.name) + "/d" + std::to_string(d);
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  for (const size_t d : dimensions) {
    add("rotor_forward", d, [&kernels, d](auto& state) { rotor(state, kernels, d, true); });
    add("rotor_inverse", d, [&kernels, d](auto& state) { rotor(state, kernels, d, false); });
    add("rotor_vector", d, [&kernels, d](auto& state) { rotor_vector(state, kernels, d); });
    add("half_matrix_vectors", d,
        [&kernels, d](auto& state) { half_matrix_vectors(state, kernels, d); });
    add("matrix_block", d, [&kernels, d](auto& state) { matrix_block(state, kernels, d); });
    add("matrix_vector", d, [&kernels, d](auto& state) { matrix_vector(state, kernels, d); });
    add("query_tables_RQ3", d, [&kernels, d](auto& state) { tables(state, kernels, d, false); });
    if (d <= 384) {  // training takes longer than all the rest
      add("query_tables_ORQ3", d, [&kernels, d](auto& state) { tables(state, kernels, d, true); });
    }
  }
}

}  // namespace rotorquant::bench
