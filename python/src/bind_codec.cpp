// SPDX-License-Identifier: MIT
// The codec alone, without an index around it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "arrays.h"
#include "bind.h"
#include "codec_params.h"
#include "rotorquant/codec.h"
#include "rotorquant/error.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

void require_trained(const Codec& codec) {
  require(codec.is_trained(), "Codec", "a trained codec", "an untrained one");
}

void require_levels(const Codec& codec, size_t levels) {
  require(levels <= codec.layout().levels, "levels",
          "0 (all) to " + std::to_string(codec.layout().levels), levels);
}

nb::object encode(const Codec& codec, nb::handle x) {
  require_trained(codec);
  const FloatRows rows = float_rows(x, codec.dim(), "x");
  const auto codes = new_array<uint8_t>({rows.n, codec.code_bytes()});
  const nb::gil_scoped_release no_gil;
  // The additive term of an L2 distance; an estimate of inner products does not read it.
  std::vector<float> additive(rows.n);
  for (size_t i = 0; i < rows.n; ++i) {
    double sum = 0.0;
    for (size_t j = 0; j < rows.d; ++j) {
      const double value = rows.data[i * rows.d + j];
      sum += value * value;
    }
    additive[i] = static_cast<float>(sum);
  }
  codec.encode(rows.data, additive.data(), rows.n, codes.data);
  return codes.array;
}

nb::object decode(const Codec& codec, nb::handle codes, size_t levels) {
  require_trained(codec);
  require_levels(codec, levels);
  const ByteRows rows = byte_rows(codes, codec.code_bytes(), "codes");
  const auto x = new_array<float>({rows.n, codec.dim()});
  const nb::gil_scoped_release no_gil;
  codec.decode(rows.data, rows.n, x.data, levels);
  return x.array;
}

nb::object inner_products(const Codec& codec, nb::handle queries, nb::handle codes, size_t levels,
                          Estimator estimator) {
  require_trained(codec);
  require_levels(codec, levels);
  const FloatRows q = float_rows(queries, codec.dim(), "queries");
  const ByteRows rows = byte_rows(codes, codec.code_bytes(), "codes");
  const auto products = new_array<float>({q.n, rows.n});
  {
    const nb::gil_scoped_release no_gil;
    require_finite(q.data, q.n, q.d, "queries");
    for (size_t i = 0; i < q.n; ++i) {
      const CodecQuery prepared = codec.prepare(q.data + i * q.d);
      for (size_t j = 0; j < rows.n; ++j) {
        products.data[i * rows.n + j] =
            codec.estimate(prepared, rows.data + j * codec.code_bytes(), levels, estimator);
      }
    }
  }
  return like(products.array, queries);
}

}  // namespace

void bind_codec(nb::module_& module) {
  nb::enum_<Estimator>(module, "Estimator", "How codes are turned into inner products.")
      .value("rescaled", Estimator::rescaled, "The default: least variance.")
      .value("strict", Estimator::strict, "QJL semantics: unbiased over the sign map alone.");

  nb::class_<Codec>(module, "Codec",
                    "Frame, levels and signs (docs/codec.md) for vectors that are already centred. "
                    "Immutable once trained.")
      .def(
          "__init__",
          [](Codec* self, int64_t d, int bits, bool learned, bool signs, uint64_t seed,
             size_t rotor_layers, int joint_rounds) {
            require(d >= 1, "d", "1 or more", d);
            new (self)
                Codec(codec_params(d, bits, learned, signs, seed, rotor_layers, joint_rounds));
          },
          "d"_a, "bits"_a = 3, nb::kw_only(), "learned"_a = false, "signs"_a = true,
          "seed"_a = CodecParams{}.seed, "rotor_layers"_a = 0,
          "joint_rounds"_a = CodecParams{}.joint_rounds)
      .def(
          "train",
          [](Codec& codec, nb::handle x) {
            const FloatRows rows = float_rows(x, codec.dim(), "x");
            const nb::gil_scoped_release no_gil;
            codec.train(rows.data, rows.n);
          },
          "x"_a, nb::sig("def train(self, x: numpy.typing.ArrayLike) -> None"),
          "Learns frame and codebooks from x (n, d); nothing to do unless learned. Not while "
          "another thread uses the codec.")
      .def_prop_ro("d", &Codec::dim)
      .def_prop_ro("is_trained", &Codec::is_trained)
      .def_prop_ro("name", &Codec::name, "The factory string, such as RQ3.")
      .def_prop_ro("code_size", &Codec::code_bytes, "Bytes a vector.")
      .def_prop_ro("levels", [](const Codec& codec) { return codec.layout().levels; })
      .def_prop_ro("frame", [](const Codec& codec) { return codec.frame(); })
      .def("encode", &encode, "x"_a,
           nb::sig("def encode(self, x: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.uint8]"),
           "x (n, d) to codes (n, code_size).")
      .def("decode", &decode, "codes"_a, "levels"_a = 0,
           nb::sig("def decode(self, codes: numpy.typing.ArrayLike, levels: int = 0) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "codes (n, code_size) to vectors (n, d), from the first `levels` levels (0: whole "
           "code).")
      .def("inner_products", &inner_products, "queries"_a, "codes"_a, "levels"_a = 0,
           "estimator"_a = Estimator::rescaled,
           nb::sig("def inner_products(self, queries: numpy.typing.ArrayLike, "
                   "codes: numpy.typing.ArrayLike, levels: int = 0, "
                   "estimator: Estimator = ...) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "Estimated inner products (m, n) of queries (m, d) and codes (n, code_size).")
      .def(
          "expected_distortion",
          [](const Codec& codec, size_t levels) {
            require_trained(codec);
            require_levels(codec, levels);
            return codec.expected_distortion(levels);
          },
          "levels"_a = 0, "Mean of 1 - cos^2 between a vector and its decoding.")
      .def("__repr__", [](const Codec& codec) {
        return "<rotorquant.Codec '" + codec.name() + "' d=" + std::to_string(codec.dim()) +
               (codec.is_trained() ? ">" : " untrained>");
      });
}

}  // namespace rotorquant::python
