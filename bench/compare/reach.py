# SPDX-License-Identifier: MIT
"""What was to be reached against what was measured, from the CSV files of comparisons.

Usage: python -m bench.compare.reach docs/benchmarks/*.csv > table.md
"""

import dataclasses
import re
import sys

from bench.compare import report

SPEEDS = {
    "batch": (lambda row: row.batch_qps_best, lambda row: row.batch_qps_median),
    "one": (lambda row: 1e6 / row.one_us_best, lambda row: 1e6 / row.one_us_median),
    "add": (lambda row: row.add_per_s_best, lambda row: row.add_per_s_median),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table: at least `ratio` times a peer's speed, by named indexes of ours (then
    with `gain` more recall), or by the fastest with at least its recall in at most its bytes."""

    work: str
    group: str
    sets: str  # regular expressions, matched from the start of a name
    peers: str
    speed: str
    ratio: float
    ours: str = ""
    gain: float | None = None


def _lines():
    for group, suffix, ratios in (("flat", "", (3.0, 2.5)), ("avx2", r" \[avx2\]", (1.5, 1.5))):
        for speed, ratio in zip(("batch", "one"), ratios):
            for code in ("ORQ3", "RQ3"):
                work = f"{code} against FAISS PQ x4fs" + (", both AVX2" if suffix else "")
                peers, mine = rf"faiss PQ\d+x4fs{suffix}$", f"{code}{suffix}$"
                yield Line(work, group, "sift", peers, speed, ratio, mine, 0.15)
    for sets, ratio in (("sift", 2.0), ("minilm", 2.0), ("glove", 1.5)):
        for speed in ("batch", "one"):
            for bits in (2, 3, 4):
                peers = f"turbovec {bits}bit"
                yield Line(f"turbovec {bits} bits", "flat", sets, peers, speed, ratio)
    for bits in (3, 4):
        yield Line(f"FAISS RaBitQfs{bits}", "flat", "", f"faiss RR,RaBitQfs{bits}$", "batch", 20.0)
    for bits in (2, 3, 4):
        yield Line(f"turbovec {bits} bits", "highdim", "", f"turbovec {bits}bit", "batch", 2.0)
    for code in ("ORQ3", "RQ3"):
        work = f"{code} against FAISS PQ x4fs"
        yield Line(work, "highdim", "", r"faiss PQ\d+x4fs$", "batch", 2.0, f"{code}$", 0.0)
    for code in ("RQ3", "ORQ3", "RQ4", "ORQ4"):
        yield Line(f"add {code}", "flat", "sift", "faiss RR,RaBitQ3$", "add", 5.0, f"{code}$")
    yield Line("add, fast effort", "flat", "sift", "turbovec [34]bit", "add", 1.0, r"O?RQ[34] fast$")


LINES = tuple(_lines())

# (set, most of a batch that may be spent outside the scan)
OUTSIDE_SCAN = (("sift", 0.35), ("minilm", 0.35), ("glove", 0.60))

_HEAD = """\
| work | set | reach | measured (of medians) | who, recall, bytes | met |
|---|---|---|---|---|---|"""


def table(rows, bandwidth=0.0):
    """Markdown. bandwidth: bytes a second that one core can read."""
    rows = [row for row in rows if not row.error]
    lines = [_HEAD]
    for line in LINES:
        of_group = [row for row in rows if row.group == line.group and re.match(line.sets, row.set)]
        for name in dict.fromkeys(row.set for row in of_group):
            lines += _compared(line, name, [row for row in of_group if row.set == name])
    return "\n".join([*lines, *_shares(rows), *_bandwidth(rows, bandwidth)]) + "\n"


def _compared(line, name, rows):
    """The line on one set, against whichever peer it matches that leaves the least ahead."""
    peers = [row for row in rows if row.kind != "ours" and re.match(line.peers, row.name)]
    found = [(_best_of_ours(line, rows, peer), peer) for peer in peers]
    if not found:
        return []
    title = f"| {line.work}, {_SPEED_NAMES[line.speed]} | {name} | >= {line.ratio:g}x"
    if line.gain:
        title += f", recall +{line.gain:g}"
    matched = [pair for pair in found if pair[0] is not None]
    remarks = [_unmatched(line, peer) for mine, peer in found if mine is None]
    measured, met = "-", False
    if matched:
        mine, peer = min(matched, key=lambda pair: _ratio(line.speed, *pair))
        ratio = _ratio(line.speed, mine, peer)
        gain = mine.recall_10_at_10 - peer.recall_10_at_10
        met = ratio >= line.ratio and (line.gain is None or gain >= line.gain) and not remarks
        measured = f"{ratio:.2f}x ({_ratio(line.speed, mine, peer, of_medians=True):.2f}x)"
        remarks.insert(0, f"{_described(mine)} against {_described(peer)}")
    return [f"{title} | {measured} | {'; '.join(remarks)} | {'yes' if met else 'no'} |"]


def _unmatched(line, peer):
    if line.ours:
        return f"{line.ours.rstrip('$')} not measured"
    return f"none of ours has the recall in the bytes of {_described(peer)}"


_SPEED_NAMES = {"batch": "batch", "one": "one query a call", "add": "encode and add"}


def _best_of_ours(line, rows, peer):
    """The index of ours that the line compares with this peer, or None."""
    mine = [row for row in rows if row.kind == "ours"]
    if line.ours:
        mine = [row for row in mine if re.match(line.ours, row.name)]
        least = peer.recall_10_at_10 + (line.gain or 0.0)
        # A narrower bound counts where it still has the recall asked for.
        mine = [row for row in mine if line.gain is not None and row.recall_10_at_10 >= least] or [
            row for row in mine if not row.settings
        ]
    else:
        mine = [row for row in mine if matches(row, peer)]
    return max(mine, key=SPEEDS[line.speed][0], default=None)


def matches(mine, peer):
    """At least its recall in at most its bytes."""
    enough = mine.recall_10_at_10 >= peer.recall_10_at_10
    return enough and mine.bytes_per_vector <= peer.bytes_per_vector


def _ratio(speed, mine, peer, of_medians=False):
    value = SPEEDS[speed][1 if of_medians else 0]
    return value(mine) / value(peer)


def _described(row):
    name = f"{row.name} {row.settings}".strip()
    return f"{name} {row.recall_10_at_10:.3f} {row.bytes_per_vector:.0f}"


def _shares(rows):
    for sets, most in OUTSIDE_SCAN:
        for row in rows:
            if row.group == "flat" and row.set.startswith(sets) and row.name in ("RQ3", "ORQ3"):
                if row.scan_share is None or row.settings:
                    continue
                outside = 1.0 - row.scan_share
                verdict = "yes" if outside <= most else "no"
                yield (
                    f"| {row.name}: share of a batch outside the scan | {row.set} | <= {most:.0%} |"
                    f" {outside:.0%} | prepare {row.prepare_share:.0%}, refine"
                    f" {row.refine_share:.0%}, {row.refined:.0f} refined | {verdict} |"
                )


def _bandwidth(rows, bandwidth):
    for row in rows:
        if row.group != "highdim" or row.name not in ("RQ3", "ORQ3") or not row.scan_bytes:
            continue
        if row.settings:
            continue
        speed = row.scan_bytes / (row.one_us_best * 1e-6)
        share = f"{speed / bandwidth:.0%} of it" if bandwidth else "share unknown"
        yield (
            f"| {row.name}, one query a call: bytes of scan blocks over its whole time |"
            f" {row.set} | memory bandwidth | {speed / 1e9:.1f} GB/s, {share} |"
            f" {row.scan_bytes / 1e6:.1f} MB of scan blocks | stated |"
        )


def main(paths):
    if not paths:
        sys.exit(__doc__)
    rows, bandwidth = [], 0.0
    for path in paths:
        more, facts = report.read_csv(path)
        rows += more
        read = re.match(r"[\d.]+", facts.get("memory read, one core", ""))
        bandwidth = max(bandwidth, float(read[0]) * 1e9 if read else 0.0)
    print(table(rows, bandwidth), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
