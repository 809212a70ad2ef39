# SPDX-License-Identifier: MIT
"""Pictures of `eval --json` results."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, no display

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from rotorquant.cli.errors import BadArgument  # noqa: E402

Results = list[dict[str, Any]]

_needed = ("index", "dataset", "k", "recall_at_k", "batch_qps", "bytes_per_vector")
#: Okabe and Ito's colours, which colour-blind readers can tell apart, and markers that tell the
#: series apart in grey.
_colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_markers = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def read_results(paths: list[Path]) -> Results:
    """Every object of the files, which hold one a line."""
    results: Results = []
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            try:
                result = json.loads(line)
            except json.JSONDecodeError as error:
                raise BadArgument(f"{path}:{number}: expected a JSON object: {error}") from error
            missing = [key for key in _needed if key not in result]
            if missing:
                raise BadArgument(f"{path}:{number}: expected the keys of eval, no {missing[0]}")
            results.append(result)
    if not results:
        raise BadArgument("results: expected at least one, received none")
    return results


def _family(index: str) -> str:
    """Indexes that differ in the number of bits alone make one curve: RQ1 .. RQ8 are RQ."""
    for family in ("ORQ", "RQ"):
        rest = index.removeprefix(family)
        if rest != index and rest[:1].isdigit() and "x" not in rest:
            return family + rest[1:]
    return index


def _bits(index: str) -> str:
    return index.removeprefix("O").removeprefix("RQ")[:1]


def _series(results: Results) -> dict[str, Results]:
    series: dict[str, Results] = defaultdict(list)
    for result in results:
        series[_family(result["index"])].append(result)
    return series


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _draw_axes(axes: Axes, series: dict[str, Results], key: str, label: str) -> None:
    for i, (name, results) in enumerate(series.items()):
        points = sorted((r["recall_at_k"], r[key], r["index"]) for r in results)
        colour = _colours[i % len(_colours)]
        axes.plot(
            [recall for recall, _, _ in points],
            [value for _, value, _ in points],
            color=colour,
            marker=_markers[i % len(_markers)],
            markersize=5,
            linewidth=1.4,
            label=name if name == points[0][2] else f"{name} (number: bits)",
        )
        for recall, value, index in points:
            if index != name:  # a curve over the number of bits: say which point is which
                axes.annotate(
                    _bits(index),
                    (recall, value),
                    # Curves that lie on each other still have their numbers apart.
                    xytext=(0, 6 if i % 2 == 0 else -13),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=colour,
                )
    k = next(iter(series.values()))[0]["k"]
    axes.set_yscale("log")
    axes.set_xlabel(f"{k}-recall@{k}")
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.margins(x=0.08, y=0.12)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw(results: Results, output: Path, title: str | None = None) -> None:
    """A row a data set: recall against queries a second on the left, against bytes on the right."""
    if output.suffix not in (".png", ".pdf", ".svg"):
        raise BadArgument(
            f"--output: expected a name that ends in .png, .pdf or .svg, received '{output}'"
        )
    datasets = list(dict.fromkeys(result["dataset"] for result in results))
    figure, grid = plt.subplots(
        len(datasets),
        2,
        figsize=(10, 4 * len(datasets)),
        squeeze=False,
        layout="constrained",
    )
    for axes, dataset in zip(grid, datasets, strict=True):
        of_set = [result for result in results if result["dataset"] == dataset]
        series = _series(of_set)
        _draw_axes(axes[0], series, "batch_qps", "queries a second (batch)")
        _draw_axes(axes[1], series, "bytes_per_vector", "bytes a vector")
        axes[0].set_title(dataset, loc="left", fontsize=10)
        axes[1].legend(frameon=False, fontsize=8, loc="best")
    if title:
        figure.suptitle(title)
    figure.savefig(output, dpi=160)
    plt.close(figure)
