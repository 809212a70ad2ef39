// SPDX-License-Identifier: MIT
#pragma once

// All centroids against queries: IvfGeometry::block_products, CentroidRanker and make_probe
// (src/ivf_coarse.h, ivf_scan.h), in their order of operations.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

/// A query's distance to a list's centroid: Probe.
struct ListDistance {
  float base;
  float squared;
};

RQ_DEVICE ListDistance list_distance(const ListsView& lists, const ProbeView& probes, unsigned q,
                                     unsigned list) {
  const float product = probes.products[size_t{q} * lists.lists + list];
  const float squared = probes.squared[q] + (lists.squared_offsets[list] - 2.0F * product);
  const float base = lists.squared
                         ? squared
                         : -(probes.centre_product[q] + (lists.centre_products[list] + product));
  return {base, larger(squared, 0.0F)};
}

/// |q - g|^2 and <q, g>, a warp a query: lane_sum() of ivf_scan.h, whose 16 partial sums half of
/// the warp holds.
RQ_KERNEL query_terms(CoarseArgs args) {
  constexpr unsigned parts = 16;
  const unsigned d = args.lists.d;
  for (unsigned q = block_x() * warps() + warp_id(); q < args.n; q += blocks_x() * warps()) {
    const float* query = args.queries + size_t{q} * d;
    const float* centred = args.centred + size_t{q} * d;
    float squared = 0.0F;
    float product = 0.0F;
    for (unsigned j = lane_id(); lane_id() < parts && j < d; j += parts) {
      squared += centred[j] * centred[j];
      product += query[j] * args.lists.centre[j];
    }
    for (unsigned width = parts / 2; width > 0; width /= 2) {
      squared += shuffle(squared, lane_id() + width);
      product += shuffle(product, lane_id() + width);
    }
    if (lane_id() == 0) {
      args.probes.squared[q] = squared;
      args.probes.centre_product[q] = product;
    }
  }
}

/// Queries that share the loads of a centroid.
constexpr unsigned coarse_queries = 4;

/// Products of every query with every centroid, and the lists' ranks: a thread takes one list for
/// some queries.
RQ_KERNEL rank_lists(CoarseArgs args) {
  constexpr unsigned block_lists = 64;
  const ListsView& lists = args.lists;
  const unsigned groups = (args.n + coarse_queries - 1) / coarse_queries;
  const size_t items = size_t{groups} * lists.lists;
  for (size_t item = size_t{block_x()} * threads() + thread_id(); item < items;
       item += size_t{blocks_x()} * threads()) {
    const auto list = static_cast<unsigned>(item % lists.lists);
    const unsigned first = static_cast<unsigned>(item / lists.lists) * coarse_queries;
    const unsigned live = smaller(coarse_queries, args.n - first);
    float products[coarse_queries] = {};
    if (lists.table != nullptr) {
      const float* column =
          lists.table + size_t{list / block_lists} * lists.d * block_lists + list % block_lists;
      const float* centred = args.centred + size_t{first} * lists.d;
      for (unsigned j = 0; j < lists.d; ++j) {
        const float value = column[size_t{j} * block_lists];
        RQ_UNROLL
        for (unsigned q = 0; q < coarse_queries; ++q) {
          if (q < live) {
            products[q] = fused(centred[size_t{q} * lists.d + j], value, products[q]);
          }
        }
      }
    }
    RQ_UNROLL
    for (unsigned q = 0; q < coarse_queries; ++q) {
      if (q < live) {
        const size_t at = size_t{first + q} * lists.lists + list;
        const float rank = lists.squared ? lists.squared_offsets[list] - 2.0F * products[q]
                                         : -(lists.centre_products[list] + products[q]);
        args.probes.products[at] = products[q];
        args.keys[at] = make_key(rank, list);
      }
    }
  }
}

}  // namespace rotorquant::gpu
