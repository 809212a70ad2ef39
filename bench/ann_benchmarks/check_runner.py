# SPDX-License-Identifier: MIT
"""Runs our ann-benchmarks module in the real runner and reads the results back with its own code.

    python bench/ann_benchmarks/check_runner.py CHECKOUT DATASET.hdf5 [--definition NAME] [--runs N]

CHECKOUT is a checkout of ann-benchmarks, whose requirements this Python has, beside rotorquant;
files are put into its algorithms and data folders. DATASET is in its layout already: what is
converted is only the element type, because the runner hands vectors over as they are stored. Runs
the runner in local mode, without Docker, then its plot.py and its data export, and prints the lines
of recall and queries a second.
"""

import argparse
import csv
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
NEIGHBOURS = 100


def convert(source, target):
    """float32 values and the four data sets, as ann-benchmarks' own create_dataset writes them."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        distance = old.attrs["distance"]
        new.attrs["type"] = "dense"
        new.attrs["distance"] = distance
        new.attrs["dimension"] = old["train"].shape[1]
        new.attrs["point_type"] = "float"
        for name in ("train", "test"):
            new.create_dataset(name, data=np.asarray(old[name], dtype=np.float32))
        new.create_dataset("neighbors", data=old["neighbors"][:, :NEIGHBOURS])
        new.create_dataset("distances", data=old["distances"][:, :NEIGHBOURS])


def run(checkout, *command):
    print("+", *command, file=sys.stderr)
    subprocess.run([sys.executable, *command], cwd=checkout, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--definition", default="rotorquant-flat")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()

    module = arguments.checkout / "ann_benchmarks" / "algorithms" / "rotorquant"
    shutil.copytree(HERE / "rotorquant", module, dirs_exist_ok=True)
    (module / "__init__.py").touch()
    # The runner knows data sets by name; ours takes a name of the same kind, dimension and metric.
    name = "-".join(arguments.dataset.stem.split("-")[:3])
    (arguments.checkout / "data").mkdir(exist_ok=True)
    convert(arguments.dataset, arguments.checkout / "data" / f"{name}.hdf5")

    selection = ("--dataset", name)
    run(
        arguments.checkout, "run.py", "--local", "--algorithm", arguments.definition,
        "--runs", str(arguments.runs), "--force", *selection,
    )  # fmt: skip
    run(arguments.checkout, "plot.py", *selection, "--output", f"results/{name}.png", "--recompute")
    run(arguments.checkout, "data_export.py", "--output", "results/export.csv")
    with open(arguments.checkout / "results" / "export.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == name]
    print("algorithm", "recall", "queries a second", "kB", sep="\t")
    for row in sorted(rows, key=lambda row: float(row["k-nn"])):
        print(row["parameters"], f"{float(row['k-nn']):.4f}", f"{float(row['qps']):.0f}",
              f"{float(row['indexsize']):.0f}", sep="\t")  # fmt: skip


if __name__ == "__main__":
    main()
