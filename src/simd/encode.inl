// SPDX-License-Identifier: MIT
// Levels, signs and joint rounds on one lane block. Included inside an anonymous namespace.

/// The least of 16 values, the first on ties.
RQ_INLINE uint32_t argmin16(LaneFloat v) {
#if defined(__AVX512F__)
  const __m512 x = reinterpret_cast<__m512>(v);
  const __m512 least = _mm512_set1_ps(_mm512_reduce_min_ps(x));
  return static_cast<uint32_t>(__builtin_ctz(_mm512_cmp_ps_mask(x, least, _CMP_EQ_OQ)));
#elif defined(__AVX2__)
  __m256 least = _mm256_min_ps(v.part[0], v.part[1]);
  least = _mm256_min_ps(least, _mm256_permute2f128_ps(least, least, 1));
  least = _mm256_min_ps(least, _mm256_permute_ps(least, 0x4E));
  least = _mm256_min_ps(least, _mm256_permute_ps(least, 0xB1));
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(v.part[0], least, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(v.part[1], least, _CMP_EQ_OQ));
  return static_cast<uint32_t>(__builtin_ctz(static_cast<uint32_t>(low | high << 8)));
#elif defined(RQ_NEON)
  const float32x4_t least = vdupq_n_f32(
      vminvq_f32(vminq_f32(vminq_f32(v.part[0], v.part[1]), vminq_f32(v.part[2], v.part[3]))));
  uint32x4_t lane = {0, 1, 2, 3};
  uint32x4_t first = vdupq_n_u32(lanes);
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

/// A quad of 16 vectors and the best child found so far.
struct QuadChoice {
  LaneInt index;
  LaneFloat centroid[4];
};

/// Nearest of 16 children for every lane, by |c|^2/2 - <t, c>. `centre(child, k)` gives coordinate
/// k (0..3) or half the squared norm (4) of the child as lanes. Without Centroids, the centroid of
/// the choice is left open.
template <bool Centroids, class Centre>
RQ_INLINE QuadChoice nearest_child(const LaneFloat t[4], Centre centre) {
  QuadChoice best;
  LaneFloat best_score = broadcast(__builtin_inff());
  best.index = LaneInt{};
  for (LaneFloat& coordinate : best.centroid) {
    coordinate = LaneFloat{};
  }
  for (int child = 0; child < static_cast<int>(fanout); ++child) {
    LaneFloat c[4];
    LaneFloat score = centre(child, 4);
    for (int k = 0; k < 4; ++k) {
      c[k] = centre(child, k);
      score = score - t[k] * c[k];
    }
    const LaneInt better = less(score, best_score);
    best_score = choose(better, score, best_score);
    best.index = choose(better, broadcast_int(child), best.index);
    for (int k = 0; Centroids && k < 4; ++k) {
      best.centroid[k] = choose(better, c[k], best.centroid[k]);
    }
  }
  return best;
}

/// Level 3 has 256 parents, too many for a register: lanes become the 16 children of one vector.
RQ_INLINE void third_level(const TreeView& tree, size_t quad_tree, const LaneFloat t[4],
                           LaneInt node, QuadChoice& choice) {
  const float* table = tree.level3 + quad_tree * 256 * 5 * lanes;
  const float* leaves = tree.centroids[2] + quad_tree * 4096 * 4;
  for (size_t lane = 0; lane < lanes; ++lane) {
    const auto parent = static_cast<size_t>(node[lane]);
    const float* children = table + parent * 5 * lanes;
    LaneFloat score = load_lanes(children + 4 * lanes);
    for (int k = 0; k < 4; ++k) {
      score = score - t[k][lane] * load_lanes(children + k * lanes);
    }
    const uint32_t child = argmin16(score);
    choice.index[lane] = static_cast<int32_t>(child);
    const float* leaf = leaves + (parent * fanout + child) * 4;
    for (int k = 0; k < 4; ++k) {
      choice.centroid[k][lane] = leaf[k];
    }
  }
}

/// Returns whether a nibble was another one before.
RQ_INLINE bool store_nibbles(LaneInt index, uint8_t* nibbles) {
  uint8_t fresh[lanes];
  for (size_t lane = 0; lane < lanes; ++lane) {
    fresh[lane] = static_cast<uint8_t>(index[lane]);
  }
  const bool changed = __builtin_memcmp(nibbles, fresh, lanes) != 0;
  __builtin_memcpy(nibbles, fresh, lanes);
  return changed;
}

/// Levels beyond the tree: one more bit a coordinate each, of the embedded index of the residual.
RQ_INLINE void scalar_levels(const TreeView& tree, const EmbeddedScalar& scalar, size_t quad_tree,
                             const LaneFloat t[4], LaneInt node, QuadChoice& choice,
                             uint8_t* nibbles, size_t plane_stride) {
  const size_t bits = tree.scalar_bits;
  const float* scales = tree.leaf_scales + quad_tree * 256 * 4;
  for (size_t lane = 0; lane < lanes; ++lane) {
    const float* scale = scales + static_cast<size_t>(node[lane]) * 4;
    for (size_t level = 0; level < bits; ++level) {
      nibbles[level * plane_stride + lane] = 0;
    }
    for (unsigned k = 0; k < 4; ++k) {
      const float value = (t[k][lane] - choice.centroid[k][lane]) / scale[k];
      size_t heap = 1;
      for (size_t level = 0; level < bits; ++level) {
        const unsigned bit = value >= scalar.thresholds[heap] ? 1 : 0;
        heap = 2 * heap + bit;
        nibbles[level * plane_stride + lane] |= static_cast<uint8_t>(bit << k);
      }
      choice.centroid[k][lane] +=
          scale[k] * scalar.centroids[bits - 1][heap - (static_cast<size_t>(1) << bits)];
    }
  }
}

/// Greedy descent for every quad: target (P x 16) -> nibbles (levels x quads x 16) and their
/// decoding (P x 16). Returns whether a nibble of the tree is another one than before.
bool encode_levels(const TreeView& tree, const EmbeddedScalar& scalar, size_t quads,
                   const float* target, uint8_t* nibbles, float* decoded) {
  const size_t plane_stride = quads * lanes;
  bool changed = false;
  for (size_t quad = 0; quad < quads; ++quad) {
    const size_t quad_tree = tree.trees == 1 ? 0 : quad;
    LaneFloat t[4];
    for (size_t k = 0; k < 4; ++k) {
      t[k] = load_lanes(target + (quad * 4 + k) * lanes);
    }
    uint8_t* plane = nibbles + quad * lanes;
    const float* level1 = tree.level1 + quad_tree * fanout * 5;
    const auto first_level = [&](int child, int k) { return broadcast(level1[child * 5 + k]); };
    QuadChoice choice = tree.levels == 1 ? nearest_child<true>(t, first_level)
                                         : nearest_child<false>(t, first_level);
    changed |= store_nibbles(choice.index, plane);
    LaneInt node = choice.index;
    if (tree.levels >= 2) {
      const float* level2 = tree.level2 + quad_tree * fanout * 5 * lanes;
      const LaneInt parent = node;
      choice = nearest_child<true>(t, [&](int child, int k) {
        return lookup16(level2 + (child * 5 + k) * static_cast<int>(lanes), parent);
      });
      changed |= store_nibbles(choice.index, plane + plane_stride);
      node = node * static_cast<int32_t>(fanout) + choice.index;
    }
    if (tree.levels >= 3) {
      third_level(tree, quad_tree, t, node, choice);
      changed |= store_nibbles(choice.index, plane + 2 * plane_stride);
    }
    if (tree.scalar_bits > 0) {
      scalar_levels(tree, scalar, quad_tree, t, node, choice, plane + 3 * plane_stride,
                    plane_stride);
    }
    for (size_t k = 0; k < 4; ++k) {
      store_lanes(decoded + (quad * 4 + k) * lanes, choice.centroid[k]);
    }
  }
  return changed;
}

RQ_INLINE LaneFloat lane_dot(const float* a, const float* b, size_t rows) {
  LaneFloat sum{};
  for (size_t i = 0; i < rows; ++i) {
    sum = sum + load_lanes(a + i * lanes) * load_lanes(b + i * lanes);
  }
  return sum;
}

/// Signs of O r and their step c = |O r|_1 / P; leaves O^T s in `sign_part`.
RQ_INLINE LaneFloat fit_signs(const EncodeView& view, const float* u, const EncodeBlock& block) {
  const size_t dims = view.dims;
  for (size_t i = 0; i < dims; ++i) {
    store_lanes(block.sign_part + i * lanes,
                load_lanes(u + i * lanes) - load_lanes(block.decoded + i * lanes));
  }
  rotor_forward(view.sign_map, block.sign_part, block.scratch);
  uint8_t* plane = block.nibbles + view.layout.levels * view.layout.quads * lanes;
  LaneFloat sum{};
  const LaneFloat zero{};
  for (size_t quad = 0; quad < view.layout.quads; ++quad) {
    LaneInt bits{};
    for (size_t k = 0; k < 4; ++k) {
      float* row = block.sign_part + (quad * 4 + k) * lanes;
      const LaneFloat z = load_lanes(row);
      const LaneInt negative = less(z, zero);
      sum = sum + choose(negative, -z, z);
      bits = bits | (negative & (1 << k));
      store_lanes(row, choose(negative, broadcast(-1.0F), broadcast(1.0F)));
    }
    store_nibbles(bits, plane + quad * lanes);
  }
  rotor_inverse(view.sign_map, block.sign_part, block.scratch);
  return sum / static_cast<float>(dims);
}

/// <u, a_1> for the level-1 nibbles chosen.
RQ_INLINE LaneFloat first_level_product(const EncodeView& view, const float* u,
                                        const uint8_t* nibbles) {
  LaneFloat sum{};
  for (size_t quad = 0; quad < view.layout.quads; ++quad) {
    const size_t quad_tree = view.tree.trees == 1 ? 0 : quad;
    const float* level1 = view.tree.level1 + quad_tree * fanout * 5;
    for (size_t k = 0; k < 4; ++k) {
      LaneFloat centroid;
      for (size_t lane = 0; lane < lanes; ++lane) {
        centroid[lane] = level1[nibbles[quad * lanes + lane] * 5 + k];
      }
      sum = sum + load_lanes(u + (quad * 4 + k) * lanes) * centroid;
    }
  }
  return sum;
}

/// alpha = |y| sqrt(P) / <u, x^>: the scale that makes the estimate exact along the vector itself.
/// 0 for a zero vector, and where a code points away from its vector.
RQ_INLINE void store_alpha(const float* norm, LaneFloat product, float root_dims, float* alpha) {
  for (size_t lane = 0; lane < lanes; ++lane) {
    alpha[lane] = product[lane] > 0.0F ? norm[lane] * root_dims / product[lane] : 0.0F;
  }
}

void encode_block(const EncodeView& view, EncodeBlock& block) {
  const size_t dims = view.dims;
  const EmbeddedScalar& scalar = *view.scalar;
  const auto dims_f = static_cast<float>(dims);
  const float root_dims = __builtin_sqrtf(dims_f);
  float norm[lanes];
  const LaneFloat squared = lane_dot(block.y, block.y, dims);
  LaneFloat to_unit;
  for (size_t lane = 0; lane < lanes; ++lane) {
    norm[lane] = __builtin_sqrtf(squared[lane]);
    to_unit[lane] = norm[lane] > 0.0F ? root_dims / norm[lane] : 0.0F;
  }
  float* u = block.y;
  for (size_t i = 0; i < dims; ++i) {
    store_lanes(u + i * lanes, load_lanes(u + i * lanes) * to_unit);
  }

  const bool has_levels = view.layout.levels > 0;
  const size_t quads = view.layout.quads;
  LaneFloat step{};
  if (has_levels) {
    encode_levels(view.tree, scalar, quads, u, block.nibbles, block.decoded);
  } else {
    __builtin_memset(block.decoded, 0, dims * lanes * sizeof(float));
  }
  if (view.layout.signs) {
    step = fit_signs(view, u, block);
    for (int round = 0; has_levels && round < view.joint_rounds; ++round) {
      for (size_t i = 0; i < dims; ++i) {
        store_lanes(block.target + i * lanes,
                    load_lanes(u + i * lanes) - step * load_lanes(block.sign_part + i * lanes));
      }
      const bool changed =
          encode_levels(view.tree, scalar, quads, block.target, block.nibbles, block.decoded);
      if (!changed && view.tree.scalar_bits == 0) {
        break;  // the same levels would be given the same signs, round after round
      }
      step = fit_signs(view, u, block);
    }
    for (size_t i = 0; i < dims; ++i) {
      float* row = block.decoded + i * lanes;
      store_lanes(row, load_lanes(row) + step * load_lanes(block.sign_part + i * lanes));
    }
  }

  const LaneFloat product = lane_dot(u, block.decoded, dims);
  const LaneFloat energy = lane_dot(block.decoded, block.decoded, dims);
  store_alpha(norm, product, root_dims, block.alpha);
  for (size_t lane = 0; lane < lanes; ++lane) {
    block.beta[lane] = block.alpha[lane] * step[lane];
    const float both = energy[lane] * dims_f;
    block.cos2[lane] = both > 0.0F ? product[lane] * product[lane] / both : 0.0F;
  }
  if (!has_levels) {  // signs alone: the scan's table holds +-1, so its factor is beta
    __builtin_memcpy(block.alpha1, block.beta, sizeof(block.alpha1));
  } else {
    store_alpha(norm, first_level_product(view, u, block.nibbles), root_dims, block.alpha1);
  }
}
