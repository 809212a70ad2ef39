# SPDX-License-Identifier: MIT
"""Ours and the peers side by side: see README.md in this folder."""
