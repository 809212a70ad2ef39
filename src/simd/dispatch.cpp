// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <string>

#include "rotorquant/error.h"
#include "rotorquant/simd.h"
#include "simd/cpu_features.h"
#include "simd/kernels.h"

namespace rotorquant {
namespace simd {
namespace {

constexpr const char* known_names = "scalar, neon, avx2, avx512bw or avx512vbmi";

std::vector<const KernelTable*> detect() {
  std::vector<const KernelTable*> found;
#ifdef ROTORQUANT_HAVE_AVX512VBMI
  if (cpu_has_avx512vbmi()) {
    found.push_back(&avx512vbmi_kernels);
  }
#endif
#ifdef ROTORQUANT_HAVE_AVX512BW
  if (cpu_has_avx512bw()) {
    found.push_back(&avx512bw_kernels);
  }
#endif
#ifdef ROTORQUANT_HAVE_AVX2
  if (cpu_has_avx2()) {
    found.push_back(&avx2_kernels);
  }
#endif
#ifdef ROTORQUANT_HAVE_NEON
  found.push_back(&neon_kernels);  // part of every AArch64 processor
#endif
  found.push_back(&scalar_kernels);
  return found;
}

std::string joined_names() {
  std::string names;
  for (const KernelTable* kernels : available_kernels()) {
    names += names.empty() ? "" : ", ";
    names += kernels->name;
  }
  return names;
}

const KernelTable& choose() {
  const char* wanted = std::getenv("ROTORQUANT_SIMD");
  if (wanted == nullptr || *wanted == '\0') {
    return *available_kernels().front();
  }
  const std::string name = wanted;
  for (const KernelTable* kernels : available_kernels()) {
    if (kernels->name == name) {
      return *kernels;
    }
  }
  const bool known = name == "neon" || name == "avx2" || name == "avx512bw" || name == "avx512vbmi";
  throw_error("ROTORQUANT_SIMD",
              known ? "a kernel set this machine and build can run (" + joined_names() + ")"
                    : std::string(known_names),
              name);
}

const KernelTable*& forced_kernels() {
  static const KernelTable* forced = nullptr;
  return forced;
}

}  // namespace

const std::vector<const KernelTable*>& available_kernels() {
  static const std::vector<const KernelTable*> found = detect();
  return found;
}

const KernelTable& active_kernels() {
  if (forced_kernels() != nullptr) {
    return *forced_kernels();
  }
  static const KernelTable& chosen = choose();
  return chosen;
}

ScopedKernels::ScopedKernels(const KernelTable& kernels) : previous_(forced_kernels()) {
  forced_kernels() = &kernels;
}

ScopedKernels::~ScopedKernels() {
  forced_kernels() = previous_;
}

}  // namespace simd

std::vector<std::string> simd_available() {
  std::vector<std::string> names;
  for (const simd::KernelTable* kernels : simd::available_kernels()) {
    names.emplace_back(kernels->name);
  }
  return names;
}

std::string simd_active() {
  return std::string(simd::active_kernels().name);
}

}  // namespace rotorquant
