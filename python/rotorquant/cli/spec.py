# SPDX-License-Identifier: MIT
"""Index strings and --param settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

import rotorquant
from rotorquant.cli.errors import BadArgument


def expand_placeholders(spec: str, d: int) -> str:
    """{d} and {d/N} stand for the dimension and its N-th part."""

    def value(match: re.Match[str]) -> str:
        parts = re.fullmatch(r"\{d(?:/([0-9]+))?\}", match.group())
        divisor = int(parts.group(1) or 1) if parts else 0
        if divisor == 0 or d // divisor == 0:
            raise BadArgument(
                f"--index '{spec}': expected {{d}} or {{d/N}} with N from 1 to d = {d}, "
                f"received '{match.group()}'"
            )
        return str(d // divisor)

    return re.sub(r"\{[^}]*\}?", value, spec)


def make_index(spec: str, d: int, metric: str) -> rotorquant.Index:
    # No index has none of something, and FAISS divides by some of these numbers unchecked.
    if re.search(r"[A-Za-z]0+(?![0-9])", spec):
        raise BadArgument(f"--index '{spec}': expected counts of 1 or more, received 0")
    try:
        return rotorquant.index_factory(d, spec, metric)
    except rotorquant.Error as error:
        raise BadArgument(f"--index '{spec}' (d = {d}): {error}") from error


@dataclass(frozen=True)
class Setting:
    """One name=value of --param."""

    name: str
    value: str


def parse_params(texts: list[str]) -> list[Setting]:
    settings: list[Setting] = []
    for part in ",".join(texts).split(",") if texts else []:
        name, separator, value = part.partition("=")
        if not (name and separator and value):
            raise BadArgument(f"--param: expected name=value,..., received '{part}'")
        if any(earlier.name == name for earlier in settings):
            raise BadArgument(f"--param {name}: given twice")
        settings.append(Setting(name, value))
    return settings


#: Settings of a call; everything else is a default of the index (Index.set_parameter).
_of_a_call = ("levels", "estimator")


def _number(setting: Setting) -> float:
    try:
        value = float(setting.value)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadArgument(
            f"--param {setting.name}: expected a number of 0 or more, received '{setting.value}'"
        )
    return value


def _call_parameter(setting: Setting) -> dict[str, object]:
    if setting.name == "levels":
        if not setting.value.isdigit():
            raise BadArgument(
                f"--param levels: expected a whole number, received '{setting.value}'"
            )
        return {"levels": int(setting.value)}
    if setting.value not in ("rescaled", "strict"):
        raise BadArgument(
            f"--param estimator: expected rescaled or strict, received '{setting.value}'"
        )
    return {"estimator": getattr(rotorquant.Estimator, setting.value)}


@dataclass
class SearchSetup:
    """How searches of one index are made, and which settings it does not know."""

    params: rotorquant.SearchParameters | None
    unused: list[str]


def prepare_search(index: rotorquant.Index, settings: list[Setting], threads: int) -> SearchSetup:
    """Sets what the index knows on it, and collects the rest."""
    is_ours = isinstance(index, (rotorquant.IndexRotorQuant, rotorquant.IndexIVFRotorQuant))
    call: dict[str, object] = {"threads": threads} if is_ours and threads > 1 else {}
    unused: list[str] = []
    for setting in settings:
        if setting.name in _of_a_call:
            if is_ours:
                call.update(_call_parameter(setting))
            else:
                unused.append(setting.name)
            continue
        value = _number(setting)
        try:
            index.set_parameter(setting.name, value)
        except rotorquant.Error:
            unused.append(setting.name)
    params = rotorquant.SearchParameters(**call) if call else None  # type: ignore[arg-type]
    return SearchSetup(params, unused)


def require_known(settings: list[Setting], setups: list[tuple[str, SearchSetup]]) -> None:
    """Refuses a name that none of the indexes knows."""
    for setting in settings:
        if setups and all(setting.name in setup.unused for _, setup in setups):
            names = ", ".join(dict.fromkeys(spec for spec, _ in setups))
            raise BadArgument(f"--param {setting.name}={setting.value}: none of {names} takes it")
