// SPDX-License-Identifier: MIT
//
// The refine: both inner products of a code, and its decoding. Time is that of one code.
#include <string>
#include <vector>

#include "codec_access.h"
#include "micro.h"

namespace rotorquant::bench {
namespace {

/// Codes that fit a cache, so that the kernel is what is timed.
constexpr size_t code_count = 512;

struct Fixture {
  Codec codec;
  CodecQuery query;
  simd::RefineView view;
  std::vector<uint8_t> codes;

  Fixture(size_t d, const CodecChoice& choice)
      : codec(make_codec(d, choice)),
        query(codec.prepare(gaussian(1, d, 3).data())),
        view(CodecAccess::refine_view(codec, query, 0)),
        codes(random_codes(codec.layout(), code_count, 4)) {}

  const uint8_t* plane1(size_t i) const { return codes.data() + i * codec.code_bytes(); }
  const uint8_t* row(size_t i) const { return plane1(i) + codec.layout().plane_bytes; }
};

void refine(benchmark::State& state, const simd::KernelTable& kernels, size_t d,
            const CodecChoice& choice) {
  const Fixture f(d, choice);
  float products[2] = {};
  size_t i = 0;
  const Report report(state);
  for (auto _ : state) {
    kernels.refine(f.view, f.plane1(i), f.row(i), products, products + 1);
    benchmark::DoNotOptimize(products);
    i = (i + 1) % code_count;
  }
  report.bytes(f.codec.code_bytes());
}

/// The refine in integers: what searches call.
void score(benchmark::State& state, const simd::KernelTable& kernels, size_t d,
           const CodecChoice& choice) {
  const Fixture f(d, choice);
  size_t i = 0;
  const Report report(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernels.score(f.view, f.plane1(i), f.row(i)));
    i = (i + 1) % code_count;
  }
  report.bytes(f.codec.code_bytes());
}

void decode(benchmark::State& state, const simd::KernelTable& kernels, size_t d,
            const CodecChoice& choice) {
  const Fixture f(d, choice);
  AlignedVector<float> decoded((f.view.layout.quads * quad_dims + simd::lanes - 1) / simd::lanes *
                               simd::lanes);
  size_t i = 0;
  const Report report(state);
  for (auto _ : state) {
    kernels.decode_levels(f.view, f.plane1(i), f.row(i), decoded.data());
    benchmark::ClobberMemory();
    i = (i + 1) % code_count;
  }
  report.bytes(f.codec.code_bytes());
}

}  // namespace

void register_refine(const simd::KernelTable& kernels) {
  for (const size_t d : dimensions) {
    for (const CodecChoice& choice : {CodecChoice{2, true, FrameKind::rotor_layers},
                                      {3, true, FrameKind::rotor_layers},
                                      {4, true, FrameKind::rotor_layers},
                                      {4, false, FrameKind::rotor_layers},
                                      {8, true, FrameKind::rotor_layers},
                                      {3, true, FrameKind::learned},
                                      {4, true, FrameKind::learned}}) {
      if (choice.frame == FrameKind::learned && d > 384) {
        continue;  // training takes longer than all the rest
      }
      const std::string name = std::string(choice.frame == FrameKind::learned ? "ORQ" : "RQ") +
                               std::to_string(choice.bits) + (choice.signs ? "" : "mse");
      const std::string suffix =
          "/" + std::string(kernels.name) + "/d" + std::to_string(d) + "/" + name;
      using Run = void (*)(benchmark::State&, const simd::KernelTable&, size_t, const CodecChoice&);
      const auto add = [&](const char* what, Run run) {
        benchmark::RegisterBenchmark((what + suffix).c_str(),
                                     [&kernels, run, d, choice](benchmark::State& state) {
                                       run(state, kernels, d, choice);
                                     });
      };
      add("score", score);
      add("refine", refine);
      add("decode_levels", decode);
    }
  }
}

}  // namespace rotorquant::bench
