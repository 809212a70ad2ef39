# SPDX-License-Identifier: MIT
"""The tutorial runs, the examples and the package satisfy mypy --strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

root = Path(__file__).parents[2]


def test_tutorial_runs(tmp_path, monkeypatch):
    """docs/python.md, block after block in one namespace, as a reader would type them."""
    pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").symlink_to(root / "datasets")
    page = (root / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    namespace: dict[str, object] = {"__name__": "tutorial"}
    for number, block in enumerate(blocks, 1):
        if "import faiss" in block:
            faiss = pytest.importorskip("faiss", exc_type=ImportError)
            import rotorquant

            if faiss.__version__ != rotorquant.faiss_version:
                continue
        exec(compile(block, f"docs/python.md, block {number}", "exec"), namespace)


@pytest.mark.parametrize(
    "what", [["-p", "rotorquant"], ["python/examples", "datasets/embed.py"]], ids=["package", "examples"]
)
def test_types(what, monkeypatch):
    pytest.importorskip("mypy")
    monkeypatch.setenv("MYPYPATH", "python/examples")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", *what],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
