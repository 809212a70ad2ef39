# SPDX-License-Identifier: MIT
"""What may be passed as an array."""

from __future__ import annotations

import numpy as np
import pytest

import rotorquant as rq


class Foreign:
    """Another library's array: all that is known of it is DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, *args, **kwargs):
        return self.array.__dlpack__(*args, **kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnAnotherDevice(Foreign):
    def __dlpack_device__(self):
        return (2, 0)  # kDLCUDA


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.uint8),
        lambda x: x.tolist(),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f4"),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        lambda x: Foreign(x),
    ],
    ids=["f64", "f16", "u8", "list", "fortran", "strided", "big-endian", "unaligned", "dlpack"],
)
def test_equal_values_give_equal_answers(convert, filled, queries):
    expected = filled.search(queries, 5)
    for ours, theirs in zip(filled.search(convert(queries), 5), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_results_are_ordinary_arrays(filled, queries):
    distances, ids = filled.search(queries, 5)
    assert (distances.dtype, ids.dtype) == (np.float32, np.int64)
    assert distances.shape == ids.shape == (40, 5)
    assert distances.flags.writeable and distances.flags.c_contiguous
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("shape", "received"),
    [((128,), r"\(128,\)"), ((3, 127), r"\(3, 127\)"), ((1, 3, 128), r"\(1, 3, 128\)"), ((), r"\(\)")],
)
def test_wrong_shapes_name_both(shape, received, filled):
    for call in (lambda x: filled.search(x, 1), filled.clone().add, filled.clone().train):
        with pytest.raises(ValueError, match=rf"x: expected shape \(n, 128\), received {received}"):
            call(np.zeros(shape, np.float32))


@pytest.mark.parametrize("x", ["text", [["a"]], np.zeros((1, 128), complex), None, [[1, [2]]]])
def test_what_is_no_array_of_numbers(x, filled):
    with pytest.raises((TypeError, ValueError)):
        filled.search(x, 1)


def test_other_devices_are_refused(filled, queries):
    with pytest.raises(TypeError, match=r"x: expected an array in the processor's memory.*\(2, 0\)"):
        filled.search(OnAnotherDevice(queries), 1)


def test_values_that_are_not_finite(filled, queries):
    bad = queries.copy()
    bad[3, 5] = np.nan
    for call in (lambda x: filled.search(x, 1), filled.clone().add):
        with pytest.raises(rq.Error, match="3"):
            call(bad)


def test_no_rows(filled):
    distances, ids = filled.search(np.zeros((0, 128)), 5)
    assert distances.shape == ids.shape == (0, 5)
    filled.clone().add(np.zeros((0, 128)))


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k, filled, queries):
    with pytest.raises(ValueError, match=f"k: expected 1 or more, received {k}"):
        filled.search(queries, k)


def test_ids_are_whole_numbers(filled, base):
    with pytest.raises(TypeError, match="ids: expected integers, received dtype float64"):
        filled.clone().update([0.5], base[:1])
    with pytest.raises(ValueError, match="below 2"):
        filled.clone().update(np.array([2**63], np.uint64), base[:1])


def test_torch_tensors(filled, queries):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(queries)
    np.testing.assert_array_equal(filled.search(tensor, 5)[1], filled.search(queries, 5)[1])
    cache = rq.RotorQuantKVCache(16, 16)
    cache.append(torch.randn(2, 3, 16), torch.randn(2, 3, 16))
    assert isinstance(cache.attention_scores(torch.randn(4, 16)), torch.Tensor)
    cache.append(torch.randn(2, 16, dtype=torch.bfloat16), torch.randn(2, 16, requires_grad=True))
    assert len(cache) == 8
