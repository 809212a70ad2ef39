# SPDX-License-Identifier: MIT
"""The program `rotorquant`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("h5py", "matplotlib", "rich", "threadpoolctl", "typer"):
    pytest.importorskip(needed)

import rotorquant as rq  # noqa: E402
from rotorquant.cli import dataset as data  # noqa: E402
from rotorquant.cli.spec import expand_placeholders  # noqa: E402


def program(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "rotorquant", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def results(dataset_path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    done = program(
        "eval", "--dataset", dataset_path, "--index", "RQ2", "--index", "RQ3", "--index", "PQ{d/2}x4fs",
        "--rows", 3000, "--queries", 50, "--json",
    )  # fmt: skip
    path.write_text(done.stdout)
    return path


def test_eval(results):
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["index"] for line in lines] == ["RQ2", "RQ3", "PQ64x4fs"]
    rq2, rq3, pq = lines
    assert rq2["n"] == 3000 and rq2["queries"] == 50 and rq2["metric"] == "euclidean"
    assert 0.6 < rq2["recall_at_k"] < rq3["recall_at_k"] < 1
    assert rq3["bytes_per_vector"] == pytest.approx(58, abs=0.1)
    assert pq["bytes_per_vector"] == pytest.approx(32, abs=0.5)
    assert 0.02 < rq3["distortion"] < rq2["distortion"]
    assert set(rq3) == {
        "index", "dataset", "metric", "n", "d", "queries", "k", "threads", "simd", "recall_at_1",
        "recall_at_k", "bytes_per_vector", "index_bytes", "train_seconds", "add_seconds",
        "single_query_us", "batch_qps", "distortion",
    }  # fmt: skip


def test_eval_table_and_parameters(dataset_path):
    done = program(
        "eval", "--dataset", dataset_path, "--index", "RQ3", "--index", "RQ3,RFlat",
        "--param", "levels=1,k_factor_rf=8", "--rows", 2000, "--queries", 20,
    )  # fmt: skip
    header, one, two = done.stdout.splitlines()
    assert "10-recall@10" in header and "RQ3" in one and "RQ3,RFlat" in two
    assert "does not know --param levels" in done.stderr


def test_build_info_search_convert(dataset_path, tmp_path):
    index, ids = tmp_path / "a.rqindex", tmp_path / "ids.ivecs"
    assert "RQ3: 20000 vectors" in program(
        "build", "--dataset", dataset_path, "--index", "RQ3", "--output", index
    ).stdout
    facts = json.loads(program("info", "--index-file", index, "--json").stdout)
    assert facts["factory string"] == "RQ3" and facts["n"] == 20000 and facts["levels"] == 2
    assert "layers of rotors" in program("info", "--index-file", index).stdout
    found = json.loads(
        program(
            "search", "--index-file", index, "--dataset", dataset_path, "--output", ids, "--json"
        ).stdout
    )
    assert found["recall_at_k"] == pytest.approx(0.848, abs=0.01)
    stored = np.fromfile(ids, "<i4").reshape(500, 11)
    assert (stored[:, 0] == 10).all()
    loaded = data.read_dataset(dataset_path)
    assert data.recall(loaded.truth, stored[:, 1:].astype(np.int64), 10) == found["recall_at_k"]
    other = tmp_path / "b.rqindex"
    program("convert", "--index-file", index, "--index", "RQ2", "--output", other)
    assert rq.read_index(other).factory_string == "RQ2"


def test_build_from_files_of_vectors(base, tmp_path):
    np.save(tmp_path / "x.npy", base[:500])
    rows = np.empty(500, dtype=[("d", "<i4"), ("x", "<f4", (128,))])
    rows["d"], rows["x"] = 128, base[:500]
    rows.tofile(tmp_path / "x.fvecs")
    made = []
    for name in ("x.npy", "x.fvecs"):
        program("build", "--input", tmp_path / name, "--index", "RQ3", "--output", tmp_path / "i")
        made.append((tmp_path / "i").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_plot(results, tmp_path, ending):
    picture = tmp_path / f"x.{ending}"
    program("plot", results, results, "--output", picture)
    head = picture.read_bytes()[:400]
    assert {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<svg"}[ending] in head


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--dataset", "{set}", "--index", "RQ9"], "RQ9"),
        (["eval", "--dataset", "{set}", "--index", "PQ0"], "counts of 1 or more"),
        (["eval", "--dataset", "{set}", "--index", "RQ3", "--param", "foo=1"], "none of RQ3"),
        (["eval", "--dataset", "{set}", "--index", "RQ3", "--param", "levels"], "name=value"),
        (["eval", "--dataset", "{set}", "--index", "RQ3", "--k", "0"], "--k"),
        (["build", "--index", "RQ3", "--output", "x"], "--dataset or --input"),
        (["build", "--input", "x.txt", "--index", "RQ3", "--output", "x"], ".fvecs, .bvecs or .npy"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_arguments(arguments, message, dataset_path, tmp_path):
    done = program(*(a.replace("{set}", str(dataset_path)) for a in arguments), status=2)
    assert message in done.stderr


def test_files_that_are_not_what_they_should_be(tmp_path):
    (tmp_path / "x.hdf5").write_text("no")
    assert "x.hdf5" in program(
        "eval", "--dataset", tmp_path / "x.hdf5", "--index", "RQ3", status=1
    ).stderr
    assert "nowhere" in program("info", "--index-file", tmp_path / "nowhere", status=1).stderr


def test_version():
    assert program("--version").stdout.split() == ["rotorquant", rq.__version__]


def test_placeholders():
    assert expand_placeholders("PQ{d/2}x4fs,{d}", 128) == "PQ64x4fs,128"


def test_exact_neighbours(base, queries, truth):
    np.testing.assert_array_equal(data.exact_neighbours(base, queries, "l2", 10), truth)


def test_cpp_program_agrees(dataset_path):
    """Where the C++ program has been built: same keys, same recall, same bytes."""
    built = Path(__file__).parents[2] / "build" / "release" / "rotorquant"
    if not built.exists():
        pytest.skip("build/release/rotorquant is not built")
    options = ["eval", "--dataset", dataset_path, "--index", "RQ3", "--queries", 100, "--json"]
    theirs = json.loads(
        subprocess.run([built, *map(str, options)], capture_output=True, check=True).stdout
    )
    mine = json.loads(program(*options).stdout)
    assert list(mine) == list(theirs)
    for key in ("index", "dataset", "n", "d", "recall_at_k", "bytes_per_vector", "index_bytes"):
        assert mine[key] == theirs[key], key
    assert mine["distortion"] == pytest.approx(theirs["distortion"], rel=1e-4)
