// SPDX-License-Identifier: MIT
// Indexes to and from the objects of FAISS's own Python module, which SWIG makes, through SWIG's
// external runtime. rotorquant/faiss.py checks beforehand that both sides were built from the same
// FAISS headers: then a faiss::Index of ours is one of theirs, whichever copy of the library each
// side has. (dynamic_cast and exceptions compare types by name.)
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <stdexcept>

#include "bind.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "faiss_ext/index_tree.h"
#include "handle.h"
#include "rotorquant/container.h"

#ifdef ROTORQUANT_HAVE_SWIG
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wcast-function-type"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include "swigpyrun.h"
#pragma GCC diagnostic pop

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

/// Objects of SWIG hold its table of types, which would otherwise go first when Python ends. Ours
/// must do the same with the table of the module that we speak to.
void share_type_table() {
  if (Swig_Capsule_global == nullptr) {
    Swig_Capsule_global = nb::object(nb::module_::import_("swig_runtime_data" SWIG_RUNTIME_VERSION)
                                         .attr(SWIGPY_CAPSULE_ATTR_NAME))
                              .release()
                              .ptr();
  }
}

swig_type_info* swig_type(const char* name) {
  share_type_table();
  swig_type_info* type = SWIG_TypeQuery(name);
  if (type == nullptr) {
    throw std::runtime_error(
        std::string("rotorquant.faiss: the faiss module that was imported has no SWIG type ") +
        name +
        " under SWIG's runtime " SWIG_RUNTIME_VERSION
        ": it was made by a SWIG of another generation");
  }
  return type;
}

/// What is behind an object of FAISS's module, which keeps it. T is the C++ class `type` says.
template <class T>
T& from_swig(nb::handle object, const char* type, const char* name) {
  void* pointer = nullptr;
  if (SWIG_ConvertPtr(object.ptr(), &pointer, swig_type(type), 0) != 0 || pointer == nullptr) {
    PyErr_Clear();
    throw nb::type_error((std::string(name) + ": expected a " + type + ", received " +
                          nb::type_name(object.type()).c_str())
                             .c_str());
  }
  return *static_cast<T*>(pointer);
}

faiss::Index& index_from_swig(nb::handle object) {
  return from_swig<faiss::Index>(object, "faiss::Index *", "index");
}

/// An object of FAISS's module, of class `type`, that owns `value`.
template <class T>
nb::object to_swig(std::unique_ptr<T> value, const char* type) {
  PyObject* object =
      SWIG_NewPointerObj(static_cast<void*>(value.get()), swig_type(type), SWIG_POINTER_OWN);
  if (object == nullptr) {
    throw nb::python_error();
  }
  value.release();  // NOLINT(bugprone-unused-return-value): the object has it now
  return nb::steal(object);
}

/// As FAISS's own functions return indexes: an object of the class that the index has.
nb::object index_to_swig(std::unique_ptr<faiss::Index> index) {
  const nb::object borrowed = nb::steal(
      SWIG_NewPointerObj(static_cast<void*>(index.get()), swig_type("faiss::Index *"), 0));
  const nb::object typed = nb::module_::import_("faiss").attr("downcast_index")(borrowed);
  const SwigPyObject* inside = SWIG_Python_GetSwigThis(typed.ptr());
  if (inside == nullptr) {
    throw std::runtime_error("rotorquant.faiss: faiss.downcast_index gave no object of SWIG");
  }
  // Not typed.this.own(True): that would give the type table a reference back that was never taken.
  PyObject* object = SWIG_NewPointerObj(inside->ptr, inside->ty, SWIG_POINTER_OWN);
  if (object == nullptr) {
    throw nb::python_error();
  }
  index.release();  // NOLINT(bugprone-unused-return-value): the object has it now
  return nb::steal(object);
}

template <class F>
decltype(auto) without_gil(F f) {
  const nb::gil_scoped_release no_gil;
  return f();
}

}  // namespace

void bind_swig(nb::module_& module) {
  nb::module_ swig = module.def_submodule("_swig");
  swig.attr("runtime_version") = SWIG_RUNTIME_VERSION;
  swig.def("from_rotorquant", [](const IndexHandle& handle) {
    return index_to_swig(
        handle.read([](const faiss::Index& index) { return clone_index(&index); }));
  });
  swig.def("to_rotorquant", [](nb::handle object) {
    const faiss::Index& index = index_from_swig(object);
    return to_python(without_gil([&] { return clone_index(&index); }));
  });
  swig.def("contains_rotorquant",
           [](nb::handle object) { return contains_rotorquant(index_from_swig(object)); });
  swig.def("index_factory", [](int d, const std::string& description, int metric) {
    return index_to_swig(without_gil([&] {
      return rotorquant::index_factory(d, description, static_cast<faiss::MetricType>(metric));
    }));
  });
  swig.def("clone_index", [](nb::handle object) {
    const faiss::Index& index = index_from_swig(object);
    return index_to_swig(without_gil([&] { return clone_index(&index); }));
  });
  swig.def("serialize_index", [](nb::handle object) {
    const faiss::Index& index = index_from_swig(object);
    const std::vector<uint8_t> bytes = without_gil([&] { return serialize_index(&index); });
    return nb::bytes(bytes.data(), bytes.size());
  });
  swig.def("deserialize_index", [](nb::bytes bytes) {
    const std::span<const uint8_t> data(reinterpret_cast<const uint8_t*>(bytes.c_str()),
                                        bytes.size());
    return index_to_swig(without_gil([&] { return deserialize_index(data); }));
  });
  swig.def("write_index", [](nb::handle object, const std::string& path) {
    const faiss::Index& index = index_from_swig(object);
    without_gil([&] { rotorquant::write_index(&index, path); });
  });
  swig.def("read_index", [](const std::string& path) {
    return index_to_swig(without_gil([&] { return rotorquant::read_index(path); }));
  });
  swig.def("write_index_to", [](nb::handle object, nb::handle writer) {
    const faiss::Index& index = index_from_swig(object);
    auto& out = from_swig<faiss::IOWriter>(writer, "faiss::IOWriter *", "writer");
    without_gil([&] { rotorquant::write_index(&index, &out); });
  });
  swig.def("read_index_from", [](nb::handle reader) {
    auto& in = from_swig<faiss::IOReader>(reader, "faiss::IOReader *", "reader");
    return index_to_swig(without_gil([&] { return rotorquant::read_index(&in); }));
  });
  swig.def("looks_like_container", [](nb::bytes head) {
    return looks_like_container({reinterpret_cast<const uint8_t*>(head.c_str()), head.size()});
  });
  swig.def("factory_string",
           [](nb::handle object) { return reverse_index_factory(index_from_swig(object)); });
  swig.def("set_parameter", [](nb::handle object, const std::string& name, double value) {
    set_index_parameter(index_from_swig(object), name, value);
  });
  swig.def(
      "search_parameters",
      [](nb::handle sel, float refine_error_scale, size_t k_factor, size_t levels,
         Estimator estimator, int threads) {
        // Flat indexes and inverted files both read it; the latter with their own nprobe.
        auto params = std::make_unique<SearchParametersRotorQuant>();
        if (!sel.is_none()) {
          params->sel = &from_swig<faiss::IDSelector>(sel, "faiss::IDSelector *", "sel");
        }
        params->refine_error_scale = refine_error_scale;
        params->k_factor = k_factor;
        params->levels = levels;
        params->estimator = estimator;
        params->threads = threads;
        return to_swig<faiss::SearchParameters>(std::move(params), "faiss::SearchParameters *");
      },
      "sel"_a.none(), "refine_error_scale"_a, "k_factor"_a, "levels"_a, "estimator"_a, "threads"_a);
}

}  // namespace rotorquant::python

#else

namespace rotorquant::python {

void bind_swig(nb::module_& /*module*/) {}  // built without SWIG: rotorquant.faiss says so

}  // namespace rotorquant::python

#endif
