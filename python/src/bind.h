// SPDX-License-Identifier: MIT
#pragma once

#include <nanobind/nanobind.h>

namespace rotorquant::python {

/// One function for each part of the module, in a file of that name.
void bind_clifford(nanobind::module_& module);
void bind_frame(nanobind::module_& module);
void bind_codec(nanobind::module_& module);
void bind_reference(nanobind::module_& module);
void bind_index(nanobind::module_& module);
void bind_search(nanobind::module_& module);
void bind_files(nanobind::module_& module);
void bind_swig(nanobind::module_& module);
#ifdef ROTORQUANT_HAVE_GPU
void bind_gpu(nanobind::module_& module);
#endif

}  // namespace rotorquant::python
