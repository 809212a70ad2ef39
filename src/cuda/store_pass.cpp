// SPDX-License-Identifier: MIT
#include "cuda/store_pass.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "scan_limits.h"

namespace rotorquant::gpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// One tile in this many is sampled; fewer are left out in small stores, whose sample must have
/// `least_sampled` tiles, and more in large ones, where `most_sampled` are enough.
constexpr size_t sample_step = 8;
constexpr size_t least_sampled = 64;
constexpr size_t most_sampled = 16384;

/// A rank in a sample of n / step that is behind the k-th best of all n with a chance of more than
/// 99 %: the number of the k best that fall into the sample, plus 1.9 standard deviations, and one.
size_t safe_rank(size_t k, size_t step) {
  const double expected = static_cast<double>(k) / static_cast<double>(step);
  return static_cast<size_t>(std::ceil(expected + 1.9 * std::sqrt(expected))) + 1;
}

/// StoreScan::error_margin.
float error_scale(const Codec& codec, const SearchParams& params, bool rounding_only) {
  if (params.refine_error_scale == 0.0F) {
    return 0.0F;
  }
  if (rounding_only) {
    return rounding_error_scale;
  }
  return params.refine_error_scale < 0.0F ? codec.default_error_scale() : params.refine_error_scale;
}

ScanTableOrder table_order(const PassRequest& request) {
  return request.count >= request.options.tensor_queries ? ScanTableOrder::tensor_fragments
                                                         : ScanTableOrder::four_queries;
}

}  // namespace

AllowedTiles::AllowedTiles(const StoreImpl& store, const IdFilter* filter) {
  if (filter == nullptr) {
    return;
  }
  std::vector<uint32_t> masks(store.used_tiles());
  for (size_t tile = 0; tile < masks.size(); ++tile) {
    const size_t first = tile * tile_vectors;
    const size_t count = std::min<size_t>(tile_vectors, store.size - first);
    masks[tile] = static_cast<uint32_t>(filter->allowed(static_cast<int64_t>(first), count));
  }
  masks_ = Buffer<uint32_t>::of(store.device, masks);
  store.device->synchronize();  // masks may go
}

StorePass::StorePass(const CodecImpl& codec, const StoreImpl& store, const AllowedTiles& allowed,
                     const PassRequest& request)
    : SearchPass(codec, store, store.size, request, table_order(request)), allowed_(allowed) {
  prepare(request.queries, error_scale(codec.codec, params_, rounding_only_), nullptr, nullptr);
}

ScanArgs StorePass::scan_args(TileRange tiles, unsigned step) {
  ScanArgs args{};
  args.store = store_.view;
  args.tables = tables_.data();
  args.scale = queries_.scale;
  args.offset = queries_.offset;
  args.limit = limits_.data();
  args.allowed = allowed_.masks();
  args.queries = to_unsigned(count_);
  args.first_tile = tiles.first;
  args.tiles = (tiles.count() + step - 1) / step;
  args.tile_step = step;
  args.found = candidates();
  return args;
}

void StorePass::scan() {
  clear_counts();
  scan_tiles(*device_, scan_args(all_tiles(), 1), order_);
  stats_.blocks_scanned += count_ * (all_tiles().count() + 1) / 2;
}

void StorePass::scan_one(size_t q, float limit, TileRange tiles) {
  // Tables stand in groups: the others of the group get a limit that nothing passes.
  const size_t group = queries_of(order_);
  const size_t first = q / group * group;
  std::vector<float> limits(std::min(group, count_ - first), -infinity);
  limits[q - first] = limit;
  const Buffer<float> own = Buffer<float>::of(device_, limits);
  clear_counts();
  ScanArgs args = scan_args(tiles, 1);
  args.tables += scan_table_bytes(order_, to_unsigned(first), store_.view.tile.padded_quads());
  args.scale += first;
  args.offset += first;
  args.limit = own.data();
  args.queries = to_unsigned(limits.size());
  args.found = candidates(first);
  scan_tiles(*device_, args, order_);
  stats_.blocks_scanned += (tiles.count() + 1) / 2;
}

void StorePass::guess_limits(size_t k) {
  const size_t tiles = store_.used_tiles();
  const size_t step = std::max(std::min(sample_step, tiles / least_sampled), tiles / most_sampled);
  if (step < 2) {
    set_limits(no_limit);
    return;
  }
  const ScanArgs sample = scan_args(all_tiles(), to_unsigned(step));
  const size_t rank = safe_rank(k, step);
  const size_t seeds = std::min<size_t>(std::max<size_t>(4 * rank, 16), most_selectable);
  if (rank > seeds || sample.tiles < seeds) {
    set_limits(no_limit);
    return;
  }
  Buffer<uint64_t> minima(device_, count_ * sample.tiles);
  ScanArgs args = sample;
  args.minima = minima.data();
  scan_tiles(*device_, args, order_);
  stats_.blocks_scanned += count_ * (sample.tiles + 1) / 2;
  Buffer<uint64_t> best(device_, count_ * seeds);
  select(minima.data(), nullptr, sample.tiles, seeds, best.data(), false, nullptr, count_);
  if (by_bound_) {
    refine_rows(best, seeds);
  }
  Buffer<uint64_t> first_ranks(device_, count_ * rank);
  select(best.data(), nullptr, seeds, rank, first_ranks.data(), false, limits_.data(), count_);
}

}  // namespace rotorquant::gpu
