// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <memory>
#include <string>

#include "dataset.h"

namespace rotorquant::tools {

/// Replaces {d} and {d/N} by the dimension and its N-th part (rounded down), so that one string
/// serves data of several dimensions: PQ{d/2}x4fs. Throws BadArgument for anything else in braces.
std::string expand_placeholders(const std::string& spec, size_t d);

/// faiss::METRIC_L2 for euclidean data, faiss::METRIC_INNER_PRODUCT otherwise.
faiss::MetricType faiss_metric(Distance distance);

/// An empty index from a factory string without placeholders. Throws BadArgument.
std::unique_ptr<faiss::Index> make_index(const std::string& spec, size_t d, Distance distance);

}  // namespace rotorquant::tools
