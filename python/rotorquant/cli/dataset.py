# SPDX-License-Identifier: MIT
"""Files in the layout of ann-benchmarks, and files of vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import rotorquant
from rotorquant.cli.errors import BadArgument

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_distances = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "angular": "angular",
    "cosine": "angular",
    "ip": "ip",
    "dot": "ip",
    "inner_product": "ip",
}


class DatasetError(Exception):
    """A file that is not what it should be."""


def parse_distance(word: str) -> str | None:
    """euclidean, angular or ip for one of their names, None for any other word."""
    return _distances.get(word)


def metric_of(distance: str) -> str:
    """How an index searches such vectors: angular ones are normalised and compared by product."""
    return "l2" if distance == "euclidean" else "inner_product"


def normalised(x: Floats) -> Floats:
    """Rows of length 1; zero rows stay."""
    lengths = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(x / np.where(lengths > 0, lengths, 1), np.float32)


@dataclass
class Shape:
    """What a file holds, read without its vectors."""

    path: Path
    name: str
    distance: str
    n: int
    d: int
    queries: int


@dataclass
class Dataset:
    """Vectors, queries and their true neighbours (nearest first; no columns where unknown)."""

    name: str
    distance: str
    base: Floats
    queries: Floats
    truth: Ids

    @property
    def metric(self) -> str:
        return metric_of(self.distance)


def _matrix(file: h5py.File, key: str) -> Any:
    found = file.get(key)
    if not isinstance(found, h5py.Dataset) or found.ndim != 2 or found.dtype.kind not in "fiu":
        received = "nothing" if found is None else f"{getattr(found, 'shape', 'a group')}"
        raise DatasetError(
            f"{file.filename}: {key}: expected a matrix of numbers, received {received}"
        )
    return found


def _shape(path: Path, file: h5py.File) -> Shape:
    base, queries = _matrix(file, "train"), _matrix(file, "test")
    if base.shape[1] != queries.shape[1]:
        raise DatasetError(
            f"{path}: test: expected {base.shape[1]} columns as train has, "
            f"received {queries.shape[1]}"
        )
    word = file.attrs.get("distance", "")
    word = word.decode() if isinstance(word, bytes) else str(word)
    distance = parse_distance(word)
    if distance is None:
        raise DatasetError(
            f"{path}: attribute distance: expected one of {', '.join(_distances)}, "
            f"received {word!r}"
        )
    return Shape(path, path.stem, distance, base.shape[0], base.shape[1], queries.shape[0])


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DatasetError(f"{path}: expected an HDF5 file: {error}") from error


def read_shape(path: Path) -> Shape:
    with _open(path) as file:
        return _shape(path, file)


def _floats(matrix: Any, rows: int | None, name: str) -> Floats:
    values = np.ascontiguousarray(matrix[:rows], dtype=np.float32)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DatasetError(f"{name}: expected finite numbers, row {row} holds others")
    return values


def read_dataset(path: Path, rows: int | None = None, queries: int | None = None) -> Dataset:
    """The first `rows` rows and `queries` queries; None, or more than there are: all. The file's
    truth is dropped when rows cuts the base."""
    with _open(path) as file:
        shape = _shape(path, file)
        base = _floats(file["train"], rows, f"{path}: train")
        asked = _floats(file["test"], queries, f"{path}: test")
        truth = np.zeros((len(asked), 0), np.int64)
        if "neighbors" in file and len(base) == shape.n:
            truth = np.asarray(_matrix(file, "neighbors")[: len(asked)], dtype=np.int64)
            if len(truth) != len(asked) or (truth.size and truth.max() >= shape.n):
                raise DatasetError(
                    f"{path}: neighbors: expected rows of train for {len(asked)} queries, "
                    f"received {len(truth)} rows up to {truth.max()}"
                )
    if shape.distance == "angular":
        base, asked = normalised(base), normalised(asked)
    return Dataset(shape.name, shape.distance, base, asked, truth)


def exact_neighbours(base: Floats, queries: Floats, metric: str, k: int) -> Ids:
    """The min(k, n) nearest rows of each query: chosen in float32, ranked in float64, equal
    distances by row."""
    k = min(k, len(base))
    index = rotorquant.index_factory(base.shape[1], "Flat", metric)
    index.add(base)
    _, candidates = index.search(queries, min(k + 32, len(base)))
    truth = np.empty((len(queries), k), np.int64)
    for q, ids in enumerate(np.sort(candidates, axis=1)):
        rows, query = base[ids].astype(np.float64), queries[q].astype(np.float64)
        cost = ((rows - query) ** 2).sum(axis=1) if metric == "l2" else -(rows @ query)
        truth[q] = ids[np.argsort(cost, kind="stable")[:k]]
    return truth


def ensure_truth(dataset: Dataset, k: int) -> None:
    """Computes the truth where fewer than min(k, n) neighbours are known."""
    if dataset.truth.shape[1] < min(k, len(dataset.base)):
        dataset.truth = exact_neighbours(dataset.base, dataset.queries, dataset.metric, k)


def recall(truth: Ids, found: Ids, k: int) -> float:
    """Mean share of the first min(k, known) true ids among the first k found ids, by ids alone."""
    wanted = truth[:, :k]
    hits = (found[:, :k, None] == wanted[:, None, :]).any(axis=1)
    return float(hits.mean()) if hits.size else 0.0


def _read_vecs(path: Path, item: str, rows: int | None) -> Floats:
    """.fvecs and .bvecs: each row a little-endian int32 d, then d values."""
    head = np.fromfile(path, dtype="<i4", count=1)
    d = int(head[0]) if len(head) else 0
    if d < 1:
        raise DatasetError(f"{path}: expected a dimension of 1 or more, received {d}")
    record = np.dtype([("d", "<i4"), ("values", item, (d,))])
    if path.stat().st_size % record.itemsize:
        raise DatasetError(
            f"{path}: expected rows of {record.itemsize} bytes, received {path.stat().st_size}"
        )
    records = np.fromfile(path, dtype=record, count=-1 if rows is None else rows)
    if (records["d"] != d).any():
        raise DatasetError(f"{path}: expected {d} dimensions in every row, received others")
    return np.ascontiguousarray(records["values"], dtype=np.float32)


def read_vectors(path: Path, rows: int | None = None) -> Floats:
    """.fvecs, .bvecs or .npy; n x d."""
    ending = path.suffix
    if ending not in (".fvecs", ".bvecs", ".npy"):
        raise BadArgument(
            f"--input: expected a name that ends in .fvecs, .bvecs or .npy, received '{path}'"
        )
    if ending != ".npy":
        values = _read_vecs(path, "<f4" if ending == ".fvecs" else "u1", rows)
    else:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if stored.ndim != 2 or stored.dtype.kind not in "fiu":
            raise DatasetError(
                f"{path}: expected a matrix of numbers, received {stored.dtype} {stored.shape}"
            )
        values = np.ascontiguousarray(stored[:rows], dtype=np.float32)
    if not np.isfinite(values).all():
        raise DatasetError(f"{path}: expected finite numbers")
    return values


def write_ivecs(path: Path, ids: Ids) -> None:
    """Each row an int32 k, then k int32."""
    if ids.size and ids.max() > np.iinfo(np.int32).max:
        raise DatasetError(f"{path}: expected ids below 2**31, received {ids.max()}")
    columns = np.full((len(ids), 1), ids.shape[1])
    np.hstack([columns, ids]).astype("<i4").tofile(path)
