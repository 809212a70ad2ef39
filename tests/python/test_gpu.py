# SPDX-License-Identifier: MIT
"""rotorquant.gpu, on a device or in emulation (cmake.define.ROTORQUANT_GPU_EMULATION=ON)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rotorquant

try:
    from rotorquant import gpu
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)
if gpu.device_count() == 0:
    pytest.skip("no CUDA device", allow_module_level=True)

rng = np.random.default_rng(7)
vectors = rng.standard_normal((600, 24), dtype=np.float32)
queries = rng.standard_normal((9, 24), dtype=np.float32)


class OnDevice:
    """What CuPy and PyTorch offer of an array, over NumPy's memory: the runtime (and the emulator)
    takes pointers of either side."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.array = array
        self.changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {
            "shape": self.array.shape,
            "typestr": self.array.dtype.str,
            "data": (self.array.ctypes.data, False),
            "strides": None if self.array.flags.c_contiguous else self.array.strides,
            "version": 3,
        }
        return interface | self.changes


@pytest.fixture(params=["RQ3", "IVF8,RQ3"])
def cpu(request: Any) -> rotorquant.Index:
    index = rotorquant.index_factory(24, request.param)
    index.train(vectors)
    index.add(vectors)
    if "IVF" in request.param:
        index.nprobe = 3
    return index


@pytest.fixture
def on_gpu(cpu: rotorquant.Index) -> Any:
    return gpu.index_cpu_to_gpu(gpu.GpuResources(0), cpu)


def same(received: Any, expected: Any) -> None:
    np.testing.assert_array_equal(received[1], expected[1])
    np.testing.assert_allclose(received[0], expected[0], rtol=2e-6, atol=2e-5)


def test_there_and_back(cpu: Any, on_gpu: Any) -> None:
    assert type(on_gpu).__name__ in ("GpuIndexRotorQuant", "GpuIndexIVFRotorQuant")
    same(on_gpu.search(queries, 5), cpu.search(queries, 5))
    back = gpu.index_gpu_to_cpu(on_gpu)
    assert type(back) is type(cpu)
    assert rotorquant.serialize_index(back) == rotorquant.serialize_index(cpu)


def test_several_devices(cpu: Any) -> None:
    resources = [gpu.GpuResources(0), gpu.GpuResources(gpu.device_count() - 1)]
    for shards in (True, False):
        spread = gpu.index_cpu_to_gpu_multiple(resources, cpu, shards=shards)
        same(spread.search(queries, 5), cpu.search(queries, 5))


def test_arrays_on_the_device(cpu: Any, on_gpu: Any) -> None:
    expected = cpu.search(queries, 5)
    same(on_gpu.search(OnDevice(queries), 5), expected)
    same(on_gpu.search(OnDevice(queries, stream=2), 5), expected)
    distances = np.empty((9, 5), np.float32)
    ids = np.empty((9, 5), np.int64)
    out = (OnDevice(distances), OnDevice(ids))
    assert on_gpu.search(OnDevice(queries), 5, out=out)[0] is out[0]
    same((distances, ids), expected)
    cpu.add(queries)
    on_gpu.add(OnDevice(queries))
    same(on_gpu.search(queries, 5), cpu.search(queries, 5))


def test_parameters_and_filters(cpu: Any, on_gpu: Any) -> None:
    allowed = np.arange(0, 600, 3)
    same(on_gpu.search(queries, 5, filter=allowed), cpu.search(queries, 5, filter=allowed))
    params = rotorquant.SearchParameters(refine_error_scale=5)
    same(on_gpu.search(queries, 5, params=params), cpu.search(queries, 5, params=params))
    if hasattr(on_gpu, "nprobe"):
        on_gpu.nprobe = 8
        params = rotorquant.SearchParameters(nprobe=8)
        same(on_gpu.search(queries, 5), cpu.search(queries, 5, params=params))


def test_refuses_what_does_not_fit(on_gpu: Any) -> None:
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 24\), received \(24, 9\)"):
        on_gpu.search(OnDevice(np.ascontiguousarray(queries.T)), 5)
    with pytest.raises(TypeError, match="x: expected typestr <f4, received <f8"):
        on_gpu.search(OnDevice(queries.astype(np.float64)), 5)
    with pytest.raises(ValueError, match="x: expected an array in C order"):
        on_gpu.search(OnDevice(np.asfortranarray(queries)), 5)
    distances, ids = np.empty((9, 5), np.float32), np.empty((9, 5), np.int64)
    with pytest.raises(ValueError, match=r"out\[1\]: expected an array on the device"):
        on_gpu.search(queries, 5, out=(OnDevice(distances), ids))
    read_only = OnDevice(ids, data=(ids.ctypes.data, True))
    with pytest.raises(ValueError, match=r"out\[1\]: expected an array that can be written"):
        on_gpu.search(queries, 5, out=(OnDevice(distances), read_only))
