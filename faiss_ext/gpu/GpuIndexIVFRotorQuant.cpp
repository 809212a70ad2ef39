// SPDX-License-Identifier: MIT
#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "faiss_ext/boundary.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/gpu/gpu_parts.h"
#include "faiss_ext/index_parts.h"

namespace rotorquant {

GpuIndexIVFRotorQuant::GpuIndexIVFRotorQuant(GpuResources on, const IndexIVFRotorQuant& index,
                                             size_t part, size_t parts)
    : Index(index.d, index.metric_type), resources(std::move(on)) {
  copyFrom(index, part, parts);
}

void GpuIndexIVFRotorQuant::adopt_settings() {
  is_trained = settings->geometry != nullptr;
  ntotal = 0;
  lists_ = nullptr;
  if (is_trained) {
    faiss_boundary(
        [&] { lists_ = std::make_unique<GpuInvertedFile>(resources, settings->geometry); });
  }
}

const GpuInvertedFile& GpuIndexIVFRotorQuant::trained(const char* what) const {
  require_faiss(lists_ != nullptr, std::string(what) + ": index", "a trained one",
                "an untrained one");
  return *lists_;
}

GpuInvertedFile& GpuIndexIVFRotorQuant::trained(const char* what) {
  std::as_const(*this).trained(what);
  return *lists_;
}

void GpuIndexIVFRotorQuant::copyFrom(const IndexIVFRotorQuant& index, size_t part, size_t parts) {
  require_faiss(index.d == d, "copyFrom: d", d, index.d);
  const InvertedFile* file = index.file();
  require_faiss(file != nullptr || index.ntotal == 0, "copyFrom: inverted lists", "ours", "others");
  settings = clone_without_vectors(index);
  metric_type = index.metric_type;
  verbose = index.verbose;
  direct_map_ = index.direct_map.type;
  adopt_settings();
  if (file != nullptr) {
    faiss_boundary([&] { lists_->append(*file, part, parts); });
    ntotal = static_cast<idx_t>(lists_->total());
  }
}

std::unique_ptr<IndexIVFRotorQuant> GpuIndexIVFRotorQuant::to_cpu(
    const std::vector<const GpuIndexIVFRotorQuant*>& more) const {
  auto index = clone_without_vectors(*settings);
  if (lists_ == nullptr) {
    return index;
  }
  faiss_boundary([&] {
    lists_->copy_to(*index->file());
    for (const GpuIndexIVFRotorQuant* other : more) {
      other->trained("to_cpu").copy_to(*index->file());
    }
  });
  index->ntotal = static_cast<idx_t>(index->file()->total());
  index->set_direct_map_type(direct_map_);
  return index;
}

void GpuIndexIVFRotorQuant::train(idx_t n, const float* x) {
  require_faiss(ntotal == 0, "train: vectors in the index", 0, ntotal);
  const size_t size = checked_count(n) * static_cast<size_t>(d);
  settings->train(n, HostRows(resources, x, size).data());
  adopt_settings();
}

void GpuIndexIVFRotorQuant::add(idx_t n, const float* x) {
  add_with_ids(n, x, nullptr);
}

void GpuIndexIVFRotorQuant::add_with_ids(idx_t n, const float* x, const idx_t* xids) {
  const size_t rows = checked_count(n);
  GpuInvertedFile& lists = trained("add");
  const HostRows host(resources, x, rows * static_cast<size_t>(d));
  faiss_boundary([&] { require_finite(host.data(), rows, static_cast<size_t>(d), "add: x"); });
  std::vector<idx_t> own_ids;
  if (xids == nullptr) {
    own_ids.resize(rows);
    std::iota(own_ids.begin(), own_ids.end(), ntotal);
    xids = own_ids.data();
  }
  std::vector<idx_t> assigned(rows);
  settings->quantizer->assign(n, host.data(), assigned.data());
  for_blocks(rows, static_cast<size_t>(d), [&](size_t first, size_t count) {
    faiss_boundary([&] {
      lists.add(host.data() + first * static_cast<size_t>(d), count, assigned.data() + first,
                xids + first, settings->encode_effort);
    });
  });
  ntotal += n;
}

std::vector<idx_t> GpuIndexIVFRotorQuant::asked_lists(size_t n, const float* x, size_t nprobe,
                                                      const faiss::SearchParameters* params) const {
  std::vector<idx_t> lists;
  if (settings->coarse_from_geometry && params == nullptr) {
    return lists;
  }
  const HostRows host(resources, x, n * static_cast<size_t>(d));
  faiss_boundary([&] { require_finite(host.data(), n, static_cast<size_t>(d), "queries"); });
  lists.resize(n * nprobe);
  std::vector<float> distances(lists.size());
  settings->quantizer->search(static_cast<idx_t>(n), host.data(), static_cast<idx_t>(nprobe),
                              distances.data(), lists.data(), params);
  return lists;
}

void GpuIndexIVFRotorQuant::search(idx_t n, const float* x, idx_t k, float* distances,
                                   idx_t* labels, const faiss::SearchParameters* params) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  const GpuInvertedFile& lists = trained("search");
  const IvfCall call(*settings, params);
  const std::vector<idx_t> asked = asked_lists(queries, x, call.nprobe, call.quantizer_params);
  const GpuSearchOptions options = faiss_options(search_options, lists.geometry().metric());
  faiss_boundary([&] {
    rotorquant::search(lists, x, queries, static_cast<size_t>(k),
                       asked.empty() ? nullptr : asked.data(), call.nprobe, call.params, distances,
                       labels, options);
  });
}

void GpuIndexIVFRotorQuant::range_search(idx_t n, const float* x, float radius,
                                         faiss::RangeSearchResult* result,
                                         const faiss::SearchParameters* params) const {
  const size_t queries = checked_count(n);
  require_faiss(result->nq == queries, "range_search: queries of the result", queries, result->nq);
  require_faiss(!std::isnan(radius), "range_search: radius", "a number", radius);
  const GpuInvertedFile& lists = trained("range_search");
  const IvfCall call(*settings, params);
  const std::vector<idx_t> asked = asked_lists(queries, x, call.nprobe, call.quantizer_params);
  const Metric metric = lists.geometry().metric();
  const float sign = metric == Metric::l2 ? 1.0F : -1.0F;
  const std::vector<std::vector<RangeHit>> hits = faiss_boundary([&] {
    return rotorquant::range_search(lists, x, queries, sign * radius,
                                    asked.empty() ? nullptr : asked.data(), call.nprobe,
                                    call.params, search_options);
  });
  to_faiss_ranges(metric, hits, *result);
}

void GpuIndexIVFRotorQuant::reset() {
  if (lists_ != nullptr) {
    faiss_boundary([&] { lists_->clear(); });
  }
  ntotal = 0;
}

size_t GpuIndexIVFRotorQuant::remove_ids(const faiss::IDSelector& sel) {
  require_faiss(direct_map_ != faiss::DirectMap::Array, "remove_ids: direct map",
                "none or a hash table", "an array");
  if (lists_ == nullptr) {
    return 0;
  }
  const size_t removed = faiss_boundary([&] { return lists_->remove(SelectorFilter(sel)); });
  ntotal -= static_cast<idx_t>(removed);
  return removed;
}

void GpuIndexIVFRotorQuant::reconstruct(idx_t key, float* recons) const {
  reconstruct_n(key, 1, recons);
}

void GpuIndexIVFRotorQuant::reconstruct_n(idx_t i0, idx_t ni, float* recons) const {
  const size_t rows = checked_count(ni, "reconstruct: number of vectors");
  const GpuInvertedFile& lists = trained("reconstruct");
  std::vector<float> decoded(rows * static_cast<size_t>(d));
  const size_t found = faiss_boundary([&] { return lists.reconstruct(i0, rows, decoded.data()); });
  require_faiss(found == rows, "reconstruct: vectors with ids from " + std::to_string(i0) + " on",
                rows, found);
  if (rows > 0) {
    faiss_boundary([&] { resources.copy(recons, decoded.data(), decoded.size() * sizeof(float)); });
  }
}

size_t GpuIndexIVFRotorQuant::sa_code_size() const {
  return settings->sa_code_size();
}

void GpuIndexIVFRotorQuant::sa_encode(idx_t n, const float* x, uint8_t* bytes) const {
  trained("encode");
  const size_t size = checked_count(n) * static_cast<size_t>(d);
  settings->sa_encode(n, HostRows(resources, x, size).data(), bytes);
}

void GpuIndexIVFRotorQuant::sa_decode(idx_t n, const uint8_t* bytes, float* x) const {
  trained("decode");
  settings->sa_decode(n, bytes, x);
}

void GpuIndexIVFRotorQuant::renumber(const std::function<idx_t(idx_t)>& to) {
  faiss_boundary([&] { trained("renumber").renumber(to); });
}

}  // namespace rotorquant
