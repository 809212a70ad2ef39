// SPDX-License-Identifier: MIT
// Numbers in fixed point. Included inside an anonymous namespace. Loops that compilers vectorise.

float largest_magnitude(const float* values, size_t n) {
  int32_t largest = 0;  // the bits of magnitudes are in the order of magnitudes
  for (size_t i = 0; i < n; ++i) {
    int32_t bits;
    __builtin_memcpy(&bits, values + i, sizeof(bits));
    bits &= 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  float result;
  __builtin_memcpy(&result, &largest, sizeof(result));
  return result;
}

void to_fixed(const float* values, size_t n, float scale, int16_t* fixed) {
  constexpr float no_fractions = 0x1.8p23F;  // sums with it are whole: the nearest, ties to even
  constexpr int32_t most = 32767;
  for (size_t i = 0; i < n; ++i) {
    auto whole = static_cast<int32_t>((values[i] * scale + no_fractions) - no_fractions);
    whole = whole < most ? whole : most;
    fixed[i] = static_cast<int16_t>(whole > -most ? whole : -most);
  }
}
