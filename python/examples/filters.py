# SPDX-License-Identifier: MIT
"""Filters that differ from query to query: users who may see different documents.

python python/examples/filters.py
"""

from __future__ import annotations

import numpy as np

import rotorquant


def main() -> None:
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((10_000, 64), dtype=np.float32)
    owner = rng.integers(0, 20, len(documents))

    index = rotorquant.index_factory(64, "RQ4")
    index.train(documents)
    index.add(documents)

    users = np.array([3, 7, 7, 12])
    queries = rng.standard_normal((len(users), 64), dtype=np.float32)
    visible = owner == users[:, None]  # a mask a query: users x documents
    distances, ids = index.search(queries, 5, filter=visible)
    for user, row in zip(users, ids):
        print(f"user {user}: documents {row.tolist()}, owners {owner[row].tolist()}")
    assert (owner[ids] == users[:, None]).all()


if __name__ == "__main__":
    main()
