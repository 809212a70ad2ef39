// SPDX-License-Identifier: MIT
// Included by every kernels_*.cpp inside an anonymous namespace: internal linkage, so that code
// compiled with one file's flags can never be picked by the linker for another. No standard
// library templates in here for the same reason.

#define RQ_INLINE static inline __attribute__((always_inline))

using QuadFloat = float __attribute__((vector_size(16)));

// Sixteen lanes: one zmm, two ymm, four xmm or q registers.
#if defined(__AVX512F__)

using LaneFloat = float __attribute__((vector_size(64)));
using LaneInt = int32_t __attribute__((vector_size(64)));

#else

#if defined(__AVX2__)
using FloatPart = float __attribute__((vector_size(32)));
using IntPart = int32_t __attribute__((vector_size(32)));
#else
using FloatPart = QuadFloat;
using IntPart = int32_t __attribute__((vector_size(16)));
#endif

/// Registers side by side. GCC would take one vector of all of them too, but handles vectors wider
/// than the machine's one number at a time.
template <class Part, class Number>
struct LanesOf {
  static constexpr size_t parts = 64 / sizeof(Part);
  using Aliased __attribute__((may_alias)) = Number;

  Part part[parts];

  Aliased& operator[](size_t lane) { return reinterpret_cast<Aliased*>(part)[lane]; }
  Number operator[](size_t lane) const { return reinterpret_cast<const Aliased*>(part)[lane]; }
};

using LaneFloat = LanesOf<FloatPart, float>;
using LaneInt = LanesOf<IntPart, int32_t>;

#define RQ_LANE_OPERATOR(op)                                                                      \
  template <class Part, class Number>                                                             \
  RQ_INLINE LanesOf<Part, Number> operator op(LanesOf<Part, Number> a, LanesOf<Part, Number> b) { \
    for (size_t i = 0; i < a.parts; ++i) {                                                        \
      a.part[i] = a.part[i] op b.part[i];                                                         \
    }                                                                                             \
    return a;                                                                                     \
  }                                                                                               \
  template <class Part, class Number>                                                             \
  RQ_INLINE LanesOf<Part, Number> operator op(LanesOf<Part, Number> a, Number b) {                \
    for (size_t i = 0; i < a.parts; ++i) {                                                        \
      a.part[i] = a.part[i] op b;                                                                 \
    }                                                                                             \
    return a;                                                                                     \
  }                                                                                               \
  template <class Part, class Number>                                                             \
  RQ_INLINE LanesOf<Part, Number> operator op(Number a, LanesOf<Part, Number> b) {                \
    for (size_t i = 0; i < b.parts; ++i) {                                                        \
      b.part[i] = a op b.part[i];                                                                 \
    }                                                                                             \
    return b;                                                                                     \
  }
RQ_LANE_OPERATOR(+)
RQ_LANE_OPERATOR(-)
RQ_LANE_OPERATOR(*)
RQ_LANE_OPERATOR(/)
RQ_LANE_OPERATOR(&)
RQ_LANE_OPERATOR(|)
RQ_LANE_OPERATOR(>>)
#undef RQ_LANE_OPERATOR

RQ_INLINE LaneFloat operator-(LaneFloat a) {
  for (FloatPart& part : a.part) {
    part = -part;
  }
  return a;
}

#endif

// Callers' rows need not be aligned to a whole register; where they are, this costs nothing.
RQ_INLINE LaneFloat load_lanes(const float* p) {
  LaneFloat v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
RQ_INLINE void store_lanes(float* p, LaneFloat v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
RQ_INLINE LaneFloat broadcast(float x) {
  return LaneFloat{} + x;
}
RQ_INLINE LaneInt broadcast_int(int32_t x) {
  return LaneInt{} + x;
}

/// All bits set where a < b.
RQ_INLINE LaneInt less(LaneFloat a, LaneFloat b) {
#if defined(__AVX512F__)
  return a < b;
#else
  LaneInt result;
  for (size_t i = 0; i < a.parts; ++i) {
    result.part[i] = a.part[i] < b.part[i];
  }
  return result;
#endif
}

/// a where `mask` is set, else b.
RQ_INLINE LaneFloat choose(LaneInt mask, LaneFloat a, LaneFloat b) {
#if defined(__AVX512F__)
  return mask ? a : b;
#else
  for (size_t i = 0; i < a.parts; ++i) {
    a.part[i] = mask.part[i] ? a.part[i] : b.part[i];
  }
  return a;
#endif
}
RQ_INLINE LaneInt choose(LaneInt mask, LaneInt a, LaneInt b) {
#if defined(__AVX512F__)
  return mask ? a : b;
#else
  for (size_t i = 0; i < a.parts; ++i) {
    a.part[i] = mask.part[i] ? a.part[i] : b.part[i];
  }
  return a;
#endif
}

RQ_INLINE LaneFloat to_floats(LaneInt v) {
#if defined(__AVX512F__)
  return __builtin_convertvector(v, LaneFloat);
#else
  LaneFloat result;
  for (size_t i = 0; i < v.parts; ++i) {
    result.part[i] = __builtin_convertvector(v.part[i], FloatPart);
  }
  return result;
#endif
}

/// Sum of 16 lanes in the one order that all kernels use: halves folded onto each other.
RQ_INLINE float reduce_add(LaneFloat v) {
#if defined(__AVX__)
  __m256 half[2];
  __builtin_memcpy(half, &v, sizeof(half));
  const __m256 eight = _mm256_add_ps(half[0], half[1]);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#elif defined(RQ_NEON)
  const float32x4_t four = (v.part[0] + v.part[2]) + (v.part[1] + v.part[3]);
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
#else
  float t[16];
  __builtin_memcpy(t, &v, sizeof(t));
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) {
      t[i] += t[i + width];
    }
  }
  return t[0];
#endif
}

/// table[index[lane]] for a 16-entry table (64-byte aligned) and indices 0..15.
RQ_INLINE LaneFloat lookup16(const float* table, LaneInt index) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(
      _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), _mm512_load_ps(table)));
#elif defined(__AVX2__)
  const __m256 low = _mm256_load_ps(table);
  const __m256 high = _mm256_load_ps(table + 8);
  LaneFloat result;
  for (size_t i = 0; i < 2; ++i) {
    const auto half = reinterpret_cast<__m256i>(index.part[i]);
    const __m256 from_low = _mm256_permutevar8x32_ps(low, half);
    const __m256 from_high = _mm256_permutevar8x32_ps(high, half);
    const __m256 is_high = _mm256_castsi256_ps(_mm256_slli_epi32(half, 28));  // bit 3 -> sign
    result.part[i] = _mm256_blendv_ps(from_low, from_high, is_high);
  }
  return result;
#elif defined(RQ_NEON)
  const auto* bytes = reinterpret_cast<const uint8_t*>(table);
  const uint8x16x4_t entries = {
      {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
  LaneFloat result;
  for (size_t i = 0; i < 4; ++i) {  // each index becomes those of its float's four bytes
    const uint32x4_t places =
        vmlaq_u32(vdupq_n_u32(0x03020100U), reinterpret_cast<uint32x4_t>(index.part[i]),
                  vdupq_n_u32(0x04040404U));
    result.part[i] = reinterpret_cast<FloatPart>(vqtbl4q_u8(entries, vreinterpretq_u8_u32(places)));
  }
  return result;
#else
  LaneFloat result;
  for (size_t lane = 0; lane < 16; ++lane) {
    result[lane] = table[index[lane]];
  }
  return result;
#endif
}

RQ_INLINE float decode_factor_bits(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 15U;
  float value = 0.0F;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}
