# SPDX-License-Identifier: MIT
"""Conversions between what callers pass and the arrays that the extension module reads."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _as_numpy(x: Any, name: str) -> NDArray[Any]:
    """x as a NumPy array, without a copy where NumPy or DLPack allow it."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        device, number = x.__dlpack_device__()
        if int(device) != 1:  # kDLCPU
            raise TypeError(
                f"{name}: expected an array in the processor's memory, received one on DLPack "
                f"device ({int(device)}, {number}): move it there first"
            )
        try:
            return np.from_dlpack(x)
        except (BufferError, RuntimeError):
            # A type that NumPy lacks (bfloat16) or a tensor that is being differentiated.
            if hasattr(x, "detach"):
                return np.asarray(x.detach().float())
            raise
    return np.asarray(x)


def as_float32(x: Any, name: str) -> NDArray[np.float32]:
    """x as a C-contiguous, aligned float32 array."""
    array = _as_numpy(x, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, received dtype {array.dtype}")
    return np.require(array, dtype=np.float32, requirements=["C", "A"])


def as_int64(ids: Any, name: str) -> NDArray[np.int64]:
    """ids as a C-contiguous int64 array; floats are refused, not truncated."""
    array = _as_numpy(ids, name)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, received dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected ids below 2**63, received {int(array.max())}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


def as_uint8(codes: Any, name: str) -> NDArray[np.uint8]:
    """codes as a C-contiguous uint8 array."""
    array = _as_numpy(codes, name)
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: expected uint8, received dtype {array.dtype}")
    return np.require(array, dtype=np.uint8, requirements=["C"])


def like(result: NDArray[Any], model: Any) -> Any:
    """result as the kind of array that model is (a PyTorch tensor for a PyTorch tensor)."""
    if isinstance(model, np.ndarray) or not hasattr(model, "__dlpack__"):
        return result
    package = sys.modules.get(type(model).__module__.split(".")[0])
    from_dlpack = getattr(package, "from_dlpack", None)
    return result if from_dlpack is None else from_dlpack(result)


def filter_parts(filters: Any) -> tuple[bool, list[NDArray[Any]]]:
    """Whether there is one filter a query, and the filters: each a vector of ids (int64), a mask
    (bool) or a bitmap (uint8)."""
    if isinstance(filters, (list, tuple)) and any(np.ndim(part) > 0 for part in filters):
        return True, [_one_filter(part) for part in filters]
    array = _as_numpy(filters, "filter")
    if array.ndim == 2 and array.dtype in (np.dtype(bool), np.dtype(np.uint8)):
        return True, [_one_filter(row) for row in array]
    return False, [_one_filter(array)]


def _one_filter(part: Any) -> NDArray[Any]:
    array = _as_numpy(part, "filter")
    if array.ndim != 1:
        raise ValueError(
            f"filter: expected shape (n,), or (queries, n) for a mask or bitmap a query, "
            f"received {array.shape}"
        )
    if array.dtype in (np.dtype(bool), np.dtype(np.uint8)):
        return np.ascontiguousarray(array)
    return as_int64(array, "filter")
