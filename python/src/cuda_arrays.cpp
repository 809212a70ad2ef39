// SPDX-License-Identifier: MIT
#include "cuda_arrays.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

namespace rotorquant::python {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& expected,
                         const std::string& received) {
  const std::string text = std::string(name) + ": expected " + expected + ", received " + received;
  throw nb::value_error(text.c_str());
}

/// Strides are bytes; none stand for C order.
bool is_contiguous(const std::vector<Py_ssize_t>& shape, nb::handle strides, Py_ssize_t item) {
  if (strides.is_none()) {
    return true;
  }
  const auto steps = nb::cast<std::vector<Py_ssize_t>>(strides);
  Py_ssize_t expected = item;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] > 1 && steps[i] != expected) {
      return false;
    }
    expected *= shape[i];
  }
  return true;
}

}  // namespace

std::optional<CudaArray> cuda_array(nb::handle x, const char* typestr, bool writable,
                                    const GpuResources& resources, const char* name) {
  if (!nb::hasattr(x, "__cuda_array_interface__")) {
    return std::nullopt;
  }
  const auto interface = nb::cast<nb::dict>(x.attr("__cuda_array_interface__"));
  CudaArray array;
  array.owner = nb::borrow(x);
  array.shape = nb::cast<std::vector<Py_ssize_t>>(nb::list(interface["shape"]));
  const auto type = nb::cast<std::string>(interface["typestr"]);
  if (type != typestr) {
    throw nb::type_error(
        (std::string(name) + ": expected typestr " + typestr + ", received " + type).c_str());
  }
  const Py_ssize_t item = typestr[2] - '0';
  const nb::object strides = interface.attr("get")("strides");
  const nb::object steps = strides.is_none() ? strides : nb::list(strides);
  if (!is_contiguous(array.shape, steps, item)) {
    refuse(name, "an array in C order", "one with strides");
  }
  const auto data = nb::cast<nb::tuple>(interface["data"]);
  if (writable && nb::cast<bool>(data[1])) {
    refuse(name, "an array that can be written", "a read-only one");
  }
  array.data = reinterpret_cast<void*>(nb::cast<uintptr_t>(data[0]));
  // None: nothing to wait for. 1 and 2 are the legacy and the per-thread default stream, which the
  // runtime knows by the same numbers.
  const nb::object stream = interface.attr("get")("stream");
  if (!stream.is_none()) {
    resources.wait_for(reinterpret_cast<void*>(nb::cast<uintptr_t>(stream)));
  }
  return array;
}

AnyRows any_rows(nb::handle x, size_t d, const GpuResources& resources, const char* name) {
  AnyRows rows;
  if (auto array = cuda_array(x, "<f4", false, resources, name)) {
    const std::vector<Py_ssize_t>& shape = array->shape;
    if (shape.size() != 2 || static_cast<size_t>(shape[1]) != d) {
      refuse(name, "shape (n, " + std::to_string(d) + ")", shape_text(shape));
    }
    rows.data = static_cast<const float*>(array->data);
    rows.n = static_cast<size_t>(shape[0]);
    rows.device = std::move(*array);
    return rows;
  }
  rows.host = float_rows(x, d, name);
  rows.data = rows.host.data;
  rows.n = rows.host.n;
  return rows;
}

}  // namespace rotorquant::python
