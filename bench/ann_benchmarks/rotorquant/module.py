# SPDX-License-Identifier: MIT
"""RotorQuant for ann-benchmarks: flat and inverted-file indexes, with and without re-ranking."""

import numpy as np
import rotorquant

from ..base.module import BaseANN


class RotorQuant(BaseANN):
    """Any index of rotorquant's factory; the queries of a definition set its parameters by name."""

    def __init__(self, metric, dimension, index):
        if metric not in ("angular", "euclidean"):
            raise NotImplementedError(f"RotorQuant does not support metric {metric}")
        rotorquant.omp_set_num_threads(1)
        self._angular = metric == "angular"
        self._spec = index
        self._parameters = {}
        # Normalised vectors have the same order by inner product.
        self._index = rotorquant.index_factory(
            dimension, index, "inner_product" if self._angular else "l2"
        )

    def _prepared(self, x):
        x = np.ascontiguousarray(x, dtype=np.float32)
        if self._angular:
            lengths = np.linalg.norm(x, axis=-1, keepdims=True)
            x = x / np.where(lengths > 0, lengths, 1)
        return x

    def fit(self, X):
        vectors = self._prepared(X)
        self._index.train(vectors)
        self._index.add(vectors)

    def set_query_arguments(self, parameters):
        """parameters: a dictionary such as {nprobe: 32, k_factor_rf: 4}."""
        self._parameters = dict(parameters)
        for name, value in self._parameters.items():
            self._index.set_parameter(name, value)

    def query(self, v, n):
        self.prepare_query(v, n)
        self.run_prepared_query()
        return self.get_prepared_query_results()

    # Only run_prepared_query is timed.
    def prepare_query(self, v, n):
        self._query = self._prepared(v)[np.newaxis]
        self._count = n

    def run_prepared_query(self):
        _, self._ids = self._index.search(self._query, self._count)

    def get_prepared_query_results(self):
        return self._found(self._ids[0])

    def batch_query(self, X, n):
        _, self._batch = self._index.search(self._prepared(X), n)

    def get_batch_results(self):
        return [self._found(ids) for ids in self._batch]

    @staticmethod
    def _found(ids):
        """-1 stands where fewer than asked for were found."""
        return ids[ids >= 0]

    def get_memory_usage(self):
        """kB of the index itself. The process's own size, which is the default, misses what was
        freed before and taken again, and counts what training borrowed."""
        return len(rotorquant.serialize_index(self._index)) / 1024

    def get_additional(self):
        return {"ntotal": self._index.ntotal}

    def __str__(self):
        settings = ", ".join(f"{name}={value}" for name, value in self._parameters.items())
        return f"RotorQuant({self._spec}{', ' if settings else ''}{settings})"
