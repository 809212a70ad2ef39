// SPDX-License-Identifier: MIT
#pragma once

// For a FAISS that was built with GPU, beside whose own indexes ours are to work. Included by
// whoever has one: nothing of ours needs it.

#include <faiss/gpu/GpuResources.h>

#include <memory>

#include "rotorquant/gpu.h"

namespace rotorquant {

/// Resources on the stream that FAISS's indexes use on `device`, so that the work of both keeps its
/// order. They keep FAISS's alive; memory pool and cuBLAS handle stay ours (FAISS's handle may be
/// set to a faster, less exact mode).
inline GpuResources gpu_resources_of(faiss::gpu::GpuResourcesProvider& provider, int device) {
  const std::shared_ptr<faiss::gpu::GpuResources> shared = provider.getResources();
  shared->initializeForDevice(device);
  return GpuResources(device, shared->getDefaultStream(device), shared);
}

}  // namespace rotorquant
