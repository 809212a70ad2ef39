// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <functional>
#include <memory>

namespace rotorquant {

struct IndexIVFRotorQuant;

/// A deep copy that shares nothing writable with `index` and owns its whole tree. Ours and the
/// wrappers of index_tree.h above ours are copied here, everything else by faiss::clone_index.
/// Throws faiss::FaissException on types that neither knows. Thread-safe as long as nobody writes
/// to `index`.
std::unique_ptr<faiss::Index> clone_index(const faiss::Index* index);

/// Makes another index of one in a tree, or returns null to have it copied as it is.
using LeafCloner = std::function<std::unique_ptr<faiss::Index>(const faiss::Index&)>;
/// The same with some of its parts replaced: `leaf` is asked first, from the root down, but not
/// about the refining index of an IndexRefine.
std::unique_ptr<faiss::Index> clone_index(const faiss::Index* index, const LeafCloner& leaf);

/// A copy of everything but the vectors, the direct map among them.
std::unique_ptr<IndexIVFRotorQuant> clone_without_vectors(const IndexIVFRotorQuant& index);

}  // namespace rotorquant
