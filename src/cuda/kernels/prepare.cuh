// SPDX-License-Identifier: MIT
#pragma once

// What a search makes of a query in the codec's frames: fixed-point copies for the refine
// (CodecAccess::fix_query) and the scan's table (CodecAccess::fill_scan_table), to the same bits.

#include "cuda/kernels/common.cuh"

namespace rotorquant::gpu {

/// The step that a query is rounded to, see fixed_step() in codec_tables.cpp. One thread.
RQ_DEVICE float fixed_step(const float* values, unsigned size, int32_t largest_fixed) {
  double sum = 0.0;
  float largest = 0.0F;
  for (unsigned j = 0; j < size; ++j) {
    const float magnitude = values[j] < 0.0F ? -values[j] : values[j];
    sum += static_cast<double>(magnitude);
    largest = larger(largest, magnitude);
  }
  constexpr double most_sum = 2147483647.0;
  const double room = most_sum / larger(largest_fixed, 1) - 0.5 * static_cast<double>(size);
  const double step = larger(sum / room, static_cast<double>(largest) / 32766.0);
  constexpr double least_step = 1.17549435082228750797e-38;
  return static_cast<float>(larger(step * 1.000001, least_step));
}

RQ_DEVICE int16_t to_fixed(float value) {
  constexpr float most = 32767.0F;
  return static_cast<int16_t>(nearest_int(smaller(larger(value, -most), most)));
}

/// One block a query: rounds q' and O q'.
RQ_KERNEL fix_queries(TableArgs args) {
  auto* steps = reinterpret_cast<float*>(shared_memory());
  const QueryView& queries = args.queries;
  for (unsigned q = block_x(); q < args.n; q += blocks_x()) {
    for (unsigned which = warp_id(); which < 2; which += warps()) {
      const float* values = which == 0 ? queries.frame : queries.sign;
      if (lane_id() == 0 && values != nullptr) {
        steps[which] = fixed_step(values + size_t{q} * queries.stride, queries.stride,
                                  which == 0 ? args.codec.largest_fixed : 1);
      }
    }
    block_barrier();
    for (unsigned which = 0; which < 2; ++which) {
      const float* values = which == 0 ? queries.frame : queries.sign;
      int16_t* fixed = which == 0 ? queries.fixed_frame : queries.fixed_sign;
      if (values == nullptr) {
        continue;
      }
      const float inverse = 1.0F / steps[which];
      for (unsigned j = thread_id(); j < queries.fixed_stride; j += threads()) {
        const float value = j < queries.stride ? values[size_t{q} * queries.stride + j] : 0.0F;
        fixed[size_t{q} * queries.fixed_stride + j] = to_fixed(value * inverse);
      }
    }
    if (thread_id() == 0) {
      queries.level_step[q] = steps[0] / args.codec.fixed_unit;
      queries.sign_step[q] = queries.sign == nullptr ? 0.0F : steps[1];
    }
    block_barrier();
  }
}

/// Product of a query's quad with centroid j, or with the signs that nibble j stands for.
RQ_DEVICE float quad_product(const CodecView& codec, const float* q, unsigned quad, unsigned j) {
  const size_t own = codec.tree.trees == 1 ? 0 : quad;
  float sum = 0.0F;
  for (unsigned k = 0; k < 4; ++k) {
    const float c = codec.code.levels == 0 ? (((j >> k) & 1U) != 0 ? -1.0F : 1.0F)
                                           : codec.tree.centroids[0][(own * 16 + j) * 4 + k];
    sum += q[quad * 4 + k] * c;
  }
  return sum;
}

/// Where entry j of a quad of query q lies.
RQ_DEVICE size_t table_place(const TableArgs& args, unsigned q, unsigned quad, unsigned j) {
  if (args.order == ScanTableOrder::one_query) {
    return (size_t{q} * args.padded_quads + quad) * 16 + j;
  }
  if (args.order == ScanTableOrder::four_queries) {
    return ((size_t{q / 4} * args.padded_quads + quad) * 16 + j) * 4 + q % 4;
  }
  const unsigned column = q % 64;
  const unsigned lane = column % 8 * 4 + j / 4;
  const size_t fragment = (size_t{q / 64} * (args.padded_quads / 2) + quad / 2) * 8 + column / 8;
  return (fragment * warp_lanes + lane) * 8 + quad % 2 * 4 + j % 4;
}

/// One block a query: a table of bytes a quad, one step for the whole query.
RQ_KERNEL fill_scan_tables(TableArgs args) {
  const CodecView& codec = args.codec;
  const unsigned quads = codec.code.quads;
  auto* shared = reinterpret_cast<float*>(shared_memory());  // widest, bias, variance
  for (unsigned query = block_x(); query < args.n; query += blocks_x()) {
    const float* rows = codec.code.levels == 0 ? args.queries.sign : args.queries.frame;
    const float* q = rows + size_t{query} * args.queries.stride;
    float* low = args.low + size_t{query} * quads;
    float* range = args.range + size_t{query} * quads;
    for (unsigned quad = thread_id(); quad < quads; quad += threads()) {
      float least = quad_product(codec, q, quad, 0);
      float most = least;
      for (unsigned j = 1; j < 16; ++j) {
        const float product = quad_product(codec, q, quad, j);
        least = smaller(least, product);
        most = larger(most, product);
      }
      low[quad] = least;
      range[quad] = most - least;
    }
    block_barrier();
    for (unsigned which = warp_id(); which < 2; which += warps()) {
      if (lane_id() == 0 && which == 0) {
        float widest = 0.0F;
        float bias = 0.0F;
        for (unsigned quad = 0; quad < quads; ++quad) {
          bias += low[quad];
          widest = larger(widest, range[quad]);
        }
        shared[0] = widest;
        shared[1] = bias;
      } else if (lane_id() == 0) {
        float variance = 0.0F;
        for (unsigned j = 0; j < codec.code.dims; ++j) {
          variance += q[j] * q[j] * codec.scan_error[codec.scan_errors == 1 ? 0 : j];
        }
        shared[2] = variance;
      }
    }
    block_barrier();
    const float step = shared[0] / 255.0F;
    const float inverse = step > 0.0F ? 1.0F / step : 0.0F;
    for (unsigned i = thread_id(); i < quads * 16; i += threads()) {
      const unsigned quad = i / 16;
      const float product = quad_product(codec, q, quad, i % 16);
      const float entry = (product - low[quad]) * inverse + 0.5F;
      args.tables[table_place(args, query, quad, i % 16)] =
          static_cast<uint8_t>(smaller(static_cast<int>(entry), 255));
    }
    if (thread_id() == 0) {
      const float rounding = step * step * static_cast<float>(quads) / 12.0F;
      const float deviation = args.rounding_only ? root(rounding) : root(rounding + shared[2]);
      const float margin = args.error_scale * deviation;
      args.queries.scale[query] = args.weight * step;
      args.queries.offset[query] = args.weight * (shared[1] + margin);
      if (args.bias != nullptr) {
        args.bias[query] = shared[1];
        args.rounding[query] = root(rounding);
      }
    }
    block_barrier();
  }
}

}  // namespace rotorquant::gpu
