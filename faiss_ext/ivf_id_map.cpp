// SPDX-License-Identifier: MIT
#include "faiss_ext/ivf_id_map.h"

#include <functional>
#include <type_traits>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/index_parameters.h"
#include "faiss_ext/index_tree.h"

namespace rotorquant {
namespace {

/// Which places of an id map are to go; as a selector, of the numbers below the map.
class DoomedPlaces final : public faiss::IDSelector {
 public:
  DoomedPlaces(const std::vector<idx_t>& id_map, const faiss::IDSelector& sel)
      : doomed_(id_map.size()), before_(id_map.size() + 1, 0) {
    for (size_t i = 0; i < id_map.size(); ++i) {
      doomed_[i] = sel.is_member(id_map[i]);
      before_[i + 1] = before_[i] + (doomed_[i] ? 1 : 0);
    }
  }
  bool is_member(idx_t place) const override {
    return place >= 0 && static_cast<size_t>(place) < doomed_.size() &&
           doomed_[static_cast<size_t>(place)];
  }
  /// The number of a vector that stays, once the others are gone.
  idx_t renumbered(idx_t place) const { return place - before_[static_cast<size_t>(place)]; }
  idx_t count() const { return before_.back(); }

 private:
  std::vector<bool> doomed_;
  std::vector<idx_t> before_;
};

/// The lists in a tree that are no IndexIVF, or null.
NumberedLists* find_numbered_lists(faiss::Index& index) {
  if (auto* lists = dynamic_cast<NumberedLists*>(&index)) {
    return lists;
  }
  for (faiss::Index* sub : sub_indexes(index)) {
    if (NumberedLists* lists = find_numbered_lists(*sub)) {
      return lists;
    }
  }
  return nullptr;
}

void renumber(IndexIVFRotorQuant& ivf, const std::function<idx_t(idx_t)>& to) {
  faiss_boundary([&] { ivf.file()->renumber(to); });
  if (ivf.direct_map.type == faiss::DirectMap::Hashtable) {
    ivf.direct_map.clear();
    ivf.set_direct_map_type(faiss::DirectMap::NoMap);
    ivf.set_direct_map_type(faiss::DirectMap::Hashtable);
  }
}

}  // namespace

template <class Map>
size_t IvfIdMapTemplate<Map>::remove_ids(const faiss::IDSelector& sel) {
  NumberedLists* lists = find_numbered_lists(*this->index);
  auto* ivf = dynamic_cast<IndexIVFRotorQuant*>(try_extract_index_ivf(this->index));
  require_faiss(lists != nullptr || (ivf != nullptr && ivf->file() != nullptr),
                "remove_ids: below the id map", "inverted lists of ours", "others");
  require_faiss(lists != nullptr || ivf->direct_map.type != faiss::DirectMap::Array,
                "remove_ids: direct map", "none or a hash table", "an array");
  const DoomedPlaces doomed(this->id_map, sel);
  const size_t removed = this->index->remove_ids(doomed);
  require_faiss(static_cast<idx_t>(removed) == doomed.count(), "remove_ids: vectors found below",
                doomed.count(), removed);
  const auto to = [&](idx_t place) { return doomed.renumbered(place); };
  if (lists != nullptr) {
    lists->renumber(to);
  } else {
    renumber(*ivf, to);
  }
  size_t kept = 0;
  for (size_t i = 0; i < this->id_map.size(); ++i) {
    if (!doomed.is_member(static_cast<idx_t>(i))) {
      this->id_map[kept++] = this->id_map[i];
    }
  }
  this->id_map.resize(kept);
  this->ntotal = static_cast<idx_t>(kept);
  if constexpr (std::is_same_v<Map, faiss::IndexIDMap2>) {
    this->construct_rev_map();
  }
  return removed;
}

template <class Map>
std::unique_ptr<Map> make_id_map(std::unique_ptr<faiss::Index> inner) {
  const bool lists_below =
      find_numbered_lists(*inner) != nullptr ||
      dynamic_cast<const IndexIVFRotorQuant*>(try_extract_index_ivf(inner.get())) != nullptr;
  std::unique_ptr<Map> map;
  if (lists_below) {
    map = std::make_unique<IvfIdMapTemplate<Map>>();
  } else {
    map = std::make_unique<Map>();
  }
  map->d = inner->d;
  map->is_trained = inner->is_trained;
  map->metric_type = inner->metric_type;
  map->verbose = inner->verbose;
  map->index = inner.release();
  map->own_fields = true;
  return map;
}

template struct IvfIdMapTemplate<faiss::IndexIDMap>;
template struct IvfIdMapTemplate<faiss::IndexIDMap2>;
template std::unique_ptr<faiss::IndexIDMap> make_id_map(std::unique_ptr<faiss::Index>);
template std::unique_ptr<faiss::IndexIDMap2> make_id_map(std::unique_ptr<faiss::Index>);

}  // namespace rotorquant
