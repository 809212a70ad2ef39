// SPDX-License-Identifier: MIT
#include "faiss_ext/clone_index.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/clone_index.h>

#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/index_tree.h"
#include "faiss_ext/ivf_id_map.h"
#include "faiss_ext/several.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

void copy_base(const faiss::Index& from, faiss::Index& to) {
  to.d = from.d;
  to.ntotal = from.ntotal;
  to.verbose = from.verbose;
  to.is_trained = from.is_trained;
  to.metric_type = from.metric_type;
  to.metric_arg = from.metric_arg;
}

template <class IdMap>
IndexPtr clone_id_map(const IdMap& index, const LeafCloner& leaf) {
  auto copy = make_id_map<IdMap>(rotorquant::clone_index(index.index, leaf));
  copy_base(index, *copy);
  copy->id_map = index.id_map;
  if constexpr (std::is_same_v<IdMap, faiss::IndexIDMap2>) {
    copy->rev_map = index.rev_map;
  }
  return copy;
}

IndexPtr clone_transformed(const faiss::IndexPreTransform& index, const LeafCloner& leaf) {
  auto copy = std::make_unique<faiss::IndexPreTransform>();
  copy_base(index, *copy);
  copy->own_fields = true;
  faiss::Cloner cloner;
  for (const faiss::VectorTransform* transform : index.chain) {
    // Three transforms that faiss::Cloner of 1.7.3 does not know are plain values.
    std::unique_ptr<faiss::VectorTransform> transform_copy;
    if (const auto* normalize = dynamic_cast<const faiss::NormalizationTransform*>(transform)) {
      transform_copy = std::make_unique<faiss::NormalizationTransform>(*normalize);
    } else if (const auto* itq = dynamic_cast<const faiss::ITQTransform*>(transform)) {
      transform_copy = std::make_unique<faiss::ITQTransform>(*itq);
    } else if (const auto* centring = dynamic_cast<const faiss::CenteringTransform*>(transform)) {
      transform_copy = std::make_unique<faiss::CenteringTransform>(*centring);
    } else {
      transform_copy.reset(cloner.clone_VectorTransform(transform));
    }
    copy->chain.push_back(transform_copy.get());
    transform_copy.release();  // NOLINT(bugprone-unused-return-value): the chain has it now
  }
  copy->index = rotorquant::clone_index(index.index, leaf).release();
  return copy;
}

template <class Refine>
IndexPtr clone_refine(const Refine& index, const LeafCloner& leaf) {
  auto copy = std::make_unique<Refine>();
  copy->own_fields = true;
  copy->own_refine_index = true;
  copy_base(index, *copy);
  copy->k_factor = index.k_factor;
  copy->base_index = rotorquant::clone_index(index.base_index, leaf).release();
  // Asked for single distances, which not every stand-in can tell: it stays what it is.
  copy->refine_index = rotorquant::clone_index(index.refine_index).release();
  return copy;
}

IndexPtr clone_hnsw(const faiss::IndexHNSW& index, const LeafCloner& leaf) {
  auto copy = wrap<faiss::IndexHNSW>(rotorquant::clone_index(index.storage, leaf));
  copy_base(index, *copy);
  copy->hnsw = index.hnsw;
  return copy;
}

void copy_nsg(const faiss::IndexNSG& index, faiss::IndexNSG& copy) {
  copy_base(index, copy);
  copy.nsg = index.nsg;
  if (index.nsg.final_graph != nullptr) {
    copy.nsg.final_graph = std::make_shared<faiss::nsg::Graph<int>>(*index.nsg.final_graph);
  }
  copy.is_built = index.is_built;
  copy.GK = index.GK;
  copy.build_type = index.build_type;
  copy.nndescent_S = index.nndescent_S;
  copy.nndescent_R = index.nndescent_R;
  copy.nndescent_L = index.nndescent_L;
  copy.nndescent_iter = index.nndescent_iter;
}

IndexPtr clone_nsg(const faiss::IndexNSG& index, const LeafCloner& leaf) {
  auto copy = wrap<faiss::IndexNSG>(rotorquant::clone_index(index.storage, leaf), index.nsg.R);
  copy_nsg(index, *copy);
  return copy;
}

/// A graph over floats of its own: faiss::clone_index of 1.7.3 makes its base class of it, which
/// cannot be written.
template <class FlatGraph>
std::unique_ptr<FlatGraph> empty_flat_graph(const FlatGraph& index, const LeafCloner& leaf) {
  auto copy = std::make_unique<FlatGraph>();
  copy->storage = rotorquant::clone_index(index.storage, leaf).release();
  copy->own_fields = true;
  return copy;
}

IndexPtr clone_flat_graph(const faiss::IndexHNSWFlat& index, const LeafCloner& leaf) {
  auto copy = empty_flat_graph(index, leaf);
  copy_base(index, *copy);
  copy->hnsw = index.hnsw;
  return copy;
}

IndexPtr clone_flat_graph(const faiss::IndexNSGFlat& index, const LeafCloner& leaf) {
  auto copy = empty_flat_graph(index, leaf);
  copy_nsg(index, *copy);
  return copy;
}

/// What FAISS can clone, but for coarse quantizers, which are cloned here.
IndexPtr clone_by_faiss(const faiss::Index& index, const LeafCloner& leaf) {
  IndexPtr copy(faiss::clone_index(&index));
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(copy.get())) {
    IndexPtr quantizer =
        rotorquant::clone_index(dynamic_cast<const faiss::IndexIVF&>(index).quantizer, leaf);
    if (ivf->own_fields) {
      delete ivf->quantizer;
    }
    ivf->quantizer = quantizer.release();
    ivf->own_fields = true;
  }
  return copy;
}

/// Everything but vectors, lists and direct map.
std::unique_ptr<IndexIVFRotorQuant> clone_ivf_settings(const IndexIVFRotorQuant& index,
                                                       const LeafCloner& leaf) {
  auto copy = std::make_unique<IndexIVFRotorQuant>();
  copy_base(index, *copy);
  copy->ntotal = 0;
  copy->nlist = index.nlist;
  copy->code_size = index.code_size;
  copy->quantizer_trains_alone = index.quantizer_trains_alone;
  copy->cp = index.cp;
  copy->nprobe = index.nprobe;
  copy->max_codes = index.max_codes;
  copy->parallel_mode = index.parallel_mode;
  copy->by_residual = index.by_residual;
  copy->codec = index.codec;
  copy->geometry = index.geometry;
  copy->coarse_from_geometry = index.coarse_from_geometry;
  copy->refine_error_scale = index.refine_error_scale;
  copy->k_factor = index.k_factor;
  copy->quantizer = rotorquant::clone_index(index.quantizer, leaf).release();
  copy->own_fields = true;
  return copy;
}

/// Empty lists of the kind that the index's state asks for.
void give_lists(IndexIVFRotorQuant& index) {
  if (index.geometry == nullptr) {
    index.replace_invlists(new faiss::ArrayInvertedLists(index.nlist, index.code_size), true);
  } else {
    index.replace_invlists(new RotorQuantInvertedLists(index.geometry), true);
  }
}

IndexPtr clone_ivf(const IndexIVFRotorQuant& index, const LeafCloner& leaf) {
  const InvertedFile* file = index.file();
  require_faiss(file != nullptr || index.ntotal == 0, "clone_index: inverted lists", "ours",
                "others");
  auto copy = clone_ivf_settings(index, leaf);
  copy->ntotal = index.ntotal;
  copy->direct_map = index.direct_map;
  give_lists(*copy);
  if (file != nullptr) {
    *copy->file() = *file;
  }
  return copy;
}

template <class Several>
IndexPtr clone_several(const Several& index, const LeafCloner& leaf) {
  std::vector<IndexPtr> parts;
  parts.reserve(static_cast<size_t>(index.count()));
  for (int i = 0; i < index.count(); ++i) {
    parts.push_back(rotorquant::clone_index(index.at(i), leaf));
  }
  return make_several<Several>(std::move(parts), has_successive_ids(index));
}

/// `index` as a T when it is exactly one: a derived type may hold more than we would copy.
template <class T>
const T* exactly(const faiss::Index& index) {
  return typeid(index) == typeid(T) ? dynamic_cast<const T*>(&index) : nullptr;
}

IndexPtr clone_tree(const faiss::Index& index, const LeafCloner& leaf) {
  if (const auto* own = exactly<IndexRotorQuant>(index)) {
    return std::make_unique<IndexRotorQuant>(*own);
  }
  if (const auto* ivf = exactly<IndexIVFRotorQuant>(index)) {
    return clone_ivf(*ivf, leaf);
  }
  if (const auto* reference = exactly<IndexRotorQuantReference>(index)) {
    return std::make_unique<IndexRotorQuantReference>(*reference);
  }
  if (is_id_map<faiss::IndexIDMap2>(index)) {
    return clone_id_map(dynamic_cast<const faiss::IndexIDMap2&>(index), leaf);
  }
  if (is_id_map<faiss::IndexIDMap>(index)) {
    return clone_id_map(dynamic_cast<const faiss::IndexIDMap&>(index), leaf);
  }
  if (const auto* transformed = exactly<faiss::IndexPreTransform>(index)) {
    return clone_transformed(*transformed, leaf);
  }
  if (const auto* refine_flat = exactly<faiss::IndexRefineFlat>(index)) {
    return clone_refine(*refine_flat, leaf);
  }
  if (const auto* refine = exactly<faiss::IndexRefine>(index)) {
    return clone_refine(*refine, leaf);
  }
  if (const auto* hnsw = exactly<faiss::IndexHNSW>(index)) {
    return clone_hnsw(*hnsw, leaf);
  }
  if (const auto* nsg = exactly<faiss::IndexNSG>(index)) {
    return clone_nsg(*nsg, leaf);
  }
  if (const auto* shards = exactly<faiss::IndexShards>(index)) {
    return clone_several(*shards, leaf);
  }
  if (const auto* replicas = exactly<faiss::IndexReplicas>(index)) {
    return clone_several(*replicas, leaf);
  }
  if (const auto* flat_hnsw = exactly<faiss::IndexHNSWFlat>(index)) {
    return clone_flat_graph(*flat_hnsw, leaf);
  }
  if (const auto* flat_nsg = exactly<faiss::IndexNSGFlat>(index)) {
    return clone_flat_graph(*flat_nsg, leaf);
  }
  require_faiss(false, "clone_index: type above an index of ours", "one of those in index_tree.h",
                typeid(index).name());
  return nullptr;  // not reached
}

/// What faiss::clone_index of 1.7.3 does not know, whatever it holds.
bool needs_clone_tree(const faiss::Index& index) {
  return contains_rotorquant(index) || typeid(index) == typeid(faiss::IndexRefine) ||
         typeid(index) == typeid(faiss::IndexRefineFlat) ||
         typeid(index) == typeid(faiss::IndexHNSWFlat) ||
         typeid(index) == typeid(faiss::IndexNSGFlat);
}

/// Wrappers through which a LeafCloner must get to what is below.
bool is_wrapper(const faiss::Index& index) {
  return is_id_map<faiss::IndexIDMap2>(index) || is_id_map<faiss::IndexIDMap>(index) ||
         exactly<faiss::IndexPreTransform>(index) != nullptr ||
         exactly<faiss::IndexShards>(index) != nullptr ||
         exactly<faiss::IndexReplicas>(index) != nullptr;
}

}  // namespace

IndexPtr clone_index(const faiss::Index* index, const LeafCloner& leaf) {
  require_faiss(index != nullptr, "clone_index: index", "one", "none");
  return faiss_boundary([&] {
    if (IndexPtr other = leaf ? leaf(*index) : nullptr) {
      return other;
    }
    const bool walk = needs_clone_tree(*index) || (leaf && is_wrapper(*index));
    return walk ? clone_tree(*index, leaf) : clone_by_faiss(*index, leaf);
  });
}

std::unique_ptr<IndexIVFRotorQuant> clone_without_vectors(const IndexIVFRotorQuant& index) {
  return faiss_boundary([&] {
    auto copy = clone_ivf_settings(index, {});
    copy->encode_effort = index.encode_effort;
    give_lists(*copy);
    return copy;
  });
}

IndexPtr clone_index(const faiss::Index* index) {
  return rotorquant::clone_index(index, LeafCloner{});
}

}  // namespace rotorquant
