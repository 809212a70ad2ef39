# SPDX-License-Identifier: MIT
"""Who takes part, in which group, with which settings: edit here to add one.

Text in braces is filled in for each set: {d}, {d/N} (rounded down) and {nlist}, the number of
inverted lists that suits the number of vectors.
"""

import dataclasses
import re

GROUPS = ("flat", "avx2", "highdim", "ivf")

# Held to AVX2: ours, FAISS (both names: the loader's and the library's).
OURS_AVX2 = {"ROTORQUANT_SIMD": "avx2"}
FAISS_AVX2 = {"FAISS_OPT_LEVEL": "AVX2", "FAISS_SIMD_LEVEL": "AVX2"}
# turbovec scans bit planes in stages unless told not to: faster, and on some data less recall.
WHOLE_CODES = {"TURBOVEC_4BIT_PLANES": "0", "TURBOVEC_2BIT_PLANES": "0"}


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    kind: str  # "ours" or a key of peers.KINDS
    index: dict
    group: str
    short: bool = False  # takes part in the short form
    env: dict = dataclasses.field(default_factory=dict)
    sweep: tuple = ({},)  # search parameters, one measured point each

    def on(self, n, d):
        """The contestant for a set of n vectors of dimension d, braces filled in."""

        def fill(value):
            if isinstance(value, dict):
                return {key: fill(inner) for key, inner in value.items()}
            if value == "{nlist}":
                return list_count(n)
            return fill_text(value, n, d) if isinstance(value, str) else value

        return dataclasses.replace(self, name=fill(self.name), index=fill(self.index))


def list_count(n):
    return 256 if n < 50_000 else 1024 if n < 500_000 else 4096


def fill_text(text, n, d):
    text = text.replace("{nlist}", str(list_count(n))).replace("{d}", str(d))
    return re.sub(r"\{d/(\d+)\}", lambda match: str(d // int(match[1])), text)


def ours(spec, group, short=False, env=None, sweep=({},), suffix="", params=None):
    index = {"spec": spec, "params": params or {}}
    return Contestant(spec + suffix, "ours", index, group, short, env or {}, sweep)


# The default bound, and narrower ones: fewer whole codes to score, a little less recall.
BOUNDS = ({}, *({"refine_error_scale": scale} for scale in (0.5, 0.7, 1.0, 1.5)))


def faiss(spec, group, short=False, env=None, sweep=({},), suffix=""):
    name = f"faiss {spec}{suffix}"
    return Contestant(name, "faiss", {"spec": spec}, group, short, env or {}, sweep)


def turbovec(bits, group, short=False, calibrate=False, whole=False):
    name = (
        f"turbovec {bits}bit" + (" calibrated" if calibrate else "") + (" whole" if whole else "")
    )
    index = {"bits": bits, "calibrate": calibrate}
    return Contestant(name, "turbovec", index, group, short, WHOLE_CODES if whole else {})


def every_turbovec(group, short=()):
    """Both forms that could be the better one at a recall; 3 bits have no planes."""
    for bits in (2, 3, 4):
        for calibrate in (False, True):
            for whole in (False, True) if bits != 3 else (False,):
                yield turbovec(bits, group, (bits, calibrate, whole) in short, calibrate, whole)


def scann(name, group, index, sweep=({},), short=False):
    return Contestant(f"scann {name}", "scann", index, group, short, sweep=sweep)


def probes(name="nprobe", values=(1, 2, 4, 8, 16, 32, 64, 128), **others):
    return tuple({name: value, **others} for value in values)


def _flat():
    for spec in ("RQ2", "RQ2mse", "RQ3", "RQ3mse", "RQ4", "RQ4mse"):
        yield ours(spec, "flat", short=spec == "RQ3", sweep=BOUNDS)
        yield ours("O" + spec, "flat", short=spec in ("RQ3", "RQ4"), sweep=BOUNDS)
    for spec in ("RQ3", "ORQ3", "RQ4", "ORQ4"):
        yield ours(spec, "flat", suffix=" fast", params={"encode_effort": 0})
    for spec in ("Flat", "SQ8", "PQ{d/2}x4fs", "RR,RaBitQfs2", "RR,RaBitQfs3", "RR,RaBitQfs4"):
        yield faiss(spec, "flat", short=spec in ("Flat", "PQ{d/2}x4fs", "RR,RaBitQfs3"))
    for spec in ("SQ4", "RR,RaBitQfs", "RR,RaBitQ3", "RR,EDEN2", "RR,EDEN3", "RR,EDEN4"):
        yield faiss(spec, "flat")
    yield from every_turbovec("flat", short=((3, True, False), (4, True, True)))
    yield scann("AH2", "flat", {})
    yield scann("AH2,reorder100", "flat", {"reorder": 100})


def _avx2():
    for spec in ("RQ3", "ORQ3", "ORQ4"):
        yield ours(spec, "avx2", spec != "ORQ4", OURS_AVX2, BOUNDS, " [avx2]")
    for spec in ("PQ{d/2}x4fs", "RR,RaBitQfs3", "RR,RaBitQfs4"):
        yield faiss(spec, "avx2", spec.startswith("PQ"), FAISS_AVX2, suffix=" [avx2]")


def _highdim():
    for spec in ("RQ2", "RQ2mse", "RQ3", "RQ4", "RQ4mse"):
        yield ours(spec, "highdim", short=spec == "RQ3", sweep=BOUNDS)
        yield ours("O" + spec, "highdim", short=spec == "RQ3", sweep=BOUNDS)
    for spec in ("PQ{d/2}x4fs", "RR,RaBitQfs3", "RR,RaBitQfs4"):
        yield faiss(spec, "highdim", short=spec.startswith("PQ"))
    yield from every_turbovec("highdim", short=((4, True, True),))


def _ivf():
    few = probes()
    # A narrower bound with more lists is often the cheaper way to a recall.
    scaled = tuple(
        {"nprobe": nprobe, "refine_error_scale": scale}
        for scale in (1.0, 1.5, 2.0)
        for nprobe in (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    )
    for bits in (4, 6, 8):
        for kind in ("RQ", "ORQ"):
            spec = f"IVF{{nlist}},{kind}{bits}"
            yield ours(spec, "ivf", short=spec.endswith("ORQ4"), sweep=scaled)
    yield ours("IVF{nlist},ORQ3,RFlat", "ivf", sweep=probes(k_factor_rf=10))
    rescored = probes(k_factor_rf=10)
    yield faiss("IVF{nlist},PQ{d/2}x4fs,RFlat", "ivf", True, sweep=rescored)
    yield faiss("IVF{nlist},PQ{d/2}x4fs", "ivf", sweep=few)
    yield faiss("RR,IVF{nlist},RaBitQfs4", "ivf", sweep=few)
    yield faiss("RR,IVF{nlist},RaBitQfs,RFlat", "ivf", sweep=rescored)
    yield faiss("IVF{nlist},Flat", "ivf", sweep=few)
    for bits in (4, 8):
        index = {"bits": bits, "nlist": "{nlist}"}
        name = f"rabitqlib IVF{{nlist}},{bits}bit"
        yield Contestant(name, "rabitqlib", index, "ivf", bits == 4, sweep=few)
    yield scann(
        "tree{nlist},AH2,reorder",
        "ivf",
        {"leaves": "{nlist}", "reorder": 100},
        tuple(
            {"leaves": leaves, "reorder": reorder}
            for leaves, reorder in (
                (2, 30),
                (5, 50),
                (10, 50),
                (20, 100),
                (40, 100),
                (80, 200),
                (160, 300),
            )
        ),
    )
    widths = probes("ef", (10, 16, 32, 64, 128, 256))
    graph = {"M": 16, "ef_construction": 200}
    yield Contestant("hnswlib M16,efC200", "hnswlib", graph, "ivf", sweep=widths)
    yield Contestant("usearch M16,efA200", "usearch", graph, "ivf", sweep=widths)


CONTESTANTS = (*_flat(), *_avx2(), *_highdim(), *_ivf())


def chosen(group, only="", short=False):
    """Those of a group whose names match the regular expression `only`."""
    return [
        entry
        for entry in CONTESTANTS
        if entry.group == group and re.search(only, entry.name) and (entry.short or not short)
    ]


def shortened(entry):
    """At most two settings of the search parameters: from the middle of the sweep."""
    middle = len(entry.sweep) // 2
    return dataclasses.replace(entry, sweep=entry.sweep[middle : middle + 2] or entry.sweep)
