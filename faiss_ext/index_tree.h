// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <utility>
#include <vector>

namespace rotorquant {

/// Indexes nest: FAISS's wrappers hold other indexes, which may be ours. These helpers walk such
/// trees through IndexIDMap, IndexIDMap2, IndexPreTransform, IndexRefine, IndexRefineFlat,
/// IndexHNSW, IndexNSG, IndexShards and IndexReplicas, the wrappers that may stand above an index
/// of ours, and through an IndexIVF to its coarse quantizer.

/// The indexes directly below, in the order (base, refine) for IndexRefine; empty for a leaf and
/// for every type not listed above. Borrowed; FAISS's wrappers do not pass constness on, so
/// whoever may not change `index` must not change these either.
std::vector<faiss::Index*> sub_indexes(const faiss::Index& index);

/// IndexRotorQuant, IndexIVFRotorQuant or IndexRotorQuantReference itself.
bool is_rotorquant(const faiss::Index& index);

/// Whether an index of ours is at or below `index`: FAISS's own clone and I/O cannot handle it.
bool contains_rotorquant(const faiss::Index& index);

/// Wrapper(inner), owning inner. Wrapper has FAISS's own_fields convention: the new index deletes
/// what it points to.
template <class Wrapper, class... Args>
std::unique_ptr<Wrapper> wrap(std::unique_ptr<faiss::Index> inner, Args&&... args) {
  auto wrapper = std::make_unique<Wrapper>(inner.get(), std::forward<Args>(args)...);
  wrapper->own_fields = true;
  inner.release();  // NOLINT(bugprone-unused-return-value): the wrapper has it now
  return wrapper;
}

}  // namespace rotorquant
