// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

#include "handle.h"

namespace rotorquant::python {

/// Adds n rows by calls of add(index, first row, rows), in blocks of a fraction of a second each.
/// Between blocks other threads may search, signals are looked at (ctrl-C raises
/// KeyboardInterrupt; what was added until then stays) and progress(done, n) is called unless it is
/// None. An index that holds a graph gets everything at once: it links new vectors to those of the
/// same call. Needs the GIL.
void add_in_blocks(IndexHandle& handle, size_t n, nb::handle progress,
                   const std::function<void(faiss::Index&, size_t, size_t)>& add);

}  // namespace rotorquant::python
