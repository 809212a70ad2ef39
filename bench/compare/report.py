# SPDX-License-Identifier: MIT
"""Rows as CSV and Markdown, and back from CSV."""

import csv
import dataclasses
import types
import typing

from bench.compare.measure import Row

_COLUMNS = [field.name for field in dataclasses.fields(Row)]


def write_csv(path, rows, facts):
    with open(path, "w", newline="", encoding="utf-8") as file:
        for name, text in facts.items():
            file.write(f"# {name}: {text}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in _COLUMNS])


def read_csv(path):
    """(rows, facts)"""
    facts, lines = {}, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("# "):
                name, _, text = line[2:].rstrip("\n").partition(": ")
                facts[name] = text
            else:
                lines.append(line)
    return [_row(cells) for cells in csv.DictReader(lines)], facts


def _cell(value):
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _row(cells):
    values = {}
    for field in dataclasses.fields(Row):
        text = cells.get(field.name, "")
        kind = field.type
        if isinstance(kind, types.UnionType):  # int | None, float | None
            kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
            values[field.name] = kind(float(text)) if text else None
        else:
            values[field.name] = kind(text or 0) if kind is int else text
    return Row(**values)


# ---- Markdown --------------------------------------------------------------------------------

_HEADINGS = (
    "index", "10-recall@10", "top 10 in 100", "bytes a vector", "one query, us", "batch, queries/s",
    "add, vectors/s", "train, s", "one call, us",
)  # fmt: skip


def markdown(rows, facts, title):
    """A page: what was measured, one table, who failed."""
    lines = [f"# {title}", ""]
    lines += [f"- {name}: {text}" for name, text in facts.items()]
    lines += [
        "- k = 10. Times: best / median of the rounds. One query: one a call, the mean of a round."
        " Batch: up to 1,000 queries in one call. Ours is called from C++, peers from Python around"
        ' the bare call, one row a call. "One call" is the same call on an index of one vector: it'
        ' shows what of "one query" is not search.',
        "- Bytes a vector: of the written index, less what it holds while empty (fixed_bytes in the"
        " CSV).",
        "",
        "| " + " | ".join(_HEADINGS) + " |",
        "|---" * len(_HEADINGS) + "|",
    ]
    lines += [_line(row) for row in rows if not row.error]
    lines += _at_recalls(rows)
    failures = [f"- {row.name}: {row.error}" for row in rows if row.error]
    if failures:
        lines += ["", "Failed:", "", *failures]
    return "\n".join(lines) + "\n"


def _line(row):
    batch = pair(row.batch_qps_best, row.batch_qps_median, ",.0f")
    if row.batch_size is not None and row.batch_size < 500:
        batch += f" ({row.batch_size} a call)"
    cells = (
        f"{row.name} {row.settings}".strip(),
        number(row.recall_10_at_10, ".3f"),
        number(row.top_10_in_100, ".3f"),
        number(row.bytes_per_vector, ",.0f"),
        pair(row.one_us_best, row.one_us_median, ",.1f"),
        batch,
        pair(row.add_per_s_best, row.add_per_s_median, ",.0f"),
        pair(row.train_s_best, row.train_s_median, ".2f"),
        number(row.call_us, ".1f"),
    )
    return "| " + " | ".join(cells) + " |"


# ---- speed at a recall -----------------------------------------------------------------------

RECALLS = (0.90, 0.95, 0.99)


def peers_swept(rows):
    """Whether the group has search parameters that trade recall for speed throughout: inverted
    lists and graphs, not flat indexes."""
    return any(row.settings for row in rows if row.kind != "ours")


def _at_recalls(rows):
    """A second table where search parameters were swept."""
    if not peers_swept(rows):
        return []
    swept = list(dict.fromkeys(row.name for row in rows if row.settings))
    recalls = " / ".join(f"{recall:.2f}" for recall in RECALLS)
    yield from (
        "",
        f"Queries a second at recall {recalls}, interpolated between the measured settings:",
        "",
        "| index | bytes a vector | best recall | one query a call | batch |",
        "|---|---|---|---|---|",
    )
    for name in swept:
        points = [row for row in rows if row.name == name and not row.error]
        if points:
            best = max(row.recall_10_at_10 for row in points)
            speeds = (lambda row: 1e6 / row.one_us_best, lambda row: row.batch_qps_best)
            cells = [
                " / ".join(number(speed_at(points, recall, speed), ",.0f") for recall in RECALLS)
                for speed in speeds
            ]
            size = points[0].bytes_per_vector
            yield f"| {name} | {size:,.0f} | {best:.3f} | " + " | ".join(cells) + " |"


def speed_at(rows, recall, speed):
    """Queries a second at `recall`: between the neighbouring points of the Pareto front, linear in
    the logarithm of the speed; None where no setting reaches it."""
    front = []
    for row in sorted(rows, key=speed, reverse=True):
        if not front or row.recall_10_at_10 > front[-1][0]:
            front.append((row.recall_10_at_10, speed(row)))
    if front[-1][0] < recall:
        return None
    after = next(i for i, point in enumerate(front) if point[0] >= recall)
    if after == 0:
        return front[0][1]
    (low, fast), (high, slow) = front[after - 1 : after + 1]
    return fast * (slow / fast) ** ((recall - low) / (high - low))


def number(value, form):
    return "-" if value is None else format(value, form)


def pair(best, median, form):
    return "-" if best is None else f"{format(best, form)} / {format(median, form)}"
