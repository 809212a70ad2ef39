# SPDX-License-Identifier: MIT
"""Progress on stderr, results on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from rotorquant.cli.measure import EvalResult, Report

out = Console()
messages = Console(stderr=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Report]:
    """A bar with `what` and the current step before it, gone at the end; nothing where stderr is
    no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=messages, transient=True, disable=not messages.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None)

        def report(step: str, done: int, total: int) -> None:
            progress.update(
                task, description=f"{what}: {step}", completed=done, total=total or None
            )

        yield report


def note(text: str) -> None:
    messages.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One object a line."""
    print(json.dumps(value), flush=True)


def eval_table(results: list[EvalResult]) -> Table:
    k = results[0].k
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("dataset", no_wrap=True)
    table.add_column("index", no_wrap=True)
    for title in (f"{k}-recall@{k}", "bytes/vector", "one query us", "batch q/s", "add vec/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for r in results:
        table.add_row(
            r.dataset,
            r.index,
            f"{r.recall_at_k:.4f}",
            f"{r.bytes_per_vector:.1f}",
            f"{r.single_query_us:.1f}",
            f"{r.batch_qps:.0f}",
            f"{r.n / max(r.add_seconds, 1e-9):.0f}",
        )
    return table


def print_table(table: Table) -> None:
    """As wide as it needs to be where stdout is no terminal."""
    console = out if out.is_terminal else Console(width=200)
    console.print(table)


def to_json(result: EvalResult) -> dict[str, object]:
    return asdict(result)


def print_facts(facts: dict[str, object]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        table.add_row(name, text)
    print_table(table)
