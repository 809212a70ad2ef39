// SPDX-License-Identifier: MIT
// The extension module rotorquant._core.
#include <faiss/Index.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <omp.h>

#include <memory>
#include <string>

#include "bind.h"
#include "rotorquant/error.h"
#include "rotorquant/simd.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

namespace nb = nanobind;

/// Lets ctrl-C end the loops of FAISS that ask: clustering and large exhaustive searches.
class SignalCheck final : public faiss::InterruptCallback {
 public:
  bool want_interrupt() override {
    const nb::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  }
};

std::string faiss_version() {
  return std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." +
         std::to_string(FAISS_VERSION_PATCH);
}

void bind_errors(nb::module_& module) {
  // Leaked on purpose, like every exception type of an extension module.
  static PyObject* error_type =
      nb::exception<Error>(module, "Error", PyExc_RuntimeError).release().ptr();
  nb::register_exception_translator([](const std::exception_ptr& pointer, void* /*payload*/) {
    try {
      std::rethrow_exception(pointer);
    } catch (const faiss::FaissException& error) {
      // FAISS wraps SignalCheck's answer: KeyboardInterrupt is then already there.
      if (PyErr_Occurred() == nullptr) {
        PyErr_SetString(error_type, error.what());
      }
    }
  });
}

void set_threads(int threads) {
  if (threads < 1) {
    throw nb::value_error(
        ("threads: expected 1 or more, received " + std::to_string(threads)).c_str());
  }
  omp_set_num_threads(threads);
}

}  // namespace

NB_MODULE(_core, module) {
  bind_errors(module);
  module.attr("faiss_version") = faiss_version();
  module.def("simd_available", &simd_available,
             "Kernel sets that this machine can run, best first.");
  module.def("simd_active", &simd_active, "The kernel set that new indexes use.");
  module.def("omp_set_num_threads", &set_threads, "threads"_a,
             "Threads that this thread's calls use from now on.");
  module.def("omp_get_max_threads", &omp_get_max_threads);
  bind_clifford(module);
  bind_frame(module);
  bind_codec(module);
  bind_reference(module);
  bind_index(module);
  bind_search(module);
  bind_files(module);
  bind_swig(module);
#ifdef ROTORQUANT_HAVE_GPU
  bind_gpu(module);
#endif
  faiss::InterruptCallback::instance = std::make_unique<SignalCheck>();
}

}  // namespace rotorquant::python
