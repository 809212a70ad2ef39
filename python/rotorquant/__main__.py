# SPDX-License-Identifier: MIT
"""The program `rotorquant` (also: python -m rotorquant)."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from rotorquant.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("rotorquant"):
            raise
        print(
            f"rotorquant: the program needs {error.name}: pip install 'rotorquant[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(run())


if __name__ == "__main__":
    main()
