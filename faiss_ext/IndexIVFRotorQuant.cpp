// SPDX-License-Identifier: MIT
#include "faiss_ext/IndexIVFRotorQuant.h"

#include <faiss/IndexFlat.h>
#include <faiss/impl/AuxIndexStructures.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <typeinfo>
#include <vector>

#include "faiss_ext/boundary.h"
#include "faiss_ext/index_parts.h"

namespace rotorquant {
namespace {

faiss::Index* checked_quantizer(faiss::Index* quantizer, const CodecParams& params) {
  require_faiss(quantizer != nullptr, "quantizer", "one", "none");
  require_faiss(quantizer->d == checked_dimension(params), "quantizer: d", params.d, quantizer->d);
  return quantizer;
}

bool is_flat(const faiss::Index& index) {
  return typeid(index) == typeid(faiss::IndexFlat) || typeid(index) == typeid(faiss::IndexFlatL2) ||
         typeid(index) == typeid(faiss::IndexFlatIP);
}

/// Centroids less the centre.
std::vector<float> centroid_offsets(const faiss::Index& quantizer, size_t nlist,
                                    const std::vector<float>& centre) {
  const size_t d = centre.size();
  std::vector<float> offsets(nlist * d);
  quantizer.reconstruct_n(0, static_cast<idx_t>(nlist), offsets.data());
  for (size_t i = 0; i < offsets.size(); ++i) {
    offsets[i] -= centre[i % d];
  }
  return offsets;
}

/// x less its list's centroid, or less the centre where there are no offsets.
std::vector<float> residuals_of(std::vector<float> x, const std::vector<idx_t>& lists,
                                const std::vector<float>& centre,
                                const std::vector<float>& offsets) {
  const size_t d = centre.size();
  for (size_t i = 0; i < lists.size(); ++i) {
    const bool placed = !offsets.empty() && lists[i] >= 0;
    const float* offset = placed ? offsets.data() + static_cast<size_t>(lists[i]) * d : nullptr;
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] -= placed ? centre[j] + offset[j] : centre[j];
    }
  }
  return x;
}

double milliseconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

/// FAISS's interface to single codes, for lists that are not ours and for users' own loops.
class Scanner final : public ScannerBase {
 public:
  Scanner(const IndexIVFRotorQuant& index, bool pairs, const faiss::IDSelector* selector)
      : ScannerBase(pairs, selector),
        geometry_(index.geometry),
        scorer_(*geometry_),
        sign_(geometry_->metric() == Metric::l2 ? 1.0F : -1.0F) {
    keep_max = geometry_->metric() == Metric::inner_product;
    code_size = index.code_size;
  }

  void set_query(const float* query) override {
    faiss_boundary([&] { scorer_.set_query(query); });
  }
  void set_list(idx_t list, float /*coarse_dis*/) override {
    list_no = list;
    faiss_boundary([&] { scorer_.set_list(static_cast<size_t>(list)); });
  }
  float distance_to_code(const uint8_t* code) const override {
    return sign_ * scorer_.distance(code);
  }

 private:
  std::shared_ptr<const IvfGeometry> geometry_;
  IvfScorer scorer_;
  float sign_;
};

}  // namespace

IndexIVFRotorQuant::IndexIVFRotorQuant() = default;

IndexIVFRotorQuant::IndexIVFRotorQuant(faiss::Index* coarse_quantizer, const CodecParams& params,
                                       size_t lists, faiss::MetricType metric)
    : IndexIVFBase(checked_quantizer(coarse_quantizer, params), params.d, lists, 0, metric) {
  core_metric(metric);
  require_faiss(lists >= 1, "nlist", "at least 1", lists);
  faiss_boundary([&] { codec = std::make_shared<const Codec>(params); });
  code_size = codec->code_bytes();
  is_trained = false;
  replace_invlists(new faiss::ArrayInvertedLists(nlist, code_size), true);
}

const InvertedFile* IndexIVFRotorQuant::file() const {
  const auto* own = dynamic_cast<const RotorQuantInvertedLists*>(invlists);
  return own == nullptr ? nullptr : &own->file;
}

InvertedFile* IndexIVFRotorQuant::file() {
  auto* own = dynamic_cast<RotorQuantInvertedLists*>(invlists);
  return own == nullptr ? nullptr : &own->file;
}

void IndexIVFRotorQuant::train(idx_t n, const float* x) {
  require_faiss(ntotal == 0, "train: vectors in the index", 0, ntotal);
  const size_t rows = checked_count(n);
  require_faiss(rows >= 1, "train: vectors", "at least 1", rows);
  const auto dim = static_cast<size_t>(d);
  faiss_boundary([&] { require_finite(x, rows, dim, "train: x"); });
  train_q1(rows, x, verbose, metric_type);
  faiss_boundary([&] {
    const std::vector<float> centre = mean_row(x, rows, dim);
    const std::vector<float> sample = rows_of(x, sampled_rows(rows, codec->params().seed), dim);
    std::vector<idx_t> lists(sample.size() / dim, 0);
    std::vector<float> offsets;
    if (by_residual) {
      offsets = centroid_offsets(*quantizer, nlist, centre);
      quantizer->assign(static_cast<idx_t>(lists.size()), sample.data(), lists.data());
    }
    auto fresh = std::make_shared<Codec>(codec->params());
    const std::vector<float> residuals = residuals_of(sample, lists, centre, offsets);
    fresh->train(residuals.data(), lists.size());
    const float ratio = IvfGeometry::measure_error_ratio(*fresh, residuals.data(), lists.size());
    set_geometry(std::make_shared<const IvfGeometry>(core_metric(metric_type), std::move(fresh),
                                                     centre, offsets, nlist, ratio));
  });
  is_trained = true;
}

void IndexIVFRotorQuant::set_geometry(std::shared_ptr<const IvfGeometry> trained) {
  geometry = std::move(trained);
  codec = geometry->shared_codec();
  coarse_from_geometry =
      geometry->by_residual() && is_flat(*quantizer) && quantizer->metric_type == metric_type;
  replace_invlists(new RotorQuantInvertedLists(geometry), true);
}

void IndexIVFRotorQuant::encode_vectors(idx_t n, const float* x, const idx_t* list_nos,
                                        uint8_t* codes, bool include_listno) const {
  const size_t rows = checked_count(n);
  require_faiss(geometry != nullptr, "encode: index", "a trained one", "an untrained one");
  const auto dim = static_cast<size_t>(d);
  const size_t list_bytes = include_listno ? coarse_code_size() : 0;
  const size_t stride = code_size + list_bytes;
  std::vector<idx_t> lists(list_nos, list_nos + rows);
  std::replace_if(
      lists.begin(), lists.end(), [](idx_t list) { return list < 0; }, 0);
  const auto split = [&](size_t first, size_t count, float* residuals, float* additive) {
    return geometry->split(x + first * dim, lists.data() + first, count, residuals, additive);
  };
  faiss_boundary([&] {
    if (!codec->encode(split, rows, codes + list_bytes, stride, encode_effort)) {
      reject_rows(x, rows, dim, "encode: x");
    }
  });
  for (size_t i = 0; i < rows; ++i) {
    uint8_t* code = codes + i * stride;
    if (list_nos[i] < 0) {
      std::fill_n(code, stride, uint8_t{0});
    } else if (include_listno) {
      encode_listno(lists[i], code);
    }
  }
}

void IndexIVFRotorQuant::sa_decode(idx_t n, const uint8_t* bytes, float* x) const {
  const size_t rows = checked_count(n);
  require_faiss(geometry != nullptr, "decode: index", "a trained one", "an untrained one");
  const size_t list_bytes = coarse_code_size();
  const auto dim = static_cast<size_t>(d);
  faiss_boundary([&] {
    for (size_t i = 0; i < rows; ++i) {
      const uint8_t* code = bytes + i * (list_bytes + code_size);
      const idx_t list = decode_listno(code);
      codec->decode(code + list_bytes, 1, x + i * dim);
      geometry->restore(&list, 1, x + i * dim);
    }
  });
}

void IndexIVFRotorQuant::add_with_ids(idx_t n, const float* x, const idx_t* xids) {
  const size_t rows = checked_count(n);
  require_faiss(geometry != nullptr, "add: index", "a trained one", "an untrained one");
  const auto dim = static_cast<size_t>(d);
  faiss_boundary([&] { require_finite(x, rows, dim, "add: x"); });
  direct_map.check_can_add(xids);
  std::vector<idx_t> lists(rows);
  quantizer->assign(n, x, lists.data());
  InvertedFile* own = file();
  if (own == nullptr) {
    add_core(n, x, xids, lists.data());
    return;
  }
  // Lists are as long as they have to be after a large addition; small ones grow geometrically.
  std::vector<size_t> added(nlist, 0);
  for (const idx_t list : lists) {
    if (list >= 0) {
      ++added[static_cast<size_t>(list)];
    }
  }
  faiss::DirectMapAdd map(direct_map, rows, xids);
  std::vector<uint8_t> codes;
  std::vector<uint8_t> run;
  std::vector<idx_t> run_ids;
  std::vector<size_t> order;
  for_blocks(rows, dim, [&](size_t first, size_t count) {
    codes.resize(count * code_size);
    encode_vectors(static_cast<idx_t>(count), x + first * dim, lists.data() + first, codes.data());
    order.resize(count);
    for (size_t i = 0; i < count; ++i) {
      order[i] = first + i;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return lists[a] < lists[b]; });
    for (size_t begin = 0; begin < count;) {
      const idx_t list = lists[order[begin]];
      size_t end = begin;
      run.clear();
      run_ids.clear();
      for (; end < count && lists[order[end]] == list; ++end) {
        const size_t i = order[end];
        run_ids.push_back(xids != nullptr ? xids[i] : ntotal + static_cast<idx_t>(i));
        const uint8_t* code = codes.data() + (i - first) * code_size;
        run.insert(run.end(), code, code + code_size);
      }
      if (list >= 0) {
        const auto to = static_cast<size_t>(list);
        const size_t offset = faiss_boundary([&] {
          if (added[to] > own->size(to) / 4) {
            own->reserve(to, own->size(to) + added[to]);
          }
          return own->append(to, run_ids.size(), run_ids.data(), run.data());
        });
        added[to] -= end - begin;
        for (size_t i = begin; i < end; ++i) {
          map.add(order[i], list, offset + i - begin);
        }
      } else {
        for (size_t i = begin; i < end; ++i) {
          map.add(order[i], -1, 0);
        }
      }
      begin = end;
    }
  });
  ntotal += n;
}

void IndexIVFRotorQuant::search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
                                const faiss::SearchParameters* params) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  require_faiss(geometry != nullptr, "search: index", "a trained one", "an untrained one");
  const InvertedFile* own = file();
  if (own == nullptr) {
    IndexIVF::search(n, x, k, distances, labels, params);
    return;
  }
  const IvfCall call(*this, params);
  if (queries == 0) {
    return;
  }
  const double start = milliseconds();
  faiss::IndexIVFStats& stats = faiss::indexIVF_stats;
  const auto rows = static_cast<size_t>(k);
  if (coarse_from_geometry && call.quantizer_params == nullptr) {
    faiss_boundary([&] {
      search_nearest_lists(*own, x, queries, rows, call.nprobe, call.params, distances, labels);
    });
  } else {
    std::vector<idx_t> lists(queries * call.nprobe);
    std::vector<float> coarse_distances(lists.size());
    faiss_boundary([&] { require_finite(x, queries, static_cast<size_t>(d), "queries"); });
    quantizer->search(n, x, static_cast<idx_t>(call.nprobe), coarse_distances.data(), lists.data(),
                      call.quantizer_params);
    stats.quantization_time += milliseconds() - start;
    faiss_boundary([&] {
      rotorquant::search(*own, x, queries, rows, lists.data(), call.nprobe, call.params, distances,
                         labels);
    });
  }
  stats.nq += queries;
  stats.nlist += queries * call.nprobe;
  stats.search_time += milliseconds() - start;
  to_faiss_distances(geometry->metric(), queries * rows, distances);
}

void IndexIVFRotorQuant::search_preassigned(idx_t n, const float* x, idx_t k, const idx_t* assign,
                                            const float* centroid_dis, float* distances,
                                            idx_t* labels, bool store_pairs,
                                            const faiss::IVFSearchParameters* params,
                                            faiss::IndexIVFStats* stats) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  require_faiss(geometry != nullptr, "search: index", "a trained one", "an untrained one");
  const InvertedFile* own = file();
  const bool fills_heaps = (parallel_mode & PARALLEL_MODE_NO_HEAP_INIT) != 0;
  if (own == nullptr || fills_heaps) {
    IndexIVF::search_preassigned(n, x, k, assign, centroid_dis, distances, labels, store_pairs,
                                 params, stats);
    return;
  }
  IvfCall call(*this, params);
  call.params.store_pairs = store_pairs;
  const auto rows = static_cast<size_t>(k);
  faiss_boundary([&] {
    rotorquant::search(*own, x, queries, rows, assign, call.nprobe, call.params, distances, labels);
  });
  to_faiss_distances(geometry->metric(), queries * rows, distances);
  if (stats != nullptr) {
    stats->nq += queries;
    stats->nlist += queries * call.nprobe;
  }
}

void IndexIVFRotorQuant::range_search(idx_t n, const float* x, float radius,
                                      faiss::RangeSearchResult* result,
                                      const faiss::SearchParameters* params) const {
  const size_t queries = checked_count(n);
  require_faiss(result->nq == queries, "range_search: queries of the result", queries, result->nq);
  require_faiss(geometry != nullptr, "range_search: index", "a trained one", "an untrained one");
  require_faiss(!std::isnan(radius), "range_search: radius", "a number", radius);
  const InvertedFile* own = file();
  if (own == nullptr) {
    IndexIVF::range_search(n, x, radius, result, params);
    return;
  }
  const IvfCall call(*this, params);
  faiss_boundary([&] { require_finite(x, queries, static_cast<size_t>(d), "queries"); });
  std::vector<idx_t> lists(queries * call.nprobe);
  std::vector<float> coarse_distances(lists.size());
  quantizer->search(n, x, static_cast<idx_t>(call.nprobe), coarse_distances.data(), lists.data(),
                    call.quantizer_params);
  const float sign = geometry->metric() == Metric::l2 ? 1.0F : -1.0F;
  to_faiss_ranges(geometry->metric(), faiss_boundary([&] {
                    return rotorquant::range_search(*own, x, queries, sign * radius, lists.data(),
                                                    call.nprobe, call.params);
                  }),
                  *result);
}

void IndexIVFRotorQuant::search1(const float* x, ResultHandler& handler,
                                 faiss::SearchParameters* params) const {
  hand_over(*this, x, handler, params);
}

faiss::InvertedListScanner* IndexIVFRotorQuant::get_InvertedListScanner(
    bool store_pairs, const faiss::IDSelector* sel ROTORQUANT_SCANNER_PARAMS_IGNORED) const {
  require_faiss(geometry != nullptr, "scanner: index", "a trained one", "an untrained one");
  return new Scanner(*this, store_pairs, sel);  // the caller's by FAISS convention
}

void IndexIVFRotorQuant::reconstruct_from_offset(int64_t list_no, int64_t offset,
                                                 float* recons) const {
  require_faiss(geometry != nullptr, "reconstruct: index", "a trained one", "an untrained one");
  faiss::InvertedLists::ScopedCodes code(invlists, static_cast<size_t>(list_no),
                                         static_cast<size_t>(offset));
  faiss_boundary([&] {
    codec->decode(code.get(), 1, recons);
    geometry->restore(&list_no, 1, recons);
  });
}

size_t IndexIVFRotorQuant::remove_ids(const faiss::IDSelector& sel) {
  InvertedFile* own = file();
  if (own == nullptr || direct_map.type == faiss::DirectMap::Array) {
    return IndexIVF::remove_ids(sel);
  }
  const bool mapped = direct_map.type == faiss::DirectMap::Hashtable;
  if (mapped && dynamic_cast<const faiss::IDSelectorArray*>(&sel) != nullptr) {
    return IndexIVF::remove_ids(sel);  // entry by entry, through the map
  }
  size_t removed = 0;
  for (size_t list = 0; list < nlist; ++list) {
    const size_t before = own->size(list);
    size_t size = before;
    for (size_t i = 0; i < size;) {
      const idx_t id = own->ids(list)[i];
      if (!sel.is_member(id)) {
        ++i;
        continue;
      }
      --size;
      faiss_boundary([&] { own->copy_within(list, size, i); });
      if (mapped) {
        direct_map.hashtable.erase(id);
        if (i < size) {
          direct_map.hashtable[own->ids(list)[i]] = static_cast<idx_t>(faiss::lo_build(list, i));
        }
      }
    }
    if (size != before) {
      faiss_boundary([&] { own->truncate(list, size); });
      removed += before - size;
    }
  }
  ntotal -= static_cast<idx_t>(removed);
  return removed;
}

void IndexIVFRotorQuant::update_vectors(int n, const idx_t* ids, const float* x) {
  require_faiss(!direct_map.no(), "update_vectors: direct map", "one", "none");
  const size_t rows = checked_count(n);
  require_faiss(geometry != nullptr, "update: index", "a trained one", "an untrained one");
  const auto dim = static_cast<size_t>(d);
  faiss_boundary([&] { require_finite(x, rows, dim, "update: x"); });
  std::vector<idx_t> places(rows);
  for (size_t i = 0; i < rows; ++i) {
    places[i] = direct_map.get(ids[i]);  // throws on ids that are not there, before any change
  }
  std::vector<idx_t> lists(rows);
  quantizer->assign(n, x, lists.data());
  std::vector<uint8_t> codes(rows * code_size);
  encode_vectors(n, x, lists.data(), codes.data());
  const auto place_of = [&](idx_t id) -> idx_t& {
    return direct_map.type == faiss::DirectMap::Array ? direct_map.array[static_cast<size_t>(id)]
                                                      : direct_map.hashtable[id];
  };
  for (size_t i = 0; i < rows; ++i) {
    const auto place = static_cast<uint64_t>(place_of(ids[i]));
    const size_t list = faiss::lo_listno(place);
    const size_t offset = faiss::lo_offset(place);
    const uint8_t* code = codes.data() + i * code_size;
    if (lists[i] == static_cast<idx_t>(list)) {
      invlists->update_entry(list, offset, ids[i], code);
      continue;
    }
    const size_t last = invlists->list_size(list) - 1;
    if (offset != last) {
      const idx_t moved = invlists->get_single_id(list, last);
      faiss::InvertedLists::ScopedCodes moved_code(invlists, list, last);
      invlists->update_entry(list, offset, moved, moved_code.get());
      place_of(moved) = static_cast<idx_t>(faiss::lo_build(list, offset));
    }
    invlists->resize(list, last);
    const auto to = static_cast<size_t>(lists[i]);
    const size_t added = invlists->add_entry(to, ids[i], code);
    place_of(ids[i]) = static_cast<idx_t>(faiss::lo_build(to, added));
  }
}

void IndexIVFRotorQuant::check_compatible_for_merge(const faiss::Index& other) const {
  IndexIVF::check_compatible_for_merge(other);
  const auto& same = dynamic_cast<const IndexIVFRotorQuant&>(other);
  require_faiss(geometry != nullptr && same.geometry != nullptr, "merge: indexes", "trained ones",
                "an untrained one");
  if (geometry == same.geometry) {
    return;
  }
  require_faiss(geometry->centre() == same.geometry->centre() &&
                    geometry->by_residual() == same.geometry->by_residual() &&
                    serialized(*codec) == serialized(*same.codec),
                "merge: codec, centre and centroids", "equal ones", "others");
}

}  // namespace rotorquant
