// SPDX-License-Identifier: MIT
// Rotor layers on one vector, 16 triples at a time. Included inside an anonymous namespace, after
// lanes.inl.

/// from[at[lane]]
RQ_INLINE LaneFloat gather_lanes(const float* from, const uint32_t* at) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(_mm512_i32gather_ps(_mm512_loadu_si512(at), from, 4));
#elif defined(__AVX2__)
  LaneFloat v;
  for (size_t i = 0; i < 2; ++i) {
    const auto* eight = reinterpret_cast<const __m256i*>(at + 8 * i);
    v.part[i] = _mm256_i32gather_ps(from, _mm256_loadu_si256(eight), 4);
  }
  return v;
#else
  float numbers[lanes];
  for (size_t lane = 0; lane < lanes; ++lane) {
    numbers[lane] = from[at[lane]];
  }
  return load_lanes(numbers);
#endif
}

/// One layer on 16 triples: the sums of rotor_layer, and so its bits.
RQ_INLINE void rotate_group(const uint32_t* sources, const float* matrices, const float* in,
                            float* out) {
  const LaneFloat x0 = gather_lanes(in, sources);
  const LaneFloat x1 = gather_lanes(in, sources + lanes);
  const LaneFloat x2 = gather_lanes(in, sources + 2 * lanes);
  for (size_t k = 0; k < 3; ++k) {
    const float* m = matrices + 3 * k * lanes;
    store_lanes(out + k * lanes,
                load_lanes(m) * x0 + load_lanes(m + lanes) * x1 + load_lanes(m + 2 * lanes) * x2);
  }
}

void rotor_vector(const RotorVectorView& map, const float* x, float* y, float* scratch) {
  const size_t width = map.groups * 3 * lanes;
  float* in = scratch;
  float* out = scratch + width + lanes;
  store_lanes(in + width, LaneFloat{});
  store_lanes(out + width, LaneFloat{});
  __builtin_memcpy(in, x, map.dim * sizeof(float));
  const uint32_t* sources = map.sources;
  const float* matrices = map.matrices;
  for (size_t layer = 0; layer < map.layers; ++layer) {
    for (size_t group = 0; group < map.groups; ++group) {
      rotate_group(sources, matrices, in, out + group * 3 * lanes);
      sources += 3 * lanes;
      matrices += 9 * lanes;
    }
    float* swap = in;
    in = out;
    out = swap;
  }
  for (size_t j = 0; j < map.dim; j += lanes) {
    const LaneFloat some = gather_lanes(in, map.places + j);
    const size_t left = map.dim - j;
    __builtin_memcpy(y + j, &some, (left < lanes ? left : lanes) * sizeof(float));
  }
}
