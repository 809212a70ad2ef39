// SPDX-License-Identifier: MIT
#include "ivf_scan.h"

#include <algorithm>

#include "scan_limits.h"
#include "stage_timer.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Blocks of a list scanned before their survivors are refined: a long list has to lower the
/// threshold for itself.
constexpr size_t chunk_blocks = 32;
/// What is lost beyond this is less than the lists not probed lose, at any number of bits.
constexpr float widest_default_scale = 2.0F;
/// Vectors to choose the first refinements from, and how many those are, as multiples of k.
constexpr size_t seed_pool_factor = 12;
constexpr size_t seed_factor = 2;

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
  scan_is_all_ = codec.layout().planes == 1 || params.levels == 1;
  error_scale_ = params.refine_error_scale < 0.0F
                     ? std::min(codec.default_error_scale(), widest_default_scale)
                     : params.refine_error_scale;
  if (params.levels != 0 || params.estimator != Estimator::rescaled) {
    scorer_.emplace(geometry_, params.levels, params.estimator);
    code_.resize(codec.code_bytes());
  }
  plane_.resize(file.codes(0).padded_quads() / 2);
  bounds_.resize(chunk_blocks * block_vectors + simd::lanes);
  offsets_.resize(bounds_.size());
}

void IvfScan::begin(const IvfQuery& query, size_t k, float limit) {
  query_ = &query;
  top_ = TopK(k);
  limit_ = limit;
  candidates_.clear();
  waiting_.clear();
  asked_ = 0;
  allowed_ = 0;
  view_ = CodecAccess::refine_view(geometry_.codec(), query.codec_query, 0);
  if (scorer_) {
    scorer_->set_query(query.vector);
    scored_probe_ = no_probe;
  }
}

/// What the bound allows for, in units of <q', a_1>. The scan's error is that of <G(q - mu_c), .>;
/// only the rounding of the table is that of the whole q - g.
float IvfScan::margin(const Probe& probe) const {
  if (!by_bound_) {
    return 0.0F;
  }
  const ScanTable& table = query_->table;
  if (scan_is_all_) {
    return rounding_error_scale * table.rounding;
  }
  const float variance = geometry_.error_ratio() * probe.squared_distance;
  return error_scale_ * std::sqrt(table.rounding * table.rounding + variance);
}

simd::ScanQuery IvfScan::scan_query(const Probe& probe) const {
  const ScanTable& table = query_->table;
  const float weight = geometry_.weight();
  return {table.entries.data(), weight * table.step, weight * (table.bias + margin(probe))};
}

void IvfScan::select(uint32_t probe_index, const simd::ScanQuery& scan, size_t first_block,
                     size_t blocks, float threshold, std::vector<IvfCandidate>& found) {
  const Probe& probe = query_->probes[probe_index];
  const CodeStore& store = file_.codes(probe.list);
  const float limit = relative_limit(threshold, probe.base);
  simd::Selection selection{bounds_.data(), offsets_.data(), 0};
  const IdArray& ids = file_.ids(probe.list);
  bool ask = params_.filter != nullptr && masks_ == nullptr;
  const uint64_t* masks = masks_ == nullptr ? nullptr : (*masks_)[probe.list].data() + first_block;
  if (ask && few_allowed()) {  // most of what passes the bound would be refused: ask first
    fill_masks(ids, first_block, blocks);
    masks = chunk_masks_.data();
    ask = false;
  }
  store.kernels().select(store.block(first_block), blocks, store.block_bytes(),
                         store.padded_quads(), &scan, 1, &limit, masks,
                         static_cast<uint32_t>(first_block * block_vectors), &selection);
  stats_.blocks_scanned += blocks;
  for (size_t i = 0; i < selection.count; ++i) {
    const float bound = probe.base + selection.bounds[i];
    if (bound <= threshold && (!ask || is_allowed(ids[selection.ids[i]]))) {
      found.push_back({bound, selection.ids[i], probe_index});
    }
  }
}

bool IvfScan::is_allowed(int64_t id) {
  const bool allowed = params_.filter->allows(id);
  ++asked_;
  allowed_ += allowed ? 1 : 0;
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
void IvfScan::scan_list(uint32_t probe_index, const Use& use) {
  const Probe& probe = query_->probes[probe_index];
  const size_t blocks = file_.codes(probe.list).blocks();
  const simd::ScanQuery scan = scan_query(probe);
  ++stats_.lists_scanned;
  for (size_t block = 0; block < blocks; block += chunk_blocks) {
    use(scan, block, std::min(chunk_blocks, blocks - block));
  }
}

void IvfScan::prefetch_list(size_t probe) const {
  if (probe >= query_->probes.size()) {
    return;
  }
  const size_t list = query_->probes[probe].list;
  const CodeStore& store = file_.codes(list);
  if (store.size() == 0) {
    return;
  }
  constexpr size_t prefetched_bytes = 2048;  // the hardware goes on from there
  const size_t bytes = std::min(store.block_bytes() * store.blocks(), prefetched_bytes);
  for (size_t at = 0; at < bytes; at += cache_line) {
    __builtin_prefetch(store.block(0) + at);
  }
}

void IvfScan::prefetch(const IvfCandidate& candidate) const {
  const size_t list = query_->probes[candidate.probe].list;
  const CodeStore& store = file_.codes(list);
  store.prefetch_row(candidate.offset);
  __builtin_prefetch(file_.refine_terms(list) + candidate.offset);
  file_.ids(list).prefetch(candidate.offset);
}

float IvfScan::refined(const IvfCandidate& candidate) {
  ++stats_.refined;
  if (scorer_) {
    return scored(candidate);
  }
  const Probe& probe = query_->probes[candidate.probe];
  const CodeStore& store = file_.codes(probe.list);
  const CodeLayout& layout = store.layout();
  const uint8_t* row = store.row(candidate.offset);
  store.scan_nibbles(candidate.offset, plane_.data());
  const CodeProducts products =
      score(store.kernels(), view_, query_->codec_query.fixed, plane_.data(), row);
  CodeFactors factors;
  if (layout.planes == 1) {
    factors.alpha1 = store.scan_alpha(candidate.offset);
  }
  read_row_factors(layout, row + (layout.planes - 1) * layout.plane_bytes, factors);
  const float term = file_.refine_terms(probe.list)[candidate.offset];
  return probe.base + (term - geometry_.weight() * products.whole(factors));
}

float IvfScan::scored(const IvfCandidate& candidate) {
  const size_t list = query_->probes[candidate.probe].list;
  if (scored_probe_ != candidate.probe) {
    scored_probe_ = candidate.probe;
    scorer_->set_list(list);
  }
  file_.pack(list, candidate.offset, 1, code_.data());
  return scorer_->distance(code_.data());
}

int64_t IvfScan::label(const IvfCandidate& candidate) const {
  const size_t list = query_->probes[candidate.probe].list;
  return params_.store_pairs ? pair_label(list, candidate.offset)
                             : file_.ids(list)[candidate.offset];
}

void IvfScan::refine(const std::vector<IvfCandidate>& candidates, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    const IvfCandidate& candidate = candidates[i];
    if (candidate.bound <= threshold()) {
      top_.push({std::max(refined(candidate), candidate.bound), label(candidate)});
    }
  }
}

size_t IvfScan::seed(const IvfQuery& query, size_t k, float limit) {
  begin(query, k, limit);
  const size_t wanted = seed_pool_factor * k;
  uint32_t next = 0;
  {
    const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
    while (next < query.probes.size() && candidates_.size() < wanted) {
      prefetch_list(next + 1);
      scan_list(next, [&](const simd::ScanQuery& scan, size_t block, size_t blocks) {
        select(next, scan, block, blocks, limit, candidates_);
      });
      ++next;
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
  refine(candidates_, 0, seeds);
  const float edge = threshold();
  for (size_t i = seeds; i < candidates_.size(); ++i) {
    if (candidates_[i].bound <= edge) {
      waiting_.push_back(candidates_[i]);
      prefetch(candidates_[i]);
    }
  }
  return next;
}

void IvfScan::begin_rest(const IvfQuery& query, size_t k, float limit) {
  begin(query, k, limit);
}

void IvfScan::scan_rest(size_t first, size_t step) {
  const size_t probes = query_->probes.size();
  for (size_t p = first; p < probes; p += step) {
    prefetch_list(p + step);
    const auto probe = static_cast<uint32_t>(p);
    scan_list(probe, [&](const simd::ScanQuery& scan, size_t block, size_t blocks) {
      {
        const StageTimer timer(params_.stats != nullptr, stats_.scan_seconds);
        candidates_.clear();
        select(probe, scan, block, blocks, threshold(), candidates_);
        stats_.candidates += candidates_.size();
        for (const IvfCandidate& candidate : candidates_) {
          prefetch(candidate);
        }
      }
      const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
      refine(waiting_, 0, waiting_.size());
      waiting_.swap(candidates_);
    });
  }
  const StageTimer timer(params_.stats != nullptr, stats_.refine_seconds);
  refine(waiting_, 0, waiting_.size());
  waiting_.clear();
}

void IvfScan::shortlist(const IvfQuery& query, size_t k) {
  begin(query, params_.k_factor * k, no_limit);
  for (uint32_t p = 0; p < query.probes.size(); ++p) {
    scan_list(p, [&](const simd::ScanQuery& scan, size_t block, size_t blocks) {
      candidates_.clear();
      select(p, scan, block, blocks, threshold(), candidates_);
      for (const IvfCandidate& candidate : candidates_) {
        top_.push({candidate.bound, static_cast<int64_t>(p) << 32U | candidate.offset});
      }
    });
  }
  std::vector<Neighbour> best = top_.take_sorted();
  stats_.candidates += best.size();
  top_ = TopK(k);
  // By list: turning to another one costs more than a refinement.
  std::sort(best.begin(), best.end(),
            [](const Neighbour& a, const Neighbour& b) { return a.id < b.id; });
  for (const Neighbour& found : best) {
    const IvfCandidate candidate{found.distance, static_cast<uint32_t>(found.id & 0xFFFFFFFF),
                                 static_cast<uint32_t>(found.id >> 32U)};
    top_.push({refined(candidate), label(candidate)});
  }
}

void IvfScan::within(const IvfQuery& query, float radius, std::vector<Neighbour>& found) {
  begin(query, 1, infinity);
  for (uint32_t p = 0; p < query.probes.size(); ++p) {
    scan_list(p, [&](const simd::ScanQuery& scan, size_t block, size_t blocks) {
      candidates_.clear();
      select(p, scan, block, blocks, radius, candidates_);
      stats_.candidates += candidates_.size();
      for (const IvfCandidate& candidate : candidates_) {
        const float distance = std::max(refined(candidate), candidate.bound);
        if (distance < radius) {
          found.push_back({distance, label(candidate)});
        }
      }
    });
  }
  std::sort(found.begin(), found.end(),
            [](const Neighbour& a, const Neighbour& b) { return a.id < b.id; });
}

}  // namespace rotorquant
