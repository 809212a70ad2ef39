// SPDX-License-Identifier: MIT
#include "filter.h"

#include <algorithm>
#include <string>
#include <utility>

#include "arrays.h"

namespace rotorquant::python {
namespace {

/// An id set is kept as bits while that takes at most this many bytes an id; a hash set takes more.
constexpr int64_t bitmap_bytes_an_id = 64;

}  // namespace

std::shared_ptr<const Filter> Filter::from_bits(std::vector<uint8_t> bits) {
  const std::shared_ptr<Filter> filter(new Filter);
  filter->bits_ = std::move(bits);
  filter->selector_ =
      std::make_unique<faiss::IDSelectorBitmap>(filter->bits_.size(), filter->bits_.data());
  return filter;
}

std::shared_ptr<const Filter> Filter::from_python(nb::handle object) {
  HeldBuffer buffer;
  const auto is_vector = [&] { return buffer.shape().size() == 1; };
  if (buffer.hold(object, "?", 1) && is_vector()) {
    const auto* mask = static_cast<const uint8_t*>(buffer.data());
    const auto n = static_cast<size_t>(buffer.shape()[0]);
    std::vector<uint8_t> bits((n + 7) / 8);
    for (size_t i = 0; i < n; ++i) {
      bits[i / 8] |= static_cast<uint8_t>((mask[i] != 0 ? 1U : 0U) << (i % 8));
    }
    return from_bits(std::move(bits));
  }
  buffer = {};
  if (buffer.hold(object, "B", 1) && is_vector()) {
    const auto* bytes = static_cast<const uint8_t*>(buffer.data());
    return from_bits({bytes, bytes + buffer.shape()[0]});
  }
  const Ids ids = ids_vector(object, -1, "filter");
  const auto [least, most] = std::minmax_element(ids.data, ids.data + ids.n);
  if (ids.n == 0 || (*least >= 0 && *most / 8 < static_cast<int64_t>(ids.n) * bitmap_bytes_an_id)) {
    std::vector<uint8_t> bits(ids.n == 0 ? 0 : static_cast<size_t>(*most / 8 + 1));
    for (size_t i = 0; i < ids.n; ++i) {
      bits[static_cast<size_t>(ids.data[i] / 8)] |= static_cast<uint8_t>(1U << (ids.data[i] % 8));
    }
    return from_bits(std::move(bits));
  }
  const std::shared_ptr<Filter> filter(new Filter);
  filter->selector_ = std::make_unique<faiss::IDSelectorBatch>(ids.n, ids.data);
  return filter;
}

Filters Filters::from_python(nb::handle object) {
  Filters filters;
  if (object.is_none()) {
    return filters;
  }
  // Python sorts out the forms; each part comes back as something that Filter::from_python takes.
  const nb::tuple parts =
      nb::cast<nb::tuple>(nb::module_::import_("rotorquant._arrays").attr("filter_parts")(object));
  filters.per_query = nb::cast<bool>(parts[0]);
  for (const nb::handle part : nb::cast<nb::list>(parts[1])) {
    filters.each.push_back(Filter::from_python(part));
  }
  return filters;
}

void Filters::require_count(size_t queries) const {
  if (per_query && each.size() != queries) {
    throw nb::value_error(("filter: expected one for all or " + std::to_string(queries) +
                           ", one a query, received " + std::to_string(each.size()))
                              .c_str());
  }
}

}  // namespace rotorquant::python
