// SPDX-License-Identifier: MIT
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <vector>

#include "arrays.h"
#include "rotorquant/gpu.h"

namespace rotorquant::python {

/// An array of CuPy, PyTorch or anybody else on a CUDA device, by its __cuda_array_interface__.
struct CudaArray {
  nb::object owner;
  void* data = nullptr;
  std::vector<Py_ssize_t> shape;
};

/// x as that: C-contiguous, of the type that `typestr` names ("<f4"); nothing where x is no array
/// on a device. Work on `resources` begins after what its producer has in its stream. Raises
/// TypeError and ValueError that name `name`.
std::optional<CudaArray> cuda_array(nb::handle x, const char* typestr, bool writable,
                                    const GpuResources& resources, const char* name);

/// float_rows() that also takes arrays on the device, where they stay.
struct AnyRows {
  FloatRows host;
  CudaArray device;
  const float* data = nullptr;
  size_t n = 0;
};
AnyRows any_rows(nb::handle x, size_t d, const GpuResources& resources, const char* name);

}  // namespace rotorquant::python
