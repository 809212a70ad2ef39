// SPDX-License-Identifier: MIT
#include "search_options.h"

#include <faiss/AutoTune.h>
#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

#include "errors.h"
#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"

namespace rotorquant::tools {
namespace {

[[noreturn]] void refuse(const ParamSetting& setting, std::string_view expected) {
  throw BadArgument(
      fmt::format("--param {}: expected {}, received '{}'", setting.name, expected, setting.value));
}

/// The whole text as a number, or nothing.
template <class T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  return error == std::errc() && end == last ? std::optional<T>(value) : std::nullopt;
}

template <class Params>
void set_error_scale(const ParamSetting& setting, Params& params) {
  const auto value = parse_number<float>(setting.value);
  if (!value || !std::isfinite(*value) || *value < 0.0F) {
    refuse(setting, "a number of 0 or more");
  }
  params.refine_error_scale = *value;
}

template <class Params>
void set_k_factor(const ParamSetting& setting, Params& params) {
  const auto value = parse_number<uint32_t>(setting.value);
  if (!value || *value < 1) {
    refuse(setting, "a whole number of 1 or more");
  }
  params.k_factor = *value;
}

template <class Params>
void set_levels(const ParamSetting& setting, Params& params, size_t levels) {
  const auto value = parse_number<uint32_t>(setting.value);
  if (!value || *value > levels) {
    refuse(setting, fmt::format("0 (all) to {}, the levels of this index", levels));
  }
  params.levels = *value;
}

template <class Params>
void set_estimator(const ParamSetting& setting, Params& params, bool signs) {
  if (setting.value == "rescaled") {
    params.estimator = Estimator::rescaled;
  } else if (setting.value == "strict" && signs) {
    params.estimator = Estimator::strict;
  } else {
    refuse(setting, signs ? "rescaled or strict" : "rescaled (strict needs an index with signs)");
  }
}

const std::vector<std::string>& rotorquant_params() {
  static const std::vector<std::string> names{"refine_error_scale", "k_factor", "levels",
                                              "estimator"};
  return names;
}

const std::vector<std::string>& ivf_params() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = rotorquant_params();
    all.insert(all.end(), {"nprobe", "max_codes"});
    return all;
  }();
  return names;
}

template <class Params>
void set_rotorquant(const ParamSetting& setting, const CodeLayout& layout, Params& params) {
  if (setting.name == "refine_error_scale") {
    set_error_scale(setting, params);
  } else if (setting.name == "k_factor") {
    set_k_factor(setting, params);
  } else if (setting.name == "levels") {
    set_levels(setting, params, layout.levels);
  } else {
    set_estimator(setting, params, layout.signs);
  }
}

void set_count(const ParamSetting& setting, size_t least, size_t& count) {
  const auto value = parse_number<uint32_t>(setting.value);
  if (!value || *value < least) {
    refuse(setting, fmt::format("a whole number of {} or more", least));
  }
  count = *value;
}

void set_ivf(const ParamSetting& setting, const CodeLayout& layout,
             SearchParametersIVFRotorQuant& params) {
  if (setting.name == "nprobe") {
    set_count(setting, 1, params.nprobe);
  } else if (setting.name == "max_codes") {
    set_count(setting, 1, params.max_codes);
  } else {
    set_rotorquant(setting, layout, params);
  }
}

void set_faiss(const ParamSetting& setting, faiss::Index& index) {
  const auto value = parse_number<double>(setting.value);
  if (!value || !std::isfinite(*value) || *value < 0.0) {
    refuse(setting, "a number of 0 or more");
  }
  try {
    faiss::ParameterSpace().set_index_parameter(&index, setting.name, *value);
  } catch (const std::exception& error) {
    throw BadArgument(fmt::format("--param {}: {}", setting.name, message_of(error)));
  }
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

ParamSetting parse_setting(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
    throw BadArgument(fmt::format("--param: expected name=value,..., received '{}'", text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace

std::vector<ParamSetting> parse_params(const std::vector<std::string>& texts) {
  std::vector<ParamSetting> settings;
  for (const std::string& text : texts) {
    for (size_t from = 0; from <= text.size();) {
      const size_t comma = std::min(text.find(',', from), text.size());
      ParamSetting setting = parse_setting(text.substr(from, comma - from));
      for (const ParamSetting& earlier : settings) {
        if (earlier.name == setting.name) {
          throw BadArgument(fmt::format("--param {}: given twice", setting.name));
        }
      }
      settings.push_back(std::move(setting));
      from = comma + 1;
    }
  }
  return settings;
}

std::vector<std::string> allowed_params(const faiss::Index& index) {
  if (dynamic_cast<const IndexRotorQuant*>(&index) != nullptr) {
    return rotorquant_params();
  }
  if (dynamic_cast<const IndexIVFRotorQuant*>(&index) != nullptr) {
    return ivf_params();
  }
  faiss::ParameterSpace space;
  space.initialize(&index);
  std::vector<std::string> names;
  for (const faiss::ParameterRange& range : space.parameter_ranges) {
    names.push_back(range.name);
  }
  return names;
}

SearchSetup prepare_search(faiss::Index& index, const std::vector<ParamSetting>& settings,
                           int threads) {
  SearchSetup setup;
  const std::vector<std::string> allowed = allowed_params(index);
  const auto* ours = dynamic_cast<const IndexRotorQuant*>(&index);
  const auto* ivf = dynamic_cast<const IndexIVFRotorQuant*>(&index);
  auto params = std::make_unique<SearchParametersRotorQuant>();
  auto params_of_ivf = std::make_unique<SearchParametersIVFRotorQuant>();
  params->threads = params_of_ivf->threads = threads;
  for (const ParamSetting& setting : settings) {
    if (!contains(allowed, setting.name)) {
      setup.unused.push_back(setting.name);
    } else if (ours != nullptr) {
      set_rotorquant(setting, ours->codec.layout(), *params);
    } else if (ivf != nullptr) {
      set_ivf(setting, ivf->codec->layout(), *params_of_ivf);
    } else {
      set_faiss(setting, index);
    }
  }
  if (ours != nullptr) {
    setup.params = std::move(params);
  } else if (ivf != nullptr) {
    setup.params = std::move(params_of_ivf);
  }
  return setup;
}

void require_known_params(const std::vector<ParamSetting>& settings,
                          const std::vector<IndexParams>& indexes) {
  for (const ParamSetting& setting : settings) {
    std::string lists;
    bool known = false;
    for (const IndexParams& entry : indexes) {
      known = known || contains(entry.allowed, setting.name);
      lists += fmt::format(
          "{}{} takes {}", lists.empty() ? "" : "; ", entry.index,
          entry.allowed.empty() ? "none" : fmt::format("{}", fmt::join(entry.allowed, ", ")));
    }
    if (!known) {
      throw BadArgument(fmt::format("--param {}: unknown name; {}", setting.name, lists));
    }
  }
}

}  // namespace rotorquant::tools
