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

// Callers' rows need not be aligned to a whole register; where they are, this costs nothing. Part
// by part: GCC copies a struct of registers in pieces of 16 bytes, which the next load waits for.
RQ_INLINE LaneFloat load_lanes(const float* p) {
  LaneFloat v;
#if defined(__AVX512F__)
  __builtin_memcpy(&v, p, sizeof(v));
#else
  for (size_t i = 0; i < v.parts; ++i) {
    __builtin_memcpy(&v.part[i], p + i * (16 / v.parts), sizeof(FloatPart));
  }
#endif
  return v;
}
/// 16 IEEE halves as floats; finite ones.
RQ_INLINE LaneFloat load_lanes(const uint16_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__)
  LaneFloat v;
  for (size_t i = 0; i < 2; ++i) {
    const auto* eight = reinterpret_cast<const __m128i*>(p + 8 * i);
    v.part[i] = _mm256_cvtph_ps(_mm_loadu_si128(eight));
  }
  return v;
#elif defined(RQ_NEON)
  LaneFloat v;
  for (size_t i = 0; i < 4; ++i) {
    v.part[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  }
  return v;
#else
  uint32_t bits[lanes];
  for (size_t lane = 0; lane < lanes; ++lane) {  // the bias is moved by a product, exactly
    const uint32_t magnitude = (p[lane] & 0x7FFFU) << 13U;
    float scaled;
    __builtin_memcpy(&scaled, &magnitude, sizeof(scaled));
    scaled *= 0x1p112F;
    __builtin_memcpy(&bits[lane], &scaled, sizeof(scaled));
    bits[lane] |= (p[lane] & 0x8000U) << 16U;
  }
  LaneFloat v;
  __builtin_memcpy(&v, bits, sizeof(v));
  return v;
#endif
}

/// 16 floats or integers.
template <class Lanes, class Number>
RQ_INLINE void store_lanes(Number* p, Lanes v) {
#if defined(__AVX512F__)
  __builtin_memcpy(p, &v, sizeof(v));
#else
  for (size_t i = 0; i < v.parts; ++i) {
    __builtin_memcpy(p + i * (16 / v.parts), &v.part[i], sizeof(v.part[i]));
  }
#endif
}

/// Lanes that are about to be read one by one. They come from memory then: compilers that know
/// which register a lane is in take it from there, by instructions that shuffles and sums wait for.
template <class Lanes>
struct alignas(64) LanesInMemory {
  decltype(Lanes{}[0] + 0) lane[16];

  explicit LanesInMemory(Lanes v) {
    store_lanes(lane, v);
    __asm__("" : "+m"(lane));
  }
};

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

/// The lesser of two, b where one is no number.
RQ_INLINE LaneFloat smaller(LaneFloat a, LaneFloat b) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(
      _mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  for (size_t i = 0; i < a.parts; ++i) {
    a.part[i] = _mm256_min_ps(a.part[i], b.part[i]);
  }
  return a;
#else
  return choose(less(a, b), a, b);
#endif
}

RQ_INLINE LaneFloat square_root(LaneFloat v) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(_mm512_sqrt_ps(reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__)
  for (FloatPart& part : v.part) {
    part = _mm256_sqrt_ps(part);
  }
  return v;
#else
  for (size_t lane = 0; lane < 16; ++lane) {
    v[lane] = __builtin_sqrtf(v[lane]);
  }
  return v;
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

/// 16 numbers of 0 .. 127 as bytes.
RQ_INLINE void to_bytes(LaneInt v, uint8_t* bytes) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes),
                   _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
#elif defined(__AVX2__)
  const __m256i words = _mm256_packs_epi32(reinterpret_cast<__m256i>(v.part[0]),
                                           reinterpret_cast<__m256i>(v.part[1]));
  const __m256i in_order = _mm256_permute4x64_epi64(words, 0xD8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(bytes),
      _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1)));
#else
  for (size_t lane = 0; lane < 16; ++lane) {
    bytes[lane] = static_cast<uint8_t>(v[lane]);
  }
#endif
}

RQ_INLINE LaneInt from_bytes(const uint8_t* bytes) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneInt>(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes))));
#elif defined(__AVX2__)
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  LaneInt v;
  v.part[0] = reinterpret_cast<IntPart>(_mm256_cvtepu8_epi32(all));
  v.part[1] = reinterpret_cast<IntPart>(_mm256_cvtepu8_epi32(_mm_srli_si128(all, 8)));
  return v;
#else
  LaneInt v;
  for (size_t lane = 0; lane < 16; ++lane) {
    v[lane] = bytes[lane];
  }
  return v;
#endif
}

/// Coordinates 0..3 of the rows of four floats that 16 indices pick.
RQ_INLINE void gather_quads(const float* rows, LaneInt index, LaneFloat coordinates[4]) {
  const LanesInMemory<LaneInt> first(index * 4);
  const int32_t* at = first.lane;
#if defined(__AVX512F__)
  __m512 of_each[4];  // row k of every 128 bits belongs to the k-th of four lanes
  for (size_t k = 0; k < 4; ++k) {
    const __m512 one = _mm512_castps128_ps512(_mm_loadu_ps(rows + at[k]));
    const __m512 two = _mm512_insertf32x4(one, _mm_loadu_ps(rows + at[k + 4]), 1);
    const __m512 three = _mm512_insertf32x4(two, _mm_loadu_ps(rows + at[k + 8]), 2);
    of_each[k] = _mm512_insertf32x4(three, _mm_loadu_ps(rows + at[k + 12]), 3);
  }
  const __m512 low01 = _mm512_unpacklo_ps(of_each[0], of_each[1]);
  const __m512 low23 = _mm512_unpacklo_ps(of_each[2], of_each[3]);
  const __m512 high01 = _mm512_unpackhi_ps(of_each[0], of_each[1]);
  const __m512 high23 = _mm512_unpackhi_ps(of_each[2], of_each[3]);
  coordinates[0] = reinterpret_cast<LaneFloat>(_mm512_shuffle_ps(low01, low23, 0x44));
  coordinates[1] = reinterpret_cast<LaneFloat>(_mm512_shuffle_ps(low01, low23, 0xEE));
  coordinates[2] = reinterpret_cast<LaneFloat>(_mm512_shuffle_ps(high01, high23, 0x44));
  coordinates[3] = reinterpret_cast<LaneFloat>(_mm512_shuffle_ps(high01, high23, 0xEE));
#elif defined(__AVX2__)
  for (size_t i = 0; i < 2; ++i) {
    __m256 of_each[4];
    for (size_t k = 0; k < 4; ++k) {
      of_each[k] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows + at[8 * i + k])),
                                        _mm_loadu_ps(rows + at[8 * i + k + 4]), 1);
    }
    const __m256 low01 = _mm256_unpacklo_ps(of_each[0], of_each[1]);
    const __m256 low23 = _mm256_unpacklo_ps(of_each[2], of_each[3]);
    const __m256 high01 = _mm256_unpackhi_ps(of_each[0], of_each[1]);
    const __m256 high23 = _mm256_unpackhi_ps(of_each[2], of_each[3]);
    coordinates[0].part[i] = _mm256_shuffle_ps(low01, low23, 0x44);
    coordinates[1].part[i] = _mm256_shuffle_ps(low01, low23, 0xEE);
    coordinates[2].part[i] = _mm256_shuffle_ps(high01, high23, 0x44);
    coordinates[3].part[i] = _mm256_shuffle_ps(high01, high23, 0xEE);
  }
#else
  for (size_t k = 0; k < 4; ++k) {
    for (size_t lane = 0; lane < 16; ++lane) {
      coordinates[k][lane] = rows[static_cast<size_t>(at[lane]) + k];
    }
  }
#endif
}

/// table[first + 16 k], halves, as coordinate k: 0..3. What follows the table can be read too.
RQ_INLINE void gather_halves(const uint16_t* table, LaneInt first, LaneFloat coordinates[4]) {
#if defined(__AVX512F__)
  for (int k = 0; k < 4; ++k) {
    const __m512i pairs =
        _mm512_i32gather_epi32(reinterpret_cast<__m512i>(first), table + k * 16, sizeof(uint16_t));
    coordinates[k] = reinterpret_cast<LaneFloat>(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs)));
  }
#else
  alignas(64) uint16_t halves[4][16];
  for (size_t lane = 0; lane < 16; ++lane) {
    for (size_t k = 0; k < 4; ++k) {
      halves[k][lane] = table[static_cast<size_t>(first[lane]) + k * 16];
    }
  }
  for (size_t k = 0; k < 4; ++k) {
    coordinates[k] = load_lanes(halves[k]);
  }
#endif
}

RQ_INLINE float decode_factor_bits(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 15U;
  float value = 0.0F;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}
