# SPDX-License-Identifier: MIT
"""Exit statuses, and the one exception that is the caller's fault."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_BAD_ARGUMENTS = 2


class BadArgument(Exception):
    """An argument that cannot be meant; the message names it, what was expected and received."""
