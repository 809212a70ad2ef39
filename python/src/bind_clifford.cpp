// SPDX-License-Identifier: MIT
// Cl(3,0): multivectors and rotors, in double precision.
#include <nanobind/nanobind.h>
#include <nanobind/operators.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <array>
#include <string>

#include "arrays.h"
#include "bind.h"
#include "rotorquant/clifford.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

std::string text_of(double value) {
  return nb::repr(nb::float_(value)).c_str();
}

void bind_multivector(nb::module_& module) {
  nb::class_<MultivectorD>(
      module, "Multivector",
      "An element of Cl(3,0): 8 coefficients in the order [1, e1, e2, e3, e12, e13, e23, e123].")
      .def(
          "__init__",
          [](MultivectorD* self, const std::array<double, blade_count>& coefficients) {
            new (self) MultivectorD{coefficients};
          },
          "coefficients"_a)
      .def_prop_ro(
          "coefficients", [](const MultivectorD& m) { return nb::cast(m.c); },
          nb::sig("def coefficients(self) -> list[float]"))
      .def(
          "__mul__",
          [](const MultivectorD& a, const MultivectorD& b) { return geometric_product(a, b); },
          nb::is_operator(), "The geometric product.")
      .def(
          "__eq__", [](const MultivectorD& a, const MultivectorD& b) { return a == b; },
          nb::is_operator(), nb::sig("def __eq__(self, arg: object, /) -> bool"))
      .def("__getitem__",
           [](const MultivectorD& m, size_t blade) {
             if (blade >= blade_count) {
               throw nb::index_error("blade: expected 0 to 7");
             }
             return m[blade];
           })
      .def("__len__", [](const MultivectorD& /*m*/) { return blade_count; })
      .def(
          "reverse", [](const MultivectorD& m) { return reverse(m); },
          "Grades 2 and 3 change sign.")
      .def(
          "grade",
          [](const MultivectorD& m, int k) {
            if (k < 0 || k > 3) {
              throw nb::value_error(
                  ("k: expected a grade, 0 to 3, received " + std::to_string(k)).c_str());
            }
            return grade(m, k);
          },
          "k"_a, "The part of grade k, 0 to 3.")
      .def("norm", [](const MultivectorD& m) { return norm(m); })
      .def("__repr__", [](const MultivectorD& m) {
        return std::string("rotorquant.Multivector(") + nb::repr(nb::cast(m.c)).c_str() + ")";
      });
}

/// sandwich of n vectors, (..., 3) to (..., 3).
nb::object turn(const Rotor& rotor, nb::handle v) {
  const FloatTensor vectors = float_tensor(v, 3, "v");
  std::vector<Py_ssize_t> shape = vectors.leading;
  shape.push_back(3);
  const auto out = new_array<float>(std::span<const Py_ssize_t>(shape));
  for (size_t i = 0; i < vectors.rows.n; ++i) {
    const float* x = vectors.rows.data + 3 * i;
    const auto turned = sandwich(rotor, std::array<double, 3>{x[0], x[1], x[2]});
    for (size_t j = 0; j < 3; ++j) {
      out.data[3 * i + j] = static_cast<float>(turned[j]);
    }
  }
  return like(out.array, v);
}

void bind_rotor(nb::module_& module) {
  nb::class_<Rotor>(
      module, "Rotor",
      "The even element s + b12 e12 + b13 e13 + b23 e23, of unit norm unless built by "
      "hand. It turns vectors by the sandwich R v ~R.")
      .def(
          "__init__",
          [](Rotor* self, double s, double b12, double b13, double b23) {
            new (self) Rotor{s, b12, b13, b23};
          },
          "s"_a = 1.0, "b12"_a = 0.0, "b13"_a = 0.0, "b23"_a = 0.0)
      .def_ro("s", &Rotor::s)
      .def_ro("b12", &Rotor::b12)
      .def_ro("b13", &Rotor::b13)
      .def_ro("b23", &Rotor::b23)
      .def_static(
          "random",
          [](uint64_t seed) {
            Rng rng(seed);
            return Rotor::random(rng);
          },
          "seed"_a, "Haar-uniform; the same bits on every machine.")
      .def_static("exp", &Rotor::exp, "b12"_a, "b13"_a, "b23"_a,
                  "exp of a bivector; exp(-B t/2) of a unit B turns by t in the sense of B.")
      .def_static("from_axis_angle", &Rotor::from_axis_angle, "axis"_a, "angle"_a,
                  "Turns by angle radians about axis (3), counter-clockwise seen from its tip.")
      .def_static("planar", &Rotor::planar, "angle"_a, "Turns by angle from e1 towards e2.")
      .def(
          "__mul__", [](const Rotor& second, const Rotor& first) { return second * first; },
          nb::is_operator(), "a * b turns as b first, then a.")
      .def(
          "__eq__", [](const Rotor& a, const Rotor& b) { return a == b; }, nb::is_operator(),
          nb::sig("def __eq__(self, arg: object, /) -> bool"))
      .def(
          "reverse", [](const Rotor& r) { return reverse(r); }, "~R, the inverse of a unit rotor.")
      .def("norm", [](const Rotor& r) { return norm(r); })
      .def("multivector", [](const Rotor& r) { return to_multivector<double>(r); })
      .def("apply", &turn, "v"_a,
           nb::sig("def apply(self, v: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "R v ~R for vectors v (..., 3).")
      .def(
          "sandwich", [](const Rotor& r, const MultivectorD& m) { return sandwich<double>(r, m); },
          "m"_a, "R m ~R.")
      .def(
          "matrix",
          [](const Rotor& r) {
            const auto m = rotation_matrix(r);
            const auto out = new_array<float>({3, 3});
            std::copy(m.begin(), m.end(), out.data);
            return out.array;
          },
          nb::sig("def matrix(self) -> numpy.typing.NDArray[numpy.float32]"),
          "The 3 x 3 matrix of the rotation.")
      .def("__repr__", [](const Rotor& r) {
        return "rotorquant.Rotor(" + text_of(r.s) + ", " + text_of(r.b12) + ", " + text_of(r.b13) +
               ", " + text_of(r.b23) + ")";
      });
}

}  // namespace

void bind_clifford(nb::module_& module) {
  bind_multivector(module);
  bind_rotor(module);
}

}  // namespace rotorquant::python
