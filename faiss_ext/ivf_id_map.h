// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexIDMap.h>
#include <faiss/impl/IDSelector.h>

#include <functional>
#include <memory>
#include <typeinfo>

#include "faiss_ext/compat.h"

namespace rotorquant {

/// Lists whose vectors keep their numbers when others go, as a map above them sees it: those of
/// GPU indexes, which are no faiss::IndexIVF.
struct NumberedLists {
  virtual ~NumberedLists() = default;
  /// The vector numbered i is from now on to(i).
  virtual void renumber(const std::function<idx_t(idx_t)>& to) = 0;
};

/// faiss::IndexIDMap and IndexIDMap2 above inverted lists of ours, with a removal that works.
/// FAISS's own takes it that what is below renumbers its vectors, as flat indexes do; inverted
/// lists keep the numbers of those that stay, and every id behind a removed one would come to mean
/// another vector. Here the lists are renumbered: O(ntotal) a call, so remove many at a time.
///
/// index_factory, read_index and clone_index make these; in everything else they are FAISS's.
template <class Map>
struct IvfIdMapTemplate : Map {
  size_t remove_ids(const faiss::IDSelector& sel) override;
};

using IvfIdMap = IvfIdMapTemplate<faiss::IndexIDMap>;
using IvfIdMap2 = IvfIdMapTemplate<faiss::IndexIDMap2>;

/// A map of the right kind for what it will hold: one of the above where lists of ours are below.
/// Takes `inner` over; its vectors, if any, have to be entered into id_map by the caller.
template <class Map>
std::unique_ptr<Map> make_id_map(std::unique_ptr<faiss::Index> inner);

/// Whether `index` is exactly a Map of FAISS's, or ours over one.
template <class Map>
bool is_id_map(const faiss::Index& index) {
  return typeid(index) == typeid(Map) || typeid(index) == typeid(IvfIdMapTemplate<Map>);
}

extern template struct IvfIdMapTemplate<faiss::IndexIDMap>;
extern template struct IvfIdMapTemplate<faiss::IndexIDMap2>;
extern template std::unique_ptr<faiss::IndexIDMap> make_id_map(std::unique_ptr<faiss::Index>);
extern template std::unique_ptr<faiss::IndexIDMap2> make_id_map(std::unique_ptr<faiss::Index>);

}  // namespace rotorquant
