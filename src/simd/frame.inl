// SPDX-License-Identifier: MIT
// Frames on lane blocks: rotor layers and matrix products. Included inside an anonymous namespace.

/// One layer: position i of the layer reads coordinate permutation[i], then triples turn.
RQ_INLINE void rotor_layer(const uint32_t* permutation, const float* matrices, size_t dim,
                           const float* in, float* out) {
  const size_t triples = dim / 3;
  for (size_t t = 0; t < triples; ++t) {
    const float* m = matrices + t * 9;
    const LaneFloat x0 = load_lanes(in + permutation[3 * t] * lanes);
    const LaneFloat x1 = load_lanes(in + permutation[3 * t + 1] * lanes);
    const LaneFloat x2 = load_lanes(in + permutation[3 * t + 2] * lanes);
    float* y = out + 3 * t * lanes;
    store_lanes(y, m[0] * x0 + m[1] * x1 + m[2] * x2);
    store_lanes(y + lanes, m[3] * x0 + m[4] * x1 + m[5] * x2);
    store_lanes(y + 2 * lanes, m[6] * x0 + m[7] * x1 + m[8] * x2);
  }
  const float* m = matrices + triples * 9;
  if (dim % 3 == 1) {
    store_lanes(out + 3 * triples * lanes, load_lanes(in + permutation[dim - 1] * lanes));
  } else if (dim % 3 == 2) {
    const LaneFloat x0 = load_lanes(in + permutation[dim - 2] * lanes);
    const LaneFloat x1 = load_lanes(in + permutation[dim - 1] * lanes);
    store_lanes(out + (dim - 2) * lanes, m[0] * x0 + m[1] * x1);
    store_lanes(out + (dim - 1) * lanes, m[3] * x0 + m[4] * x1);
  }
}

RQ_INLINE void rotor_layer_inverse(const uint32_t* permutation, const float* matrices, size_t dim,
                                   const float* in, float* out) {
  const size_t triples = dim / 3;
  for (size_t t = 0; t < triples; ++t) {
    const float* m = matrices + t * 9;
    const LaneFloat y0 = load_lanes(in + 3 * t * lanes);
    const LaneFloat y1 = load_lanes(in + (3 * t + 1) * lanes);
    const LaneFloat y2 = load_lanes(in + (3 * t + 2) * lanes);
    store_lanes(out + permutation[3 * t] * lanes, m[0] * y0 + m[3] * y1 + m[6] * y2);
    store_lanes(out + permutation[3 * t + 1] * lanes, m[1] * y0 + m[4] * y1 + m[7] * y2);
    store_lanes(out + permutation[3 * t + 2] * lanes, m[2] * y0 + m[5] * y1 + m[8] * y2);
  }
  const float* m = matrices + triples * 9;
  if (dim % 3 == 1) {
    store_lanes(out + permutation[dim - 1] * lanes, load_lanes(in + 3 * triples * lanes));
  } else if (dim % 3 == 2) {
    const LaneFloat y0 = load_lanes(in + (dim - 2) * lanes);
    const LaneFloat y1 = load_lanes(in + (dim - 1) * lanes);
    store_lanes(out + permutation[dim - 2] * lanes, m[0] * y0 + m[3] * y1);
    store_lanes(out + permutation[dim - 1] * lanes, m[1] * y0 + m[4] * y1);
  }
}

/// Leaves the result in `block`, whichever of the two buffers the last layer wrote.
RQ_INLINE void settle(size_t layers, size_t dim, float* block, const float* scratch) {
  if (layers % 2 == 1) {
    __builtin_memcpy(block, scratch, dim * lanes * sizeof(float));
  }
}

void rotor_forward(const RotorLayersView& map, float* block, float* scratch) {
  float* in = block;
  float* out = scratch;
  for (size_t layer = 0; layer < map.layers; ++layer) {
    rotor_layer(map.permutation + layer * map.dim, map.matrices + layer * (map.dim / 3 + 1) * 9,
                map.dim, in, out);
    float* swap = in;
    in = out;
    out = swap;
  }
  settle(map.layers, map.dim, block, scratch);
}

void rotor_inverse(const RotorLayersView& map, float* block, float* scratch) {
  float* in = block;
  float* out = scratch;
  for (size_t layer = map.layers; layer-- > 0;) {
    rotor_layer_inverse(map.permutation + layer * map.dim,
                        map.matrices + layer * (map.dim / 3 + 1) * 9, map.dim, in, out);
    float* swap = in;
    in = out;
    out = swap;
  }
  settle(map.layers, map.dim, block, scratch);
}

/// a * b + c: fused where the instruction set has it (the one place where kernels may differ by
/// rounding; a software fma would cost the scalar kernel ten times as much).
RQ_INLINE LaneFloat multiply_add(float a, LaneFloat b, LaneFloat c) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneFloat>(
      _mm512_fmadd_ps(_mm512_set1_ps(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__FMA__)
  const __m256 factor = _mm256_set1_ps(a);
  c.part[0] = _mm256_fmadd_ps(factor, b.part[0], c.part[0]);
  c.part[1] = _mm256_fmadd_ps(factor, b.part[1], c.part[1]);
  return c;
#elif defined(RQ_NEON)
  for (size_t i = 0; i < 4; ++i) {
    c.part[i] = vfmaq_n_f32(c.part[i], b.part[i], a);
  }
  return c;
#else
  return a * b + c;
#endif
}

void matrix_block(const float* m, size_t rows, size_t cols, const float* x, float* y) {
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {  // four rows share each load of x
    const float* m0 = m + row * cols;
    LaneFloat s0{};
    LaneFloat s1{};
    LaneFloat s2{};
    LaneFloat s3{};
    for (size_t j = 0; j < cols; ++j) {
      const LaneFloat xj = load_lanes(x + j * lanes);
      s0 = multiply_add(m0[j], xj, s0);
      s1 = multiply_add(m0[cols + j], xj, s1);
      s2 = multiply_add(m0[2 * cols + j], xj, s2);
      s3 = multiply_add(m0[3 * cols + j], xj, s3);
    }
    store_lanes(y + row * lanes, s0);
    store_lanes(y + (row + 1) * lanes, s1);
    store_lanes(y + (row + 2) * lanes, s2);
    store_lanes(y + (row + 3) * lanes, s3);
  }
  for (; row < rows; ++row) {
    LaneFloat s{};
    for (size_t j = 0; j < cols; ++j) {
      s = multiply_add(m[row * cols + j], load_lanes(x + j * lanes), s);
    }
    store_lanes(y + row * lanes, s);
  }
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

/// Columns that a pass down the rows adds up together: streams that a prefetcher can follow.
constexpr size_t columns_per_pass = 8;

/// y[row] += the products with columns first .. first + count - 1, in their order. Number: float,
/// or uint16_t for halves.
template <class Number>
RQ_INLINE void add_columns(const Number* mt, size_t rows, size_t first, size_t count,
                           const float* x, float* y) {
  size_t row = 0;
  for (; row + lanes <= rows; row += lanes) {
    LaneFloat s = load_lanes(y + row);
    for (size_t j = first; j < first + count; ++j) {
      s = multiply_add(x[j], load_lanes(mt + j * rows + row), s);
    }
    store_lanes(y + row, s);
  }
  if (row < rows) {
    const size_t left = rows - row;
    LaneFloat s{};
    __builtin_memcpy(&s, y + row, left * sizeof(float));
    for (size_t j = first; j < first + count; ++j) {
      Number column[lanes] = {};
      __builtin_memcpy(column, mt + j * rows + row, left * sizeof(Number));
      s = multiply_add(x[j], load_lanes(column), s);
    }
    __builtin_memcpy(y + row, &s, left * sizeof(float));
  }
}

template <class Number>
RQ_INLINE void multiply_vector(const Number* mt, size_t rows, size_t cols, const float* x,
                               float* y) {
  __builtin_memset(y, 0, rows * sizeof(float));
  size_t first = 0;
  for (; first + columns_per_pass <= cols; first += columns_per_pass) {
    add_columns(mt, rows, first, columns_per_pass, x, y);
  }
  add_columns(mt, rows, first, cols - first, x, y);
}

void matrix_vector(const float* mt, size_t rows, size_t cols, const float* x, float* y) {
  multiply_vector(mt, rows, cols, x, y);
}

void half_matrix_vector(const uint16_t* mt, size_t rows, size_t cols, const float* x, float* y) {
  multiply_vector(mt, rows, cols, x, y);
}

/// Vectors and registers of rows that share their loads in matrix_vectors: accumulators that fit.
#if defined(__AVX512F__)
constexpr size_t tile_vectors = 4;
constexpr size_t tile_registers = 4;
#else
constexpr size_t tile_vectors = 2;
constexpr size_t tile_registers = 2;
#endif

/// Rows first_row .. of a tile, of V vectors: every sum runs over the columns in their order.
template <size_t V>
RQ_INLINE void multiply_tile(const float* mt, size_t rows, size_t cols, size_t first_row,
                             const float* x, size_t x_stride, float* y, size_t y_stride) {
  LaneFloat sums[V][tile_registers] = {};
  for (size_t j = 0; j < cols; ++j) {
    for (size_t r = 0; r < tile_registers; ++r) {
      const LaneFloat column = load_lanes(mt + j * rows + first_row + r * lanes);
      for (size_t v = 0; v < V; ++v) {
        sums[v][r] = multiply_add(x[v * x_stride + j], column, sums[v][r]);
      }
    }
  }
  for (size_t v = 0; v < V; ++v) {
    for (size_t r = 0; r < tile_registers; ++r) {
      store_lanes(y + v * y_stride + first_row + r * lanes, sums[v][r]);
    }
  }
}

void matrix_vectors(const float* mt, size_t rows, size_t cols, const float* x, size_t x_stride,
                    size_t n, float* y, size_t y_stride) {
  constexpr size_t tile_rows = tile_registers * lanes;
  size_t v = 0;
  if (rows % tile_rows == 0) {
    for (; v + tile_vectors <= n; v += tile_vectors) {
      for (size_t row = 0; row < rows; row += tile_rows) {
        multiply_tile<tile_vectors>(mt, rows, cols, row, x + v * x_stride, x_stride,
                                    y + v * y_stride, y_stride);
      }
    }
  }
  for (; v < n; ++v) {
    matrix_vector(mt, rows, cols, x + v * x_stride, y + v * y_stride);
  }
}
