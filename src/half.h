// SPDX-License-Identifier: MIT
#pragma once

// 16-bit floats of the file format. Conversions are integer arithmetic, hence the same everywhere.

#include <bit>
#include <cstdint>

namespace rotorquant {

/// Factors are never negative, so their 16 bits hold no sign: 8 exponent and 8 mantissa bits, the
/// full range of a float at twice bfloat16's precision, and one shift to decode.
constexpr float decode_factor(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 15U);
}

/// Round to nearest, ties to even. value >= 0 and finite; a value that would round up to infinity
/// becomes the largest finite factor.
constexpr uint16_t encode_factor(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x3FFFU + ((bits >> 15U) & 1U)) >> 15U;
  constexpr uint32_t largest = 0xFEFFU;
  return static_cast<uint16_t>(rounded < largest ? rounded : largest);
}

/// IEEE 754 binary16.
float half_to_float(uint16_t half);
/// Round to nearest, ties to even; overflow gives infinity.
uint16_t float_to_half(float value);

}  // namespace rotorquant
