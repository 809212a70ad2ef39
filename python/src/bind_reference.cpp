// SPDX-License-Identifier: MIT
// The published algorithm: RotorQuantMSE, RotorQuantProd, RotorQuantKVCache.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "arrays.h"
#include "bind.h"
#include "rotorquant/error.h"
#include "rotorquant/reference.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

size_t checked_dim(int64_t d, const char* name) {
  require(d >= 1, name, "1 or more", d);
  return static_cast<size_t>(d);
}

GradeBits grade_bits_from(const std::map<std::string, int>& names) {
  static const std::map<std::string, Grade> grades{{"scalar", Grade::scalar},
                                                   {"vector", Grade::vector},
                                                   {"bivector", Grade::bivector},
                                                   {"trivector", Grade::trivector}};
  GradeBits bits;
  for (const auto& [name, value] : names) {
    const auto found = grades.find(name);
    require(found != grades.end(), "grade_bits", "scalar, vector, bivector or trivector", name);
    bits[found->second] = value;
  }
  return bits;
}

/// (leading..., last) of T.
template <class T>
NewArray<T> shaped(const std::vector<Py_ssize_t>& leading, size_t last) {
  std::vector<Py_ssize_t> shape = leading;
  shape.push_back(static_cast<Py_ssize_t>(last));
  return new_array<T>(std::span<const Py_ssize_t>(shape));
}

template <class Quantizer>
nb::object encode(const Quantizer& quantizer, nb::handle x) {
  const FloatRows rows = float_rows(x, quantizer.d(), "x");
  const auto codes = new_array<uint8_t>({rows.n, quantizer.code_size()});
  const nb::gil_scoped_release no_gil;
  quantizer.encode(rows.data, rows.n, codes.data);
  return codes.array;
}

template <class Quantizer>
nb::object decode(const Quantizer& quantizer, nb::handle codes) {
  const ByteRows rows = byte_rows(codes, quantizer.code_size(), "codes");
  const auto x = new_array<float>({rows.n, quantizer.d()});
  const nb::gil_scoped_release no_gil;
  quantizer.decode(rows.data, rows.n, x.data);
  return x.array;
}

/// dequantize(quantize(x)) for x (..., d).
nb::object forward(const RotorQuantMse& quantizer, nb::handle x) {
  const FloatTensor rows = float_tensor(x, quantizer.d(), "x");
  const auto y = shaped<float>(rows.leading, quantizer.d());
  {
    const nb::gil_scoped_release no_gil;
    quantizer.forward(rows.rows.data, rows.rows.n, y.data);
  }
  return like(y.array, x);
}

nb::object mse_indices(const RotorQuantMse& quantizer, nb::handle x) {
  const FloatRows rows = float_rows(x, quantizer.d(), "x");
  MseCodes codes;
  {
    const nb::gil_scoped_release no_gil;
    codes = quantizer.quantize(rows.data, rows.n);
  }
  const auto indices = new_array<uint8_t>({rows.n, quantizer.components()});
  std::copy(codes.indices.begin(), codes.indices.end(), indices.data);
  return nb::make_tuple(indices.array, to_array(std::span<const float>(codes.norms)));
}

nb::object prod_products(const RotorQuantProd& quantizer, nb::handle queries, nb::handle codes) {
  const FloatRows q = float_rows(queries, quantizer.d(), "queries");
  const ByteRows rows = byte_rows(codes, quantizer.code_size(), "codes");
  const auto products = new_array<float>({q.n, rows.n});
  {
    const nb::gil_scoped_release no_gil;
    require_finite(q.data, q.n, q.d, "queries");
    for (size_t i = 0; i < q.n; ++i) {
      const auto state = quantizer.prepare_query(q.data + i * q.d);
      for (size_t j = 0; j < rows.n; ++j) {
        products.data[i * rows.n + j] =
            quantizer.inner_product(state, rows.data + j * quantizer.code_size());
      }
    }
  }
  return like(products.array, queries);
}

void bind_mse(nb::module_& module) {
  nb::class_<RotorQuantMse>(
      module, "RotorQuantMSE",
      "Rotation and scalar Lloyd-Max quantisation as published: least squared error, biased in "
      "inner products.")
      .def(
          "__init__",
          [](RotorQuantMse* self, int64_t d, int bits, uint64_t seed,
             const std::optional<std::map<std::string, int>>& grade_bits, Rotation rotation) {
            new (self)
                RotorQuantMse(checked_dim(d, "d"), bits, seed,
                              grade_bits ? grade_bits_from(*grade_bits) : GradeBits{}, rotation);
          },
          "d"_a, "bits"_a = 3, nb::kw_only(), "seed"_a = 42, "grade_bits"_a = nb::none(),
          "rotation"_a = Rotation::rotor_blocks,
          "grade_bits: bits for 'scalar', 'vector', 'bivector', 'trivector'; default: `bits` for "
          "the vector grade.")
      .def_prop_ro("d", &RotorQuantMse::d)
      .def_prop_ro("bits", &RotorQuantMse::bits)
      .def_prop_ro("components", &RotorQuantMse::components, "Indices a vector.")
      .def_prop_ro("code_size", &RotorQuantMse::code_size, "Bytes a vector.")
      .def_prop_ro("parameters", &RotorQuantMse::parameters, "Numbers that describe the rotation.")
      .def_prop_ro("multiply_adds", &RotorQuantMse::multiply_adds, "Cost of rotating a vector.")
      .def_prop_ro(
          "centroids",
          [](const RotorQuantMse& q) {
            return to_array(std::span<const float>(q.codebook().centroids()));
          },
          nb::sig("def centroids(self) -> numpy.typing.NDArray[numpy.float32]"),
          "The codebook of the vector grade, ascending.")
      .def("quantize", &mse_indices, "x"_a,
           nb::sig("def quantize(self, x: numpy.typing.ArrayLike) -> "
                   "tuple[numpy.typing.NDArray[numpy.uint8], numpy.typing.NDArray[numpy.float32]]"),
           "Indices (n, components) and norms (n) of x (n, d).")
      .def("forward", &forward, "x"_a,
           nb::sig("def forward(self, x: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "x (..., d) quantised and back.")
      .def("encode", &encode<RotorQuantMse>, "x"_a,
           nb::sig("def encode(self, x: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.uint8]"),
           "x (n, d) to packed codes (n, code_size).")
      .def("decode", &decode<RotorQuantMse>, "codes"_a,
           nb::sig("def decode(self, codes: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "codes (n, code_size) to x (n, d).")
      .def("__repr__", [](const RotorQuantMse& q) {
        return "<rotorquant.RotorQuantMSE d=" + std::to_string(q.d()) +
               " bits=" + std::to_string(q.bits()) + ">";
      });
}

void bind_prod(nb::module_& module) {
  nb::class_<RotorQuantProd>(
      module, "RotorQuantProd",
      "RotorQuantMSE at bits - 1 and QJL signs of its residual, as published: inner products "
      "without bias.")
      .def(
          "__init__",
          [](RotorQuantProd* self, int64_t d, int bits, size_t qjl_dim, uint64_t seed,
             Rotation rotation) {
            new (self) RotorQuantProd(checked_dim(d, "d"), bits, qjl_dim, seed, rotation);
          },
          "d"_a, "bits"_a = 3, nb::kw_only(), "qjl_dim"_a = 0, "seed"_a = 42,
          "rotation"_a = Rotation::rotor_blocks, "qjl_dim: signs a vector, 0 for d.")
      .def_prop_ro("d", &RotorQuantProd::d)
      .def_prop_ro("bits", &RotorQuantProd::bits)
      .def_prop_ro("qjl_dim", &RotorQuantProd::qjl_dim)
      .def_prop_ro("code_size", &RotorQuantProd::code_size, "Bytes a vector.")
      .def("encode", &encode<RotorQuantProd>, "x"_a,
           nb::sig("def encode(self, x: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.uint8]"),
           "x (n, d) to packed codes (n, code_size).")
      .def("decode", &decode<RotorQuantProd>, "codes"_a,
           nb::sig("def decode(self, codes: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "codes (n, code_size) to x (n, d), signs included.")
      .def("inner_products", &prod_products, "queries"_a, "codes"_a,
           nb::sig("def inner_products(self, queries: numpy.typing.ArrayLike, "
                   "codes: numpy.typing.ArrayLike) -> numpy.typing.NDArray[numpy.float32]"),
           "Estimated inner products (m, n) of queries (m, d) and codes (n, code_size).")
      .def("__repr__", [](const RotorQuantProd& q) {
        return "<rotorquant.RotorQuantProd d=" + std::to_string(q.d()) +
               " bits=" + std::to_string(q.bits()) + ">";
      });
}

/// The cache and the lock that keeps readers out while it grows.
struct LockedCache {
  LockedCache(size_t d_key, size_t d_value, int bits, uint64_t seed, Rotation rotation)
      : cache(d_key, d_value, bits, seed, rotation) {}
  RotorQuantKVCache cache;
  mutable std::shared_mutex mutex;
};

void append(LockedCache& self, nb::handle keys, nb::handle values) {
  const FloatTensor k = float_tensor(keys, self.cache.d_key(), "keys");
  const FloatTensor v = float_tensor(values, self.cache.d_value(), "values");
  const nb::gil_scoped_release no_gil;
  const std::unique_lock lock(self.mutex);
  self.cache.append(k.rows.data, k.rows.n, v.rows.data, v.rows.n);
}

nb::object attention_scores(const LockedCache& self, nb::handle queries) {
  const FloatTensor q = float_tensor(queries, self.cache.d_key(), "queries");
  std::vector<float> scores;
  size_t size = 0;
  {
    const nb::gil_scoped_release no_gil;
    const std::shared_lock lock(self.mutex);
    size = self.cache.size();
    scores = self.cache.attention_scores(q.rows.data, q.rows.n);
  }
  const auto out = shaped<float>(q.leading, size);
  std::copy(scores.begin(), scores.end(), out.data);
  return like(out.array, queries);
}

nb::object get_values(const LockedCache& self, nb::handle model) {
  std::vector<float> values;
  size_t size = 0;
  {
    const nb::gil_scoped_release no_gil;
    const std::shared_lock lock(self.mutex);
    size = self.cache.size();
    values = self.cache.get_values();
  }
  const auto out = new_array<float>({size, self.cache.d_value()});
  std::copy(values.begin(), values.end(), out.data);
  return model.is_none() ? out.array : like(out.array, model);
}

template <class F>
auto cache_reader(F f) {
  return [f](const LockedCache& self) {
    const nb::gil_scoped_release no_gil;
    const std::shared_lock lock(self.mutex);
    return f(self.cache);
  };
}

void bind_cache(nb::module_& module) {
  nb::class_<LockedCache>(
      module, "RotorQuantKVCache",
      "A cache of attention keys (RotorQuantProd) and values (RotorQuantMSE). Takes NumPy arrays "
      "and, through DLPack, PyTorch tensors in the processor's memory; results are of the kind of "
      "their argument.")
      .def(
          "__init__",
          [](LockedCache* self, int64_t d_key, int64_t d_value, int bits, uint64_t seed,
             Rotation rotation) {
            new (self) LockedCache(checked_dim(d_key, "d_key"), checked_dim(d_value, "d_value"),
                                   bits, seed, rotation);
          },
          "d_key"_a, "d_value"_a, "bits"_a = 3, nb::kw_only(), "seed"_a = 42,
          "rotation"_a = Rotation::rotor_blocks)
      .def_prop_ro("d_key", [](const LockedCache& self) { return self.cache.d_key(); })
      .def_prop_ro("d_value", [](const LockedCache& self) { return self.cache.d_value(); })
      .def_prop_ro("bytes", cache_reader([](const RotorQuantKVCache& c) { return c.bytes(); }),
                   "Bytes of the packed codes.")
      .def("__len__", cache_reader([](const RotorQuantKVCache& c) { return c.size(); }))
      .def("append", &append, "keys"_a, "values"_a,
           nb::sig("def append(self, keys: numpy.typing.ArrayLike, "
                   "values: numpy.typing.ArrayLike) -> None"),
           "Appends keys (..., d_key) and values (..., d_value), as many of one as of the other.")
      .def("attention_scores", &attention_scores, "queries"_a,
           nb::sig("def attention_scores(self, queries: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "Inner products (..., len) of queries (..., d_key) with every key; no scale, no "
           "softmax.")
      .def("get_values", &get_values, "like"_a = nb::none(),
           nb::sig("def get_values(self, like: object = None) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "The decoded values (len, d_value), as the kind of array that `like` is.")
      .def(
          "clear",
          [](LockedCache& self) {
            const nb::gil_scoped_release no_gil;
            const std::unique_lock lock(self.mutex);
            self.cache.clear();
          },
          "Forgets every row and frees the memory.")
      .def("__repr__", [](const LockedCache& self) {
        return "<rotorquant.RotorQuantKVCache d_key=" + std::to_string(self.cache.d_key()) +
               " d_value=" + std::to_string(self.cache.d_value()) + ">";
      });
}

}  // namespace

void bind_reference(nb::module_& module) {
  nb::enum_<Rotation>(module, "Rotation", "How the published algorithm turns vectors.")
      .value("rotor_blocks", Rotation::rotor_blocks, "A random rotor a triple (RotorQuant).")
      .value("haar", Rotation::haar, "One dense Haar rotation (TurboQuant).");
  bind_mse(module);
  bind_prod(module);
  bind_cache(module);
}

}  // namespace rotorquant::python
