// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/impl/IDSelector.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace rotorquant::python {

namespace nb = nanobind;

/// Which ids a search may return, owning what FAISS's selectors only point to.
class Filter {
 public:
  /// From what Python callers write:
  ///   integers (n,)     the allowed ids
  ///   bool (n,)         id i is allowed where mask[i]
  ///   uint8 (m,)        a bitmap, bit i % 8 (from the lowest) of byte i // 8 for id i
  /// Ids beyond a mask's end are not allowed. Raises TypeError or ValueError for anything else.
  static std::shared_ptr<const Filter> from_python(nb::handle object);

  const faiss::IDSelector& selector() const { return *selector_; }

 private:
  Filter() = default;
  static std::shared_ptr<const Filter> from_bits(std::vector<uint8_t> bits);

  std::vector<uint8_t> bits_;
  std::unique_ptr<faiss::IDSelector> selector_;
};

/// One filter for all queries of a call, or one a query.
struct Filters {
  std::vector<std::shared_ptr<const Filter>> each;  ///< empty: no filter; one: for all queries
  bool per_query = false;

  /// None, one filter (see above), a list or tuple of filters, or a two-dimensional mask or bitmap
  /// with a row for each query.
  static Filters from_python(nb::handle object);

  /// The selector of query q, null where everything is allowed.
  const faiss::IDSelector* of(size_t q) const {
    return each.empty() ? nullptr : &each[per_query ? q : 0]->selector();
  }
  /// Raises ValueError unless there are as many as queries, where there is one a query.
  void require_count(size_t queries) const;
};

}  // namespace rotorquant::python
