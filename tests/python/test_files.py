# SPDX-License-Identifier: MIT
"""Files and bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rotorquant as rq


def test_round_trip_of_a_file(filled, queries, tmp_path):
    path = tmp_path / "an index"
    rq.write_index(filled, path)
    for name in (path, str(path), bytes(path)):
        read = rq.read_index(name)
        assert type(read) is rq.IndexRotorQuant
        np.testing.assert_array_equal(read.search(queries, 5)[1], filled.search(queries, 5)[1])


def test_bytes_are_those_of_the_file(filled, tmp_path):
    rq.write_index(filled, tmp_path / "x")
    data = rq.serialize_index(filled)
    assert (tmp_path / "x").read_bytes() == data
    for form in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert rq.serialize_index(rq.deserialize_index(form)) == data


def test_damage_is_found(filled):
    data = bytearray(rq.serialize_index(filled))
    data[len(data) // 2] ^= 1
    with pytest.raises(rq.Error, match="checksum"):
        rq.deserialize_index(data)
    with pytest.raises(rq.Error):
        rq.deserialize_index(b"")


def test_files_that_are_not_there(tmp_path, filled):
    with pytest.raises(rq.Error, match="nowhere"):
        rq.read_index(tmp_path / "nowhere")
    with pytest.raises(rq.Error):
        rq.write_index(filled, tmp_path / "no folder" / "x")


@pytest.mark.parametrize("spec", ["RQ3", "IVF16,RQ3"])
def test_mapped_files(spec, base, queries, tmp_path):
    index = rq.index_factory(128, spec)
    index.train(base)
    index.add(base)
    rq.write_index(index, tmp_path / "x", mappable=True)
    rq.verify_index(tmp_path / "x")
    for mmap in (True, False):
        read = rq.read_index(tmp_path / "x", mmap=mmap)
        np.testing.assert_array_equal(read.search(queries, 5)[1], index.search(queries, 5)[1])


def test_golden_files_of_the_format():
    folder = Path(__file__).parents[1] / "data" / "format-1"
    for path in sorted(folder.glob("*.rqindex")):
        assert len(rq.read_index(path)) > 0
