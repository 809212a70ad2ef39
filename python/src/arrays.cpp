// SPDX-License-Identifier: MIT
#include "arrays.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rotorquant::python {
namespace {

/// NumPy's names that every search needs, looked up once. Never freed: the interpreter may be gone
/// before a static object's destructor runs.
struct Numpy {
  PyObject* empty;
  PyObject* float32;
  PyObject* int64;
  PyObject* uint64;
  PyObject* uint8;
  PyObject* int8;
};

const Numpy& numpy() {
  static const Numpy names = [] {
    const nb::module_ module = nb::module_::import_("numpy");
    const auto dtype = [&](const char* name) { return module.attr("dtype")(name).release().ptr(); };
    return Numpy{nb::object(module.attr("empty")).release().ptr(),
                 dtype("float32"),
                 dtype("int64"),
                 dtype("uint64"),
                 dtype("uint8"),
                 dtype("int8")};
  }();
  return names;
}

template <class T>
PyObject* dtype_of();
template <>
PyObject* dtype_of<float>() {
  return numpy().float32;
}
template <>
PyObject* dtype_of<int64_t>() {
  return numpy().int64;
}
template <>
PyObject* dtype_of<uint64_t>() {
  return numpy().uint64;
}
template <>
PyObject* dtype_of<uint8_t>() {
  return numpy().uint8;
}
template <>
PyObject* dtype_of<int8_t>() {
  return numpy().int8;
}

/// What is left to Python: rotorquant._arrays converts and explains.
nb::object converted(const char* converter, nb::handle object, const char* name) {
  return nb::module_::import_("rotorquant._arrays").attr(converter)(object, name);
}

HeldBuffer held(nb::handle object, const char* formats, size_t item_size, const char* converter,
                const char* name) {
  HeldBuffer buffer;
  if (!buffer.hold(object, formats, item_size)) {
    const nb::object array = converted(converter, object, name);
    if (!buffer.hold(array, formats, item_size)) {
      throw nb::type_error((std::string(name) + ": expected an array, received " +
                            nb::type_name(object.type()).c_str())
                               .c_str());
    }
  }
  return buffer;
}

[[noreturn]] void refuse_shape(const char* name, const std::string& expected,
                               std::span<const Py_ssize_t> received) {
  throw nb::value_error(
      (std::string(name) + ": expected shape " + expected + ", received " + shape_text(received))
          .c_str());
}

constexpr const char* signed_formats = "lq";

}  // namespace

HeldBuffer::~HeldBuffer() {
  if (view_.obj != nullptr) {
    PyBuffer_Release(&view_);
  }
}

HeldBuffer::HeldBuffer(HeldBuffer&& other) noexcept
    : view_(std::exchange(other.view_, Py_buffer{})) {}

HeldBuffer& HeldBuffer::operator=(HeldBuffer&& other) noexcept {
  std::swap(view_, other.view_);
  return *this;
}

bool HeldBuffer::hold(nb::handle object, const char* formats, size_t item_size) {
  if (PyObject_CheckBuffer(object.ptr()) == 0) {
    return false;
  }
  if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) {
    PyErr_Clear();
    view_ = {};
    return false;
  }
  const char* format = view_.format;
  const bool right_type = format != nullptr && format[0] != '\0' && format[1] == '\0' &&
                          std::strchr(formats, format[0]) != nullptr &&
                          static_cast<size_t>(view_.itemsize) == item_size;
  const bool aligned = reinterpret_cast<uintptr_t>(view_.buf) % item_size == 0;
  if (right_type && aligned) {
    return true;
  }
  PyBuffer_Release(&view_);
  view_ = {};
  return false;
}

std::string shape_text(std::span<const Py_ssize_t> shape) {
  std::string text = "(";
  for (const Py_ssize_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

FloatRows float_rows(nb::handle x, size_t d, const char* name) {
  FloatRows rows;
  rows.buffer = held(x, "f", sizeof(float), "as_float32", name);
  const auto shape = rows.buffer.shape();
  if (shape.size() != 2 || (d != 0 && static_cast<size_t>(shape[1]) != d)) {
    refuse_shape(name, d == 0 ? "(n, d)" : "(n, " + std::to_string(d) + ")", shape);
  }
  rows.data = static_cast<const float*>(rows.buffer.data());
  rows.n = static_cast<size_t>(shape[0]);
  rows.d = static_cast<size_t>(shape[1]);
  return rows;
}

FloatTensor float_tensor(nb::handle x, size_t d, const char* name) {
  FloatTensor tensor;
  tensor.rows.buffer = held(x, "f", sizeof(float), "as_float32", name);
  const auto shape = tensor.rows.buffer.shape();
  if (shape.empty() || static_cast<size_t>(shape.back()) != d) {
    refuse_shape(name, "(..., " + std::to_string(d) + ")", shape);
  }
  tensor.leading.assign(shape.begin(), shape.end() - 1);
  tensor.rows.data = static_cast<const float*>(tensor.rows.buffer.data());
  tensor.rows.d = d;
  tensor.rows.n = 1;
  for (const Py_ssize_t size : tensor.leading) {
    tensor.rows.n *= static_cast<size_t>(size);
  }
  return tensor;
}

Ids ids_vector(nb::handle ids, Py_ssize_t n, const char* name) {
  Ids out;
  out.buffer = held(ids, signed_formats, sizeof(int64_t), "as_int64", name);
  const auto shape = out.buffer.shape();
  if (shape.size() != 1 || (n >= 0 && shape[0] != n)) {
    refuse_shape(name, n < 0 ? "(n,)" : "(" + std::to_string(n) + ",)", shape);
  }
  out.data = static_cast<const int64_t*>(out.buffer.data());
  out.n = static_cast<size_t>(shape[0]);
  return out;
}

ByteRows byte_rows(nb::handle bytes, size_t width, const char* name) {
  ByteRows rows;
  rows.buffer = held(bytes, "B", 1, "as_uint8", name);
  const auto shape = rows.buffer.shape();
  if (shape.size() != 2 || static_cast<size_t>(shape[1]) != width) {
    refuse_shape(name, "(n, " + std::to_string(width) + ")", shape);
  }
  rows.data = static_cast<const uint8_t*>(rows.buffer.data());
  rows.n = static_cast<size_t>(shape[0]);
  return rows;
}

template <class T>
NewArray<T> new_array(std::span<const Py_ssize_t> shape) {
  nb::object sizes = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  for (size_t i = 0; i < shape.size(); ++i) {
    // The tuple takes the reference.
    PyTuple_SetItem(sizes.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromSsize_t(shape[i]));
  }
  PyObject* arguments[] = {sizes.ptr(), dtype_of<T>()};
  PyObject* array = PyObject_Vectorcall(numpy().empty, arguments, 2, nullptr);
  if (array == nullptr) {
    throw nb::python_error();
  }
  NewArray<T> made{nb::steal(array), nullptr};
  Py_buffer view;
  if (PyObject_GetBuffer(array, &view, PyBUF_WRITABLE | PyBUF_ANY_CONTIGUOUS) != 0) {
    throw nb::python_error();
  }
  made.data = static_cast<T*>(view.buf);
  PyBuffer_Release(&view);  // the array itself keeps its memory where it is
  return made;
}

template <class T>
nb::object to_array(std::span<const T> values) {
  NewArray<T> array = new_array<T>({values.size()});
  std::copy(values.begin(), values.end(), array.data);
  return array.array;
}

template NewArray<float> new_array(std::span<const Py_ssize_t>);
template NewArray<int64_t> new_array(std::span<const Py_ssize_t>);
template NewArray<uint64_t> new_array(std::span<const Py_ssize_t>);
template NewArray<uint8_t> new_array(std::span<const Py_ssize_t>);
template NewArray<int8_t> new_array(std::span<const Py_ssize_t>);
template nb::object to_array(std::span<const float>);
template nb::object to_array(std::span<const int64_t>);

nb::object like(nb::object result, nb::handle model) {
  return nb::module_::import_("rotorquant._arrays").attr("like")(result, model);
}

}  // namespace rotorquant::python
