# SPDX-License-Identifier: MIT
"""Progress of long calls: a callable, or a bar drawn by tqdm."""

from __future__ import annotations

from collections.abc import Callable


def reporter(
    progress: Callable[[int, int], object] | bool | None, total: int, what: str
) -> Callable[[int, int], object] | None:
    """What to call with (done, total): `progress` itself, or a bar for True."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "progress=True draws its bar with tqdm: pip install tqdm, or pass a callable"
        ) from error
    bar = tqdm(total=total, desc=what, unit="vec", unit_scale=True)

    def update(done: int, total: int) -> None:
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return update
