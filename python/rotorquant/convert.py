# SPDX-License-Identifier: MIT
"""From one kind of index to another, by way of the decoded vectors."""

from __future__ import annotations

import numpy as np

from rotorquant import Index, Progress, index_factory
from rotorquant._progress import reporter

#: Vectors decoded at a time.
_block = 65536
#: Rows that a training looks at; more would only be decoded for nothing.
_training_rows = 65536


def convert(index: Index, description: str, progress: Progress | None = None) -> Index:
    """A new index of the description, trained on and filled with the decoded vectors of `index`.

    Ids stay what they are; where `index` has an id map, the description must begin with one. What
    `index` lost when it was made stays lost.
    """
    made = index_factory(index.d, description, index.metric_type)
    ids = index.id_map
    has_id_map = description.startswith("IDMap")
    if ids is not None and not has_id_map:
        raise ValueError(
            "description: expected one that begins with IDMap2, because the index has ids of its "
            f"own, received {description!r}"
        )
    total = len(index)
    if total:
        made.train(index.reconstruct_n(0, min(total, _training_rows)))
    report = reporter(progress, total, "convert")
    for first in range(0, total, _block):
        rows = index.reconstruct_n(first, min(_block, total - first))
        last = first + len(rows)
        if has_id_map:
            made.add_with_ids(rows, np.arange(first, last) if ids is None else ids[first:last])
        else:
            made.add(rows)
        if report is not None:
            report(last, total)
    return made
