// SPDX-License-Identifier: MIT
#include "metric.h"

#include <nanobind/stl/string.h>

namespace rotorquant::python {

namespace nb = nanobind;

std::string metric_name(faiss::MetricType metric) {
  switch (metric) {
    case faiss::METRIC_L2:
      return "l2";
    case faiss::METRIC_INNER_PRODUCT:
      return "inner_product";
    default:
      return "metric_" + std::to_string(static_cast<int>(metric));
  }
}

faiss::MetricType metric_type(nb::handle metric) {
  int number = 0;
  if (nb::try_cast(metric, number)) {
    return static_cast<faiss::MetricType>(number);
  }
  std::string name;
  if (nb::try_cast(metric, name)) {
    if (name == "l2") {
      return faiss::METRIC_L2;
    }
    if (name == "inner_product" || name == "ip") {
      return faiss::METRIC_INNER_PRODUCT;
    }
  }
  throw nb::value_error((std::string("metric: expected \"l2\", \"inner_product\" or one of "
                                     "FAISS's numbers, received ") +
                         nb::repr(metric).c_str())
                            .c_str());
}

}  // namespace rotorquant::python
