// SPDX-License-Identifier: MIT
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "faiss_ext/boundary.h"
#include "faiss_ext/gpu/gpu_parts.h"
#include "faiss_ext/index_parts.h"

namespace rotorquant {

GpuIndexRotorQuant::GpuIndexRotorQuant(GpuResources on, const CodecParams& params,
                                       faiss::MetricType metric)
    : Index(checked_dimension(params), metric), resources(std::move(on)), settings(params, metric) {
  adopt_settings();
}

GpuIndexRotorQuant::GpuIndexRotorQuant(GpuResources on, const IndexRotorQuant& index)
    : Index(index.d, index.metric_type), resources(std::move(on)) {
  copyFrom(index);
}

void GpuIndexRotorQuant::adopt_settings() {
  is_trained = settings.codec.is_trained();
  ntotal = 0;
  faiss_boundary([&] {
    store_ = std::make_unique<GpuCodeStore>(resources, settings.codec.layout());
    codec_ = is_trained ? std::make_unique<GpuCodec>(resources, settings.codec, settings.space)
                        : nullptr;
  });
}

const GpuCodec& GpuIndexRotorQuant::trained(const char* what) const {
  require_faiss(codec_ != nullptr, std::string(what) + ": index", "a trained one",
                "an untrained one");
  return *codec_;
}

void GpuIndexRotorQuant::copyFrom(const IndexRotorQuant& index) {
  copyFrom(index, 0, index.store.size());
}

void GpuIndexRotorQuant::copyFrom(const IndexRotorQuant& index, size_t first, size_t n) {
  require_faiss(index.d == d, "copyFrom: d", d, index.d);
  require_faiss(first <= index.store.size() && n <= index.store.size() - first, "copyFrom: vectors",
                index.store.size(), first + n);
  metric_type = index.metric_type;
  settings.metric_type = index.metric_type;
  settings.d = index.d;
  settings.codec = index.codec;
  settings.space = index.space;
  settings.store = CodeStore(index.codec.layout());
  settings.is_trained = index.is_trained;
  settings.refine_error_scale = index.refine_error_scale;
  settings.k_factor = index.k_factor;
  settings.encode_effort = index.encode_effort;
  adopt_settings();
  faiss_boundary([&] {
    store_->reserve(n);
    std::vector<uint8_t> codes;
    for_blocks(n, static_cast<size_t>(d), [&](size_t done, size_t count) {
      codes.resize(count * settings.codec.code_bytes());
      index.store.pack(first + done, count, codes.data());
      store_->append(codes.data(), count);
    });
  });
  ntotal = static_cast<idx_t>(n);
}

void GpuIndexRotorQuant::copyTo(IndexRotorQuant& index) const {
  index = settings;
  faiss_boundary([&] {
    index.store.reserve(store_->size());
    std::vector<uint8_t> codes;
    for_blocks(store_->size(), static_cast<size_t>(d), [&](size_t first, size_t count) {
      codes.resize(count * settings.codec.code_bytes());
      store_->pack(first, count, codes.data());
      index.store.append(codes.data(), count);
    });
  });
  index.ntotal = ntotal;
}

void GpuIndexRotorQuant::train(idx_t n, const float* x) {
  require_faiss(ntotal == 0, "train: vectors in the index", 0, ntotal);
  const size_t size = checked_count(n) * static_cast<size_t>(d);
  settings.train(n, HostRows(resources, x, size).data());
  adopt_settings();
}

void GpuIndexRotorQuant::add(idx_t n, const float* x) {
  const size_t rows = checked_count(n);
  const GpuCodec& codec = trained("add");
  faiss_boundary([&] { store_->add(codec, x, rows, settings.encode_effort); });
  ntotal = static_cast<idx_t>(store_->size());
}

void GpuIndexRotorQuant::search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
                                const faiss::SearchParameters* params) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  const GpuCodec& codec = trained("search");
  const FlatCall call(settings, params);
  const GpuSearchOptions options = faiss_options(search_options, settings.space.metric);
  faiss_boundary([&] {
    rotorquant::search(codec, *store_, x, queries, static_cast<size_t>(k), call.params, distances,
                       labels, options);
  });
}

void GpuIndexRotorQuant::range_search(idx_t n, const float* x, float radius,
                                      faiss::RangeSearchResult* result,
                                      const faiss::SearchParameters* params) const {
  const size_t queries = checked_count(n);
  require_faiss(result->nq == queries, "range_search: queries of the result", queries, result->nq);
  require_faiss(!std::isnan(radius), "range_search: radius", "a number", radius);
  const GpuCodec& codec = trained("range_search");
  const FlatCall call(settings, params);
  const float sign = settings.space.metric == Metric::l2 ? 1.0F : -1.0F;
  const std::vector<std::vector<RangeHit>> hits = faiss_boundary([&] {
    return rotorquant::range_search(codec, *store_, x, queries, sign * radius, call.params,
                                    search_options);
  });
  to_faiss_ranges(settings.space.metric, hits, *result);
}

void GpuIndexRotorQuant::reset() {
  faiss_boundary([&] { store_->truncate(0); });
  ntotal = 0;
}

size_t GpuIndexRotorQuant::remove_ids(const faiss::IDSelector& sel) {
  std::vector<uint32_t> kept;
  for (size_t i = 0; i < store_->size(); ++i) {
    if (!sel.is_member(static_cast<idx_t>(i))) {
      kept.push_back(static_cast<uint32_t>(i));
    }
  }
  const size_t removed = store_->size() - kept.size();
  if (removed > 0) {
    faiss_boundary([&] { store_->keep(kept); });
  }
  ntotal = static_cast<idx_t>(store_->size());
  return removed;
}

void GpuIndexRotorQuant::reconstruct(idx_t key, float* recons) const {
  reconstruct_n(key, 1, recons);
}

void GpuIndexRotorQuant::reconstruct_n(idx_t i0, idx_t ni, float* recons) const {
  const size_t rows = checked_count(ni, "reconstruct: number of vectors");
  require_faiss(i0 >= 0 && i0 <= ntotal && ni <= ntotal - i0, "reconstruct: ids",
                "below " + std::to_string(ntotal),
                std::to_string(i0) + " and " + std::to_string(ni) + " in all");
  const GpuCodec& codec = trained("reconstruct");
  faiss_boundary([&] {
    std::vector<uint8_t> codes;
    for_blocks(rows, static_cast<size_t>(d), [&](size_t first, size_t count) {
      codes.resize(count * settings.codec.code_bytes());
      store_->pack(static_cast<size_t>(i0) + first, count, codes.data());
      codec.decode(codes.data(), count, recons + first * static_cast<size_t>(d));
    });
  });
}

size_t GpuIndexRotorQuant::sa_code_size() const {
  return settings.codec.code_bytes();
}

void GpuIndexRotorQuant::sa_encode(idx_t n, const float* x, uint8_t* bytes) const {
  const size_t rows = checked_count(n);
  const GpuCodec& codec = trained("encode");
  faiss_boundary([&] { codec.encode(x, rows, bytes, settings.encode_effort); });
}

void GpuIndexRotorQuant::sa_decode(idx_t n, const uint8_t* bytes, float* x) const {
  const size_t rows = checked_count(n);
  const GpuCodec& codec = trained("decode");
  faiss_boundary([&] { codec.decode(bytes, rows, x); });
}

void GpuIndexRotorQuant::add_sa_codes(idx_t n, const uint8_t* codes, const idx_t* /*xids*/) {
  const size_t rows = checked_count(n);
  trained("add_sa_codes");
  size_t good = 0;
  while (good < rows &&
         has_finite_factors(settings.codec.layout(), codes + good * sa_code_size())) {
    ++good;
  }
  require_faiss(good == rows, "add_sa_codes: factors", "finite numbers",
                "infinity or NaN in code " + std::to_string(good));
  faiss_boundary([&] { store_->append(codes, rows); });
  ntotal = static_cast<idx_t>(store_->size());
}

}  // namespace rotorquant
