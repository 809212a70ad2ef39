// SPDX-License-Identifier: MIT
#pragma once

// What the GPU indexes share.

#include <limits>
#include <vector>

#include "faiss_ext/boundary.h"
#include "rotorquant/gpu.h"

namespace rotorquant {

/// An input for the CPU: the caller's array, or a copy of it where it lies on the device.
class HostRows {
 public:
  HostRows(const GpuResources& resources, const float* x, size_t size) : data_(x) {
    if (size > 0 && resources.owns(x)) {
      copy_.resize(size);
      faiss_boundary([&] { resources.copy(copy_.data(), x, size * sizeof(float)); });
      data_ = copy_.data();
    }
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> copy_;
  const float* data_;
};

/// Distances as FAISS wants them, see to_faiss_distances().
inline GpuSearchOptions faiss_options(GpuSearchOptions options, Metric metric) {
  options.distance_sign = metric == Metric::l2 ? 1.0F : -1.0F;
  options.missing_distance = options.distance_sign * std::numeric_limits<float>::max();
  return options;
}

}  // namespace rotorquant
