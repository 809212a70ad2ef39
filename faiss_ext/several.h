// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexReplicas.h>
#include <faiss/IndexShards.h>

#include <memory>
#include <type_traits>
#include <vector>

#include "faiss_ext/compat.h"

namespace rotorquant {

/// IndexShards or IndexReplicas that owns its parts (at least one) and asks them one after the
/// other (threads are a matter of the process, not of the index), or, threaded, each from a thread
/// of its own: for parts on different devices.
template <class Several>
std::unique_ptr<Several> make_several(std::vector<std::unique_ptr<faiss::Index>> parts,
                                      bool successive_ids, bool threaded = false) {
  auto several = std::make_unique<Several>(parts.front()->d, threaded);
  if constexpr (std::is_same_v<Several, faiss::IndexShards>) {
    several->successive_ids = successive_ids;
  }
  own_parts(*several);
  for (std::unique_ptr<faiss::Index>& part : parts) {
    several->addIndex(part.get());
    part.release();  // NOLINT(bugprone-unused-return-value): `several` has it now
  }
  return several;
}

template <class Several>
bool has_successive_ids(const Several& several) {
  if constexpr (std::is_same_v<Several, faiss::IndexShards>) {
    return several.successive_ids;
  } else {
    return false;
  }
}

}  // namespace rotorquant
