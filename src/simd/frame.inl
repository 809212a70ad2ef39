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

/// Rows of a matrix and lane blocks that share their loads in matrix_block: sums enough to wait for
/// nothing, in registers.
#if defined(__AVX512F__)
constexpr size_t rows_at_once = 8;
constexpr size_t blocks_at_once = 2;
#else
constexpr size_t rows_at_once = 4;
constexpr size_t blocks_at_once = 1;
#endif

/// A matrix and how many rows and columns it has.
struct MatrixView {
  const float* m;
  size_t rows;
  size_t cols;
};

/// Rows first .. first + Rows - 1 of Blocks products.
template <size_t Rows, size_t Blocks>
RQ_INLINE void multiply_rows(const MatrixView& matrix, size_t first, const float* x, float* y) {
  const float* m = matrix.m + first * matrix.cols;
  LaneFloat sums[Rows][Blocks] = {};
  for (size_t j = 0; j < matrix.cols; ++j) {
    LaneFloat column[Blocks];
    for (size_t b = 0; b < Blocks; ++b) {
      column[b] = load_lanes(x + (b * matrix.cols + j) * lanes);
    }
    for (size_t i = 0; i < Rows; ++i) {
      for (size_t b = 0; b < Blocks; ++b) {
        sums[i][b] = multiply_add(m[i * matrix.cols + j], column[b], sums[i][b]);
      }
    }
  }
  for (size_t i = 0; i < Rows; ++i) {
    for (size_t b = 0; b < Blocks; ++b) {
      store_lanes(y + (b * matrix.rows + first + i) * lanes, sums[i][b]);
    }
  }
}

/// Blocks products: all rows.
template <size_t Blocks>
RQ_INLINE void multiply_blocks(const MatrixView& matrix, const float* x, float* y) {
  size_t row = 0;
  for (; row + rows_at_once <= matrix.rows; row += rows_at_once) {
    multiply_rows<rows_at_once, Blocks>(matrix, row, x, y);
  }
  for (; row + quad_dims <= matrix.rows; row += quad_dims) {
    multiply_rows<quad_dims, Blocks>(matrix, row, x, y);
  }
  for (; row < matrix.rows; ++row) {
    multiply_rows<1, Blocks>(matrix, row, x, y);
  }
}

void matrix_block(const float* m, size_t rows, size_t cols, const float* x, float* y,
                  size_t blocks) {
  const MatrixView matrix{m, rows, cols};
  size_t b = 0;
  for (; b + blocks_at_once <= blocks; b += blocks_at_once) {
    multiply_blocks<blocks_at_once>(matrix, x + b * cols * lanes, y + b * rows * lanes);
  }
  for (; b < blocks; ++b) {
    multiply_blocks<1>(matrix, x + b * cols * lanes, y + b * rows * lanes);
  }
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

/// Columns that the tiles of all rows and vectors go through before the next: what several tiles
/// read of them stays in L1.
constexpr size_t columns_per_block = 128;

/// V vectors and R registers of rows share their loads: accumulators that fit. Adds the products
/// with `count` columns to the first `left` of R * 16 rows; m and y start at them.
template <size_t V, size_t R, class Number>
RQ_INLINE void add_tile(const Number* m, size_t column_step, size_t count, size_t left,
                        const float* x, size_t x_stride, float* y, size_t y_stride) {
  constexpr size_t tile_rows = R * lanes;
  float some[V * tile_rows];
  const bool whole = left == tile_rows;
  for (size_t v = 0; v < V && !whole; ++v) {
    __builtin_memcpy(some + v * tile_rows, y + v * y_stride, left * sizeof(float));
  }
  float* at = whole ? y : some;
  const size_t step = whole ? y_stride : tile_rows;
  LaneFloat sums[V][R];
  for (size_t v = 0; v < V; ++v) {
    for (size_t r = 0; r < R; ++r) {
      sums[v][r] = load_lanes(at + v * step + r * lanes);
    }
  }
  for (size_t j = 0; j < count; ++j) {
    LaneFloat column[R];
    for (size_t r = 0; r < R; ++r) {
      column[r] = load_lanes(m + j * column_step + r * lanes);
    }
    for (size_t v = 0; v < V; ++v) {
      for (size_t r = 0; r < R; ++r) {
        sums[v][r] = multiply_add(x[v * x_stride + j], column[r], sums[v][r]);
      }
    }
  }
  for (size_t v = 0; v < V; ++v) {
    for (size_t r = 0; r < R; ++r) {
      store_lanes(at + v * step + r * lanes, sums[v][r]);
    }
    if (!whole) {
      __builtin_memcpy(y + v * y_stride, some + v * tile_rows, left * sizeof(float));
    }
  }
}

template <size_t V, size_t R, class Number>
RQ_INLINE void add_tiles(const Number* m, size_t column_step, size_t count, size_t left,
                         const float* x, size_t x_stride, size_t n, float* y, size_t y_stride) {
  size_t v = 0;
  for (; v + V <= n; v += V) {
    add_tile<V, R>(m, column_step, count, left, x + v * x_stride, x_stride, y + v * y_stride,
                   y_stride);
  }
  for (; v < n; ++v) {
    add_tile<1, R>(m, column_step, count, left, x + v * x_stride, x_stride, y + v * y_stride,
                   y_stride);
  }
}

/// Every sum runs over the columns in their order, as in multiply_vector.
template <size_t V, size_t R, class Number>
RQ_INLINE void multiply_vectors(const Number* mt, size_t rows, size_t cols, const float* x,
                                size_t x_stride, size_t n, float* y, size_t y_stride) {
  if (n == 1) {
    multiply_vector(mt, rows, cols, x, y);
    return;
  }
  constexpr size_t tile_rows = R * lanes;
  for (size_t v = 0; v < n; ++v) {
    __builtin_memset(y + v * y_stride, 0, rows * sizeof(float));
  }
  for (size_t first = 0; first < cols; first += columns_per_block) {
    const size_t count = cols - first < columns_per_block ? cols - first : columns_per_block;
    const Number* m = mt + first * rows;
    size_t row = 0;
    for (; row + tile_rows <= rows; row += tile_rows) {
      add_tiles<V, R>(m + row, rows, count, tile_rows, x + first, x_stride, n, y + row, y_stride);
    }
    if (row < rows) {
      Number padded[columns_per_block * tile_rows];
      const size_t left = rows - row;
      for (size_t j = 0; j < count; ++j) {
        __builtin_memcpy(padded + j * tile_rows, m + j * rows + row, left * sizeof(Number));
        __builtin_memset(padded + j * tile_rows + left, 0, (tile_rows - left) * sizeof(Number));
      }
      add_tiles<V, R>(padded, tile_rows, count, left, x + first, x_stride, n, y + row, y_stride);
    }
  }
}

void matrix_vectors(const float* mt, size_t rows, size_t cols, const float* x, size_t x_stride,
                    size_t n, float* y, size_t y_stride) {
#if defined(__AVX512F__)
  multiply_vectors<4, 4>(mt, rows, cols, x, x_stride, n, y, y_stride);
#else
  multiply_vectors<2, 2>(mt, rows, cols, x, x_stride, n, y, y_stride);
#endif
}

void half_matrix_vectors(const uint16_t* mt, size_t rows, size_t cols, const float* x,
                         size_t x_stride, size_t n, float* y, size_t y_stride) {
#if defined(__AVX512F__)
  multiply_vectors<8, 3>(mt, rows, cols, x, x_stride, n, y, y_stride);
#else
  multiply_vectors<2, 2>(mt, rows, cols, x, x_stride, n, y, y_stride);
#endif
}
