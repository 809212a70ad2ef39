// SPDX-License-Identifier: MIT
#include "faiss_ext/index_parameters.h"

#include <faiss/AutoTune.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexRefine.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/index_tree.h"

namespace rotorquant {
namespace {

/// A whole number >= least, as T.
template <class T>
T whole(const std::string& name, double value, double least) {
  constexpr double most = 9.0e15;  // doubles count no further
  const bool fits = value >= least && value <= most && std::floor(value) == value &&
                    value <= static_cast<double>(std::numeric_limits<T>::max());
  require_faiss(fits, name, "a whole number, at least " + std::to_string(static_cast<int>(least)),
                value);
  return static_cast<T>(value);
}

float finite(const std::string& name, double value) {
  require_faiss(std::isfinite(static_cast<float>(value)), name, "a finite number", value);
  return static_cast<float>(value);
}

template <class Own>
bool set_own(Own& index, const std::string& name, double value) {
  if (name == "refine_error_scale") {
    index.refine_error_scale = finite(name, value);
    return true;
  }
  if (name == "k_factor") {
    index.k_factor = whole<size_t>(name, value, 1);
    return true;
  }
  if (name == "encode_effort") {
    const int effort = whole<int>(name, value, 0);
    require_faiss(effort <= 2, name, "0 (fast), 1 (standard) or 2 (best)", value);
    index.encode_effort = static_cast<EncodeEffort>(effort);
    return true;
  }
  return false;
}

bool set_ivf(faiss::IndexIVF& index, const std::string& name, double value) {
  if (name == "nprobe") {
    index.nprobe = whole<size_t>(name, value, 1);
    return true;
  }
  if (name == "max_codes") {
    index.max_codes = std::isinf(value) ? 0 : whole<size_t>(name, value, 0);
    return true;
  }
  return false;
}

bool set_graph(faiss::HNSW& graph, const std::string& name, double value) {
  if (name == "efSearch") {
    graph.efSearch = whole<int>(name, value, 1);
    return true;
  }
  if (name == "efConstruction") {
    graph.efConstruction = whole<int>(name, value, 1);
    return true;
  }
  return false;
}

/// Sets `name` on this index alone.
bool set_here(faiss::Index& index, const std::string& name, double value) {
  if (auto* own = dynamic_cast<IndexRotorQuant*>(&index)) {
    return set_own(*own, name, value);
  }
  if (auto* own = dynamic_cast<IndexIVFRotorQuant*>(&index)) {
    return set_own(*own, name, value) || set_ivf(*own, name, value);
  }
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
    return set_ivf(*ivf, name, value);
  }
  if (auto* refine = dynamic_cast<faiss::IndexRefine*>(&index)) {
    if (name == "k_factor_rf") {
      require_faiss(value >= 1.0 && value <= 65536.0, name, "1 to 65536", value);
      refine->k_factor = static_cast<float>(value);
      return true;
    }
    return false;
  }
  if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(&index)) {
    return set_graph(hnsw->hnsw, name, value);
  }
  if (auto* nsg = dynamic_cast<faiss::IndexNSG*>(&index)) {
    if (name == "efSearch") {
      nsg->nsg.search_L = whole<int>(name, value, 1);
      return true;
    }
  }
  return false;
}

/// Sets `name` on every part that has it, coarse quantizers apart.
bool set_below(faiss::Index& index, const std::string& name, double value) {
  bool set = set_here(index, name, value);
  if (dynamic_cast<const faiss::IndexIVF*>(&index) != nullptr) {
    return set;
  }
  for (faiss::Index* sub : sub_indexes(index)) {
    set = set_below(*sub, name, value) || set;
  }
  return set;
}

bool set_quantizers(faiss::Index& index, const std::string& name, double value) {
  if (const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
    return set_below(*ivf->quantizer, name, value);
  }
  bool set = false;
  for (faiss::Index* sub : sub_indexes(index)) {
    set = set_quantizers(*sub, name, value) || set;
  }
  return set;
}

using Setting = std::pair<std::string, double>;

Setting parse_setting(const std::string& text) {
  const size_t equals = text.find('=');
  require_faiss(equals != std::string::npos && equals > 0, "index parameter", "name=value", text);
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + equals + 1, end, value);
  require_faiss(error == std::errc() && stop == end && !std::isnan(value),
                "index parameter " + text.substr(0, equals), "a number", text.substr(equals + 1));
  return {text.substr(0, equals), value};
}

}  // namespace

void set_index_parameter(faiss::Index& index, const std::string& name, double value) {
  static const std::string quantizer_prefix = "quantizer_";
  const bool of_quantizer = name.starts_with(quantizer_prefix);
  const bool set = of_quantizer ? set_quantizers(index, name.substr(quantizer_prefix.size()), value)
                                : set_below(index, name, value);
  if (set) {
    return;
  }
  require_faiss(!contains_rotorquant(index), "index parameter", "one that this index has", name);
  faiss::ParameterSpace().set_index_parameter(&index, name, value);
}

void set_index_parameters(faiss::Index& index, const std::string& description) {
  std::vector<Setting> settings;
  for (size_t begin = 0; begin <= description.size();) {
    const size_t end = std::min(description.find(',', begin), description.size());
    settings.push_back(parse_setting(description.substr(begin, end - begin)));
    begin = end + 1;
  }
  for (const auto& [name, value] : settings) {
    set_index_parameter(index, name, value);
  }
}

faiss::IndexIVF* try_extract_index_ivf(faiss::Index* index) {
  if (index == nullptr) {
    return nullptr;
  }
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(index)) {
    return ivf;
  }
  for (faiss::Index* sub : sub_indexes(*index)) {
    if (faiss::IndexIVF* ivf = try_extract_index_ivf(sub)) {
      return ivf;
    }
  }
  return nullptr;
}

const faiss::IndexIVF* try_extract_index_ivf(const faiss::Index* index) {
  return try_extract_index_ivf(const_cast<faiss::Index*>(index));  // NOLINT: only walks
}

faiss::IndexIVF* extract_index_ivf(faiss::Index* index) {
  faiss::IndexIVF* ivf = try_extract_index_ivf(index);
  require_faiss(ivf != nullptr, "extract_index_ivf: index", "one with inverted lists inside",
                "none");
  return ivf;
}

const faiss::IndexIVF* extract_index_ivf(const faiss::Index* index) {
  return extract_index_ivf(const_cast<faiss::Index*>(index));  // NOLINT: only walks
}

}  // namespace rotorquant
