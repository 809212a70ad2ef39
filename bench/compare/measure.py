# SPDX-License-Identifier: MIT
"""Lets contestants take turns on one set and gathers what each did."""

import dataclasses
import statistics

import numpy as np

from bench.compare import datasets
from bench.compare.session import Failed, Session

K = 10
WIDE_K = 100
QUERIES = 1000
# A batch that would take longer than this is made of fewer queries, but not of fewer than these.
BATCH_SECONDS = 4.0
FEWEST_QUERIES = 100
# Builds that take longer than this are not repeated.
LONG_BUILD_SECONDS = 10.0


@dataclasses.dataclass
class Options:
    server: str
    core: int
    rounds: int = 5
    builds: int = 2
    one_budget_s: float = 2.0
    log: object = None
    say: object = print


@dataclasses.dataclass
class Row:
    """One measured point: a contestant with one setting of its search parameters. Times: the best
    and the median of the rounds; a round of single queries is the mean of its calls."""

    set: str
    n: int
    d: int
    group: str
    name: str
    kind: str
    settings: str = ""
    recall_10_at_10: float | None = None
    top_10_in_100: float | None = None
    bytes_per_vector: float | None = None
    fixed_bytes: int | None = None
    one_us_best: float | None = None
    one_us_median: float | None = None
    batch_qps_best: float | None = None
    batch_qps_median: float | None = None
    batch_size: int | None = None
    add_per_s_best: float | None = None
    add_per_s_median: float | None = None
    train_s_best: float | None = None
    train_s_median: float | None = None
    call_us: float | None = None  # a call on an index of one vector
    prepare_share: float | None = None  # shares of a batch's time; ours only
    scan_share: float | None = None
    refine_share: float | None = None
    candidates: float | None = None
    refined: float | None = None
    scan_bytes: int | None = None
    rounds: int = 0
    kernels: str = ""
    error: str = ""


class Turn:
    """A session with what it has shown so far."""

    def __init__(self, contestant, path, data, options):
        self.contestant, self.data, self.options = contestant.on(data.n, data.d), data, options
        self.session = Session(self.contestant, options.server, options.core, options.log)
        self.path = path
        self.error = ""
        self.train_s, self.add_s = [], []
        self.sizes = None
        self.kernels = ""
        self.points = [
            {"settings": settings, "one": [], "batch": []} for settings in contestant.sweep
        ]

    def attempt(self, step, *arguments):
        """Runs a step unless an earlier one failed; a failure ends this contestant, not the run."""
        if self.error:
            return
        try:
            step(*arguments)
        except Failed as failure:
            self.error = str(failure)
            self.options.say(f"   {self.contestant.name}: failed: {failure}")

    def open(self):
        reply = self.session.ask(
            "open",
            dataset=str(self.path),
            index=self.contestant.index,
            queries=len(self.data.queries),
        )
        self.kernels = reply["kernels"]

    def build(self):
        if self.train_s and self.train_s[-1] + (self.add_s[-1] or 0.0) > LONG_BUILD_SECONDS:
            return
        reply = self.session.ask("build")
        self.train_s.append(reply["train_s"])
        self.add_s.append(reply["add_s"])

    def look(self):
        """Size and recall; the first searches, which also warm up."""
        self.sizes = self.session.ask("size")
        for point in self.points:
            self.session.ask("set", params=point["settings"])
            narrow = self.session.ask("search", k=K)
            wide = self.session.ask("search", k=WIDE_K)
            point["recall"] = datasets.recall(self.data.truth, np.array(narrow["ids"]), K)
            point["in_wide"] = datasets.recall(self.data.truth, np.array(wide["ids"]), K)
            point["batch_size"] = batch_size(len(self.data.queries), narrow["seconds"])

    def race(self, point):
        if len(self.points) > 1 or point["settings"]:
            self.session.ask("set", params=point["settings"])
        one = self.session.ask("one", k=K, budget_s=self.options.one_budget_s)
        point["one"].append(one["us"])
        batch = self.session.ask("batch", k=K, size=point["batch_size"])
        point["batch"].append(batch["size"] / batch["seconds"])

    def finish(self):
        for point in self.points:
            self.session.ask("set", params=point["settings"])
            point["profile"] = self.session.ask("profile", k=K)
        try:
            self.call_us = self.session.ask("call", k=K)["us"]
        except Failed:
            self.call_us = None  # some peers have no index of one vector

    def rows(self, group):
        fixed = Row(
            self.data.name,
            self.data.n,
            self.data.d,
            group,
            self.contestant.name,
            self.contestant.kind,
        )
        fixed.kernels, fixed.error = self.kernels, self.error
        if self.error:
            return [fixed]
        fixed.bytes_per_vector = (
            self.sizes["total_bytes"] - self.sizes["fixed_bytes"]
        ) / self.data.n
        fixed.fixed_bytes = self.sizes["fixed_bytes"]
        fixed.train_s_best, fixed.train_s_median = (
            min(self.train_s),
            statistics.median(self.train_s),
        )
        if self.add_s[0] is not None:
            fixed.add_per_s_best = self.data.n / min(self.add_s)
            fixed.add_per_s_median = self.data.n / statistics.median(self.add_s)
        fixed.call_us = self.call_us
        return [self._row(fixed, point) for point in self.points]

    @staticmethod
    def _row(fixed, point):
        row = dataclasses.replace(
            fixed,
            settings=" ".join(f"{name}={value}" for name, value in point["settings"].items()),
            recall_10_at_10=point["recall"],
            top_10_in_100=point["in_wide"],
            one_us_best=min(point["one"]),
            one_us_median=statistics.median(point["one"]),
            batch_qps_best=max(point["batch"]),
            batch_qps_median=statistics.median(point["batch"]),
            batch_size=point["batch_size"],
            rounds=len(point["one"]),
        )
        if profile := point["profile"]:
            row.prepare_share = profile["prepare_s"] / profile["seconds"]
            row.scan_share = profile["scan_s"] / profile["seconds"]
            row.refine_share = profile["refine_s"] / profile["seconds"]
            row.candidates, row.refined = profile["candidates"], profile["refined"]
            row.scan_bytes = profile["scan_bytes"] or None
        return row


def batch_size(queries, seconds):
    """How many of `queries`, which took `seconds`, to put into a timed batch."""
    if seconds <= BATCH_SECONDS:
        return queries
    return min(queries, max(FEWEST_QUERIES, int(queries * BATCH_SECONDS / seconds)))


def compare(path, group, contestants, options):
    """Rows of all contestants on the set at `path`. They build in turns, then race in turns."""
    data = datasets.load(path, queries=QUERIES, base=False)
    turns = [Turn(contestant, path, data, options) for contestant in contestants]
    say = options.say
    try:
        for turn in turns:
            turn.attempt(turn.open)
        for i in range(options.builds):
            for turn in turns:
                say(f"   build {i + 1}/{options.builds}: {turn.contestant.name}")
                turn.attempt(turn.build)
        for turn in turns:
            turn.attempt(turn.look)
        for i in range(options.rounds):
            say(f"   round {i + 1}/{options.rounds}")
            for turn in turns:
                for point in turn.points:
                    turn.attempt(turn.race, point)
        for turn in turns:
            turn.attempt(turn.finish)
        return [row for turn in turns for row in turn.rows(group)]
    finally:
        for turn in turns:
            turn.session.close()
