# SPDX-License-Identifier: MIT
"""Ours and the peers side by side on one core, taking turns. README.md in this folder says more.

Run from the repository's root: python -m bench.compare --help
"""

import argparse
import os
import pathlib
import sys
import unittest

from bench.compare import contestants, datasets, growth, machine, measure, plots, report
from bench.compare.session import ROOT

DATA_FOLDER = ROOT / "build" / "compare" / "data"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    add = parser.add_argument
    shipped = sorted((ROOT / "datasets").glob("*.hdf5"))
    add(
        "--set",
        action="append",
        type=pathlib.Path,
        metavar="F.hdf5",
        help="ann-benchmarks HDF5 files; default: the shipped sets",
    )
    add("--groups", default="flat", help=f"of {','.join(contestants.GROUPS)} (default: flat)")
    add("--only", default="", metavar="REGEX", help="contestants whose names match")
    add("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    add("--builds", type=int, default=2, help="builds of each, where they are quick (default: 2)")
    add("--short", action="store_true", help="few contestants and few settings")
    add(
        "--join",
        type=int,
        default=1,
        metavar="N",
        help="vectors of N times the dimension: N of the set, end to end",
    )
    add("--rows", type=int, default=0, help="so many vectors of each set (joined ones: any number)")
    add(
        "--growth",
        action="store_true",
        help="time and bytes from 10,000 vectors to --largest, instead",
    )
    add("--largest", type=int, default=2_000_000, help="with --growth (default: 2,000,000)")
    add(
        "--out",
        type=pathlib.Path,
        default=ROOT / "docs" / "benchmarks",
        help="folder of the results",
    )
    add(
        "--server",
        type=pathlib.Path,
        default=ROOT / "build" / "release" / "bench" / "compare_server",
    )
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core that all share")
    add("--list", action="store_true", help="names of the contestants, and nothing else")
    add("--self-test", action="store_true", help="tests of this program, and nothing else")
    chosen = parser.parse_args(arguments)
    chosen.set = chosen.set or shipped
    chosen.groups = chosen.groups.split(",")
    for group in chosen.groups:
        if group not in contestants.GROUPS:
            parser.error(
                f"--groups: expected some of {','.join(contestants.GROUPS)}, received {group}"
            )
    for name in ("rounds", "builds", "join"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name}: expected 1 or more, received {getattr(chosen, name)}")
    if not chosen.self_test and not chosen.list and not chosen.server.exists():
        parser.error(
            f"--server: {chosen.server} is not there; scripts/build release compare_server makes it"
        )
    return chosen


def say(text):
    print(text, file=sys.stderr, flush=True)


def main(arguments):
    chosen = parse(arguments)
    if chosen.self_test:
        from bench.compare import test_compare

        return (
            not unittest.TextTestRunner()
            .run(unittest.defaultTestLoader.loadTestsFromModule(test_compare))
            .wasSuccessful()
        )
    if chosen.list:
        for group in chosen.groups:
            for entry in contestants.chosen(group, chosen.only, chosen.short):
                print(f"{group:8} {entry.name}")
        return 0
    # Between turns this process waits; it must not do so on the contestants' core.
    others = os.sched_getaffinity(0) - {chosen.core}
    if others:
        os.sched_setaffinity(0, others)
    chosen.out.mkdir(parents=True, exist_ok=True)
    DATA_FOLDER.mkdir(parents=True, exist_ok=True)
    with open(DATA_FOLDER.parent / "contestants.log", "w", encoding="utf-8") as log:
        options = measure.Options(
            chosen.server, chosen.core, chosen.rounds, chosen.builds, log=log, say=say
        )
        facts = machine.facts(options)
        for path in chosen.set:
            (grow if chosen.growth else compare)(path, chosen, options, facts)
    return 0


def compare(path, chosen, options, facts):
    path = datasets.prepared(path, DATA_FOLDER, chosen.join, chosen.rows)
    for group in chosen.groups:
        entries = contestants.chosen(group, chosen.only, chosen.short)
        if not entries:
            continue
        if chosen.short:
            entries = [contestants.shortened(entry) for entry in entries]
        say(f"== {path.stem}, {group}: {len(entries)} contestants")
        rows = measure.compare(path, group, entries, options)
        stem, title = chosen.out / f"{path.stem}-{group}", f"{path.stem}, {group}"
        report.write_csv(f"{stem}.csv", rows, facts)
        stem.with_name(stem.name + ".md").write_text(
            report.markdown(rows, facts, title), encoding="utf-8"
        )
        plots.draw(rows, stem, title)
        print(report.markdown(rows, facts, title))


def grow(path, chosen, options, facts):
    entries = contestants.chosen("flat", chosen.only or "^O?RQ3$")
    say(f"== {path.stem}, growth: {', '.join(entry.name for entry in entries)}")
    points = growth.run(path, entries, options, DATA_FOLDER, chosen.largest)
    growth.write(points, chosen.out / f"{path.stem}-growth", facts, f"{path.stem}, growth")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
