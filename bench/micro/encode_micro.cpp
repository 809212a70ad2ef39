// SPDX-License-Identifier: MIT
//
// The encoder: one block of 16 vectors that are in the frame already.
#include <algorithm>
#include <string>
#include <vector>

#include "codec_access.h"
#include "micro.h"

namespace rotorquant::bench {
namespace {

void encode(benchmark::State& state, const simd::KernelTable& kernels, size_t d,
            const CodecChoice& choice) {
  const Codec codec = make_codec(d, choice);
  const simd::EncodeView view = CodecAccess::encode_view(codec);
  const size_t step = std::max<size_t>(view.dims, 1) * simd::lanes;
  const std::vector<float> vectors = gaussian(view.dims, simd::lanes, 6);
  AlignedVector<float> rows(5 * step);
  AlignedVector<uint8_t> nibbles(view.layout.planes * view.layout.quads * simd::lanes);
  simd::EncodeBlock block{};
  block.y = rows.data();
  block.decoded = rows.data() + step;
  block.sign_part = rows.data() + 2 * step;
  block.residual = rows.data() + 3 * step;
  block.scratch = rows.data() + 4 * step;
  block.nibbles = nibbles.data();
  const Report report(state);
  for (auto _ : state) {
    std::copy(vectors.begin(), vectors.end(), block.y);  // the kernel overwrites them
    kernels.encode_block(view, block);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(simd::lanes));
  report.bytes(vectors.size() * sizeof(float));
}

}  // namespace

void register_encode(const simd::KernelTable& kernels) {
  for (const size_t d : dimensions) {
    for (const int bits : {1, 2, 3, 4, 6, 8}) {
      for (const bool signs : {true, false}) {
        const CodecChoice choice{bits, signs, FrameKind::rotor_layers};
        const std::string name = "encode_block/" + std::string(kernels.name) + "/d" +
                                 std::to_string(d) + "/RQ" + std::to_string(bits) +
                                 (signs ? "" : "mse");
        benchmark::RegisterBenchmark(name.c_str(), [&kernels, d, choice](benchmark::State& state) {
          encode(state, kernels, d, choice);
        })->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace rotorquant::bench
