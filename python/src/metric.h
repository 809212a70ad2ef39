// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/MetricType.h>
#include <nanobind/nanobind.h>

#include <string>

namespace rotorquant::python {

/// "l2", "inner_product", or "metric_<n>" for FAISS's other metrics.
std::string metric_name(faiss::MetricType metric);

/// From one of the names above, "ip", or FAISS's number. Raises ValueError otherwise.
faiss::MetricType metric_type(nanobind::handle metric);

}  // namespace rotorquant::python
