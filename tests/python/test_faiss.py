# SPDX-License-Identifier: MIT
"""rotorquant.faiss inside Debian's python3-faiss."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys

import numpy as np
import pytest

import rotorquant as rq

faiss = pytest.importorskip("faiss", exc_type=ImportError)
if faiss.__version__ != rq.faiss_version:
    pytest.skip(f"faiss {faiss.__version__} is another version", allow_module_level=True)

import rotorquant.faiss as adapter  # noqa: E402

ours = ["RQ3", "ORQ2mse", "IDMap2,RQ3", "PCA32,RQ4", "RQ3,RFlat", "HNSW8,RQ8", "IVF16,RQ3"]
theirs = ["Flat", "IVF16,Flat", "SQ8", "HNSW16", "IDMap,Flat"]


@pytest.fixture
def installed():
    adapter.install()
    yield
    adapter.uninstall()


def fill(index, base):
    index.train(base)
    if isinstance(index, faiss.IndexIDMap):
        index.add_with_ids(base, np.arange(len(base)) + 5)
    else:
        index.add(base)


@pytest.mark.parametrize("spec", ours + theirs)
def test_a_script_for_faiss_runs(spec, installed, base, queries, tmp_path):
    index = faiss.index_factory(128, spec)
    assert isinstance(index, faiss.Index)
    fill(index, base)
    distances, ids = index.search(queries, 5)
    path = str(tmp_path / "index")
    faiss.write_index(index, path)
    writer = faiss.VectorIOWriter()
    faiss.write_index(index, writer)
    reader = faiss.VectorIOReader()
    faiss.copy_array_to_vector(faiss.vector_to_array(writer.data), reader.data)
    copies = [
        faiss.read_index(path),
        faiss.read_index(reader),
        faiss.deserialize_index(faiss.serialize_index(index)),
        faiss.clone_index(index),
    ]
    expected_type = type(index)
    del index
    gc.collect()
    for made in copies:
        # FAISS 1.7.3's own clone of a graph is of a class that its Python has no name for.
        assert type(made) is expected_type or spec == "HNSW16"
        for a, b in zip(made.search(queries, 5), (distances, ids), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("spec", ["RQ3", "IVF16,RQ3", "IDMap2,RQ4"])
def test_answers_are_ours(spec, installed, base, queries):
    here, there = rq.index_factory(128, spec), faiss.index_factory(128, spec)
    for index in (here, there):
        index.train(base)
        if spec.startswith("IDMap"):
            index.add_with_ids(base, np.arange(len(base)))
        else:
            index.add(base)
    for a, b in zip(here.search(queries, 5), there.search(queries, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    moved = adapter.to_rotorquant(there)
    assert type(moved) is type(here)
    assert rq.serialize_index(moved) == rq.serialize_index(here)
    back = adapter.to_faiss(here)
    np.testing.assert_array_equal(back.search(queries, 5)[1], here.search(queries, 5)[1])


def test_inside_wrappers_of_faiss(installed, base, queries):
    exact = faiss.IndexFlatL2(128)
    exact.add(base)
    nearest = exact.search(queries, 1)[1]

    id_map = faiss.IndexIDMap2(faiss.index_factory(128, "RQ4"))
    id_map.add_with_ids(base, np.arange(len(base)) + 7)
    refined = faiss.IndexRefineFlat(faiss.index_factory(128, "RQ4"))
    refined.k_factor = 4
    refined.add(base)
    shards = faiss.IndexShards(128, True, True)
    parts = [faiss.index_factory(128, "RQ4") for _ in range(2)]
    for part in parts:
        shards.add_shard(part)
    shards.add(base)
    rotated = faiss.IndexPreTransform(faiss.PCAMatrix(128, 128), faiss.index_factory(128, "RQ4"))
    rotated.train(base)
    rotated.add(base)
    for index, offset in ((id_map, 7), (refined, 0), (shards, 0), (rotated, 0)):
        found = index.search(queries, 1)[1] - offset
        assert (found == nearest).mean() > 0.8, type(index)


def test_selectors_and_parameters(installed, base, queries):
    index = faiss.index_factory(128, "RQ3")
    index.add(base)
    selector = faiss.IDSelectorBatch(np.arange(100, 200))
    plain = index.search(queries, 5, params=faiss.SearchParameters(sel=selector))
    own = index.search(queries, 5, params=adapter.SearchParameters(selector))
    np.testing.assert_array_equal(plain[1], own[1])
    assert own[1].min() >= 100 and own[1].max() < 200
    coarse = index.search(queries, 5, params=adapter.SearchParameters(levels=1))
    assert not np.array_equal(coarse[1], index.search(queries, 5)[1])
    with pytest.raises(TypeError, match="sel: expected a faiss::IDSelector"):
        adapter.SearchParameters(sel=3)


def test_parameter_space(installed, base, queries):
    index = faiss.index_factory(128, "IVF16,RQ3")
    fill(index, base)
    space = faiss.ParameterSpace()
    space.set_index_parameters(index, "nprobe=16,refine_error_scale=1.5")
    assert adapter.to_rotorquant(index).nprobe == 16
    assert adapter.to_rotorquant(index).refine_error_scale == 1.5
    space.set_index_parameter(index, "nprobe", 2)
    assert adapter.to_rotorquant(index).nprobe == 2
    with pytest.raises(Exception, match="frobnication"):
        space.set_index_parameter(index, "frobnication", 2)
    exact = faiss.index_factory(128, "Flat")
    exact.add(base)
    criterion = faiss.IntersectionCriterion(len(queries), 10)
    criterion.set_groundtruth(None, exact.search(queries, 10)[1])
    criterion.nnn = 10
    space = faiss.ParameterSpace()
    space.verbose = 0
    space.initialize(index)
    points = space.explore(index, queries, criterion)
    best = max(points.optimal_pts.at(i).perf for i in range(points.optimal_pts.size()))
    assert best > 0.8


def test_errors_arrive_as_faiss_raises_them(installed, base):
    with pytest.raises(RuntimeError, match="RQ9"):
        faiss.index_factory(128, "RQ9")
    with pytest.raises(RuntimeError):
        faiss.index_factory(128, "nonsense")
    index = faiss.index_factory(128, "ORQ3")
    with pytest.raises(RuntimeError):
        index.add(base)


def test_names_that_faiss_has_already_stay_its_own(installed):
    assert type(faiss.index_factory(128, "RQ4x8")) is faiss.IndexResidualQuantizer


def test_uninstall(base):
    before = faiss.index_factory
    adapter.install()
    adapter.install()
    adapter.uninstall()
    assert faiss.index_factory is before
    with pytest.raises(RuntimeError):
        faiss.index_factory(128, "RQ3")


def test_many_objects(installed, base):
    """Objects of ours hold SWIG's table of types as FAISS's own do."""
    for _ in range(300):
        index = faiss.index_factory(16, "IDMap2,RQ3")
        copy.copy(index.index)
    assert faiss.index_factory(16, "RQ3").d == 16


def test_nothing_is_left_at_exit():
    script = (
        "import faiss, rotorquant.faiss as r; r.install(); kept = faiss.index_factory(8, 'RQ3')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(faiss, "__version__", "1.15.1")
    with pytest.raises(ImportError, match=f"expected faiss {rq.faiss_version}.*faiss 1.15.1"):
        adapter.install()


@pytest.mark.parametrize("spec", ["Flat", "SQ8", "IVF16,Flat", "PCA32,IVF16,SQ8", "IDMap2,Flat"])
def test_from_faiss(spec, base, queries):
    index = faiss.index_factory(128, spec)
    fill(index, base)
    carried = adapter.from_faiss(index)
    for a, b in zip(carried.search(queries, 5), index.search(queries, 5), strict=True):
        np.testing.assert_array_equal(a, b)


def test_from_faiss_into_codes(base, queries):
    index = faiss.index_factory(128, "IDMap2,Flat")
    fill(index, base)
    seen: list[int] = []
    made = adapter.from_faiss(index, "IDMap2,RQ8", progress=lambda done, n: seen.append(done))
    assert made.factory_string == "IDMap2,RQ8" and seen == [4000]
    agreement = made.search(queries, 10)[1] == index.search(queries, 10)[1]
    assert agreement.mean() > 0.9
    with pytest.raises(ValueError, match="IDMap2.*'RQ8'"):
        adapter.from_faiss(index, "RQ8")
