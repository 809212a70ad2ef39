# SPDX-License-Identifier: MIT
"""What a pickled index is restored by."""

from __future__ import annotations

from rotorquant._core import Index, deserialize_index


def restore(data: bytes) -> Index:
    """Pickle finds Python functions by name, but none of an extension module of nanobind."""
    return deserialize_index(data)
