// SPDX-License-Identifier: MIT
// Searches: SearchParameters, SearchStats, search and range_search.
#include <faiss/impl/AuxIndexStructures.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "arrays.h"
#include "bind.h"
#include "handle.h"
#include "search_options.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

/// The parameters of a call: those given, with `filter` in place of their own where it is given.
SearchOptions options_of(const SearchOptions* params, nb::handle filter, size_t queries) {
  SearchOptions options = params == nullptr ? SearchOptions{} : *params;
  if (!filter.is_none()) {
    options.filters = Filters::from_python(filter);
  }
  options.filters.require_count(queries);
  return options;
}

nb::tuple search_index(const IndexHandle& handle, nb::handle x, int64_t k,
                       const SearchOptions* params, nb::handle filter) {
  const FloatRows queries = float_rows(x, handle.d(), "x");
  if (k < 1) {
    throw nb::value_error(("k: expected 1 or more, received " + std::to_string(k)).c_str());
  }
  const SearchOptions options = options_of(params, filter, queries.n);
  const auto width = static_cast<size_t>(k);
  const auto distances = new_array<float>({queries.n, width});
  const auto labels = new_array<int64_t>({queries.n, width});
  handle.read([&](const faiss::Index& index) {
    search(index, queries.n, queries.data, width, options, distances.data, labels.data);
  });
  return nb::make_tuple(distances.array, labels.array);
}

nb::tuple range_search_index(const IndexHandle& handle, nb::handle x, float radius,
                             const SearchOptions* params, nb::handle filter) {
  const FloatRows queries = float_rows(x, handle.d(), "x");
  const SearchOptions options = options_of(params, filter, queries.n);
  faiss::RangeSearchResult result(static_cast<int64_t>(queries.n));
  handle.read([&](const faiss::Index& index) {
    range_search(index, queries.n, queries.data, radius, options, result);
  });
  const size_t found = result.lims[queries.n];
  const std::vector<int64_t> limits(result.lims, result.lims + queries.n + 1);
  return nb::make_tuple(to_array(std::span<const int64_t>(limits)),
                        to_array(std::span<const float>(result.distances, found)),
                        to_array(std::span<const int64_t>(result.labels, found)));
}

constexpr const char* parameters_doc =
    R"(Settings of one search; what is left out is the index's own.

filter: which ids may be returned: an array of ids (integers), a mask (bool, id i where mask[i]) or
    a bitmap (uint8, as numpy.packbits(mask, bitorder="little") makes it); a list of these, or a
    two-dimensional mask or bitmap, holds one for each query. It is converted here, once.
refine_error_scale, k_factor, levels, estimator ("rescaled" or "strict"), threads, stats: for rotor
    codes (docs/codec.md). 0 for refine_error_scale means a shortlist of k_factor * k.
nprobe, max_codes: for inverted files.  ef_search: for graphs.

A setting that the searched index does not know is an error. Wrappers hand settings through
(IDMap, vector transforms); IndexRefine takes none per call: see Index.set_parameter.)";

}  // namespace

void bind_search(nb::module_& module) {
  nb::class_<SearchStats>(module, "SearchStats",
                          "What searches did, summed over calls; pass it in SearchParameters.")
      .def(nb::init<>())
      .def_ro("queries", &SearchStats::queries)
      .def_ro("blocks_scanned", &SearchStats::blocks_scanned)
      .def_ro("candidates", &SearchStats::candidates)
      .def_ro("refined", &SearchStats::refined)
      .def_ro("rescans", &SearchStats::rescans)
      .def_ro("lists_scanned", &SearchStats::lists_scanned)
      .def_ro("coarse_seconds", &SearchStats::coarse_seconds)
      .def_ro("prepare_seconds", &SearchStats::prepare_seconds)
      .def_ro("scan_seconds", &SearchStats::scan_seconds)
      .def_ro("refine_seconds", &SearchStats::refine_seconds)
      .def(
          "reset", [](SearchStats& stats) { stats = {}; }, "Sets everything to 0.");

  nb::class_<SearchOptions>(module, "SearchParameters", parameters_doc)
      .def(
          "__init__",
          [](SearchOptions* self, nb::handle filter, std::optional<float> refine_error_scale,
             std::optional<size_t> k_factor, std::optional<size_t> levels,
             std::optional<Estimator> estimator, std::optional<int> threads,
             std::optional<size_t> nprobe, std::optional<size_t> max_codes,
             std::optional<int> ef_search, std::shared_ptr<SearchStats> stats) {
            new (self) SearchOptions{Filters::from_python(filter),
                                     refine_error_scale,
                                     k_factor,
                                     levels,
                                     estimator,
                                     threads,
                                     nprobe,
                                     max_codes,
                                     ef_search,
                                     std::move(stats)};
          },
          nb::kw_only(), "filter"_a = nb::none(), "refine_error_scale"_a = nb::none(),
          "k_factor"_a = nb::none(), "levels"_a = nb::none(), "estimator"_a = nb::none(),
          "threads"_a = nb::none(), "nprobe"_a = nb::none(), "max_codes"_a = nb::none(),
          "ef_search"_a = nb::none(), "stats"_a = nb::none(),
          nb::sig("def __init__(self, *, filter: rotorquant.FilterLike | None = None, "
                  "refine_error_scale: float | None = None, k_factor: int | None = None, "
                  "levels: int | None = None, estimator: Estimator | None = None, "
                  "threads: int | None = None, nprobe: int | None = None, "
                  "max_codes: int | None = None, ef_search: int | None = None, "
                  "stats: SearchStats | None = None) -> None"));

  auto index = nb::borrow<nb::class_<IndexHandle>>(module.attr("Index"));
  index.def(
      "search", &search_index, "x"_a, "k"_a, nb::kw_only(), "params"_a = nb::none(),
      "filter"_a = nb::none(),
      nb::sig(
          "def search(self, x: numpy.typing.ArrayLike, k: int, *, "
          "params: SearchParameters | None = None, filter: rotorquant.FilterLike | None = None) -> "
          "tuple[numpy.typing.NDArray[numpy.float32], numpy.typing.NDArray[numpy.int64]]"),
      R"(The k nearest vectors of each query, nearest first.

x: (n, d) queries.  Returns distances (n, k) and ids (n, k): squared distances ascending for l2,
inner products descending for inner_product; where fewer than k vectors are there (or allowed), ids
are -1. filter is as in SearchParameters and replaces params' own.)");
  index.def(
      "range_search", &range_search_index, "x"_a, "radius"_a, nb::kw_only(),
      "params"_a = nb::none(), "filter"_a = nb::none(),
      nb::sig(
          "def range_search(self, x: numpy.typing.ArrayLike, radius: float, *, "
          "params: SearchParameters | None = None, filter: rotorquant.FilterLike | None = None) -> "
          "tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float32], "
          "numpy.typing.NDArray[numpy.int64]]"),
      R"(Every vector nearer than radius (l2: squared distance below it; inner_product: product
above it).

x: (n, d) queries.  Returns limits (n + 1), distances (m) and ids (m): query i's results are
distances[limits[i]:limits[i + 1]].)");
}

}  // namespace rotorquant::python
