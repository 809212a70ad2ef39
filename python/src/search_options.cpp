// SPDX-License-Identifier: MIT
#include "search_options.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/impl/AuxIndexStructures.h>

#include <algorithm>
#include <functional>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/boundary.h"
#ifdef ROTORQUANT_HAVE_GPU
#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#endif

namespace rotorquant::python {
namespace {

using Params = std::unique_ptr<faiss::SearchParameters>;

/// The options that an index reads, so that the others can be refused rather than ignored.
void require_only(const SearchOptions& options, const std::vector<std::string>& known,
                  const char* what) {
  for (const std::string& name : options.names()) {
    std::string list;
    for (const std::string& each : known) {
      list += (list.empty() ? "" : ", ") + each;
    }
    require_faiss(std::find(known.begin(), known.end(), name) != known.end(), "SearchParameters",
                  (list.empty() ? "a filter alone" : list) + " for " + what, name);
  }
}

/// What both of our kinds of index read.
template <class OurParams>
void fill_code_params(const SearchOptions& options, OurParams& params) {
  params.refine_error_scale = options.refine_error_scale.value_or(params.refine_error_scale);
  params.k_factor = options.k_factor.value_or(params.k_factor);
  params.levels = options.levels.value_or(params.levels);
  params.estimator = options.estimator.value_or(params.estimator);
  params.threads = options.threads.value_or(params.threads);
  params.stats = options.stats.get();
}

Params rotorquant_params(const SearchOptions& options) {
  require_only(options,
               {"refine_error_scale", "k_factor", "levels", "estimator", "threads", "stats"},
               "rotor codes");
  auto params = std::make_unique<SearchParametersRotorQuant>();
  fill_code_params(options, *params);
  return params;
}

Params ivf_rotorquant_params(const SearchOptions& options) {
  require_only(options,
               {"refine_error_scale", "k_factor", "levels", "estimator", "threads", "stats",
                "nprobe", "max_codes"},
               "inverted files of rotor codes");
  auto params = std::make_unique<SearchParametersIVFRotorQuant>();
  fill_code_params(options, *params);
  params->nprobe = options.nprobe.value_or(params->nprobe);
  params->max_codes = options.max_codes.value_or(params->max_codes);
  return params;
}

Params reference_params(const SearchOptions& options) {
  require_only(options, {"threads"}, "RQ..ref codes");
  auto params = std::make_unique<SearchParametersRotorQuant>();
  params->threads = options.threads.value_or(params->threads);
  return params;
}

Params ivf_params(const SearchOptions& options, const faiss::IndexIVF& index) {
  require_only(options, {"nprobe", "max_codes"}, "an inverted file");
  auto params = std::make_unique<faiss::SearchParametersIVF>();
  params->nprobe = options.nprobe.value_or(index.nprobe);
  params->max_codes = options.max_codes.value_or(index.max_codes);
  return params;
}

Params hnsw_params(const SearchOptions& options, const faiss::IndexHNSW& index) {
  require_only(options, {"ef_search"}, "a graph");
  auto params = std::make_unique<faiss::SearchParametersHNSW>();
  params->efSearch = options.ef_search.value_or(index.hnsw.efSearch);
  return params;
}

/// Whether an index is ours, flat or inverted lists, on the host or on a device.
bool is_flat_of_ours(const faiss::Index& index) {
#ifdef ROTORQUANT_HAVE_GPU
  if (dynamic_cast<const GpuIndexRotorQuant*>(&index) != nullptr) {
    return true;
  }
#endif
  return dynamic_cast<const IndexRotorQuant*>(&index) != nullptr;
}
bool is_ivf_of_ours(const faiss::Index& index) {
#ifdef ROTORQUANT_HAVE_GPU
  if (dynamic_cast<const GpuIndexIVFRotorQuant*>(&index) != nullptr) {
    return true;
  }
#endif
  return dynamic_cast<const IndexIVFRotorQuant*>(&index) != nullptr;
}

/// FAISS's parameters for one call on a leaf, null where nothing is set: not every FAISS index
/// takes some.
Params params_for(const faiss::Index& index, const SearchOptions& options,
                  const faiss::IDSelector* selector) {
  if (options.names().empty() && selector == nullptr) {
    return nullptr;
  }
  Params params;
  if (is_flat_of_ours(index)) {
    params = rotorquant_params(options);
  } else if (dynamic_cast<const IndexRotorQuantReference*>(&index) != nullptr) {
    params = reference_params(options);
  } else if (is_ivf_of_ours(index)) {
    params = ivf_rotorquant_params(options);
  } else if (const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
    params = ivf_params(options, *ivf);
  } else if (const auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
    params = hnsw_params(options, *hnsw);
  } else {
    require_only(options, {}, "this kind of index");
    params = std::make_unique<faiss::SearchParameters>();
  }
  params->sel = const_cast<faiss::IDSelector*>(selector);  // FAISS reads it only
  return params;
}

/// A selector of an IDMap's ids as one of the positions below it.
class PositionSelector final : public faiss::IDSelector {
 public:
  PositionSelector(const std::vector<int64_t>& ids, const faiss::IDSelector& selector)
      : ids_(ids), selector_(selector) {}
  bool is_member(int64_t position) const override {
    return selector_.is_member(ids_[static_cast<size_t>(position)]);
  }

 private:
  const std::vector<int64_t>& ids_;
  const faiss::IDSelector& selector_;
};

/// What one call does on the leaf that answers it: (leaf, x, parameters).
using LeafCall =
    std::function<void(const faiss::Index&, const float*, const faiss::SearchParameters*)>;

/// Calls `call` below id maps and vector transforms, with parameters that fit the index there.
/// FAISS 1.7.3 takes none above it. Returns the id maps passed on the way, outermost first: the
/// labels that `call` collects are positions below them.
void call_below(const faiss::Index& index, size_t n, const float* x, const SearchOptions& options,
                const faiss::IDSelector* selector, const LeafCall& call,
                std::vector<const std::vector<int64_t>*>& id_maps) {
  if (const auto* id_map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
    id_maps.push_back(&id_map->id_map);
    if (selector == nullptr) {
      return call_below(*id_map->index, n, x, options, nullptr, call, id_maps);
    }
    const PositionSelector positions(id_map->id_map, *selector);
    return call_below(*id_map->index, n, x, options, &positions, call, id_maps);
  }
  if (const auto* transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
    require_faiss(index.is_trained, "search", "a trained index", "an untrained one");
    const float* y = transformed->apply_chain(static_cast<int64_t>(n), x);
    // apply_chain gives x itself back where there is nothing to apply, else memory to delete[].
    const std::unique_ptr<const float[]> owned(y == x ? nullptr : y);
    return call_below(*transformed->index, n, y, options, selector, call, id_maps);
  }
  call(index, x, params_for(index, options, selector).get());
}

void map_labels(const std::vector<const std::vector<int64_t>*>& id_maps, int64_t* labels,
                size_t count) {
  for (auto map = id_maps.rbegin(); map != id_maps.rend(); ++map) {
    for (size_t i = 0; i < count; ++i) {
      labels[i] = labels[i] < 0 ? labels[i] : (**map)[static_cast<size_t>(labels[i])];
    }
  }
}

void search_with(const faiss::Index& index, size_t n, const float* x, size_t k,
                 const SearchOptions& options, const faiss::IDSelector* selector, float* distances,
                 int64_t* labels) {
  std::vector<const std::vector<int64_t>*> id_maps;
  call_below(
      index, n, x, options, selector,
      [&](const faiss::Index& leaf, const float* y, const faiss::SearchParameters* params) {
        leaf.search(static_cast<int64_t>(n), y, static_cast<int64_t>(k), distances, labels, params);
      },
      id_maps);
  map_labels(id_maps, labels, n * k);
}

void range_search_with(const faiss::Index& index, size_t n, const float* x, float radius,
                       const SearchOptions& options, const faiss::IDSelector* selector,
                       faiss::RangeSearchResult& result) {
  std::vector<const std::vector<int64_t>*> id_maps;
  call_below(
      index, n, x, options, selector,
      [&](const faiss::Index& leaf, const float* y, const faiss::SearchParameters* params) {
        leaf.range_search(static_cast<int64_t>(n), y, radius, &result, params);
      },
      id_maps);
  map_labels(id_maps, result.labels, result.lims[n]);
}

}  // namespace

std::vector<std::string> SearchOptions::names() const {
  std::vector<std::string> set;
  const auto note = [&](bool is_set, const char* name) {
    if (is_set) {
      set.emplace_back(name);
    }
  };
  note(refine_error_scale.has_value(), "refine_error_scale");
  note(k_factor.has_value(), "k_factor");
  note(levels.has_value(), "levels");
  note(estimator.has_value(), "estimator");
  note(threads.has_value(), "threads");
  note(nprobe.has_value(), "nprobe");
  note(max_codes.has_value(), "max_codes");
  note(ef_search.has_value(), "ef_search");
  note(stats != nullptr, "stats");
  return set;
}

void search(const faiss::Index& index, size_t n, const float* x, size_t k,
            const SearchOptions& options, float* distances, int64_t* labels) {
  if (options.nothing_set()) {
    index.search(static_cast<int64_t>(n), x, static_cast<int64_t>(k), distances, labels);
    return;
  }
  if (!options.filters.per_query) {
    search_with(index, n, x, k, options, options.filters.of(0), distances, labels);
    return;
  }
  const auto d = static_cast<size_t>(index.d);
  for (size_t q = 0; q < n; ++q) {
    search_with(index, 1, x + q * d, k, options, options.filters.of(q), distances + q * k,
                labels + q * k);
  }
}

void range_search(const faiss::Index& index, size_t n, const float* x, float radius,
                  const SearchOptions& options, faiss::RangeSearchResult& result) {
  if (options.nothing_set()) {
    index.range_search(static_cast<int64_t>(n), x, radius, &result);
    return;
  }
  if (!options.filters.per_query) {
    range_search_with(index, n, x, radius, options, options.filters.of(0), result);
    return;
  }
  const auto d = static_cast<size_t>(index.d);
  std::vector<std::unique_ptr<faiss::RangeSearchResult>> parts;
  for (size_t q = 0; q < n; ++q) {
    parts.push_back(std::make_unique<faiss::RangeSearchResult>(1));
    range_search_with(index, 1, x + q * d, radius, options, options.filters.of(q), *parts.back());
    result.lims[q] = parts.back()->lims[1];  // counts; do_allocation makes offsets of them
  }
  result.do_allocation();
  for (size_t q = 0; q < n; ++q) {
    std::copy_n(parts[q]->labels, parts[q]->lims[1], result.labels + result.lims[q]);
    std::copy_n(parts[q]->distances, parts[q]->lims[1], result.distances + result.lims[q]);
  }
}

}  // namespace rotorquant::python
