// SPDX-License-Identifier: MIT
#include "cuda/lists_pass.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "codec_access.h"
#include "scan_limits.h"

namespace rotorquant::gpu {
namespace {

/// Tiles of a list that one block scans at least: what loading the table of four queries is worth.
constexpr uint32_t visit_tiles = 64;
/// As in src/ivf_scan.cpp: vectors to choose the first refinements from, and how many those are.
constexpr size_t seed_pool_factor = 12;
constexpr size_t seed_factor = 1;

/// IvfScan::error_scale_, for margins of every kind.
float error_scale(const Codec& codec, const SearchParams& params) {
  return params.refine_error_scale < 0.0F
             ? std::min(codec.default_error_scale(), widest_list_error_scale)
             : params.refine_error_scale;
}

}  // namespace

AllowedLists::AllowedLists(const ListsImpl& lists, const IdFilter* filter)
    : lists_(lists), filter_(filter) {
  if (filter != nullptr) {
    known_.resize(lists.lists.size(), false);
    masks_.resize(lists.pool.used_tiles(), 0);
  }
}

const uint32_t* AllowedLists::masks(const std::vector<std::vector<uint32_t>>& visited) {
  if (filter_ == nullptr) {
    return nullptr;
  }
  for (const std::vector<uint32_t>& of_query : visited) {
    for (const uint32_t number : of_query) {
      const DeviceList& list = lists_.lists[number];
      for (size_t i = 0; i < list.size() && !known_[number]; ++i) {
        const uint32_t allowed = filter_->allows(list.ids[i]) ? 1 : 0;
        masks_[list.tiles[i / tile_vectors]] |= allowed << (i % tile_vectors);
      }
      known_[number] = true;
    }
  }
  on_device_ = Buffer<uint32_t>::of(lists_.device, masks_);
  return on_device_.data();
}

size_t ListsPass::bytes_a_query(const ListsImpl& lists) {
  return lists.lists.size() * (sizeof(float) + sizeof(uint64_t));
}

ListsPass::ListsPass(const ListsImpl& lists, AllowedLists& allowed, const ProbeRequest& probes,
                     const PassRequest& request)
    : SearchPass(lists.codec, lists.pool, lists.total(), request, ScanTableOrder::one_query),
      lists_(lists),
      tables_of_lists_(lists.tables()),
      error_scale_(error_scale(lists.codec.codec, params_)),
      terms_(device_, 4 * count_),
      products_(device_, count_ * lists.lists.size()),
      lists_view_(lists.view),
      probes_(count_) {
  lists_view_.tile_lists = tables_of_lists_.tile_lists.data();
  probe_view_.squared = terms_.data();
  probe_view_.centre_product = terms_.data() + count_;
  probe_view_.products = products_.data();
  prepare(request.queries, 0.0F, terms_.data() + 2 * count_, terms_.data() + 3 * count_);
  device_->fill(base_.data(), 0, base_.bytes());
  const Buffer<uint64_t> keys = rank_all(request.queries);
  if (probes.given == nullptr) {
    choose_nearest(keys, std::min(probes.probes, lists.lists.size()));
  } else {
    take_given(probes.given, probes.probes);
  }
  drop_probes(probes.max_codes);
  allowed_ = allowed.masks(probes_);
}

Buffer<uint64_t> ListsPass::rank_all(const float* queries) {
  Buffer<uint64_t> keys(device_, count_ * lists_.lists.size());
  CoarseArgs args{};
  args.lists = lists_view_;
  args.probes = probe_view_;
  args.queries = queries;
  args.centred = residual_.data();
  args.n = to_unsigned(count_);
  args.keys = keys.data();
  query_terms(*device_, args);
  rank_lists(*device_, args);
  return keys;
}

void ListsPass::choose_nearest(const Buffer<uint64_t>& keys, size_t probes) {
  const size_t lists = lists_.lists.size();
  std::vector<uint64_t> best;
  if (probes <= most_selectable) {
    Buffer<uint64_t> selected(device_, count_ * probes);
    select(keys.data(), nullptr, lists, probes, selected.data(), false, nullptr, count_);
    best = selected.read();
  } else {
    std::vector<uint64_t> all = keys.read();
    for (size_t q = 0; q < count_; ++q) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(q * lists);
      std::partial_sort(first, first + static_cast<std::ptrdiff_t>(probes),
                        first + static_cast<std::ptrdiff_t>(lists));
      best.insert(best.end(), first, first + static_cast<std::ptrdiff_t>(probes));
    }
  }
  for (size_t q = 0; q < count_; ++q) {
    for (size_t p = 0; p < probes; ++p) {
      probes_[q].push_back(static_cast<uint32_t>(best[q * probes + p]));
    }
  }
}

void ListsPass::take_given(const int64_t* given, size_t probes) {
  for (size_t q = 0; q < count_; ++q) {
    for (size_t p = 0; p < probes; ++p) {
      if (given[q * probes + p] >= 0) {
        probes_[q].push_back(static_cast<uint32_t>(given[q * probes + p]));
      }
    }
  }
}

void ListsPass::drop_probes(size_t max_codes) {
  for (std::vector<uint32_t>& probes : probes_) {
    size_t vectors = 0;
    size_t kept = 0;
    for (const uint32_t list : probes) {
      if (max_codes != 0 && vectors >= max_codes) {
        break;
      }
      const size_t size = lists_.lists[list].size();
      vectors += size;
      if (size != 0) {
        probes[kept] = list;
        ++kept;
      }
    }
    probes.resize(kept);
  }
}

void ListsPass::visit(std::vector<Wish> wishes, const float* limits) {
  clear_counts();
  const auto part = [](const Wish& wish) { return std::tie(wish.list, wish.first, wish.tiles); };
  std::stable_sort(wishes.begin(), wishes.end(),
                   [&](const Wish& a, const Wish& b) { return part(a) < part(b); });
  std::vector<ListVisit> visits;
  std::vector<uint32_t> tiles;
  for (size_t begin = 0; begin < wishes.size();) {
    const Wish& wish = wishes[begin];
    const auto first_tile = to_unsigned(tiles.size());
    const std::vector<uint32_t>& own = lists_.lists[wish.list].tiles;
    tiles.insert(tiles.end(), own.begin() + wish.first, own.begin() + wish.first + wish.tiles);
    size_t end = begin;
    while (end < wishes.size() && part(wishes[end]) == part(wish)) {
      ListVisit visit{wish.list, 0, 0, {}};
      for (uint32_t& query : visit.queries) {
        const bool more = end < wishes.size() && part(wishes[end]) == part(wish);
        query = more ? wishes[end].query : ListVisit::nobody;
        end += more ? 1 : 0;
      }
      for (uint32_t at = 0; at < wish.tiles; at += visit_tiles) {
        visit.first = first_tile + at;
        visit.tiles = std::min(visit_tiles, wish.tiles - at);
        visits.push_back(visit);
      }
    }
    stats_.lists_scanned += end - begin;
    stats_.blocks_scanned += (end - begin) * ((wish.tiles + 1) / 2);
    begin = end;
  }
  const auto own_visits = Buffer<ListVisit>::of(device_, visits);
  const auto own_tiles = Buffer<uint32_t>::of(device_, tiles);
  ScanListsArgs args{};
  args.store = store_.view;
  args.lists = lists_view_;
  args.probes = probe_view_;
  args.visits = own_visits.data();
  args.count = to_unsigned(visits.size());
  args.tiles = own_tiles.data();
  args.tables = tables_.data();
  args.scale = queries_.scale;
  args.bias = terms_.data() + 2 * count_;
  args.rounding = terms_.data() + 3 * count_;
  args.limit = limits;
  args.allowed = allowed_;
  args.weight = codec_.space.weight();
  args.rounding_only = rounding_only_;
  args.error_scale = !by_bound_ ? 0.0F : (rounding_only_ ? rounding_error_scale : error_scale_);
  args.found = candidates();
  scan_lists(*device_, args);
  device_->synchronize();  // visits and tiles may go
}

TileRange ListsPass::tiles_of(size_t q) const {
  uint32_t tiles = 0;
  for (const uint32_t list : probes_[q]) {
    tiles += tiles_in(list);
  }
  return {0, tiles};
}

void ListsPass::scan() {
  std::vector<Wish> wishes;
  for (size_t q = 0; q < count_; ++q) {
    for (const uint32_t list : probes_[q]) {
      wishes.push_back({list, 0, tiles_in(list), to_unsigned(q)});
    }
  }
  visit(std::move(wishes), limits_.data());
}

void ListsPass::scan_one(size_t q, float limit, TileRange tiles) {
  std::vector<Wish> wishes;
  uint32_t before = 0;  // tiles of the lists so far
  for (const uint32_t list : probes_[q]) {
    const uint32_t own = tiles_in(list);
    const uint32_t first = std::max(tiles.first, before);
    const uint32_t last = std::min(tiles.last, before + own);
    if (first < last) {
      wishes.push_back({list, first - before, last - first, to_unsigned(q)});
    }
    before += own;
  }
  const auto limits = Buffer<float>::of(device_, std::vector<float>(count_, limit));
  visit(std::move(wishes), limits.data());
}

void ListsPass::guess_limits(size_t k) {
  set_limits(no_limit);
  const size_t seeds = std::min<size_t>(seed_factor * k, capacity_);
  if (k > seeds || seeds > most_selectable) {
    return;
  }
  std::vector<Wish> wishes;
  for (size_t q = 0; q < count_; ++q) {
    size_t vectors = 0;
    for (const uint32_t list : probes_[q]) {
      if (vectors >= seed_pool_factor * k) {
        break;
      }
      vectors += lists_.lists[list].size();
      wishes.push_back({list, 0, tiles_in(list), to_unsigned(q)});
    }
  }
  visit(std::move(wishes), limits_.data());
  Buffer<uint64_t> best(device_, count_ * seeds);
  select(candidates_.data(), counts_.data(), capacity_, seeds, best.data(), false, nullptr, count_);
  if (by_bound_) {
    refine_rows(best, seeds);
  }
  Buffer<uint64_t> first_ranks(device_, count_ * k);
  select(best.data(), nullptr, seeds, k, first_ranks.data(), false, limits_.data(), count_);
}

void ListsPass::complete(RefineArgs& args, size_t first) const {
  const Codec& codec = codec_.codec;
  const auto& statistics = CodecAccess::statistics(codec);
  RefineLists& of = args.lists;
  of.lists = lists_view_;
  of.probes = probe_view_;
  of.probes.squared += first;
  of.probes.centre_product += first;
  of.probes.products += first * lists_.lists.size();
  of.labels = tables_of_lists_.labels.data();
  of.second_bound = by_bound_ && codec.layout().levels > 2;
  if (of.second_bound) {
    of.second_gain = statistics.prefix_gain[1];
    of.first_gain = statistics.prefix_gain[0];
    of.second_scale = (error_scale_ + second_error_scale_more) * CodecAccess::second_error(codec);
  }
}

const std::vector<int64_t>* ListsPass::label_ids() const {
  return tables_of_lists_.ids.empty() ? nullptr : &tables_of_lists_.ids;
}

const int64_t* ListsPass::device_label_ids() const {
  return tables_of_lists_.device_ids.data();
}

}  // namespace rotorquant::gpu
