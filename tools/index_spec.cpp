// SPDX-License-Identifier: MIT
#include "index_spec.h"

#include <fmt/core.h>

#include <cctype>
#include <charconv>
#include <exception>
#include <string_view>

#include "errors.h"
#include "faiss_ext/index_factory.h"

namespace rotorquant::tools {
namespace {

/// The value of "d" or "d/N"; 0 when the text is neither or the quotient is 0.
size_t placeholder_value(std::string_view text, size_t d) {
  if (text == "d") {
    return d;
  }
  if (!text.starts_with("d/")) {
    return 0;
  }
  text.remove_prefix(2);
  size_t divisor = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), divisor);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && divisor != 0 ? d / divisor : 0;
}

/// Whether a letter is followed by the number 0, as in PQ0 or IVF0. No index has none of something,
/// and FAISS divides by some of these numbers unchecked.
bool has_zero_count(std::string_view spec) {
  for (size_t i = 1; i < spec.size(); ++i) {
    const bool after_letter = std::isalpha(static_cast<unsigned char>(spec[i - 1])) != 0;
    if (spec[i] != '0' || !after_letter) {
      continue;
    }
    const size_t end = spec.find_first_not_of('0', i);
    if (end == std::string_view::npos || std::isdigit(static_cast<unsigned char>(spec[end])) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string expand_placeholders(const std::string& spec, size_t d) {
  std::string out;
  size_t from = 0;
  for (size_t open = spec.find('{'); open != std::string::npos; open = spec.find('{', from)) {
    const size_t close = spec.find('}', open);
    const std::string inside = close == std::string::npos ? spec.substr(open + 1)
                                                          : spec.substr(open + 1, close - open - 1);
    const size_t value = close == std::string::npos ? 0 : placeholder_value(inside, d);
    if (value == 0) {
      throw BadArgument(fmt::format(
          "--index '{}': expected {{d}} or {{d/N}} with N from 1 to d = {}, received '{{{}'", spec,
          d, inside + (close == std::string::npos ? "" : "}")));
    }
    out.append(spec, from, open - from).append(std::to_string(value));
    from = close + 1;
  }
  return out.append(spec, from, std::string::npos);
}

faiss::MetricType faiss_metric(Distance distance) {
  return search_metric(distance) == Metric::l2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

std::unique_ptr<faiss::Index> make_index(const std::string& spec, size_t d, Distance distance) {
  if (has_zero_count(spec)) {
    throw BadArgument(fmt::format("--index '{}': expected counts of 1 or more, received 0", spec));
  }
  try {
    return index_factory(static_cast<int>(d), spec, faiss_metric(distance));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw BadArgument(fmt::format("--index '{}' (d = {}): {}", spec, d, message_of(error)));
  }
}

}  // namespace rotorquant::tools
