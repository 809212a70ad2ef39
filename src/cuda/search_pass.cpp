// SPDX-License-Identifier: MIT
#include "cuda/search_pass.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "rotorquant/error.h"
#include "scan_limits.h"

namespace rotorquant::gpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

constexpr size_t multiple(size_t n, size_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// The inverse of ordered_bits() in device.h, for the host.
float ordered_to_float(uint32_t ordered) {
  return std::bit_cast<float>((ordered & 0x80000000U) != 0 ? ordered & 0x7FFFFFFFU : ~ordered);
}

bool is_nearer(const ScoredId& a, const ScoredId& b) {
  return a.distance < b.distance || (a.distance == b.distance && a.id < b.id);
}

void keep_best(std::vector<ScoredId>& found, size_t k) {
  if (found.size() > k) {
    const auto end = found.begin() + static_cast<std::ptrdiff_t>(k);
    std::nth_element(found.begin(), end - 1, found.end(), is_nearer);
    found.erase(end, found.end());
  }
}

}  // namespace

size_t SearchPass::capacity_for(const GpuSearchOptions& options, size_t k, size_t vectors) {
  constexpr size_t least = tile_vectors;
  constexpr size_t usual = 8192;
  const size_t wanted =
      options.candidate_capacity > 0 ? options.candidate_capacity : std::max(usual, 16 * k);
  return std::max(least, std::min(wanted, multiple(vectors, tile_vectors)));
}

SearchPass::SearchPass(const CodecImpl& codec, const StoreImpl& store, size_t vectors,
                       const PassRequest& request, ScanTableOrder order)
    : codec_(codec),
      store_(store),
      vectors_(vectors),
      params_(request.params),
      options_(request.options),
      device_(codec.device),
      count_(request.count),
      capacity_(request.capacity),
      by_bound_(params_.refine_error_scale != 0.0F),
      rounding_only_(codec.view.code.planes == 1 || params_.levels == 1),
      order_(order),
      combination_(codec.combination(params_.levels, params_.estimator)),
      bad_row_(device_, 1),
      base_(device_, count_),
      limits_(device_, count_),
      counts_(device_, count_),
      candidates_(device_, count_ * capacity_) {
  stats_.queries = count_;
}

void SearchPass::prepare(const float* queries, float error_scale, float* bias, float* rounding) {
  const CodeShape& code = codec_.view.code;
  residual_ = Buffer<float>(device_, count_ * code.d);
  codec_.split(queries, count_, true, residual_.data(), base_.data(), bad_row_.data());
  queries_.stride = to_unsigned(multiple(code.dims, 16));
  queries_.fixed_stride = to_unsigned(multiple(code.dims, 32));
  frame_ = Buffer<float>(device_, count_ * queries_.stride);
  fixed_frame_ = Buffer<int16_t>(device_, count_ * queries_.fixed_stride);
  codec_.to_frame(residual_.data(), count_, true, frame_.data(), queries_.stride);
  queries_.frame = frame_.data();
  queries_.fixed_frame = fixed_frame_.data();
  if (code.signs) {
    sign_ = Buffer<float>(device_, count_ * queries_.stride);
    fixed_sign_ = Buffer<int16_t>(device_, count_ * queries_.fixed_stride);
    device_->fill(sign_.data(), 0, sign_.bytes());
    // The frame's rows are `stride` long: what is beyond dims is not read.
    codec_.rotate(codec_.view.sign_map, false, frame_.data(), queries_.stride, count_, sign_.data(),
                  code.dims, queries_.stride);
    queries_.sign = sign_.data();
    queries_.fixed_sign = fixed_sign_.data();
  }
  numbers_ = Buffer<float>(device_, 4 * count_);
  queries_.level_step = numbers_.data();
  queries_.sign_step = numbers_.data() + count_;
  queries_.scale = numbers_.data() + 2 * count_;
  queries_.offset = numbers_.data() + 3 * count_;
  fill_tables(error_scale, bias, rounding);
}

void SearchPass::fill_tables(float error_scale, float* bias, float* rounding) {
  const unsigned quads = store_.view.tile.padded_quads();
  const CodeShape& code = codec_.view.code;
  Buffer<float> low(device_, count_ * code.quads);
  Buffer<float> range(device_, count_ * code.quads);
  tables_ = Buffer<uint8_t>(device_, scan_table_bytes(order_, to_unsigned(count_), quads));
  device_->fill(tables_.data(), 0, tables_.bytes());
  TableArgs args{};
  args.codec = codec_.view;
  args.queries = queries_;
  args.n = to_unsigned(count_);
  args.order = order_;
  args.padded_quads = quads;
  args.weight = codec_.space.weight();
  args.rounding_only = rounding_only_;
  args.error_scale = error_scale;
  args.bias = bias;
  args.rounding = rounding;
  args.low = low.data();
  args.range = range.data();
  args.tables = tables_.data();
  fix_queries(*device_, args);
  fill_scan_tables(*device_, args);
}

void SearchPass::check_finite(size_t first) {
  const uint32_t bad = bad_row_.read()[0];
  require(bad >= count_, "queries", "finite numbers",
          "infinity or NaN in row " + std::to_string(first + bad));
}

void SearchPass::set_limits(float limit) {
  const std::vector<float> limits(count_, limit);
  device_->copy(limits_.data(), limits.data(), limits_.bytes());
  device_->synchronize();
}

CandidateView SearchPass::candidates(size_t first) {
  return {candidates_.data() + first * capacity_, counts_.data() + first, to_unsigned(capacity_)};
}

void SearchPass::clear_counts() {
  device_->fill(counts_.data(), 0, counts_.bytes());
}

void SearchPass::refine(size_t first, size_t queries, uint64_t* keys, const uint32_t* counts,
                        size_t capacity) {
  RefineArgs args{};
  args.codec = codec_.view;
  args.store = store_.view;
  args.queries = queries_;
  args.queries.fixed_frame += first * queries_.fixed_stride;
  if (queries_.fixed_sign != nullptr) {
    args.queries.fixed_sign += first * queries_.fixed_stride;
  }
  args.queries.level_step += first;
  args.queries.sign_step += first;
  args.combination = combination_;
  args.weight = codec_.space.weight();
  args.by_bound = by_bound_;
  args.keys = keys;
  args.counts = counts;
  args.capacity = to_unsigned(capacity);
  args.scored = keys;
  complete(args, first);
  refine_candidates(*device_, args, to_unsigned(queries));
}

void SearchPass::refine_rows(Buffer<uint64_t>& rows, size_t capacity) {
  const std::vector<uint32_t> all(count_, to_unsigned(capacity));
  const Buffer<uint32_t> counts = Buffer<uint32_t>::of(device_, all);
  refine(0, count_, rows.data(), counts.data(), capacity);
  stats_.refined += count_ * capacity;
  device_->synchronize();  // `all` may go
}

void SearchPass::select(const uint64_t* keys, const uint32_t* counts, size_t capacity, size_t k,
                        uint64_t* best, bool keep, float* reached, size_t rows) {
  SelectArgs args{};
  args.keys = keys;
  args.counts = counts;
  args.capacity = to_unsigned(capacity);
  args.k = to_unsigned(k);
  args.best = best;
  args.keep = keep;
  args.reached = reached;
  select_best(*device_, args, to_unsigned(rows));
}

template <class Use>
void SearchPass::for_parts(size_t q, TileRange tiles, float limit, Use&& use) {
  std::vector<TileRange> open{tiles};
  // Without a limit everything passes: start with what fits for sure.
  const auto sure = to_unsigned(capacity_ / tile_vectors);
  if (limit >= no_limit && tiles.count() > sure) {
    open = {{tiles.first + sure, tiles.last}, {tiles.first, tiles.first + sure}};
  }
  while (!open.empty()) {
    const TileRange part = open.back();
    open.pop_back();
    scan_one(q, limit, part);
    const uint32_t found = counts_.read()[q];
    if (found > capacity_ && part.count() > 1) {
      const unsigned middle = part.first + part.count() / 2;
      open.push_back({middle, part.last});
      open.push_back({part.first, middle});
      continue;
    }
    stats_.candidates += found;
    limit = std::min(limit, use(found));
  }
}

void SearchPass::rank_in_parts(size_t q, size_t k, bool refined, float limit, uint64_t* best) {
  ++stats_.rescans;
  Buffer<float> reached(device_, 1);
  uint64_t* keys = candidates_.data() + q * capacity_;
  bool keep = false;
  for_parts(q, tiles_of(q), limit, [&](uint32_t found) {
    if (refined) {
      refine(q, 1, keys, counts_.data() + q, capacity_);
      stats_.refined += found;
    }
    select(keys, counts_.data() + q, capacity_, k, best, keep, reached.data(), 1);
    keep = true;
    return reached.read()[0];
  });
}

void SearchPass::rank(size_t k, bool refined, uint64_t* best) {
  guess_limits(k);
  scan();
  if (refined) {
    refine(0, count_, candidates_.data(), counts_.data(), capacity_);
  }
  Buffer<float> reached(device_, count_);
  select(candidates_.data(), counts_.data(), capacity_, k, best, false, reached.data(), count_);
  const std::vector<uint32_t> found = counts_.read();
  const std::vector<float> limits = limits_.read();
  const std::vector<float> kth = reached.read();
  for (size_t q = 0; q < count_; ++q) {
    stats_.candidates += found[q];
    stats_.refined += refined ? std::min<size_t>(found[q], capacity_) : 0;
    // The k-th best of a part of the candidates is no better than that of all: a limit that holds.
    if (found[q] > capacity_ || (kth[q] > limits[q] && limits[q] < no_limit)) {
      rank_in_parts(q, k, refined, std::min(kth[q], no_limit), best + q * k);
    }
  }
}

void SearchPass::finish(size_t k, const uint64_t* best, float* distances, int64_t* ids) {
  Output<float> out_distances(device_, distances, count_ * k);
  Output<int64_t> out_ids(device_, ids, count_ * k);
  FinishArgs args{};
  args.best = best;
  args.label_ids = device_label_ids();
  args.base = base_.data();
  args.k = to_unsigned(k);
  args.sign = options_.distance_sign;
  args.missing = options_.missing_distance;
  args.distances = out_distances.data();
  args.ids = out_ids.data();
  finish_results(*device_, args, to_unsigned(count_));
  out_distances.finish();
  out_ids.finish();
  device_->synchronize();
}

int64_t SearchPass::id_of(uint32_t label) const {
  const std::vector<int64_t>* ids = label_ids();
  return ids == nullptr ? static_cast<int64_t>(label) : (*ids)[label];
}

void SearchPass::nearest(size_t k, float* distances, int64_t* ids) {
  const size_t shortlist = std::min(params_.k_factor * k, std::max(k, vectors_));
  const size_t longest = by_bound_ ? k : shortlist;
  if (longest > most_selectable) {
    nearest_on_host(k, distances, ids);
    return;
  }
  Buffer<uint64_t> best(device_, count_ * k);
  if (by_bound_) {
    rank(k, true, best.data());
  } else {
    Buffer<uint64_t> list(device_, count_ * shortlist);
    rank(shortlist, false, list.data());
    refine_rows(list, shortlist);
    select(list.data(), nullptr, shortlist, k, best.data(), false, nullptr, count_);
  }
  finish(k, best.data(), distances, ids);
}

std::vector<ScoredId> SearchPass::read_scores(size_t q, size_t n) const {
  std::vector<uint64_t> keys(n);
  device_->copy(keys.data(), candidates_.data() + q * capacity_, n * sizeof(uint64_t));
  device_->synchronize();
  std::vector<ScoredId> scores(n);
  std::transform(keys.begin(), keys.end(), scores.begin(), [](uint64_t key) {
    return ScoredId{ordered_to_float(static_cast<uint32_t>(key >> 32U)),
                    static_cast<uint32_t>(key)};
  });
  return scores;
}

std::vector<ScoredId> SearchPass::collect(size_t q, size_t k, bool refined, float limit) {
  std::vector<ScoredId> all;
  for_parts(q, tiles_of(q), limit, [&](uint32_t found) {
    if (refined && found > 0) {
      refine(q, 1, candidates_.data() + q * capacity_, counts_.data() + q, capacity_);
      stats_.refined += found;
    }
    const std::vector<ScoredId> part = read_scores(q, found);
    all.insert(all.end(), part.begin(), part.end());
    if (k == 0 || all.size() < k) {
      return infinity;
    }
    keep_best(all, k);
    return std::max_element(all.begin(), all.end(), is_nearer)->distance;
  });
  return all;
}

void SearchPass::nearest_on_host(size_t k, float* distances, int64_t* ids) {
  const std::vector<float> base = base_.read();
  const size_t shortlist = params_.k_factor * k;
  std::vector<float> own_distances(k);
  std::vector<int64_t> own_ids(k);
  for (size_t q = 0; q < count_; ++q) {
    std::vector<ScoredId> found = collect(q, by_bound_ ? k : shortlist, by_bound_, no_limit);
    if (!by_bound_) {
      std::vector<uint64_t> keys(found.size());
      std::transform(found.begin(), found.end(), keys.begin(),
                     [](const ScoredId& scored) { return uint64_t{scored.id}; });
      // As many at a time as there is room for; the refine asks nothing of a key but its id.
      found.clear();
      for (size_t first = 0; first < keys.size(); first += capacity_) {
        const auto n = to_unsigned(std::min(capacity_, keys.size() - first));
        device_->copy(candidates_.data() + q * capacity_, keys.data() + first,
                      n * sizeof(uint64_t));
        device_->copy(counts_.data() + q, &n, sizeof(n));
        refine(q, 1, candidates_.data() + q * capacity_, counts_.data() + q, capacity_);
        const std::vector<ScoredId> part = read_scores(q, n);
        found.insert(found.end(), part.begin(), part.end());
      }
      stats_.refined += found.size();
      keep_best(found, k);
    }
    for (ScoredId& scored : found) {
      scored.distance += base[q];
    }
    std::sort(found.begin(), found.end(), is_nearer);
    for (size_t i = 0; i < k; ++i) {
      const bool has = i < found.size();
      own_distances[i] =
          has ? options_.distance_sign * found[i].distance : options_.missing_distance;
      own_ids[i] = has ? id_of(found[i].id) : -1;
    }
    device_->copy(distances + q * k, own_distances.data(), k * sizeof(float));
    device_->copy(ids + q * k, own_ids.data(), k * sizeof(int64_t));
    device_->synchronize();
  }
}

std::vector<std::vector<RangeHit>> SearchPass::within(float radius) {
  const std::vector<float> base = base_.read();
  std::vector<float> limits(count_);
  for (size_t q = 0; q < count_; ++q) {
    // The subtraction rounds: look one step further in and let the final distance decide.
    limits[q] = std::min(std::nextafter(radius - base[q], infinity), no_limit);
  }
  device_->copy(limits_.data(), limits.data(), limits_.bytes());
  scan();
  const std::vector<uint32_t> counts = counts_.read();
  refine(0, count_, candidates_.data(), counts_.data(), capacity_);
  std::vector<std::vector<ScoredId>> found(count_);
  for (size_t q = 0; q < count_; ++q) {
    if (counts[q] <= capacity_) {
      stats_.candidates += counts[q];
      stats_.refined += counts[q];
      found[q] = read_scores(q, counts[q]);
    }
  }
  std::vector<std::vector<RangeHit>> hits(count_);
  for (size_t q = 0; q < count_; ++q) {
    if (counts[q] > capacity_) {
      found[q] = collect(q, 0, true, limits[q]);
    }
    for (const ScoredId& scored : found[q]) {
      const float distance = base[q] + scored.distance;
      if (distance < radius) {
        hits[q].push_back({id_of(scored.id), distance});
      }
    }
    std::sort(hits[q].begin(), hits[q].end(),
              [](const RangeHit& a, const RangeHit& b) { return a.id < b.id; });
  }
  return hits;
}

}  // namespace rotorquant::gpu
