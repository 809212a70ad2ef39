// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>

namespace rotorquant {

/// A deep copy that shares nothing writable with `index` and owns its whole tree. Ours and the
/// wrappers of index_tree.h above ours are copied here, everything else by faiss::clone_index.
/// Throws faiss::FaissException on types that neither knows. Thread-safe as long as nobody writes
/// to `index`.
std::unique_ptr<faiss::Index> clone_index(const faiss::Index* index);

}  // namespace rotorquant
