# SPDX-License-Identifier: MIT
"""Reads ann-benchmarks HDF5 files, derives other sets from them, and knows what recall is.

The same rules as tools/dataset.h: values are read as float32, angular vectors are scaled to length
1 and compared by inner product, recall counts ids and gives no credit for ties.
"""

import dataclasses
import os
import pathlib

import h5py
import numpy as np

TRUTH_COLUMNS = 100
# Standard deviations of a coordinate that copies of a vector differ by in a grown set.
GROWTH_NOISE = 0.2

_METRICS = {
    "euclidean": "l2",
    "l2": "l2",
    "angular": "ip",
    "cosine": "ip",
    "ip": "ip",
    "dot": "ip",
    "inner_product": "ip",
}


@dataclasses.dataclass
class Dataset:
    name: str
    distance: str  # as the file says
    base: np.ndarray | None  # n x d float32; None where only the queries were asked for
    queries: np.ndarray
    truth: np.ndarray | None  # queries x 100 or so, nearest first
    n: int

    @property
    def d(self):
        return self.queries.shape[1]

    @property
    def metric(self):
        """'l2' or 'ip': what an index is told."""
        return _METRICS[self.distance]


def load(path, rows=0, queries=0, base=True):
    """The first `rows` vectors and `queries` queries of a file; 0 stands for all."""
    with h5py.File(path) as file:
        distance = file.attrs["distance"]
        distance = distance.decode() if isinstance(distance, bytes) else str(distance)
        if distance not in _METRICS:
            raise ValueError(
                f"{path}: distance: expected one of {', '.join(_METRICS)}, received {distance}"
            )
        available = file["train"].shape[0]
        n = min(rows or available, available)
        test = file["test"][: queries or None].astype(np.float32)
        train = file["train"][:n].astype(np.float32) if base else None
        whole = n == available and "neighbors" in file
        truth = file["neighbors"][: len(test)] if whole else None
    if distance in ("angular", "cosine"):
        normalise(test)
        if base:
            normalise(train)
    return Dataset(pathlib.Path(path).stem, distance, train, test, truth, n)


def normalise(x, block=65536):
    """Scales the rows of x to length 1 in place; zero rows stay."""
    for first in range(0, len(x), block):
        rows = x[first : first + block]
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        lengths[lengths == 0.0] = 1.0
        rows /= lengths[:, None]


def exact_neighbours(base, queries, metric, k=TRUTH_COLUMNS, block=64):
    """Rows of the k nearest of base for each query, nearest first, ties by row: chosen by a float32
    product, ranked in float64."""
    k = min(k, len(base))
    spare = min(len(base), k + k // 8 + 32)
    half_norms = (
        0.5 * np.einsum("ij,ij->i", base, base, dtype=np.float64) if metric == "l2" else 0.0
    )
    found = np.empty((len(queries), k), np.int32)
    for first in range(0, len(queries), block):
        rows = queries[first : first + block]
        scores = half_norms - rows @ base.T
        shortlists = np.argpartition(scores, spare - 1, axis=1)[:, :spare]
        for i, (query, shortlist) in enumerate(zip(rows.astype(np.float64), shortlists)):
            shortlist = np.sort(shortlist)
            near = base[shortlist].astype(np.float64)
            exact = ((near - query) ** 2).sum(axis=1) if metric == "l2" else -(near @ query)
            found[first + i] = shortlist[np.argsort(exact, kind="stable")[:k]]
    return found


def recall(truth, found, k=10):
    """Mean share of a query's first k true ids among ALL its found ids: 10-recall@10 where 10 were
    asked for, "top 10 in 100" where 100 were."""
    hits = [len(np.intersect1d(true[:k], ids)) for true, ids in zip(truth, found, strict=True)]
    return float(np.mean(hits)) / min(k, truth.shape[1])


# ---- derived sets ----------------------------------------------------------------------------


def prepared(path, folder, join=1, rows=0):
    """The path of a file with truth: `path` itself where nothing changes, else a file made from it
    in `folder` (once). join = 4: vectors of four times the dimension, each four vectors of the file
    end to end; rows: that many of them."""
    path = pathlib.Path(path)
    with h5py.File(path) as file:
        complete = "neighbors" in file and (not rows or rows >= len(file["train"])) and join == 1
    if complete:
        return path
    name = path.stem + (f"-joined{join}" if join > 1 else "") + (f"-{rows}" if rows else "")
    target = pathlib.Path(folder) / f"{name}.hdf5"
    if not target.exists():
        data = load(path)
        base = joined(data.base, join, rows, seed=1) if join > 1 else data.base[: rows or None]
        queries = joined(data.queries, join, 0, seed=2) if join > 1 else data.queries
        truth = exact_neighbours(base, queries, data.metric)
        write(target, data.distance, base, queries, truth)
    return target


def joined(x, join, rows, seed):
    """`rows` (0: as many as x has) vectors, each of `join` rows of x end to end. Every place draws
    from permutations of its own, so that there are more combinations than x has rows and hardly
    one comes twice."""
    rng = np.random.default_rng(seed)
    rows = rows or len(x)
    repeats = -(-rows // len(x))
    places = [
        np.concatenate([rng.permutation(len(x)) for _ in range(repeats)])[:rows]
        for _ in range(join)
    ]
    wide = np.concatenate([x[place] for place in places], axis=1)
    return wide


def grown(path, folder, rows):
    """A file of `rows` vectors: those of `path`, then copies of them with a little seeded noise. It
    has no truth: growth is about time and bytes."""
    target = pathlib.Path(folder) / f"{pathlib.Path(path).stem}-grown-{rows}.hdf5"
    if target.exists():
        return target
    data = load(path)
    rng = np.random.default_rng(3)
    deviation = GROWTH_NOISE * data.base.std(axis=0, dtype=np.float64).astype(np.float32)

    def blocks():
        for first in range(0, rows, data.n):
            copy = data.base[: rows - first]
            noise = rng.standard_normal(copy.shape, np.float32) * deviation if first else 0.0
            yield copy + noise

    write(target, data.distance, blocks(), data.queries, None, rows)
    return target


def write(target, distance, base, queries, truth, rows=None):
    """base: an array, or an iterable of blocks that make up `rows` rows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    with h5py.File(unfinished, "w") as file:
        file.attrs["distance"] = distance
        file["test"] = queries
        if truth is not None:
            file["neighbors"] = truth
        if rows is None:
            file["train"] = base
        else:
            train = file.create_dataset("train", (rows, queries.shape[1]), np.float32)
            first = 0
            for block in base:
                train[first : first + len(block)] = block
                first += len(block)
    os.replace(unfinished, target)
