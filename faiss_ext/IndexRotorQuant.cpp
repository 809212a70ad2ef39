// SPDX-License-Identifier: MIT
#include "faiss_ext/IndexRotorQuant.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <typeinfo>
#include <vector>

#include "faiss_ext/boundary.h"
#include "faiss_ext/distance_computer.h"
#include "faiss_ext/index_parts.h"

namespace rotorquant {
namespace {

/// Rows that add() encodes at a time: few enough that their codes are still in cache when they are
/// stored, and enough for every thread.
size_t rows_to_add(size_t d) {
  constexpr size_t rows_of_a_thread = 16 * block_vectors;
  return std::min(block_rows(d), rows_of_a_thread * static_cast<size_t>(omp_get_max_threads()));
}

}  // namespace

IndexRotorQuant::IndexRotorQuant() = default;

IndexRotorQuant::IndexRotorQuant(const CodecParams& params, faiss::MetricType metric)
    : Index(checked_dimension(params), metric) {
  space.metric = core_metric(metric);
  faiss_boundary([&] {
    codec = Codec(params);
    store = CodeStore(codec.layout());
  });
  is_trained = codec.is_trained();
}

IndexRotorQuant::IndexRotorQuant(int dim, int bits, bool learned, faiss::MetricType metric)
    : IndexRotorQuant(codec_params(dim, bits, learned), metric) {}

void IndexRotorQuant::train(idx_t n, const float* x) {
  require_faiss(ntotal == 0, "train: vectors in the index", 0, ntotal);
  const size_t rows = checked_count(n);
  const bool learned = codec.params().frame == FrameKind::learned;
  require_faiss(rows > 0 || !learned, "train: vectors", "at least 1", rows);
  if (rows == 0) {
    return;
  }
  faiss_boundary([&] {
    const auto dim = static_cast<size_t>(d);
    require_finite(x, rows, dim, "train: x");
    Space centred{space.metric, mean_row(x, rows, dim)};
    if (learned) {
      Codec fresh(codec.params());
      const std::vector<float> sample = rows_of(x, sampled_rows(rows, codec.params().seed), dim);
      std::vector<float> residuals(sample.size());
      std::vector<float> unused(sample.size() / dim);
      centred.split(sample.data(), unused.size(), dim, residuals.data(), unused.data());
      fresh.train(residuals.data(), unused.size());
      store = CodeStore(fresh.layout());
      codec = std::move(fresh);
    }
    space = std::move(centred);
  });
  is_trained = true;
}

void IndexRotorQuant::add(idx_t n, const float* x) {
  const size_t rows = checked_count(n);
  require_faiss(codec.is_trained(), "add: index", "a trained one", "an untrained one");
  const auto dim = static_cast<size_t>(d);
  const size_t before = store.size();
  faiss_boundary([&] {
    try {
      if (rows > before / 4) {
        store.reserve(before + rows);  // exact; small additions keep growing geometrically
      }
      std::vector<uint8_t> codes;
      for_steps(rows, rows_to_add(dim), [&](size_t first, size_t count) {
        codes.resize(count * codec.code_bytes());
        if (!encode_rows(x + first * dim, count, codes.data())) {
          reject_rows(x, rows, dim, "add: x");
        }
        store.append(codes.data(), count);
      });
    } catch (...) {
      store.truncate(before);
      throw;
    }
  });
  ntotal = static_cast<idx_t>(store.size());
}

SearchParams IndexRotorQuant::resolve(const faiss::SearchParameters* params) const {
  SearchParams resolved;
  resolved.refine_error_scale = refine_error_scale;
  resolved.k_factor = k_factor;
  const auto* own = dynamic_cast<const SearchParametersRotorQuant*>(params);
  if (own == nullptr) {
    // A derived type carries wishes that could not be met: better said than ignored.
    require_faiss(params == nullptr || typeid(*params) == typeid(faiss::SearchParameters),
                  "search parameters", "SearchParametersRotorQuant or faiss::SearchParameters",
                  params == nullptr ? "" : typeid(*params).name());
    return resolved;
  }
  take_search_fields(*own, resolved);
  return resolved;
}

void IndexRotorQuant::search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
                             const faiss::SearchParameters* params) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  require_faiss(codec.is_trained(), "search: index", "a trained one", "an untrained one");
  const FlatCall call(*this, params);
  if (queries == 0) {
    return;
  }
  faiss_boundary([&] {
    rotorquant::search(codec, space, store, x, queries, static_cast<size_t>(k), call.params,
                       distances, labels);
  });
  to_faiss_distances(space.metric, queries * static_cast<size_t>(k), distances);
}

void IndexRotorQuant::range_search(idx_t n, const float* x, float radius,
                                   faiss::RangeSearchResult* result,
                                   const faiss::SearchParameters* params) const {
  const size_t queries = checked_count(n);
  require_faiss(result->nq == queries, "range_search: queries of the result", queries, result->nq);
  require_faiss(codec.is_trained(), "range_search: index", "a trained one", "an untrained one");
  require_faiss(!std::isnan(radius), "range_search: radius", "a number", radius);
  const FlatCall call(*this, params);
  const float sign = space.metric == Metric::l2 ? 1.0F : -1.0F;
  const std::vector<std::vector<RangeHit>> hits = faiss_boundary([&] {
    return rotorquant::range_search(codec, space, store, x, queries, sign * radius, call.params);
  });
  to_faiss_ranges(space.metric, hits, *result);
}

void IndexRotorQuant::search1(const float* x, ResultHandler& handler,
                              faiss::SearchParameters* params) const {
  hand_over(*this, x, handler, params);
}

void IndexRotorQuant::reset() {
  faiss_boundary([&] { store.clear(); });
  ntotal = 0;
}

size_t IndexRotorQuant::remove_ids(const faiss::IDSelector& sel) {
  size_t kept = 0;
  for (size_t i = 0; i < store.size(); ++i) {
    if (sel.is_member(static_cast<idx_t>(i))) {
      continue;
    }
    if (kept != i) {
      faiss_boundary([&] { store.copy_within(i, kept); });
    }
    ++kept;
  }
  const size_t removed = store.size() - kept;
  if (removed != 0) {
    faiss_boundary([&] { store.truncate(kept); });
  }
  ntotal = static_cast<idx_t>(kept);
  return removed;
}

void IndexRotorQuant::reconstruct(idx_t key, float* recons) const {
  reconstruct_n(key, 1, recons);
}

void IndexRotorQuant::reconstruct_n(idx_t i0, idx_t ni, float* recons) const {
  const size_t rows = checked_count(ni, "reconstruct: number of vectors");
  require_faiss(i0 >= 0 && i0 <= ntotal && ni <= ntotal - i0, "reconstruct: ids",
                "below " + std::to_string(ntotal),
                std::to_string(i0) + " and " + std::to_string(ni) + " in all");
  const auto dim = static_cast<size_t>(d);
  std::vector<uint8_t> codes;
  for_blocks(rows, dim, [&](size_t first, size_t count) {
    codes.resize(count * codec.code_bytes());
    store.pack(static_cast<size_t>(i0) + first, count, codes.data());
    sa_decode(static_cast<idx_t>(count), codes.data(), recons + first * dim);
  });
}

faiss::DistanceComputer* IndexRotorQuant::get_distance_computer() const {
  require_faiss(codec.is_trained(), "distance computer: index", "a trained one",
                "an untrained one");
  return new RotorQuantDistanceComputer(*this);  // the caller's by FAISS convention
}

void IndexRotorQuant::compute_distance_subset(idx_t n, const float* x, idx_t k, float* distances,
                                              const idx_t* labels) const {
  const size_t queries = checked_count(n);
  const size_t per_query = checked_count(k, "k");
  faiss_boundary([&] { require_finite(x, queries, static_cast<size_t>(d), "distance subset: x"); });
  const idx_t* end = labels + queries * per_query;
  const idx_t* wrong = std::find_if(labels, end, [this](idx_t id) { return id >= ntotal; });
  require_faiss(wrong == end, "distance subset: labels", "below " + std::to_string(ntotal),
                wrong == end ? 0 : *wrong);
  constexpr float worst = std::numeric_limits<float>::max();
  const float missing = space.metric == Metric::l2 ? worst : -worst;
#pragma omp parallel if (queries > 1)
  {
    const std::unique_ptr<faiss::DistanceComputer> computer(get_distance_computer());
#pragma omp for
    for (size_t i = 0; i < queries; ++i) {
      computer->set_query(x + i * static_cast<size_t>(d));
      for (size_t j = i * per_query; j < (i + 1) * per_query; ++j) {
        distances[j] = labels[j] < 0 ? missing : (*computer)(labels[j]);
      }
    }
  }
}

size_t IndexRotorQuant::sa_code_size() const {
  return codec.code_bytes();
}

bool IndexRotorQuant::encode_rows(const float* x, size_t rows, uint8_t* bytes) const {
  const auto dim = static_cast<size_t>(d);
  const auto split = [&](size_t first, size_t count, float* residuals, float* additive) {
    return space.split(x + first * dim, count, dim, residuals, additive);
  };
  return codec.encode(split, rows, bytes, codec.code_bytes(), encode_effort);
}

void IndexRotorQuant::sa_encode(idx_t n, const float* x, uint8_t* bytes) const {
  const size_t rows = checked_count(n);
  require_faiss(codec.is_trained(), "encode: index", "a trained one", "an untrained one");
  faiss_boundary([&] {
    if (!encode_rows(x, rows, bytes)) {
      reject_rows(x, rows, static_cast<size_t>(d), "encode: x");
    }
  });
}

void IndexRotorQuant::sa_decode(idx_t n, const uint8_t* bytes, float* x) const {
  const size_t rows = checked_count(n);
  require_faiss(codec.is_trained(), "decode: index", "a trained one", "an untrained one");
  faiss_boundary([&] {
    codec.decode(bytes, rows, x);
    space.restore(x, rows, static_cast<size_t>(d));
  });
}

void IndexRotorQuant::add_sa_codes(idx_t n, const uint8_t* codes, const idx_t* /*xids*/) {
  const size_t rows = checked_count(n);
  require_faiss(codec.is_trained(), "add_sa_codes: index", "a trained one", "an untrained one");
  size_t good = 0;
  while (good < rows && has_finite_factors(codec.layout(), codes + good * codec.code_bytes())) {
    ++good;
  }
  require_faiss(good == rows, "add_sa_codes: factors", "finite numbers",
                "infinity or NaN in code " + std::to_string(good));
  store.append(codes, rows);
  ntotal = static_cast<idx_t>(store.size());
}

void IndexRotorQuant::check_compatible_for_merge(const faiss::Index& other) const {
  const auto* source = dynamic_cast<const IndexRotorQuant*>(&other);
  require_faiss(source != nullptr, "merge: other index", "an IndexRotorQuant",
                typeid(other).name());
  require_faiss(source != this, "merge: other index", "another one", "this one");
  require_faiss(source->d == d, "merge: d of the other index", d, source->d);
  require_faiss(source->space.metric == space.metric, "merge: metric of the other index",
                static_cast<int>(metric_type), static_cast<int>(source->metric_type));
  require_faiss(source->codec.name() == codec.name(), "merge: codec of the other index",
                codec.name(), source->codec.name());
  require_faiss(serialized(source->codec) == serialized(codec), "merge: codec of the other index",
                "equal parameters and training", "others");
  require_faiss(source->space.centre == space.centre, "merge: centre of the other index",
                "an equal one", "another");
}

void IndexRotorQuant::merge_from(faiss::Index& other, idx_t add_id) {
  require_faiss(add_id == 0, "merge: add_id", 0, add_id);
  check_compatible_for_merge(other);
  auto& source = dynamic_cast<IndexRotorQuant&>(other);
  store.reserve(store.size() + source.store.size());
  std::vector<uint8_t> codes;
  for_blocks(source.store.size(), static_cast<size_t>(d), [&](size_t first, size_t count) {
    codes.resize(count * codec.code_bytes());
    source.store.pack(first, count, codes.data());
    store.append(codes.data(), count);
  });
  ntotal = static_cast<idx_t>(store.size());
  source.reset();
}

}  // namespace rotorquant
