// SPDX-License-Identifier: MIT
#include "add_rows.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexNNDescent.h>
#include <faiss/IndexNSG.h>

#include <algorithm>

#include "faiss_ext/index_tree.h"

namespace rotorquant::python {
namespace {

/// Coordinates a block: about a tenth of a second on one core.
constexpr size_t block_floats = size_t{1} << 22;
constexpr size_t least_block = 4096;

bool holds_graph(const faiss::Index& index) {
  if (dynamic_cast<const faiss::IndexHNSW*>(&index) != nullptr ||
      dynamic_cast<const faiss::IndexNSG*>(&index) != nullptr ||
      dynamic_cast<const faiss::IndexNNDescent*>(&index) != nullptr) {
    return true;
  }
  const auto below = sub_indexes(index);
  return std::any_of(below.begin(), below.end(),
                     [](const faiss::Index* sub) { return holds_graph(*sub); });
}

/// progress=True draws a bar, a callable is called, None and False do nothing.
nb::object progress_call(nb::handle progress, size_t n) {
  return nb::module_::import_("rotorquant._progress").attr("reporter")(progress, n, "add");
}

}  // namespace

void add_in_blocks(IndexHandle& handle, size_t n, nb::handle progress,
                   const std::function<void(faiss::Index&, size_t, size_t)>& add) {
  const nb::object report = progress.is_none() ? nb::none() : progress_call(progress, n);
  const size_t block =
      holds_graph(handle.unlocked()) ? n : std::max(block_floats / handle.d(), least_block);
  size_t done = 0;
  do {
    const size_t rows = std::min(block, n - done);
    handle.write([&](faiss::Index& index) { add(index, done, rows); });
    done += rows;
    if (!report.is_none()) {
      report(done, n);
    }
    if (done < n && PyErr_CheckSignals() != 0) {
      throw nb::python_error();
    }
  } while (done < n);
}

}  // namespace rotorquant::python
