# SPDX-License-Identifier: MIT
"""Types that several signatures share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

from numpy.typing import ArrayLike

#: "l2", "inner_product", "ip", or FAISS's number of a metric.
Metric = Union[str, int]

#: True draws a bar (tqdm); a callable gets (done, total).
Progress = Union[bool, Callable[[int, int], object]]

#: Ids, a mask or a bitmap for all queries, or a sequence of them, one a query: see SearchParameters.
FilterLike = Union[ArrayLike, Sequence[ArrayLike]]
