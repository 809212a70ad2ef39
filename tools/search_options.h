// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>
#include <vector>

namespace rotorquant::tools {

/// One name=value of --param.
struct ParamSetting {
  std::string name;
  std::string value;
};

/// Splits "name=value,name=value" texts. Throws BadArgument where a part is not name=value or a
/// name comes twice.
std::vector<ParamSetting> parse_params(const std::vector<std::string>& texts);

/// The names that --param takes for this index: fields of SearchParametersRotorQuant (and
/// SearchParametersIVFRotorQuant) for an index of ours, what faiss::ParameterSpace can set for
/// others.
std::vector<std::string> allowed_params(const faiss::Index& index);

/// How searches of one index are made.
struct SearchSetup {
  std::unique_ptr<faiss::SearchParameters> params;  ///< may be null, as faiss::Index::search takes
  std::vector<std::string> unused;                  ///< names that this index does not know
};

/// Turns the settings that the index knows into search parameters (rotorquant) or sets them on the
/// index (FAISS). Throws BadArgument for a value that its name cannot take.
SearchSetup prepare_search(faiss::Index& index, const std::vector<ParamSetting>& settings,
                           int threads);

/// What --param takes for one index of a run.
struct IndexParams {
  std::string index;
  std::vector<std::string> allowed;
};

/// Throws BadArgument, listing what is allowed, for a name that none of the indexes knows.
void require_known_params(const std::vector<ParamSetting>& settings,
                          const std::vector<IndexParams>& indexes);

}  // namespace rotorquant::tools
