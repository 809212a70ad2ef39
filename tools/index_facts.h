// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <string>
#include <utility>
#include <vector>

namespace rotorquant::tools {

/// The point that the index's codes are relative to, d floats; empty for the origin.
std::vector<float> centre_of(const faiss::Index& index);

/// "l2", "inner product" or FAISS's number for another metric.
std::string metric_name(faiss::MetricType metric);

/// Names and values of everything worth knowing about an index, in the order to show them.
std::vector<std::pair<std::string, std::string>> facts_of(const faiss::Index& index);

}  // namespace rotorquant::tools
