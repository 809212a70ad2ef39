# SPDX-License-Identifier: MIT
"""Vectors that the tests share. Real ones: the shipped subsets are what recall is stated for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import rotorquant

root = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    rotorquant.omp_set_num_threads(1)


@pytest.fixture(scope="session")
def dataset_path() -> Path:
    return root / "datasets" / "sift-128-euclidean-20k.hdf5"


@pytest.fixture(scope="session")
def base(dataset_path: Path) -> NDArray[np.float32]:
    """4,000 SIFT descriptors."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(dataset_path) as file:
        return np.asarray(file["train"][:4000], dtype=np.float32)


@pytest.fixture(scope="session")
def queries(dataset_path: Path) -> NDArray[np.float32]:
    """40 more of them, from other photographs."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(dataset_path) as file:
        return np.asarray(file["test"][:40], dtype=np.float32)


@pytest.fixture(scope="session")
def truth(base: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """The 10 nearest rows of base for each query, by brute force in float64."""
    difference = queries[:, None, :].astype(np.float64) - base[None, :, :]
    return np.argsort((difference**2).sum(axis=2), axis=1, kind="stable")[:, :10]


@pytest.fixture(scope="session")
def filled(base: NDArray[np.float32]) -> rotorquant.Index:
    """RQ3 over base. Tests that change it take a clone."""
    index = rotorquant.index_factory(base.shape[1], "RQ3")
    index.train(base)
    index.add(base)
    return index


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    return sum(hits) / truth.size
