// SPDX-License-Identifier: MIT
#include "faiss_ext/index_tree.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexReplicas.h>
#include <faiss/IndexShards.h>

#include <algorithm>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"

namespace rotorquant {
namespace {

std::vector<faiss::Index*> held_by_several(const faiss::Index& index) {
  std::vector<faiss::Index*> parts;
  if (const auto* shards = dynamic_cast<const faiss::IndexShards*>(&index)) {
    for (int i = 0; i < shards->count(); ++i) {
      parts.push_back(const_cast<faiss::Index*>(shards->at(i)));  // NOLINT: it walks
    }
  }
  if (const auto* replicas = dynamic_cast<const faiss::IndexReplicas*>(&index)) {
    for (int i = 0; i < replicas->count(); ++i) {
      parts.push_back(const_cast<faiss::Index*>(replicas->at(i)));  // NOLINT: it walks
    }
  }
  return parts;
}

/// The pointers a wrapper holds, null where it is not set.
std::vector<faiss::Index*> held_indexes(const faiss::Index& index) {
  if (const auto* id_map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
    return {id_map->index};
  }
  if (const auto* transform = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
    return {transform->index};
  }
  if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(&index)) {
    return {refine->base_index, refine->refine_index};
  }
  if (const auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
    return {hnsw->storage};
  }
  if (const auto* nsg = dynamic_cast<const faiss::IndexNSG*>(&index)) {
    return {nsg->storage};
  }
  if (const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
    return {ivf->quantizer};
  }
  return held_by_several(index);
}

}  // namespace

std::vector<faiss::Index*> sub_indexes(const faiss::Index& index) {
  std::vector<faiss::Index*> held = held_indexes(index);
  std::erase(held, nullptr);
  return held;
}

bool is_rotorquant(const faiss::Index& index) {
  return dynamic_cast<const IndexRotorQuant*>(&index) != nullptr ||
         dynamic_cast<const IndexIVFRotorQuant*>(&index) != nullptr ||
         dynamic_cast<const IndexRotorQuantReference*>(&index) != nullptr;
}

bool contains_rotorquant(const faiss::Index& index) {
  const std::vector<faiss::Index*> below = sub_indexes(index);
  return is_rotorquant(index) ||
         std::any_of(below.begin(), below.end(),
                     [](const faiss::Index* sub) { return contains_rotorquant(*sub); });
}

}  // namespace rotorquant
