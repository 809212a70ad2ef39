# SPDX-License-Identifier: MIT
"""Making, filling, changing and describing indexes."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from conftest import recall

import rotorquant as rq


def test_factory_gives_our_classes_and_wrappers():
    assert type(rq.index_factory(16, "RQ3")) is rq.IndexRotorQuant
    assert type(rq.index_factory(16, "RQ3ref")) is rq.IndexRotorQuantReference
    assert type(rq.index_factory(16, "IDMap2,RQ3")) is rq.Index
    assert rq.index_factory(16, "PCA8,RQ4").factory_string == "PCA8,RQ4"


def test_factory_refuses_unknown_strings_and_metrics():
    with pytest.raises(rq.Error, match="RQ9"):
        rq.index_factory(16, "RQ9")
    with pytest.raises(ValueError, match="metric: expected.*'cosine'"):
        rq.index_factory(16, "RQ3", "cosine")
    with pytest.raises(ValueError, match="d: expected 1 to 2147483647, received 0"):
        rq.index_factory(0, "RQ3")


@pytest.mark.parametrize("metric", ["inner_product", "ip", rq.METRIC_INNER_PRODUCT])
def test_metric_by_name_and_number(metric):
    index = rq.index_factory(16, "RQ3", metric)
    assert index.metric == "inner_product"
    assert index.metric_type == rq.METRIC_INNER_PRODUCT


def test_constructor_makes_what_the_factory_makes(base):
    ours = rq.IndexRotorQuant(128, 3)
    made = rq.index_factory(128, "RQ3")
    for index in (ours, made):
        index.add(base[:300])
    assert rq.serialize_index(ours) == rq.serialize_index(made)
    assert rq.IndexRotorQuant(128, 2, learned=True, signs=False).factory_string == "ORQ2mse"


def test_properties(filled, base):
    assert (filled.d, filled.ntotal, len(filled)) == (128, 4000, 4000)
    assert filled.is_trained and filled.metric == "l2"
    assert (filled.bits, filled.levels, filled.signs, filled.learned) == (3, 2, True, False)
    assert filled.code_size == 58
    np.testing.assert_allclose(filled.centre, base.mean(axis=0), rtol=1e-5)
    assert 0.02 < filled.expected_distortion() < 0.05
    assert filled.expected_distortion(1) > filled.expected_distortion()
    assert repr(filled) == "<rotorquant.IndexRotorQuant 'RQ3' d=128 metric=l2 ntotal=4000>"
    assert "untrained" in repr(rq.index_factory(128, "ORQ3"))


def test_untrained_index_refuses_vectors(base):
    with pytest.raises(rq.Error):
        rq.index_factory(128, "ORQ3").add(base)


def test_blocks_give_the_codes_of_one_call(base):
    """add works in blocks; a float32 block is 32,768 rows of 128."""
    many = np.tile(base, (10, 1))
    in_blocks = rq.index_factory(128, "RQ2")
    in_blocks.add(many)
    by_hand = rq.index_factory(128, "RQ2")
    for part in np.array_split(many, 7):
        by_hand.add(part)
    assert rq.serialize_index(in_blocks) == rq.serialize_index(by_hand)


def test_progress_is_reported(base):
    seen: list[tuple[int, int]] = []
    rq.index_factory(128, "RQ2").add(
        np.tile(base, (10, 1)), progress=lambda done, n: seen.append((done, n))
    )
    assert len(seen) == 2 and seen[-1] == (40000, 40000)


def test_progress_bar(base, capsys):
    pytest.importorskip("tqdm")
    rq.index_factory(128, "RQ2").add(base, progress=True)
    assert "4.00k/4.00k" in capsys.readouterr().err


def test_exception_in_progress_stops_the_add(base):
    index = rq.index_factory(128, "RQ2")

    def refuse(done: int, n: int) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        index.add(np.tile(base, (10, 1)), progress=refuse)
    assert len(index) == 32768


@pytest.fixture
def interruptible():
    """Python leaves SIGINT alone where it is ignored, as in jobs that a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_an_add(base):
    index = rq.index_factory(128, "RQ8")
    rows = np.tile(base, (100, 1))
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(100):
            index.add(rows)
    assert time.perf_counter() - begin < 20
    assert 0 < len(index) < 100 * len(rows)
    index.search(base[:1], 1)  # still whole
    timer.join()


def test_id_map(base, queries, filled):
    ids = np.arange(4000) * 3 + 7
    index = rq.index_factory(128, "IDMap2,RQ3")
    index.train(base)
    index.add_with_ids(base, ids)
    np.testing.assert_array_equal(index.id_map, ids)
    _, positions = filled.search(queries, 10)
    _, found = index.search(queries, 10)
    np.testing.assert_array_equal(found, ids[positions])
    np.testing.assert_array_equal(index.reconstruct(7 + 3 * 5), filled.reconstruct(5))
    np.testing.assert_array_equal(index.reconstruct_n(5, 2), filled.reconstruct_n(5, 2))
    assert filled.id_map is None
    with pytest.raises(ValueError, match=r"ids: expected shape \(4000,\), received \(5,\)"):
        index.add_with_ids(base, ids[:5])


def test_reconstruct(filled, base):
    decoded = filled.reconstruct_n()
    assert decoded.shape == base.shape and decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded[17], filled.reconstruct(17))
    centred, from_centre = base - filled.centre, decoded - filled.centre
    cosine = (centred * from_centre).sum(1) / np.sqrt(
        (centred**2).sum(1) * (from_centre**2).sum(1)
    )
    assert 0.02 < 1 - (cosine**2).mean() < 0.05
    for key in (-1, 4000):
        with pytest.raises(rq.Error, match=f"key: expected 0 to 3999, received {key}"):
            filled.reconstruct(key)
    with pytest.raises(ValueError, match="received 3999, 2"):
        filled.reconstruct_n(3999, 2)


@pytest.mark.parametrize("form", ["ids", "mask", "bitmap"])
def test_remove_ids(filled, base, form):
    index = filled.clone()
    mask = np.zeros(4000, bool)
    mask[[3, 5, 3999]] = True
    doomed = {
        "ids": np.flatnonzero(mask),
        "mask": mask,
        "bitmap": np.packbits(mask, bitorder="little"),
    }[form]
    assert index.remove_ids(doomed) == 3
    rebuilt = rq.index_factory(128, "RQ3")
    rebuilt.train(base)
    rebuilt.add(base[~mask])
    assert rq.serialize_index(index) == rq.serialize_index(rebuilt)


def test_update(filled, base):
    index = filled.clone()
    index.update([2, 9], base[[100, 101]])
    np.testing.assert_array_equal(index.reconstruct(2), filled.reconstruct(100))
    np.testing.assert_array_equal(index.reconstruct(9), filled.reconstruct(101))
    np.testing.assert_array_equal(index.reconstruct(3), filled.reconstruct(3))
    with pytest.raises(rq.Error, match="ids: expected 0 to 3999, received 4000"):
        index.update([0, 4000], base[:2])
    np.testing.assert_array_equal(index.reconstruct(0), filled.reconstruct(0))


def test_update_by_id(base):
    index = rq.index_factory(128, "IDMap2,RQ3")
    index.add_with_ids(base[:100], np.arange(100) + 1000)
    index.update([1005], base[50:51])
    np.testing.assert_array_equal(index.reconstruct(1005), index.reconstruct(1050))
    with pytest.raises(rq.Error, match="received 5"):
        index.update([5], base[:1])
    with pytest.raises(rq.Error, match="IndexFlat"):
        rq.index_factory(4, "Flat").update([0], np.zeros((1, 4)))


def test_reset_and_merge(filled, base):
    index = filled.clone()
    index.reset()
    assert len(index) == 0
    index.add(base[:10])
    other = filled.clone()
    index.merge_from(other)
    assert (len(index), len(other)) == (4010, 0)
    np.testing.assert_array_equal(index.reconstruct(10), filled.reconstruct(0))
    with pytest.raises(ValueError, match="other"):
        index.merge_from(index)


def test_codes(filled, base):
    codes = filled.sa_encode(base[:20])
    assert codes.shape == (20, filled.sa_code_size()) and codes.dtype == np.uint8
    np.testing.assert_array_equal(filled.sa_decode(codes), filled.reconstruct_n(0, 20))
    with pytest.raises(ValueError, match=r"codes: expected shape \(n, 58\), received \(20, 57\)"):
        filled.sa_decode(codes[:, :57])


def test_copies_are_deep(filled, base):
    for made in (copy.copy(filled), copy.deepcopy(filled), filled.clone()):
        assert type(made) is rq.IndexRotorQuant
        made.add(base[:1])
        assert len(filled) == 4000


@pytest.mark.parametrize("spec", ["RQ3", "ORQ2mse", "IDMap2,RQ4", "RQ3,RFlat", "Flat", "RQ3ref"])
def test_pickle(spec, base, queries):
    index = rq.index_factory(128, spec)
    index.train(base)
    index.add_with_ids(base, np.arange(4000)) if spec.startswith("IDMap") else index.add(base)
    restored = pickle.loads(pickle.dumps(index))
    assert type(restored) is type(index) and repr(restored) == repr(index)
    for ours, theirs in zip(index.search(queries, 10), restored.search(queries, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_parameters_of_the_index(filled, queries):
    index = filled.clone()
    index.set_parameter("refine_error_scale", 0.5)
    index.k_factor = 3
    assert (index.refine_error_scale, index.k_factor) == (0.5, 3)
    with pytest.raises(rq.Error, match="nprobe"):
        index.set_parameter("nprobe", 3)
    with pytest.raises(rq.Error, match="k_factor: expected.*0.5"):
        index.set_parameter("k_factor", 0.5)
    refined = rq.index_factory(128, "RQ3,RFlat")
    refined.set_parameter("k_factor_rf", 4)
    refined.set_parameter("refine_error_scale", 1)


def test_recall_of_every_kind(base, queries, truth):
    least = {"RQ3": 0.8, "ORQ3": 0.88, "RQ8": 0.97, "PCA64,RQ4": 0.7, "RQ3,RFlat": 0.75}
    for spec, expected in least.items():
        index = rq.index_factory(128, spec)
        index.train(base)
        index.add(base)
        assert recall(index.search(queries, 10)[1], truth) >= expected, spec


def test_threads_may_read_and_write_together(base, queries):
    """Nothing crashes, and every answer is one that some moment's index could have given."""
    index = rq.index_factory(128, "RQ2")
    index.add(base[:500])
    failures: list[BaseException] = []

    def search() -> None:
        try:
            for _ in range(30):
                _, ids = index.search(queries, 5)
                assert ids.min() >= 0 and ids.max() < 4000
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for part in np.array_split(base[500:], 20):
        index.add(part)
    for thread in threads:
        thread.join()
    assert not failures and len(index) == 4000
