# SPDX-License-Identifier: MIT
"""What a figure depends on beside the code: written above every table. Never the host's name."""

import datetime
import importlib.metadata
import pathlib
import re
import subprocess

from bench.compare.session import ROOT, Failed, Session

_FLAGS = ("avx2", "avx512bw", "avx512vbmi", "avx512_vnni", "asimd")
_PACKAGES = ("faiss-cpu", "turbovec", "scann", "rabitqlib", "hnswlib", "usearch", "numpy")


def facts(options):
    """Name -> text, in the order of printing."""
    try:
        limits = _limits(options)
    except Failed as failure:
        limits = {"compiler": f"unknown ({failure})", "read_bytes_per_s": 0.0}
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "CPU": cpu(),
        "memory read, one core": f"{limits['read_bytes_per_s'] / 1e9:.1f} GB/s",
        "compiler": limits["compiler"],
        "threads": "1, every contestant on the same core, one at a time",
        "packages": ", ".join(f"{name} {version}" for name, version in packages()),
    }


def _limits(options):
    class Nobody:  # a session needs a contestant for its kind and environment alone
        kind, env = "ours", {}

    session = Session(Nobody, options.server, options.core, options.log)
    try:
        return session.ask("machine")
    finally:
        session.close()


def commit():
    def git(*arguments):
        return subprocess.run(
            ("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = any(not line.startswith("??") for line in git("status", "--porcelain").splitlines())
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def cpu():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")

    def value(*names):
        found = (re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE) for name in names)
        return next((match[1] for match in found if match), "")

    flags = value("flags", "Features").split()
    model = f"{value('model name')}, family {value('cpu family')}, model {value('model')}"
    return f"{model} ({' '.join(flag for flag in _FLAGS if flag in flags)})"


def packages():
    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
