// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "measure.h"

namespace rotorquant::tools {

/// The result as one JSON object without line breaks; its keys are part of the program's interface
/// (`rotorquant eval --help`).
std::string to_json(const EvalResult& result);

/// An aligned table that is written row by row while results come in: the widths of the two text
/// columns are fixed beforehand by all the names that will come.
class EvalTable {
 public:
  EvalTable(const std::vector<std::string>& datasets, const std::vector<std::string>& indexes,
            size_t k);

  std::string header() const;
  std::string row(const EvalResult& result) const;

 private:
  size_t dataset_width_;
  size_t index_width_;
  size_t k_;
};

}  // namespace rotorquant::tools
