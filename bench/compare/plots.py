# SPDX-License-Identifier: MIT
"""Recall against speed and against bytes, one picture a set and group."""

import matplotlib

matplotlib.use("Agg")  # before pyplot chooses
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from bench.compare import report  # noqa: E402

# Told apart in grey by shape, on screen by colour (Okabe and Ito's palette).
_STYLES = {
    "ours": ("#D55E00", "o", "RotorQuant"),
    "faiss": ("#0072B2", "s", "FAISS"),
    "turbovec": ("#009E73", "^", "turbovec"),
    "scann": ("#CC79A7", "D", "ScaNN"),
    "rabitqlib": ("#E69F00", "v", "RaBitQ-Library"),
    "hnswlib": ("#56B4E9", "P", "hnswlib"),
    "usearch": ("#444444", "X", "USearch"),
}
_LINES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
# Nobody chooses a setting below this; curves start there.
_LEAST_SWEPT_RECALL = 0.6


def draw(rows, stem, title):
    """stem-batch.png, stem-one.png and stem-bytes.png; returns their paths."""
    rows = [row for row in rows if not row.error]
    pictures = (
        ("batch", "queries a second, one call of many queries", lambda row: row.batch_qps_best),
        ("one", "queries a second, one query a call", lambda row: 1e6 / row.one_us_best),
        ("bytes", "bytes a vector", lambda row: row.bytes_per_vector),
    )
    paths = []
    for name, label, value in pictures:
        path = f"{stem}-{name}.png"
        _scatter(path, rows, value, label, title)
        paths.append(path)
    return paths


def _scatter(path, rows, value, label, title):
    """Single points carry their names; curves (swept search parameters) are named in the legend.
    Where only ours have some, they are thin lines from the default, which has the name."""
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    swept = report.peers_swept(rows)
    if not swept:
        # Codes of another effort are searched as fast: they differ in what adding them takes.
        rows = [row for row in rows if not row.name.endswith(" fast")]
    legends = set()
    drawn = dict.fromkeys(_STYLES, 0)
    for name in dict.fromkeys(row.name for row in rows):
        of_name = [row for row in rows if row.name == name]
        kind = of_name[0].kind
        colour, marker, maker = _STYLES[kind]
        legend = name if swept else maker
        named = [row for row in of_name if swept or not row.settings]
        if len(named) < len(of_name):
            others = sorted((row.recall_10_at_10, value(row)) for row in of_name)
            axes.plot(*zip(*others), color=colour, marker=".", markersize=3, linewidth=0.7)
        axes.plot(
            *zip(*sorted((row.recall_10_at_10, value(row)) for row in named)),
            color=colour,
            marker=marker,
            markersize=7 if kind == "ours" else 5,
            linewidth=1.8 if kind == "ours" else 1.1,
            linestyle=_LINES[drawn[kind] % len(_LINES)] if swept else "-",
            label=None if legend in legends else legend,
        )
        legends.add(legend)
        drawn[kind] += 1
    axes.set(yscale="log", xlabel="10-recall@10", ylabel=label, title=title)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="both", linewidth=0.3, alpha=0.6)
    if swept:
        axes.set_xlim(left=max(_LEAST_SWEPT_RECALL, axes.get_xlim()[0]))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, handlelength=4)
    else:
        axes.margins(x=0.12)  # room for names
        axes.legend(loc="best")
        _label(axes, [row for row in rows if not row.settings], value)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _label(axes, rows, value):
    """Each name beside its point, where it covers neither another name nor a point."""
    axes.figure.canvas.draw()
    points = {row.name: (row.recall_10_at_10, value(row)) for row in rows}
    places = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places.values()]
    height = 11  # pixels of the figure at 100 dpi, for letters of 7 points
    for row in rows:
        x, y = places[row.name]
        short = row.name.removeprefix("faiss ").removeprefix("turbovec ").removeprefix("scann ")
        width = 5.6 * len(short)
        shifts = [(7, dy) for dy in (-5, 5, -15, 15, -25)]
        shifts += [(-7 - width, dy) for dy in (-5, 5, -15, 15, -25)] + [
            (-width / 2, 8),
            (-width / 2, -19),
        ]
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + height) for dx, dy in shifts]
        inside = [box for box in boxes if box[2] < axes.bbox.x1] or boxes
        free = (box for box in inside if not any(_overlap(box, other) for other in taken))
        box = next(free, inside[0])
        taken.append(box)
        points_a_pixel = 72 / axes.figure.dpi
        axes.annotate(
            short,
            points[row.name],
            ((box[0] - x) * points_a_pixel, (box[1] - y) * points_a_pixel),
            textcoords="offset points",
            fontsize=7,
            color=_STYLES[row.kind][0],
        )


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_growth(points, path, title):
    """points: {name: [(n, {"train_s", "add_s", "one_us", "batch_us", "total_bytes"})]}."""
    panels = (
        ("add_s", "adding, s"),
        ("batch_us", "a query in a batch, us"),
        ("one_us", "one query a call, us"),
        ("total_bytes", "written index, bytes"),
    )
    figure, grid = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    markers = "os^Dv"
    for axes, (key, label) in zip(grid.flat, panels):
        for i, (name, series) in enumerate(points.items()):
            sizes = [n for n, _ in series]
            values = [point[key] for _, point in series]
            axes.plot(sizes, values, marker=markers[i % len(markers)], label=name)
            if i == 0:
                line = [values[-1] * n / sizes[-1] for n in sizes]
                axes.plot(sizes, line, color="grey", linestyle=":", label="linear in n")
        axes.set(xscale="log", yscale="log", xlabel="vectors", ylabel=label)
        axes.grid(True, which="both", linewidth=0.3, alpha=0.6)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
    plt.close(figure)
