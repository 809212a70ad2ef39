// SPDX-License-Identifier: MIT
#pragma once

// What the core's tests share: data that is the same on every machine, figures of merit, and the
// kernel sets as a test parameter.

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rotorquant/codec.h"
#include "rotorquant/error.h"
#include "rotorquant/random.h"
#include "simd/kernels.h"

namespace rotorquant::test_data {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

inline std::span<const uint8_t> first_bytes(const Bytes& bytes, size_t n) {
  return std::span<const uint8_t>(bytes).first(n);
}

/// n x d independent N(0, scale^2).
inline Floats gaussian(size_t n, size_t d, uint64_t seed, float scale = 1.0F) {
  Rng rng(seed, 0x7E57);
  Floats x(n * d);
  for (float& v : x) {
    v = scale * static_cast<float>(rng.gaussian());
  }
  return x;
}

/// n x d: `clusters` Gaussian centres, points about them with a tenth of the centres' variance. The
/// neighbours of a point are far closer than the rest, as in real embeddings.
inline Floats clustered(size_t n, size_t d, size_t clusters, uint64_t seed) {
  const Floats centres = gaussian(clusters, d, seed + 1);
  Floats x = gaussian(n, d, seed, 0.32F);
  Rng rng(seed, 0xC1);
  for (size_t i = 0; i < n; ++i) {
    const size_t c = rng.below(clusters);
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] += centres[c * d + j];
    }
  }
  return x;
}

/// n x d with a spectrum that falls by a factor of about 30 and correlated neighbours: what a
/// learned frame is for.
inline Floats correlated(size_t n, size_t d, uint64_t seed) {
  Floats x = gaussian(n, d, seed);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < d; ++j) {
      float& v = x[i * d + j];
      v *= 1.0F / (1.0F + 5.0F * static_cast<float>(j) / static_cast<float>(d));
      v += j > 0 ? 0.5F * x[i * d + j - 1] : 0.0F;
    }
  }
  return x;
}

inline double dot(const float* a, const float* b, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

inline Floats squared_norms(const Floats& x, size_t d) {
  Floats norms(x.size() / d);
  for (size_t i = 0; i < norms.size(); ++i) {
    norms[i] = static_cast<float>(dot(x.data() + i * d, x.data() + i * d, d));
  }
  return norms;
}

/// Mean over rows of 1 - cos^2 between x and y: what codec.md calls distortion.
inline double distortion(const Floats& x, const Floats& y, size_t d) {
  const size_t n = x.size() / d;
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) {
    const float* a = x.data() + i * d;
    const float* b = y.data() + i * d;
    const double product = dot(a, b, d);
    sum += 1.0 - product * product / (dot(a, a, d) * dot(b, b, d));
  }
  return sum / static_cast<double>(n);
}

/// Codes with the squared norm as additive term, as a flat L2 store holds them.
inline Bytes encoded(const Codec& codec, const Floats& x) {
  const Floats additive = squared_norms(x, codec.dim());
  Bytes codes(additive.size() * codec.code_bytes());
  codec.encode(x.data(), additive.data(), additive.size(), codes.data());
  return codes;
}

inline Floats decoded(const Codec& codec, const Bytes& codes, size_t levels = 0) {
  const size_t n = codes.size() / codec.code_bytes();
  Floats x(n * codec.dim());
  codec.decode(codes.data(), n, x.data(), levels);
  return x;
}

inline CodecParams codec_params(size_t d, int bits, bool signs,
                                FrameKind frame = FrameKind::rotor_layers) {
  CodecParams params;
  params.d = d;
  params.bits = bits;
  params.signs = signs;
  params.frame = frame;
  return params;
}

/// A codec that is ready, trained on correlated data where its frame is learned.
inline Codec ready_codec(const CodecParams& params) {
  Codec codec(params);
  codec.train(correlated(600, params.d, 91).data(), 600);
  return codec;
}

/// A few codes of each kind.
inline std::vector<Codec> some_codecs(size_t d) {
  return {ready_codec(codec_params(d, 1, true)),
          ready_codec(codec_params(d, 3, true)),
          ready_codec(codec_params(d, 5, false)),
          ready_codec(codec_params(d, 3, true, FrameKind::haar)),
          ready_codec(codec_params(d, 3, true, FrameKind::learned)),
          ready_codec(codec_params(d, 8, false, FrameKind::learned))};
}

inline uint32_t bits_of(float value) {
  return std::bit_cast<uint32_t>(value);
}

/// Equal bits, so that -0 and 0 differ and a NaN equals itself.
inline bool same_bits(const float* a, const float* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0;
}
inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && same_bits(a.data(), b.data(), a.size());
}

/// The number of threads that OpenMP uses by default, while it lives.
class ScopedThreads {
 public:
  explicit ScopedThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~ScopedThreads() { omp_set_num_threads(before_); }
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int before_;
};

/// The message of the Error that `f` throws, empty when it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// A kernel set that this build has, whether or not the machine can run it.
struct KernelSet {
  const simd::KernelTable* table;

  std::string name() const { return std::string(table->name); }
  bool runs_here() const {
    const auto& available = simd::available_kernels();
    return std::find(available.begin(), available.end(), table) != available.end();
  }
};

/// Keeps addresses out of test names.
inline void PrintTo(const KernelSet& set,
                    std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << set.name();
}

inline std::vector<KernelSet> built_kernel_sets() {
  return {
#ifdef ROTORQUANT_HAVE_AVX512VBMI
      {&simd::avx512vbmi_kernels},
#endif
#ifdef ROTORQUANT_HAVE_AVX512BW
      {&simd::avx512bw_kernels},
#endif
#ifdef ROTORQUANT_HAVE_AVX2
      {&simd::avx2_kernels},
#endif
#ifdef ROTORQUANT_HAVE_NEON
      {&simd::neon_kernels},
#endif
      {&simd::scalar_kernels},
  };
}

/// A test over every kernel set of the build. One that the machine cannot run shows as skipped, by
/// name: it must not look as if it had passed.
class EveryKernelSet : public testing::TestWithParam<KernelSet> {
 protected:
  void SetUp() override {
    if (!GetParam().runs_here()) {
      GTEST_SKIP() << "this machine cannot run the kernel set " << GetParam().name();
    }
  }
  const simd::KernelTable& kernels() const { return *GetParam().table; }
};

inline std::string kernel_set_name(const testing::TestParamInfo<KernelSet>& info) {
  return info.param.name();
}

}  // namespace rotorquant::test_data
