# SPDX-License-Identifier: MIT
"""The program `rotorquant`: options and meanings are those of the C++ program in tools/."""
