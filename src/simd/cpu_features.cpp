// SPDX-License-Identifier: MIT
#include "simd/cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rotorquant::simd {

#if defined(__x86_64__)
namespace {

struct CpuBits {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_ecx = 0;
  uint32_t extended1_ecx = 0;
  uint64_t xcr0 = 0;
};

CpuBits read_cpu_bits() {
  CpuBits bits;
  uint32_t eax = 0;
  uint32_t ebx = 0;
  uint32_t ecx = 0;
  uint32_t edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) {
    bits.leaf1_ecx = ecx;
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    bits.leaf7_ebx = ebx;
    bits.leaf7_ecx = ecx;
  }
  if (__get_cpuid(0x80000001U, &eax, &ebx, &ecx, &edx) != 0) {
    bits.extended1_ecx = ecx;
  }
  constexpr uint32_t osxsave = 1U << 27U;
  if ((bits.leaf1_ecx & osxsave) != 0) {
    uint32_t low = 0;
    uint32_t high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    bits.xcr0 = (static_cast<uint64_t>(high) << 32U) | low;
  }
  return bits;
}

const CpuBits& cpu_bits() {
  static const CpuBits bits = read_cpu_bits();
  return bits;
}

bool all_set(uint64_t value, uint64_t mask) {
  return (value & mask) == mask;
}

constexpr uint32_t bit(unsigned position) {
  return 1U << position;
}

}  // namespace

bool cpu_has_avx2() {
  const CpuBits& cpu = cpu_bits();
  // SSE3 SSSE3 FMA SSE4.1 SSE4.2 POPCNT AVX F16C
  constexpr uint32_t leaf1 =
      bit(0) | bit(9) | bit(12) | bit(19) | bit(20) | bit(23) | bit(28) | bit(29);
  constexpr uint32_t leaf7 = bit(3) | bit(5) | bit(8);  // BMI1 AVX2 BMI2
  constexpr uint32_t extended1 = bit(5);                // LZCNT
  constexpr uint64_t ymm_state = 0x6;
  return all_set(cpu.leaf1_ecx, leaf1) && all_set(cpu.leaf7_ebx, leaf7) &&
         all_set(cpu.extended1_ecx, extended1) && all_set(cpu.xcr0, ymm_state);
}

bool cpu_has_avx512bw() {
  const CpuBits& cpu = cpu_bits();
  constexpr uint32_t leaf7b = bit(16) | bit(17) | bit(30) | bit(31);  // F DQ BW VL
  constexpr uint64_t zmm_state = 0xE6;
  return cpu_has_avx2() && all_set(cpu.leaf7_ebx, leaf7b) && all_set(cpu.xcr0, zmm_state);
}

bool cpu_has_avx512vbmi() {
  constexpr uint32_t leaf7c = bit(1) | bit(11);  // VBMI VNNI
  return cpu_has_avx512bw() && all_set(cpu_bits().leaf7_ecx, leaf7c);
}

#else

bool cpu_has_avx2() {
  return false;
}
bool cpu_has_avx512bw() {
  return false;
}
bool cpu_has_avx512vbmi() {
  return false;
}

#endif

}  // namespace rotorquant::simd
