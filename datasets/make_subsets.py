#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the small sets that ship in this folder from the full ones.

    python3 datasets/make_subsets.py FOLDER_OF_THE_FULL_SETS [--out FOLDER]

Needs numpy and h5py. Rows and queries are a seeded random choice of the full set's, kept in their
original order and in their stored type; the ground truth (100 neighbours a query) is computed anew
by exhaustive search over the chosen rows. `--check` makes no file: it recomputes the ground truth of
the full sets and compares it with theirs, which shows that both mean the same by a distance.
"""

import argparse
import pathlib
import sys

import h5py
import numpy as np

SEED = 20260101
NEIGHBORS = 100

# full set -> (subset, rows, queries)
SUBSETS = {
    "glove-100-angular": ("glove-100-angular-20k", 20_000, 500),
    "sift-128-euclidean": ("sift-128-euclidean-20k", 20_000, 500),
    "minilm-384-angular": ("minilm-384-angular-8k", 8_000, 500),
}


def exact_neighbors(train, test, distance):
    """The NEIGHBORS nearest rows of train for each row of test, nearest first and ties by row
    number, with their distances: Euclidean, or 1 - cosine for angular. All in float64."""
    base = train.astype(np.float64)
    ids = np.empty((len(test), NEIGHBORS), np.int32)
    values = np.empty((len(test), NEIGHBORS), np.float32)
    squares = np.einsum("ij,ij->i", base, base)
    if distance == "angular":
        base /= np.sqrt(squares)[:, None]
    for begin in range(0, len(test), 100):
        query = test[begin : begin + 100].astype(np.float64)
        if distance == "angular":
            query /= np.linalg.norm(query, axis=1, keepdims=True)
            all_values = 1.0 - query @ base.T
        else:
            all_values = squares + np.einsum("ij,ij->i", query, query)[:, None] - 2 * query @ base.T
        order = np.argsort(all_values, axis=1, kind="stable")[:, :NEIGHBORS]
        nearest = np.take_along_axis(all_values, order, axis=1)
        ids[begin : begin + 100] = order
        values[begin : begin + 100] = nearest if distance == "angular" else np.sqrt(nearest)
    return ids, values


def make_subset(source, target, rows, queries):
    with h5py.File(source, "r") as full:
        distance = full.attrs["distance"]
        rng = np.random.Generator(np.random.PCG64(SEED))
        base_rows = np.sort(rng.permutation(full["train"].shape[0])[:rows])
        query_rows = np.sort(rng.permutation(full["test"].shape[0])[:queries])
        train = full["train"][:][base_rows]
        test = full["test"][:][query_rows]
        attributes = dict(full.attrs)
    neighbors, distances = exact_neighbors(train, test, distance)
    attributes["note"] += (
        f"; {rows} rows and {queries} queries chosen at random (PCG64 seed {SEED}, original order)"
    )
    temporary = target.with_suffix(".tmp")
    with h5py.File(temporary, "w") as out:
        out.attrs.update(attributes)
        for name, data in [
            ("train", train),
            ("test", test),
            ("neighbors", neighbors),
            ("distances", distances),
        ]:
            # Whole rows a chunk: readers take rows, and an uncut row compresses best.
            chunk = (min(len(data), 4096), data.shape[1])
            out.create_dataset(
                name, data=data, chunks=chunk, compression="gzip", compression_opts=9, shuffle=True
            )
    temporary.replace(target)
    print(f"{target.name}: {rows} x {train.shape[1]} {train.dtype}, {target.stat().st_size} bytes")


def check_full_set(source):
    with h5py.File(source, "r") as full:
        ids, values = exact_neighbors(full["train"][:], full["test"][:], full.attrs["distance"])
        same = np.mean(ids == full["neighbors"][:])
        error = np.max(np.abs(values - full["distances"][:]))
    print(f"{source.name}: {same:.4%} of the ids agree, distances within {error:.2g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", type=pathlib.Path, help="folder that holds the full sets")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--check", action="store_true", help="only check the full sets' ground truth")
    arguments = parser.parse_args()
    missing = [n for n in SUBSETS if not (arguments.full / f"{n}.hdf5").is_file()]
    if missing:
        sys.exit(f"{arguments.full}: expected {', '.join(n + '.hdf5' for n in missing)}")
    for name, (subset, rows, queries) in SUBSETS.items():
        source = arguments.full / f"{name}.hdf5"
        if arguments.check:
            check_full_set(source)
        else:
            make_subset(source, arguments.out / f"{subset}.hdf5", rows, queries)


if __name__ == "__main__":
    main()
