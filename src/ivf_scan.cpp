// SPDX-License-Identifier: MIT
#include "ivf_scan.h"

#include <algorithm>
#include <array>

#include "scan_limits.h"
#include "stage_timer.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Blocks of a list scanned before their survivors are refined: a long list has to lower the
/// threshold for itself.
constexpr size_t chunk_blocks = 32;
/// Vectors to choose the first refinements from, and how many those are, as multiples of k.
constexpr size_t seed_pool_factor = 12;
constexpr size_t seed_factor = 1;

/// The largest relative bound with base + bound <= threshold, or a little more: adding rounds, and
/// the sum itself decides.
float relative_limit(float threshold, float base) {
  if (threshold >= no_limit) {
    return no_limit;
  }
  constexpr float rounding = 2.4e-7F;
  const float limit = threshold - base + (std::fabs(threshold) + std::fabs(base)) * rounding;
  return std::min(limit, no_limit);
}

}  // namespace

IvfScan::IvfScan(const InvertedFile& file, const IvfSearchParams& params, const ListMasks* masks)
    : file_(file),
      geometry_(file.geometry()),
      params_(params),
      masks_(masks),
      by_bound_(params.refine_error_scale != 0.0F) {
  const Codec& codec = geometry_.codec();
  const CodeLayout& layout = codec.layout();
  scan_is_all_ = layout.planes == 1 || params.levels == 1;
  error_scale_ = params.refine_error_scale < 0.0F
                     ? std::min(codec.default_error_scale(), widest_list_error_scale)
                     : params.refine_error_scale;
  if (params.levels != 0 || params.estimator != Estimator::rescaled) {
    scorer_.emplace(geometry_, params.levels, params.estimator);
    code_.resize(codec.code_bytes());
  }
  // Two levels and signs are read as fast as two levels.
  has_second_bound_ = by_bound_ && !scorer_ && layout.levels > 2;
  if (has_second_bound_) {
    second_gain_ = CodecAccess::statistics(codec).prefix_gain[1];
    second_scale_ = error_scale_ + second_error_scale_more;
    second_view_ = CodecAccess::refine_view(codec, CodecQuery{}, 2);
  }
  plane_.resize(file.codes(0).padded_quads() / 2);
  bounds_.resize(group * (chunk_blocks * block_vectors + simd::lanes));
  offsets_.resize(bounds_.size());
}

void IvfScan::begin(IvfQuery& query, size_t k, float limit) {
  const Codec& codec = geometry_.codec();
  query.top.reset(k);
  query.limit = limit;
  query.asked = 0;
  query.allowed = 0;
  query.view = CodecAccess::refine_view(codec, query.codec_query, 0);
  if (has_second_bound_) {
    // The scan's error in units of alpha_1, made one of q - g in units of alpha.
    const float first = CodecAccess::statistics(codec).prefix_gain[0] *
                        std::sqrt(geometry_.error_ratio() * query.squared);
    query.second_margin = second_scale_ * CodecAccess::second_error(codec) * first;
  }
  if (scorer_) {
    scorer_->set_query(query.vector);
    scored_list_.reset();
  }
}

/// What the bound allows for, in units of <q', a_1>. The scan's error is that of <G(q - mu_c), .>;
/// only the rounding of the table is that of the whole q - g.
float IvfScan::margin(const IvfQuery& query, const Probe& probe) const {
  if (!by_bound_) {
    return 0.0F;
  }
  const ScanTable& table = query.table;
  if (scan_is_all_) {
    return rounding_error_scale * table.rounding;
  }
  const float variance = geometry_.error_ratio() * probe.squared_distance;
  return error_scale_ * std::sqrt(table.rounding * table.rounding + variance);
}

simd::ScanQuery IvfScan::scan_query(const IvfQuery& query, const Probe& probe) const {
  const ScanTable& table = query.table;
  const float weight = geometry_.weight();
  return {table.entries.data(), weight * table.step, weight * (table.bias + margin(query, probe))};
}

template <class ThresholdOf>
void IvfScan::select(const Visit* visits, size_t count, size_t first_block, size_t blocks,
                     const ThresholdOf& threshold_of, std::vector<IvfCandidate>& found) {
  const uint32_t list = visits[0].probe.list;
  const CodeStore& store = file_.codes(list);
  const IdArray& ids = file_.ids(list);
  std::array<simd::ScanQuery, group> scans;
  std::array<simd::Selection, group> selections;
  std::array<float, group> thresholds;
  std::array<float, group> limits;
  bool ask = params_.filter != nullptr && masks_ == nullptr;
  bool ask_first = false;  // where most of what passes the bound would be refused
  const size_t room = bounds_.size() / group;
  for (size_t i = 0; i < count; ++i) {
    const auto& [query, probe] = visits[i];
    scans[i] = scan_query(*query, probe);
    thresholds[i] = threshold_of(*query);
    limits[i] = relative_limit(thresholds[i], probe.base);
    selections[i] = {bounds_.data() + i * room, offsets_.data() + i * room, 0};
    ask_first = ask_first || query->few_allowed();
  }
  const uint64_t* masks = masks_ == nullptr ? nullptr : (*masks_)[list].data() + first_block;
  if (ask && ask_first) {
    fill_masks(ids, first_block, blocks);
    masks = chunk_masks_.data();
    ask = false;
  }
  store.kernels().select(store.block(first_block), blocks, store.block_bytes(),
                         store.padded_quads(), scans.data(), count, limits.data(), masks,
                         static_cast<uint32_t>(first_block * block_vectors), selections.data());
  stats_.blocks_scanned += blocks * count;
  for (size_t i = 0; i < count; ++i) {
    const auto& [query, probe] = visits[i];
    const simd::Selection& selection = selections[i];
    for (size_t j = 0; j < selection.count; ++j) {
      const float bound = probe.base + selection.bounds[j];
      const uint32_t offset = selection.ids[j];
      if (bound <= thresholds[i] && (!ask || is_allowed(*query, ids[offset]))) {
        found.push_back({bound, probe.base, offset, list, query});
      }
    }
  }
}

bool IvfScan::is_allowed(IvfQuery& query, int64_t id) {
  const bool allowed = params_.filter->allows(id);
  ++query.asked;
  query.allowed += allowed ? 1 : 0;
  return allowed;
}

void IvfScan::fill_masks(const IdArray& ids, size_t first_block, size_t blocks) {
  chunk_masks_.assign(blocks, 0);
  const size_t first = first_block * block_vectors;
  const size_t last = std::min(ids.size(), first + blocks * block_vectors);
  for (size_t i = first; i < last; ++i) {
    const uint64_t allowed = params_.filter->allows(ids[i]) ? 1 : 0;
    chunk_masks_[(i - first) / block_vectors] |= allowed << (i % block_vectors);
  }
}

template <class Use>
void IvfScan::over_chunks(size_t list, const Use& use) const {
  const size_t blocks = file_.codes(list).blocks();
  for (size_t block = 0; block < blocks; block += chunk_blocks) {
    use(block, std::min(chunk_blocks, blocks - block));
  }
}

void IvfScan::prefetch_list(size_t list) const {
  const CodeStore& store = file_.codes(list);
  if (store.size() == 0) {
    return;
  }
  constexpr size_t prefetched_bytes = 4096;  // the hardware goes on from there
  constexpr size_t prefetched_ids = 512;
  const size_t bytes = std::min(store.block_bytes() * store.blocks(), prefetched_bytes);
  for (size_t at = 0; at < bytes; at += cache_line) {
    __builtin_prefetch(store.block(0) + at);
  }
  if (params_.filter != nullptr && masks_ == nullptr) {  // its ids are asked about
    const IdArray& ids = file_.ids(list);
    for (size_t i = 0; i < std::min(ids.size(), prefetched_ids);
         i += cache_line / sizeof(int32_t)) {
      ids.prefetch(i);
    }
  }
}

void IvfScan::prefetch_query(const IvfQuery& query) {
  const AlignedVector<uint8_t>& entries = query.table.entries;
  for (size_t at = 0; at < entries.size(); at += cache_line) {
    __builtin_prefetch(entries.data() + at);
  }
}

void IvfScan::prefetch(const IvfCandidate& candidate) const {
  file_.codes(candidate.list).prefetch_row(candidate.offset);
  __builtin_prefetch(file_.refine_terms(candidate.list) + candidate.offset);
  file_.ids(candidate.list).prefetch(candidate.offset);
}

void IvfScan::tighten(IvfCandidate* candidates, size_t count) {
  if (!has_second_bound_ || count == 0) {
    return;
  }
  stored_.resize(std::max(stored_.size(), count));
  sums_.resize(stored_.size());
  for (size_t i = 0; i < count; ++i) {
    const IvfCandidate& candidate = candidates[i];
    const CodeStore& store = file_.codes(candidate.list);
    stored_[i] = {store.block(candidate.offset / block_vectors), store.row(candidate.offset),
                  candidate.query->codec_query.fixed.frame.data(),
                  candidate.offset % block_vectors};
  }
  const CodeStore& any = file_.codes(0);
  any.kernels().score_two_levels(second_view_, any.padded_quads(), stored_.data(), count,
                                 plane_.data(), sums_.data());
  const CodeLayout& layout = any.layout();
  const size_t factors_at = (layout.planes - 1) * layout.plane_bytes;
  for (size_t i = 0; i < count; ++i) {
    IvfCandidate& candidate = candidates[i];
    const IvfQuery& query = *candidate.query;
    CodeFactors factors;
    read_row_factors(layout, stored_[i].row + factors_at, factors);
    const float product = query.codec_query.fixed.level_step * static_cast<float>(sums_[i]);
    const float term = file_.refine_terms(candidate.list)[candidate.offset];
    const float known = second_gain_ * product + query.second_margin;
    const float bound = candidate.base + (term - geometry_.weight() * factors.alpha * known);
    candidate.bound = std::max(candidate.bound, bound);
  }
}

float IvfScan::refined(const IvfCandidate& candidate) {
  ++stats_.refined;
  if (scorer_) {
    return scored(candidate);
  }
  const IvfQuery& query = *candidate.query;
  const CodeStore& store = file_.codes(candidate.list);
  const CodeLayout& layout = store.layout();
  const uint8_t* row = store.row(candidate.offset);
  store.scan_nibbles(candidate.offset, plane_.data());
  const CodeProducts products =
      score(store.kernels(), query.view, query.codec_query.fixed, plane_.data(), row);
  CodeFactors factors;
  if (layout.planes == 1) {
    factors.alpha1 = store.scan_alpha(candidate.offset);
  }
  read_row_factors(layout, row + (layout.planes - 1) * layout.plane_bytes, factors);
  const float term = file_.refine_terms(candidate.list)[candidate.offset];
  return candidate.base + (term - geometry_.weight() * products.whole(factors));
}

float IvfScan::scored(const IvfCandidate& candidate) {
  if (scored_list_ != candidate.list) {
    scored_list_ = candidate.list;
    scorer_->set_list(candidate.list);
  }
  file_.pack(candidate.list, candidate.offset, 1, code_.data());
  return scorer_->distance(code_.data());
}

int64_t IvfScan::label(const IvfCandidate& candidate) const {
  return params_.store_pairs ? pair_label(candidate.list, candidate.offset)
                             : file_.ids(candidate.list)[candidate.offset];
}

void IvfScan::refine(IvfCandidate* candidates, size_t count) {
  tighten(candidates, count);
  for (size_t i = 0; i < count; ++i) {
    const IvfCandidate& candidate = candidates[i];
    IvfQuery& query = *candidate.query;
    if (candidate.bound <= query.threshold()) {
      query.top.push({std::max(refined(candidate), candidate.bound), label(candidate)});
    }
  }
}

size_t IvfScan::seed(IvfQuery& query) {
  const size_t k = query.top.k();
  const size_t wanted = seed_pool_factor * k;
  candidates_.clear();
  size_t next = 0;
  {
    const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
    while (next < query.probes.size() && candidates_.size() < wanted) {
      const Visit visit{&query, query.probes[next]};
      ++next;
      if (next < query.probes.size()) {
        prefetch_list(query.probes[next].list);
      }
      ++stats_.lists_scanned;
      over_chunks(visit.probe.list, [&](size_t block, size_t blocks) {
        select(
            &visit, 1, block, blocks, [](const IvfQuery& q) { return q.threshold(); }, candidates_);
      });
    }
  }
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  stats_.candidates += candidates_.size();
  const size_t seeds = std::min(candidates_.size(), seed_factor * k);
  if (seeds < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(seeds),
                     candidates_.end());
  }
  for (size_t i = 0; i < seeds; ++i) {
    prefetch(candidates_[i]);
  }
  refine(candidates_.data(), seeds);
  const float edge = query.threshold();
  for (size_t i = seeds; i < candidates_.size(); ++i) {
    if (candidates_[i].bound <= edge) {
      waiting_.push_back(candidates_[i]);
      prefetch(candidates_[i]);
    }
  }
  candidates_.clear();
  return next;
}

void IvfScan::visit(const Visit* visits, size_t count) {
  stats_.lists_scanned += count;
  for (size_t first = 0; first < count; first += group) {
    const size_t some = std::min(group, count - first);
    for (size_t i = first + some; i < std::min(count, first + some + group); ++i) {
      prefetch_query(*visits[i].query);
    }
    over_chunks(visits->probe.list, [&](size_t block, size_t blocks) {
      {
        const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
        candidates_.clear();
        select(
            visits + first, some, block, blocks,
            [](const IvfQuery& query) { return query.threshold(); }, candidates_);
        stats_.candidates += candidates_.size();
        for (const IvfCandidate& candidate : candidates_) {
          prefetch(candidate);
        }
      }
      const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
      refine(waiting_.data(), waiting_.size());
      waiting_.swap(candidates_);
    });
  }
}

void IvfScan::finish() {
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  refine(waiting_.data(), waiting_.size());
  waiting_.clear();
}

void IvfScan::visit_every(IvfQuery& query, size_t first, size_t step) {
  const size_t probes = query.probes.size();
  for (size_t p = first; p < probes; p += step) {
    if (p + step < probes) {
      prefetch_list(query.probes[p + step].list);
    }
    const Visit own{&query, query.probes[p]};
    visit(&own, 1);
  }
  finish();
}

void IvfScan::shortlist(IvfQuery& query, size_t k) {
  begin(query, params_.k_factor * k, no_limit);
  for (size_t p = 0; p < query.probes.size(); ++p) {
    const Visit visit{&query, query.probes[p]};
    ++stats_.lists_scanned;
    over_chunks(visit.probe.list, [&](size_t block, size_t blocks) {
      candidates_.clear();
      select(
          &visit, 1, block, blocks, [](const IvfQuery& q) { return q.threshold(); }, candidates_);
      for (const IvfCandidate& candidate : candidates_) {
        query.top.push({candidate.bound, pair_label(p, candidate.offset)});
      }
    });
  }
  std::vector<Neighbour> best = query.top.take_sorted();
  stats_.candidates += best.size();
  query.top.reset(k);
  // By list: turning to another one costs more than a refinement.
  std::sort(best.begin(), best.end(),
            [](const Neighbour& a, const Neighbour& b) { return a.id < b.id; });
  for (const Neighbour& found : best) {
    const Probe& probe = query.probes[static_cast<size_t>(found.id >> 32U)];
    const IvfCandidate candidate{found.distance, probe.base,
                                 static_cast<uint32_t>(found.id & 0xFFFFFFFF), probe.list, &query};
    query.top.push({refined(candidate), label(candidate)});
  }
}

void IvfScan::within(IvfQuery& query, float radius, std::vector<Neighbour>& found) {
  begin(query, 1, infinity);
  for (const Probe& probe : query.probes) {
    const Visit visit{&query, probe};
    ++stats_.lists_scanned;
    over_chunks(probe.list, [&](size_t block, size_t blocks) {
      candidates_.clear();
      select(
          &visit, 1, block, blocks, [radius](const IvfQuery&) { return radius; }, candidates_);
      stats_.candidates += candidates_.size();
      tighten(candidates_.data(), candidates_.size());
      for (const IvfCandidate& candidate : candidates_) {
        if (candidate.bound < radius) {
          const float distance = std::max(refined(candidate), candidate.bound);
          if (distance < radius) {
            found.push_back({distance, label(candidate)});
          }
        }
      }
    });
  }
  std::sort(found.begin(), found.end(),
            [](const Neighbour& a, const Neighbour& b) { return a.id < b.id; });
}

}  // namespace rotorquant
