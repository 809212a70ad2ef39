# SPDX-License-Identifier: MIT
"""Our indexes on CUDA devices, where the package was built with CUDA (wheels are not):

    from rotorquant import gpu

    on_gpu = gpu.index_cpu_to_gpu(gpu.GpuResources(0), index)
    distances, ids = on_gpu.search(queries, 10)  # NumPy, CuPy or PyTorch, on either side

docs/gpu.md and docs/python.md say more.
"""

from __future__ import annotations

from typing import Any

from rotorquant import _core

__all__ = [
    "GpuIndexIVFRotorQuant",
    "GpuIndexRotorQuant",
    "GpuResources",
    "device_count",
    "index_cpu_to_gpu",
    "index_cpu_to_gpu_multiple",
    "index_gpu_to_cpu",
]


def _part(name: str) -> Any:
    if not hasattr(_core, name):
        raise ImportError(
            "rotorquant.gpu: expected a package built with CUDA, received one without: build it "
            "from source with -C cmake.define.ROTORQUANT_CUDA=ON"
        )
    return getattr(_core, name)


GpuResources = _part("GpuResources")
GpuIndexRotorQuant = _part("GpuIndexRotorQuant")
GpuIndexIVFRotorQuant = _part("GpuIndexIVFRotorQuant")
device_count = _part("gpu_device_count")
index_cpu_to_gpu = _part("index_cpu_to_gpu")
index_cpu_to_gpu_multiple = _part("index_cpu_to_gpu_multiple")
index_gpu_to_cpu = _part("index_gpu_to_cpu")
