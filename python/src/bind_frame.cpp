// SPDX-License-Identifier: MIT
// The rotor frame.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "arrays.h"
#include "bind.h"
#include "rotorquant/error.h"
#include "rotorquant/frame.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

/// y = f(x) for rows of `in` floats to rows of `out` floats.
template <class F>
nb::object map_rows(nb::handle x, size_t in, size_t out, const char* name, F f) {
  const FloatRows rows = float_rows(x, in, name);
  const auto y = new_array<float>({rows.n, out});
  {
    const nb::gil_scoped_release no_gil;
    f(rows.data, rows.n, y.data);
  }
  return like(y.array, x);
}

size_t checked(int64_t value, const char* name) {
  require(value >= 1, name, "1 or more", value);
  return static_cast<size_t>(value);
}

const char* kind_name(FrameKind kind) {
  switch (kind) {
    case FrameKind::rotor_layers:
      return "rotor_layers";
    case FrameKind::learned:
      return "learned";
    case FrameKind::haar:
      return "haar";
  }
  return "unknown";
}

}  // namespace

void bind_frame(nb::module_& module) {
  nb::class_<Frame>(module, "Frame",
                    "The linear map from a centred vector (d) to its rotor frame (padded_dim, d "
                    "rounded up to a multiple of 4).")
      .def_static(
          "rotor_layers",
          [](int64_t d, uint64_t seed, size_t layers) {
            return Frame::rotor_layers(checked(d, "d"), seed, layers);
          },
          "d"_a, "seed"_a = 43, "layers"_a = 0,
          "Layers of random Cl(3,0) rotors on permuted triples; layers = 0: the default number.")
      .def_static(
          "haar", [](int64_t d, uint64_t seed) { return Frame::haar(checked(d, "d"), seed); },
          "d"_a, "seed"_a = 43, "A dense Haar rotation, for comparison.")
      .def_static(
          "learned",
          [](nb::handle x, float query_weight, float eigenvalue_floor) {
            const FloatRows rows = float_rows(x, 0, "x");
            require(rows.n >= 1 && rows.d >= 1, "x", "at least one row and column",
                    std::to_string(rows.n) + " x " + std::to_string(rows.d));
            const nb::gil_scoped_release no_gil;
            return Frame::learned(rows.data, rows.n, rows.d, {query_weight, eigenvalue_floor});
          },
          "x"_a, "query_weight"_a = LearnedFrameParams{}.query_weight,
          "eigenvalue_floor"_a = LearnedFrameParams{}.eigenvalue_floor,
          nb::sig("def learned(x: numpy.typing.ArrayLike, query_weight: float = 0.25, "
                  "eigenvalue_floor: float = 0.001) -> Frame"),
          "Balanced eigenvectors of the covariance of x (n, d), which is already centred.")
      .def_prop_ro("d", &Frame::dim)
      .def_prop_ro("padded_dim", &Frame::padded)
      .def_prop_ro("kind", [](const Frame& frame) { return kind_name(frame.kind()); })
      .def(
          "apply",
          [](const Frame& frame, nb::handle x) {
            return map_rows(
                x, frame.dim(), frame.padded(), "x",
                [&](const float* in, size_t n, float* out) { frame.apply(in, n, out); });
          },
          "x"_a,
          nb::sig("def apply(self, x: numpy.typing.ArrayLike) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "Vectors x (n, d) to (n, padded_dim).")
      .def(
          "apply_query",
          [](const Frame& frame, nb::handle x) {
            return map_rows(
                x, frame.dim(), frame.padded(), "x",
                [&](const float* in, size_t n, float* out) { frame.apply_query(in, n, out); });
          },
          "x"_a,
          nb::sig("def apply_query(self, x: numpy.typing.ArrayLike) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "Queries x (n, d) to (n, padded_dim): inner products with apply's results are those of "
          "the vectors. Equal to apply unless the frame is learned.")
      .def(
          "invert",
          [](const Frame& frame, nb::handle y) {
            return map_rows(
                y, frame.padded(), frame.dim(), "y",
                [&](const float* in, size_t n, float* out) { frame.invert(in, n, out); });
          },
          "y"_a,
          nb::sig("def invert(self, y: numpy.typing.ArrayLike) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "y (n, padded_dim) back to (n, d).")
      .def("__repr__", [](const Frame& frame) {
        return std::string("<rotorquant.Frame ") + kind_name(frame.kind()) +
               " d=" + std::to_string(frame.dim()) + ">";
      });
}

}  // namespace rotorquant::python
