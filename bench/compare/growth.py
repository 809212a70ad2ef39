# SPDX-License-Identifier: MIT
"""Time and bytes against the number of vectors: rows of a set, then seeded noisy copies of them."""

import csv
import math

from bench.compare import datasets, plots
from bench.compare.session import Failed, Session

SIZES = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000)
K = 10
_KEYS = ("train_s", "add_s", "one_us", "batch_us", "total_bytes", "fixed_bytes")


def run(path, contestants, options, folder, largest):
    """{name: [(n, {key: value})]}; one index at a time, best of the rounds."""
    sizes = [n for n in SIZES if n < largest] + [largest]
    grown = datasets.grown(path, folder, largest)
    dimension = datasets.load(path, queries=1, base=False).d
    points = {entry.on(largest, dimension).name: [] for entry in contestants}
    for n in sizes:
        for entry in contestants:
            entry = entry.on(n, dimension)
            options.say(f"   {entry.name}: {n} vectors")
            session = Session(entry, options.server, options.core, options.log)
            try:
                points.setdefault(entry.name, []).append(
                    (n, _measure(session, entry, grown, n, options))
                )
            except Failed as failure:
                options.say(f"   {entry.name}: failed: {failure}")
            finally:
                session.close()
    return {name: series for name, series in points.items() if series}


def _measure(session, entry, path, n, options):
    session.ask("open", dataset=str(path), index=entry.index, rows=n, queries=1000)
    point = session.ask("build")
    point |= session.ask("size")
    point["one_us"] = min(
        session.ask("one", k=K, budget_s=options.one_budget_s)["us"] for _ in range(options.rounds)
    )
    batches = [session.ask("batch", k=K, size=1000) for _ in range(options.rounds)]
    point["batch_us"] = min(1e6 * batch["seconds"] / batch["size"] for batch in batches)
    return point


def slope(series, key):
    """The exponent of n from the last point a tenth of the largest or smaller to the largest: 1 is
    linear. The smallest sizes show fixed costs instead."""
    end, last = series[-1]
    start, first = [series[0], *(point for point in series if point[0] <= end / 10)][-1]
    if start == end or first[key] <= 0:
        return math.nan
    return math.log(last[key] / first[key]) / math.log(end / start)


def write(points, stem, facts, title):
    """stem.csv, stem.md, stem.png"""
    with open(f"{stem}.csv", "w", newline="", encoding="utf-8") as file:
        for name, text in facts.items():
            file.write(f"# {name}: {text}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "n", *_KEYS))
        for name, series in points.items():
            writer.writerows(
                (name, n, *(f"{point[key]:.8g}" for key in _KEYS)) for n, point in series
            )
    with open(f"{stem}.md", "w", encoding="utf-8") as file:
        file.write(_markdown(points, facts, title))
    plots.draw_growth(points, f"{stem}.png", title)


def _markdown(points, facts, title):
    lines = [f"# {title}", "", *(f"- {name}: {text}" for name, text in facts.items())]
    lines += [
        "- Vectors: those of the set, then copies with normal noise of"
        f" {datasets.GROWTH_NOISE:g} of each coordinate's standard deviation (seeded).",
        "- Exponent: how the last tenfold of vectors grew; 1 is linear in n.",
        "",
        "| index | vectors | train, s | add, s | one query, us | a query in a batch, us |"
        " index, MB | bytes a vector |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, series in points.items():
        for n, point in series:
            each = (point["total_bytes"] - point["fixed_bytes"]) / n
            lines.append(
                f"| {name} | {n:,} | {point['train_s']:.2f} | {point['add_s']:.2f} |"
                f" {point['one_us']:,.1f} | {point['batch_us']:,.1f} |"
                f" {point['total_bytes'] / 1e6:,.1f} | {each:.1f} |"
            )
        exponents = [
            f"{slope(series, key):.2f}" for key in ("add_s", "one_us", "batch_us", "total_bytes")
        ]
        lines.append(f"| {name} | exponent | | " + " | ".join(exponents) + " | |")
    return "\n".join(lines) + "\n"
