// SPDX-License-Identifier: MIT
// Levels, signs and joint rounds on one lane block. Included inside an anonymous namespace.

#if defined(__AVX512F__)

/// The least values of some rows of 16, and where in its row each was.
struct RowMinima {
  __m512 value;
  __m512 place;  ///< integers
};

/// Each value here and its neighbour there are of the same row, `even` of its lower places.
RQ_INLINE RowMinima lesser_of(RowMinima even, RowMinima odd) {
  const __mmask16 is_odd = _mm512_cmp_ps_mask(odd.value, even.value, _CMP_LT_OQ);
  return {_mm512_min_ps(odd.value, even.value),
          _mm512_mask_blend_ps(is_odd, even.place, odd.place)};
}

/// The minima of `Rows` rows from `first` on: halves are merged, neighbours with neighbours, so
/// that of equal values the first stays. Ends with row r in lane r.
template <int Rows, class Row>
RQ_INLINE RowMinima row_minima(Row row, int first) {
  if constexpr (Rows == 1) {
    const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return {reinterpret_cast<__m512>(row(first)), _mm512_castsi512_ps(places)};
  } else {
    constexpr int evens = 0x88;
    constexpr int odds = 0xDD;
    const RowMinima a = row_minima<Rows / 2>(row, first);
    const RowMinima b = row_minima<Rows / 2>(row, first + Rows / 2);
    if constexpr (Rows <= 4) {
      return lesser_of(
          {_mm512_shuffle_ps(a.value, b.value, evens), _mm512_shuffle_ps(a.place, b.place, evens)},
          {_mm512_shuffle_ps(a.value, b.value, odds), _mm512_shuffle_ps(a.place, b.place, odds)});
    } else {
      return lesser_of({_mm512_shuffle_f32x4(a.value, b.value, evens),
                        _mm512_shuffle_f32x4(a.place, b.place, evens)},
                       {_mm512_shuffle_f32x4(a.value, b.value, odds),
                        _mm512_shuffle_f32x4(a.place, b.place, odds)});
    }
  }
}

#else

/// The least of 16 values, the first on ties.
RQ_INLINE uint32_t argmin16(LaneFloat v) {
#if defined(__AVX2__)
  __m256 least = _mm256_min_ps(v.part[0], v.part[1]);
  least = _mm256_min_ps(least, _mm256_permute2f128_ps(least, least, 1));
  least = _mm256_min_ps(least, _mm256_permute_ps(least, 0x4E));
  least = _mm256_min_ps(least, _mm256_permute_ps(least, 0xB1));
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(v.part[0], least, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(v.part[1], least, _CMP_EQ_OQ));
  constexpr int last = 0x8000;  // where nothing is equal, since the values are no numbers
  return static_cast<uint32_t>(__builtin_ctz(static_cast<uint32_t>(low | high << 8 | last)));
#elif defined(RQ_NEON)
  const float32x4_t least = vdupq_n_f32(
      vminvq_f32(vminq_f32(vminq_f32(v.part[0], v.part[1]), vminq_f32(v.part[2], v.part[3]))));
  uint32x4_t lane = {0, 1, 2, 3};
  uint32x4_t first = vdupq_n_u32(lanes - 1);  // also where the values are no numbers
  for (const FloatPart& part : v.part) {
    first = vminq_u32(first, vbslq_u32(vceqq_f32(part, least), lane, vdupq_n_u32(lanes)));
    lane = vaddq_u32(lane, vdupq_n_u32(4));
  }
  return vminvq_u32(first);
#else
  uint32_t best = 0;
  for (uint32_t i = 1; i < 16; ++i) {
    best = v[i] < v[best] ? i : best;
  }
  return best;
#endif
}

#endif

/// The place of the least of 16 values in each of 16 rows, row(0) to row(15).
template <class Row>
RQ_INLINE LaneInt argmin_rows(Row row) {
#if defined(__AVX512F__)
  return reinterpret_cast<LaneInt>(row_minima<static_cast<int>(lanes)>(row, 0).place);
#else
  LaneInt places;
  for (size_t lane = 0; lane < lanes; ++lane) {
    places[lane] = static_cast<int32_t>(argmin16(row(static_cast<int>(lane))));
  }
  return places;
#endif
}

/// A quad of 16 vectors on its way down the tree.
struct QuadWork {
  alignas(64) float target[4][lanes];  ///< what it is to be coded as
  LaneInt node;                        ///< the node of the last level so far
  LaneInt child;                       ///< which child of its parent that is
};

struct LeastScore {
  LaneFloat score;
  LaneInt index;
};

/// The nearest of nodes First .. First + Count - 1 of level 1, the first on ties.
template <int First, int Count>
RQ_INLINE LeastScore nearest_of(const float* level1, const LaneFloat t[4]) {
  if constexpr (Count == 1) {
    const float* node = level1 + static_cast<ptrdiff_t>(First) * 5;
    LaneFloat score = broadcast(node[4]);
    for (int k = 0; k < 4; ++k) {
      score = score - t[k] * node[k];
    }
    return {score, broadcast_int(First)};
  } else {
    const LeastScore a = nearest_of<First, Count / 2>(level1, t);
    const LeastScore b = nearest_of<First + Count / 2, Count / 2>(level1, t);
    return {smaller(b.score, a.score), choose(less(b.score, a.score), b.index, a.index)};
  }
}

/// Children as a table [parent][5][child].
struct FloatChildren {
  static constexpr int32_t stride = static_cast<int32_t>(5 * lanes);
  const float* table;

  __attribute__((always_inline)) LaneFloat coordinate(size_t first, size_t k) const {
    return load_lanes(table + first + k * lanes);
  }
  __attribute__((always_inline)) LaneFloat half_norm(size_t first) const {
    return load_lanes(table + first + 4 * lanes);
  }
};

/// Children as halves [parent][4][child], and half their squared norms [parent][child].
struct HalfChildren {
  static constexpr int32_t stride = static_cast<int32_t>(4 * lanes);
  const uint16_t* table;
  const float* half_norms;

  __attribute__((always_inline)) LaneFloat coordinate(size_t first, size_t k) const {
    return load_lanes(table + first + k * lanes);
  }
  __attribute__((always_inline)) LaneFloat half_norm(size_t first) const {
    return load_lanes(half_norms + first / 4);
  }
};

/// Goes down a level, to the nearest of 16 children by |c|^2/2 - <t, c>. Every lane has a parent of
/// its own, so lanes become the children of one vector.
template <class Children>
RQ_INLINE void descend(Children children, QuadWork& work) {
  const LanesInMemory<LaneInt> first_child(work.node * Children::stride);
  work.child = argmin_rows([&](int lane) __attribute__((always_inline)) {
    const auto first = static_cast<size_t>(first_child.lane[lane]);
    LaneFloat score = children.half_norm(first);
    for (size_t k = 0; k < 4; ++k) {
      score = score - work.target[k][lane] * children.coordinate(first, k);
    }
    return score;
  });
  work.node = work.node * static_cast<int32_t>(fanout) + work.child;
}

/// Returns whether a nibble was another one before.
RQ_INLINE bool store_nibbles(LaneInt index, uint8_t* nibbles) {
  uint64_t before[2];
  uint64_t fresh[2];
  __builtin_memcpy(before, nibbles, sizeof(before));
  to_bytes(index, nibbles);
  __builtin_memcpy(fresh, nibbles, sizeof(fresh));
  return ((before[0] ^ fresh[0]) | (before[1] ^ fresh[1])) != 0;
}

/// Levels beyond the tree: one more bit a coordinate each, of the embedded index of the residual.
/// decoded: the tree's centroid, refined.
RQ_INLINE void scalar_levels(const TreeView& tree, const EmbeddedScalar& scalar, size_t quad_tree,
                             const QuadWork& work, LaneFloat decoded[4], uint8_t* nibbles,
                             size_t plane_stride) {
  const size_t bits = tree.scalar_bits;
  const float* scales = tree.leaf_scales + quad_tree * 256 * 4;
  const LaneInt parent = work.node >> 4;
  for (size_t lane = 0; lane < lanes; ++lane) {
    const float* scale = scales + static_cast<size_t>(parent[lane]) * 4;
    for (size_t level = 0; level < bits; ++level) {
      nibbles[level * plane_stride + lane] = 0;
    }
    for (unsigned k = 0; k < 4; ++k) {
      const float value = (work.target[k][lane] - decoded[k][lane]) / scale[k];
      size_t heap = 1;
      for (size_t level = 0; level < bits; ++level) {
        const unsigned bit = value >= scalar.thresholds[heap] ? 1 : 0;
        heap = 2 * heap + bit;
        nibbles[level * plane_stride + lane] |= static_cast<uint8_t>(bit << k);
      }
      decoded[k][lane] +=
          scale[k] * scalar.centroids[bits - 1][heap - (static_cast<size_t>(1) << bits)];
    }
  }
}

/// The levels of one lane block, and what they are to code.
struct LevelTask {
  LaneFloat step;  ///< with sign_part
  const TreeView& tree;
  const EmbeddedScalar& scalar;
  size_t quads;
  const float* u;          ///< P x 16
  const float* sign_part;  ///< P x 16: coded is u - step * sign_part; null: u
  uint8_t* nibbles;        ///< out: levels x quads x 16
  float* decoded;          ///< out: P x 16
  float* residual;         ///< out: P x 16, u - decoded
};

RQ_INLINE size_t tree_of(const TreeView& tree, size_t quad) {
  return tree.trees == 1 ? 0 : quad;
}

/// Level 3 of a learned quad's tree.
RQ_INLINE HalfChildren learned_children(const TreeView& tree, size_t quad) {
  constexpr size_t parents = fanout * fanout;
  return {tree.level3_halves + quad * parents * HalfChildren::stride,
          tree.level3_norms + quad * parents * lanes};
}

// The steps of a quad. Each returns whether a nibble is another one than before.

RQ_INLINE bool first_level(const LevelTask& task, size_t quad, QuadWork& work) {
  LaneFloat t[4];
  for (size_t k = 0; k < 4; ++k) {
    const size_t row = (quad * 4 + k) * lanes;
    t[k] = load_lanes(task.u + row);
    if (task.sign_part != nullptr) {
      t[k] = t[k] - task.step * load_lanes(task.sign_part + row);
    }
    store_lanes(work.target[k], t[k]);
  }
  const float* level1 = task.tree.level1 + tree_of(task.tree, quad) * fanout * 5;
  work.node = nearest_of<0, static_cast<int>(fanout)>(level1, t).index;
  return store_nibbles(work.node, task.nibbles + quad * lanes);
}

RQ_INLINE bool second_level(const LevelTask& task, size_t quad, QuadWork& work) {
  const size_t tree = tree_of(task.tree, quad);
  descend(FloatChildren{task.tree.level2 + tree * fanout * FloatChildren::stride}, work);
  return store_nibbles(work.child, task.nibbles + (task.quads + quad) * lanes);
}

RQ_INLINE bool third_level(const LevelTask& task, size_t quad, QuadWork& work) {
  if (task.tree.level3_halves != nullptr) {
    descend(learned_children(task.tree, quad), work);
  } else {
    descend(FloatChildren{task.tree.level3}, work);  // learned trees have halves
  }
  return store_nibbles(work.child, task.nibbles + (2 * task.quads + quad) * lanes);
}

/// What all levels decode to; levels beyond the tree are coded here.
RQ_INLINE void finish_quad(const LevelTask& task, size_t quad, const QuadWork& work) {
  const TreeView& tree = task.tree;
  const size_t quad_tree = tree_of(tree, quad);
  LaneFloat found[4];
  if (tree.level3_halves != nullptr) {
    const LaneInt first_child = (work.node >> 4) * HalfChildren::stride;
    gather_halves(learned_children(tree, quad).table, first_child + work.child, found);
  } else {
    const auto levels = static_cast<unsigned>(tree.levels);
    const size_t nodes = static_cast<size_t>(1) << (4 * levels);
    gather_quads(tree.centroids[levels - 1] + quad_tree * nodes * 4, work.node, found);
  }
  if (tree.scalar_bits > 0) {
    scalar_levels(tree, task.scalar, quad_tree, work, found,
                  task.nibbles + (3 * task.quads + quad) * lanes, task.quads * lanes);
  }
  for (size_t k = 0; k < 4; ++k) {
    const size_t row = (quad * 4 + k) * lanes;
    store_lanes(task.decoded + row, found[k]);
    store_lanes(task.residual + row, load_lanes(task.u + row) - found[k]);
  }
}

/// Greedy descent for every quad. Returns whether a nibble of the tree is another one than before.
/// A quad's steps wait for each other, so those of several quads are under way at a time. (Where
/// `at` is less than what is taken off, the difference is a large number.)
bool encode_levels(const LevelTask& task) {
  constexpr size_t steps = 4;
  QuadWork work[steps];
  const auto levels = static_cast<size_t>(task.tree.levels);
  bool changed = false;
  for (size_t at = 0; at < task.quads + steps - 1; ++at) {
    if (at < task.quads) {
      changed |= first_level(task, at, work[at % steps]);
    }
    if (levels >= 2 && at - 1 < task.quads) {
      changed |= second_level(task, at - 1, work[(at - 1) % steps]);
    }
    if (levels >= 3 && at - 2 < task.quads) {
      changed |= third_level(task, at - 2, work[(at - 2) % steps]);
    }
    if (at - 3 < task.quads) {
      finish_quad(task, at - 3, work[(at - 3) % steps]);
    }
  }
  return changed;
}

/// Signs of O r and their step c = |O r|_1 / P. r (P x 16) becomes O^T s.
RQ_INLINE LaneFloat fit_signs(const EncodeView& view, uint8_t* plane, float* r, float* scratch) {
  rotor_forward(view.sign_map, r, scratch);
  LaneFloat sum{};
  const LaneFloat zero{};
  for (size_t quad = 0; quad < view.layout.quads; ++quad) {
    LaneInt bits{};
    for (size_t k = 0; k < 4; ++k) {
      float* row = r + (quad * 4 + k) * lanes;
      const LaneFloat z = load_lanes(row);
      const LaneInt negative = less(z, zero);
      sum = sum + choose(negative, -z, z);
      bits = bits | (negative & (1 << k));
      store_lanes(row, choose(negative, broadcast(-1.0F), broadcast(1.0F)));
    }
    store_nibbles(bits, plane + quad * lanes);
  }
  rotor_inverse(view.sign_map, r, scratch);
  return sum / static_cast<float>(view.dims);
}

/// What the factors of a lane block are made of.
struct CodeSums {
  LaneFloat product;  ///< <u, x^>
  LaneFloat energy;   ///< <x^, x^>
  LaneFloat first;    ///< <u, a_1>
};

/// Adds step * sign_part to `decoded`, if there is one, and sums up.
RQ_INLINE CodeSums finish_decoding(const EncodeView& view, const EncodeBlock& block,
                                   const float* sign_part, LaneFloat step) {
  CodeSums sums{};
  const bool has_levels = view.layout.levels > 0;
  for (size_t quad = 0; quad < view.layout.quads; ++quad) {
    const size_t tree = has_levels ? tree_of(view.tree, quad) : 0;
    const float* columns = view.tree.level1_columns + tree * fanout * quad_dims;
    const LaneInt nibbles = from_bytes(block.nibbles + quad * lanes);
    for (size_t k = 0; k < 4; ++k) {
      const size_t row = (quad * 4 + k) * lanes;
      const LaneFloat u = load_lanes(block.y + row);
      LaneFloat decoded = load_lanes(block.decoded + row);
      if (sign_part != nullptr) {
        decoded = decoded + step * load_lanes(sign_part + row);
        store_lanes(block.decoded + row, decoded);
      }
      sums.product = sums.product + u * decoded;
      sums.energy = sums.energy + decoded * decoded;
      sums.first = sums.first + u * lookup16(columns + k * fanout, nibbles);
    }
  }
  return sums;
}

/// alpha = |y| sqrt(P) / <u, x^>: the scale that makes the estimate exact along the vector itself.
/// 0 for a zero vector, and where a code points away from its vector.
RQ_INLINE LaneFloat alpha_of(LaneFloat norm, LaneFloat product, float root_dims) {
  const LaneFloat zero{};
  return choose(less(zero, product), norm * root_dims / product, zero);
}

/// Scales y to unit variance; returns its norm.
RQ_INLINE LaneFloat to_unit_variance(float* y, size_t dims, float root_dims) {
  LaneFloat squared{};
  for (size_t i = 0; i < dims; ++i) {
    const LaneFloat row = load_lanes(y + i * lanes);
    squared = squared + row * row;
  }
  const LaneFloat zero{};
  const LaneFloat norm = square_root(squared);
  const LaneFloat to_unit = choose(less(zero, norm), root_dims / norm, zero);
  for (size_t i = 0; i < dims; ++i) {
    store_lanes(y + i * lanes, load_lanes(y + i * lanes) * to_unit);
  }
  return norm;
}

void encode_block(const EncodeView& view, EncodeBlock& block) {
  const size_t block_floats = view.dims * lanes;
  const auto dims_f = static_cast<float>(view.dims);
  const float root_dims = __builtin_sqrtf(dims_f);
  const LaneFloat norm = to_unit_variance(block.y, view.dims, root_dims);

  const bool has_levels = view.layout.levels > 0;
  float* residual = block.residual;
  LevelTask levels{{},      view.tree,     *view.scalar,  view.layout.quads, block.y,
                   nullptr, block.nibbles, block.decoded, residual};
  if (has_levels) {
    encode_levels(levels);
  } else {
    __builtin_memset(block.decoded, 0, block_floats * sizeof(float));
    __builtin_memcpy(residual, block.y, block_floats * sizeof(float));
  }
  float* sign_part = nullptr;
  LaneFloat step{};
  if (view.layout.signs) {
    uint8_t* sign_plane = block.nibbles + view.layout.levels * view.layout.quads * lanes;
    step = fit_signs(view, sign_plane, residual, block.scratch);
    sign_part = residual;
    residual = block.sign_part;
    for (int round = 0; has_levels && round < view.joint_rounds; ++round) {
      levels.sign_part = sign_part;
      levels.step = step;
      levels.residual = residual;
      if (!encode_levels(levels) && view.tree.scalar_bits == 0) {
        break;  // the same levels would be given the same signs, round after round
      }
      step = fit_signs(view, sign_plane, residual, block.scratch);
      float* swap = sign_part;
      sign_part = residual;
      residual = swap;
    }
  }

  const CodeSums sums = finish_decoding(view, block, sign_part, step);
  const LaneFloat alpha = alpha_of(norm, sums.product, root_dims);
  const LaneFloat beta = alpha * step;
  const LaneFloat both = sums.energy * dims_f;
  const LaneFloat zero{};
  store_lanes(block.alpha, alpha);
  store_lanes(block.beta, beta);
  store_lanes(block.cos2, choose(less(zero, both), sums.product * sums.product / both, zero));
  // signs alone: the scan's table holds +-1, so its factor is beta
  store_lanes(block.alpha1, has_levels ? alpha_of(norm, sums.first, root_dims) : beta);
}
