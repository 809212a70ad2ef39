// SPDX-License-Identifier: MIT
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace rotorquant::python {

namespace nb = nanobind;

/// A Python buffer held while C++ reads it. Made and destroyed with the GIL held; read without it.
class HeldBuffer {
 public:
  HeldBuffer() = default;
  ~HeldBuffer();
  HeldBuffer(HeldBuffer&& other) noexcept;
  HeldBuffer& operator=(HeldBuffer&& other) noexcept;
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;

  /// Takes hold of `object` when it is a C-contiguous, aligned array of items whose struct-module
  /// format is one of the letters in `formats` and whose size is item_size. False, and nothing
  /// held, otherwise.
  bool hold(nb::handle object, const char* formats, size_t item_size);

  const void* data() const { return view_.buf; }
  std::span<const Py_ssize_t> shape() const {
    return {view_.shape, static_cast<size_t>(view_.ndim)};
  }

 private:
  Py_buffer view_{};
};

/// "(3, 128)" in Python's spelling.
std::string shape_text(std::span<const Py_ssize_t> shape);

/// n rows of d floats, row-major, from anything NumPy can read: float32 and C-contiguous arrays
/// without a copy, everything else converted.
struct FloatRows {
  HeldBuffer buffer;
  const float* data = nullptr;
  size_t n = 0;
  size_t d = 0;
};

/// Raises ValueError, naming both shapes, unless x is two-dimensional with d columns (d = 0: any
/// number), and TypeError for what is no array of real numbers.
FloatRows float_rows(nb::handle x, size_t d, const char* name);

/// As float_rows with any number of leading dimensions, which are flattened into rows.
struct FloatTensor {
  FloatRows rows;
  std::vector<Py_ssize_t> leading;  ///< the shape without its last dimension
};
FloatTensor float_tensor(nb::handle x, size_t d, const char* name);

/// A vector of exactly n integers (n < 0: any number of them).
struct Ids {
  HeldBuffer buffer;
  const int64_t* data = nullptr;
  size_t n = 0;
};
Ids ids_vector(nb::handle ids, Py_ssize_t n, const char* name);

/// Rows of bytes, n x width.
struct ByteRows {
  HeldBuffer buffer;
  const uint8_t* data = nullptr;
  size_t n = 0;
};
ByteRows byte_rows(nb::handle bytes, size_t width, const char* name);

/// A new NumPy array that C++ fills: a 10th of the time of a capsule, which counts when one query
/// takes 30 us.
template <class T>
struct NewArray {
  nb::object array;
  T* data = nullptr;
};
template <class T>
NewArray<T> new_array(std::span<const Py_ssize_t> shape);
template <class T>
NewArray<T> new_array(std::initializer_list<size_t> shape) {
  const std::vector<Py_ssize_t> sizes(shape.begin(), shape.end());
  return new_array<T>(std::span<const Py_ssize_t>(sizes));
}

/// A copy of `values` as a NumPy vector.
template <class T>
nb::object to_array(std::span<const T> values);

/// `result` (NumPy) as the kind of array that `model` is: a PyTorch tensor for a PyTorch tensor.
nb::object like(nb::object result, nb::handle model);

}  // namespace rotorquant::python
