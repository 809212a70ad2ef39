# SPDX-License-Identifier: MIT
"""What `eval` measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rotorquant
from rotorquant.cli.dataset import Dataset, Floats, Ids, recall
from rotorquant.cli.spec import SearchSetup, Setting, make_index, prepare_search


@dataclass
class EvalResult:
    """Of one index on one data set; the fields are the keys of --json, as in the C++ program."""

    index: str
    dataset: str
    metric: str
    n: int
    d: int
    queries: int
    k: int
    threads: int
    simd: str
    recall_at_1: float
    recall_at_k: float
    bytes_per_vector: float
    index_bytes: int
    train_seconds: float
    add_seconds: float
    single_query_us: float
    batch_qps: float
    distortion: float | None


#: Told (step, done, total) while work goes on.
Report = Callable[[str, int, int], None]


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def search_batch(
    index: rotorquant.Index, setup: SearchSetup, queries: Floats, k: int, runs: int
) -> tuple[Floats, Ids, float]:
    """Distances, ids and the best seconds of `runs` searches of all queries in one call."""
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        distances, ids = index.search(queries, k, params=setup.params)
        best = min(best, time.perf_counter() - begin)
    return distances, ids, best


def single_query_us(
    index: rotorquant.Index, setup: SearchSetup, queries: Floats, k: int, report: Report
) -> float:
    """Median microseconds of a search for one query; no more than a few seconds once 100 are
    done."""
    enough_queries, enough_seconds = 100, 5.0
    begin = time.perf_counter()
    micros = []
    for q in range(len(queries)):
        if q >= enough_queries and time.perf_counter() - begin > enough_seconds:
            break
        query = queries[q : q + 1]
        micros.append(_seconds(lambda: index.search(query, k, params=setup.params)) * 1e6)
        report("one query a call", q + 1, len(queries))
    return float(np.median(micros)) if micros else 0.0


def _centre(index: rotorquant.Index) -> NDArray[np.float64]:
    centre = getattr(index, "centre", None)
    return np.zeros(index.d) if centre is None else np.asarray(centre, np.float64)


def distortion(index: rotorquant.Index, base: Floats) -> float | None:
    """Mean 1 - cos^2 of the angle between a row and its decoding, both seen from the index's
    centre, over up to 10,000 rows spread evenly; None where the index cannot decode."""
    most_rows, block = 10000, 65536
    count = min(len(base), most_rows)
    chosen = np.arange(count) * len(base) // max(count, 1)
    centre = _centre(index)
    losses = []
    try:
        for first in range(0, len(base), block):
            rows = chosen[(chosen >= first) & (chosen < first + block)]
            decoded = index.reconstruct_n(first, min(block, len(base) - first))[rows - first]
            x, y = base[rows] - centre, decoded - centre
            xx, yy, xy = (x * x).sum(1), (y * y).sum(1), (x * y).sum(1)
            some = xx > 0
            with np.errstate(divide="ignore", invalid="ignore"):
                loss = np.where(yy[some] > 0, 1 - xy[some] ** 2 / (xx[some] * yy[some]), 1.0)
            losses.append(np.maximum(loss, 0))
    except rotorquant.Error:
        return None  # FAISS says "not implemented" this way
    every = np.concatenate(losses) if losses else np.zeros(0)
    return float(every.mean()) if every.size else 0.0


def evaluate(
    dataset: Dataset,
    spec: str,
    k: int,
    threads: int,
    settings: list[Setting],
    report: Report,
    note: Callable[[str], None],
) -> EvalResult:
    """Builds the index on the data set, which must hold min(k, n) true neighbours, searches it and
    measures everything."""
    base, queries = dataset.base, dataset.queries
    index = make_index(spec, base.shape[1], dataset.metric)
    report("training", 0, 0)
    train_seconds = _seconds(lambda: index.train(base))
    empty_bytes = len(rotorquant.serialize_index(index))
    add_seconds = _seconds(
        lambda: index.add(base, progress=lambda done, n: report("adding", done, n))
    )
    index_bytes = len(rotorquant.serialize_index(index))

    setup = prepare_search(index, settings, threads)
    for name in setup.unused:
        note(f"{dataset.name}: {spec}: does not know --param {name}, searched without it")
    report("searching", 0, 0)
    _, found, best_seconds = search_batch(index, setup, queries, k, 3)
    single = single_query_us(index, setup, queries, k, report)
    report("decoding", 0, 0)
    return EvalResult(
        index=spec,
        dataset=dataset.name,
        metric=dataset.distance,
        n=len(base),
        d=base.shape[1],
        queries=len(queries),
        k=k,
        threads=threads,
        simd=rotorquant.simd_active(),
        recall_at_1=recall(dataset.truth, found, 1),
        recall_at_k=recall(dataset.truth, found, k),
        bytes_per_vector=(index_bytes - empty_bytes) / len(base),
        index_bytes=index_bytes,
        train_seconds=train_seconds,
        add_seconds=add_seconds,
        single_query_us=single,
        batch_qps=len(queries) / max(best_seconds, 1e-9),
        distortion=distortion(index, base),
    )


def facts(index: rotorquant.Index) -> dict[str, Any]:
    """What `info` says."""
    found: dict[str, Any] = {
        "type": type(index).__name__,
        "factory string": index.factory_string,
        "d": index.d,
        "n": index.ntotal,
        "metric": index.metric,
        "trained": index.is_trained,
    }
    if isinstance(index, rotorquant.IndexRotorQuant):
        found |= {
            "bits a dimension": index.bits,
            "levels": index.levels,
            "signs": index.signs,
            "frame": "learned" if index.learned else "layers of rotors",
            "seed": index.seed,
            "code bytes a vector": index.code_size,
        }
        if index.is_trained:
            found["expected distortion"] = round(index.expected_distortion(), 5)
        return found
    if isinstance(index, rotorquant.IndexIVFRotorQuant):
        found |= {"inverted lists": index.nlist, "nprobe": index.nprobe}
    try:
        found["code bytes a vector"] = index.sa_code_size()
    except rotorquant.Error:
        pass  # not every FAISS index has standalone codes
    return found
