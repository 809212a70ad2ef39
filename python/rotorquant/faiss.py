# SPDX-License-Identifier: MIT
"""Rotor codes inside FAISS's own Python module.

    import faiss
    import rotorquant.faiss

    rotorquant.faiss.install()
    index = faiss.index_factory(128, "IDMap2,RQ3")   # a faiss.Index like any other

An index of ours becomes a genuine faiss.Index object, so that FAISS's wrappers, filters and helpers
take it. This needs a faiss of the very version that rotorquant was built with (Debian's
python3-faiss for Debian's libfaiss-dev); another one is refused with both versions named, and only
from_faiss works there.

Objects made here belong to the faiss module and follow its rules: nothing locks them.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rotorquant
from rotorquant import _core

__all__ = [
    "SearchParameters",
    "from_faiss",
    "install",
    "to_faiss",
    "to_rotorquant",
    "uninstall",
]

_container_magic_bytes = 8
_originals: dict[tuple[Any, str], Any] = {}


def _faiss() -> Any:
    """FAISS's module, when it fits what rotorquant was built with."""
    import faiss

    numbers = re.match(r"\d+(\.\d+)*", str(faiss.__version__))
    version = numbers.group() if numbers else str(faiss.__version__)
    if version != rotorquant.faiss_version:
        raise ImportError(
            f"rotorquant.faiss: expected faiss {rotorquant.faiss_version}, which rotorquant was "
            f"built with, received faiss {version} ({faiss.__file__}); "
            "rotorquant.faiss.from_faiss converts indexes of any version"
        )
    return faiss


def _swig() -> Any:
    """The part of our extension module that speaks to SWIG's, checked against the faiss at hand."""
    faiss = _faiss()
    swig = getattr(_core, "_swig", None)
    if swig is None:
        raise ImportError(
            "rotorquant.faiss: rotorquant was built without SWIG: install it and build again"
        )
    if f"swig_runtime_data{swig.runtime_version}" not in sys.modules:
        present = sorted(name for name in sys.modules if name.startswith("swig_runtime_data"))
        raise ImportError(
            f"rotorquant.faiss: expected a faiss made with SWIG's runtime {swig.runtime_version}, "
            f"received {', '.join(present) or 'none'} ({faiss.__file__}): build rotorquant with "
            "the SWIG that faiss was made with"
        )
    return swig


def _is_ours(index: Any) -> bool:
    """Whether rotor codes are in the index, itself or below wrappers."""
    try:
        return bool(_swig().contains_rotorquant(index))
    except TypeError:
        return False


def to_faiss(index: rotorquant.Index) -> Any:
    """A copy of the index as a faiss.Index object (of the wrapper's class for a wrapper)."""
    return _swig().from_rotorquant(index)


def to_rotorquant(index: Any) -> rotorquant.Index:
    """A copy of a faiss.Index object as a rotorquant.Index."""
    made: rotorquant.Index = _swig().to_rotorquant(index)
    return made


def from_faiss(
    index: Any,
    description: str | None = None,
    progress: rotorquant.Progress | None = None,
) -> rotorquant.Index:
    """A rotorquant.Index from an index of any faiss version, through FAISS's serialised bytes.

    What is carried: every type that both versions write alike (flat indexes, scalar and product
    quantisers, inverted files, graphs, id maps, vector transforms). With a description
    ("RQ3", "IDMap2,ORQ4") the vectors are decoded, and a new index is trained and filled with them;
    ids are kept when the description starts with an id map.
    """
    import faiss

    carried = rotorquant.deserialize_index(faiss.serialize_index(index).tobytes())
    if description is None:
        return carried
    from rotorquant.convert import convert

    return convert(carried, description, progress=progress)


def SearchParameters(  # noqa: N802 - stands where FAISS has a class of this name
    sel: Any = None,
    *,
    refine_error_scale: float = -1.0,
    k_factor: int = 0,
    levels: int = 0,
    estimator: rotorquant.Estimator = rotorquant.Estimator.rescaled,
    threads: int = 0,
) -> Any:
    """A faiss.SearchParameters object for rotor codes; the defaults stand for the index's own.

    sel is a faiss.IDSelector and is kept alive by the object."""
    params = _swig().search_parameters(
        sel=sel,
        refine_error_scale=refine_error_scale,
        k_factor=k_factor,
        levels=levels,
        estimator=estimator,
        threads=threads,
    )
    params.referenced_objects = [sel]
    return params


# ---- what install() puts into FAISS's module -----------------------------------------------


def _index_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    def index_factory(d: int, description: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(d, description, *args, **kwargs)
        except RuntimeError as error:
            metric = args[0] if args else kwargs.get("metric", _faiss().METRIC_L2)
            try:
                return _swig().index_factory(d, description, metric)
            except rotorquant.Error as ours:
                raise RuntimeError(str(ours)) from error

    return index_factory


def _reads_ours(path: str) -> bool:
    with open(path, "rb") as file:
        return bool(_swig().looks_like_container(file.read(_container_magic_bytes)))


def _read_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def read_index(source: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        if isinstance(source, str):
            if os.path.isfile(source) and _reads_ours(source):
                return _swig().read_index(source)
            return original(source, *args, **kwargs)
        if args or kwargs:  # flags are FAISS's business
            return original(source, *args, **kwargs)
        return _swig().read_index_from(source)

    return read_index


def _write_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def write_index(index: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_ours(index):
            return original(index, target, *args, **kwargs)
        if isinstance(target, (str, os.PathLike)):
            return _swig().write_index(index, os.fspath(target))
        return _swig().write_index_to(index, target)

    return write_index


def _clone_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def clone_index(index: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_ours(index):
            return original(index, *args, **kwargs)
        return _swig().clone_index(index)

    return clone_index


def _serialize_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def serialize_index(index: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_ours(index):
            return original(index, *args, **kwargs)
        return np.frombuffer(_swig().serialize_index(index), dtype=np.uint8)

    return serialize_index


def _deserialize_index(original: Callable[..., Any]) -> Callable[..., Any]:
    def deserialize_index(data: Any, *args: Any, **kwargs: Any) -> Any:
        head = np.asarray(data[:_container_magic_bytes], dtype=np.uint8).tobytes()
        if not _swig().looks_like_container(head):
            return original(data, *args, **kwargs)
        return _swig().deserialize_index(np.asarray(data, dtype=np.uint8).tobytes())

    return deserialize_index


def _set_index_parameter(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_index_parameter(self: Any, index: Any, name: str, value: float) -> Any:
        if not _is_ours(index):
            return original(self, index, name, value)
        return _swig().set_parameter(index, name, value)

    return set_index_parameter


def _set_index_parameters(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_index_parameters(self: Any, index: Any, settings: Any) -> Any:
        if not _is_ours(index):
            return original(self, index, settings)
        text = settings if isinstance(settings, str) else self.combination_name(settings)
        for setting in filter(None, text.split(",")):
            name, separator, value = setting.strip().partition("=")
            if not separator:
                raise RuntimeError(
                    f"rotorquant: set_index_parameters: expected name=value, received {setting!r}"
                )
            _swig().set_parameter(index, name, float(value))
        return None

    return set_index_parameters


#: What ParameterSpace.explore tries; the codec's default is 2 to 2.5 (docs/codec.md).
_error_scales = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)


def _initialize(original: Callable[..., Any]) -> Callable[..., Any]:
    def initialize(self: Any, index: Any) -> Any:
        original(self, index)
        if _is_ours(index):
            values = self.add_range("refine_error_scale").values
            for scale in _error_scales:
                values.push_back(scale)

    return initialize


def _explore(original: Callable[..., Any]) -> Callable[..., Any]:
    def explore(self: Any, index: Any, xq: Any, criterion: Any) -> Any:
        if not _is_ours(index):
            return original(self, index, xq, criterion)
        # FAISS's loop sets parameters from within C++, where it cannot know ours.
        faiss = _faiss()
        points = faiss.OperatingPoints()
        order = [0, self.n_combinations() - 1]
        order += [i for i in range(self.n_combinations()) if i not in order]
        for combination in itertools.islice(order, self.n_experiments or None):
            self.set_index_parameters(index, combination)
            begin = time.perf_counter()
            distances, ids = index.search(xq, criterion.nnn)
            seconds = time.perf_counter() - begin
            # Pointers: FAISS 1.7.3 takes no arrays here.
            performance = criterion.evaluate(faiss.swig_ptr(distances), faiss.swig_ptr(ids))
            points.add(performance, seconds, self.combination_name(combination), combination)
        return points

    return explore


def _patches(faiss: Any) -> list[tuple[Any, str, Callable[[Callable[..., Any]], Any]]]:
    space = faiss.ParameterSpace
    return [
        (faiss, "index_factory", _index_factory),
        (faiss, "read_index", _read_index),
        (faiss, "write_index", _write_index),
        (faiss, "clone_index", _clone_index),
        (faiss, "serialize_index", _serialize_index),
        (faiss, "deserialize_index", _deserialize_index),
        (space, "set_index_parameter", _set_index_parameter),
        (space, "set_index_parameters", _set_index_parameters),
        (space, "initialize", _initialize),
        (space, "explore", _explore),
    ]


def install() -> None:
    """Makes the faiss module's index_factory, read_index, write_index, clone_index,
    serialize_index, deserialize_index and ParameterSpace know rotor codes. Everything that has none
    goes to FAISS as before. Calling it again does nothing."""
    faiss = _faiss()
    _swig()
    for owner, name, patch in _patches(faiss):
        if (owner, name) not in _originals:
            original = getattr(owner, name)
            _originals[owner, name] = original
            setattr(owner, name, patch(original))


def uninstall() -> None:
    """Takes back what install() did."""
    for (owner, name), original in _originals.items():
        setattr(owner, name, original)
    _originals.clear()
