# SPDX-License-Identifier: MIT
"""Search parameters, filters, range search."""

from __future__ import annotations

import numpy as np
import pytest

import rotorquant as rq


@pytest.fixture(scope="module")
def mask():
    return np.random.default_rng(1).random(4000) < 0.3


def forms_of(mask):
    return {
        "ids": np.flatnonzero(mask),
        "list of ids": np.flatnonzero(mask).tolist(),
        "int32 ids": np.flatnonzero(mask).astype(np.int32),
        "mask": mask,
        "bitmap": np.packbits(mask, bitorder="little"),
    }


def brute_force(index, queries, mask, k):
    """All answers, then those that the mask allows."""
    _, ids = index.search(queries, len(index), params=rq.SearchParameters(refine_error_scale=0))
    return np.stack([row[mask[row]][:k] for row in ids])


@pytest.mark.parametrize("form", ["ids", "list of ids", "int32 ids", "mask", "bitmap"])
def test_one_filter_for_all(form, filled, queries, mask):
    expected = brute_force(filled, queries, mask, 10)
    parameters = rq.SearchParameters(filter=forms_of(mask)[form], refine_error_scale=100)
    _, found = filled.search(queries, 10, params=parameters)
    np.testing.assert_array_equal(found, expected)
    _, found = filled.search(
        queries, 10, params=rq.SearchParameters(refine_error_scale=100), filter=forms_of(mask)[form]
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["list", "tuple", "two-dimensional mask", "bitmaps", "id arrays"])
def test_one_filter_a_query(form, filled, queries):
    masks = np.random.default_rng(2).random((40, 4000)) < 0.2
    filters = {
        "list": list(masks),
        "tuple": tuple(masks),
        "two-dimensional mask": masks,
        "bitmaps": np.packbits(masks, axis=1, bitorder="little"),
        "id arrays": [np.flatnonzero(row) for row in masks],
    }[form]
    _, found = filled.search(queries, 10, filter=filters)
    for q in range(40):
        _, alone = filled.search(queries[q : q + 1], 10, filter=masks[q])
        np.testing.assert_array_equal(found[q], alone[0])
        assert masks[q][found[q]].all()


def test_filters_must_be_as_many_as_queries(filled, queries):
    with pytest.raises(ValueError, match="filter: expected one for all or 40.*received 2"):
        filled.search(queries, 1, filter=[[1, 2], [3]])


def test_sparse_ids_far_apart(filled, queries):
    """Too far apart for a bitmap."""
    _, ids = filled.search(queries, 3, filter=[5, 3000, 2**60, -4])
    assert set(ids[:, :2].ravel()) == {5, 3000} and (ids[:, 2] == -1).all()


def test_nothing_allowed(filled, queries):
    for nothing in ([], np.zeros(4000, bool), np.zeros(0, np.uint8)):
        distances, ids = filled.search(queries, 2, filter=nothing)
        assert (ids == -1).all() and (distances == np.finfo(np.float32).max).all()


@pytest.mark.parametrize("bad", [[0.5, 1.0], "abc", np.zeros((2, 2, 2), bool), object()])
def test_filters_that_are_none(bad, filled, queries):
    with pytest.raises((TypeError, ValueError)):
        filled.search(queries, 1, filter=bad)


@pytest.mark.parametrize("spec", ["IDMap2,RQ3", "IDMap,PCA64,RQ4", "PCA64,IDMap2,RQ4", "Flat"])
def test_filters_reach_through_wrappers(spec, base, queries, mask):
    index = rq.index_factory(128, spec)
    index.train(base)
    offset = 0
    if "IDMap" in spec:
        offset = 10000
        index.add_with_ids(base, np.arange(4000) + offset)
    else:
        index.add(base)
    allowed = np.flatnonzero(mask) + offset
    _, found = index.search(queries, 10, filter=allowed)
    assert np.isin(found, allowed).all()
    everything, _ = index.search(queries, 10)
    same, ids = index.search(queries, 10, filter=np.arange(4000) + offset)
    np.testing.assert_array_equal(same, everything)
    limits, distances, ids = index.range_search(queries, float(everything.max()), filter=allowed)
    assert len(ids) == limits[-1] and np.isin(ids, allowed).all()


def test_parameters_of_a_call(filled, queries):
    stats = rq.SearchStats()
    coarse = rq.SearchParameters(levels=1, stats=stats)
    assert not np.array_equal(
        filled.search(queries, 10, params=coarse)[1], filled.search(queries, 10)[1]
    )
    assert stats.queries == 40 and stats.blocks_scanned > 0
    stats.reset()
    assert stats.queries == 0
    strict = rq.SearchParameters(estimator=rq.Estimator.strict)
    assert not np.array_equal(
        filled.search(queries, 10, params=strict)[0], filled.search(queries, 10)[0]
    )


def test_threads_do_not_change_answers(filled, queries):
    one = filled.search(queries, 10)
    two = filled.search(queries, 10, params=rq.SearchParameters(threads=2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_that_mean_nothing_are_refused(filled, queries, base):
    with pytest.raises(rq.Error, match="nprobe"):
        filled.search(queries, 1, params=rq.SearchParameters(nprobe=3))
    flat = rq.index_factory(128, "Flat")
    flat.add(base)
    with pytest.raises(rq.Error, match="a filter alone.*levels"):
        flat.search(queries, 1, params=rq.SearchParameters(levels=1))
    with pytest.raises(rq.Error, match="levels"):
        filled.search(queries, 1, params=rq.SearchParameters(levels=7))


def test_inverted_files_and_graphs_of_faiss(base, queries):
    inverted = rq.index_factory(128, "IVF16,Flat")
    inverted.train(base)
    inverted.add(base)
    exact = rq.index_factory(128, "Flat")
    exact.add(base)
    np.testing.assert_array_equal(
        inverted.search(queries, 5, params=rq.SearchParameters(nprobe=16))[1],
        exact.search(queries, 5)[1],
    )
    graph = rq.index_factory(128, "HNSW8,RQ8")
    graph.add(base)
    assert graph.search(queries, 5, params=rq.SearchParameters(ef_search=50))[1].min() >= 0


@pytest.mark.parametrize("metric", ["l2", "inner_product"])
def test_range_search(metric, base, queries):
    index = rq.index_factory(128, "RQ3", metric)
    index.add(base)
    distances, _ = index.search(queries, 5)
    radius = float(np.median(distances[:, -1]))
    limits, found, ids = index.range_search(queries, radius)
    assert limits.shape == (41,) and limits[0] == 0 and limits[-1] == len(ids) == len(found)
    assert (found < radius).all() if metric == "l2" else (found > radius).all()
    for q in range(40):
        mine = ids[limits[q] : limits[q + 1]]
        assert (np.diff(mine) > 0).all()
    one_each, _, some = index.range_search(queries, radius, filter=[[1, 2, 3]] * 40)
    assert len(one_each) == 41 and np.isin(some, [1, 2, 3]).all()
