# SPDX-License-Identifier: MIT
"""Vector compression and search by Clifford rotors, as FAISS indexes.

    import rotorquant

    index = rotorquant.index_factory(128, "RQ3")  # "ORQ3": learned, "IDMap2,RQ3", "RQ3,RFlat", ...
    index.train(vectors)
    index.add(vectors)
    distances, ids = index.search(queries, 10)

docs/python.md is the tutorial. rotorquant.faiss makes our indexes objects of FAISS's own module.
"""

from rotorquant._core import (
    METRIC_INNER_PRODUCT,
    METRIC_L2,
    Codec,
    Error,
    Estimator,
    Frame,
    Index,
    IndexIVFRotorQuant,
    IndexRotorQuant,
    IndexRotorQuantReference,
    Multivector,
    Rotation,
    Rotor,
    RotorQuantKVCache,
    RotorQuantMSE,
    RotorQuantProd,
    SearchParameters,
    SearchStats,
    deserialize_index,
    faiss_version,
    index_factory,
    omp_get_max_threads,
    omp_set_num_threads,
    read_index,
    serialize_index,
    simd_active,
    simd_available,
    verify_index,
    write_index,
)
from rotorquant._types import FilterLike, Metric, Progress

__version__ = "0.1.0"

__all__ = [
    "METRIC_INNER_PRODUCT",
    "METRIC_L2",
    "Codec",
    "Error",
    "Estimator",
    "FilterLike",
    "Frame",
    "Index",
    "IndexIVFRotorQuant",
    "IndexRotorQuant",
    "IndexRotorQuantReference",
    "Metric",
    "Multivector",
    "Progress",
    "Rotation",
    "Rotor",
    "RotorQuantKVCache",
    "RotorQuantMSE",
    "RotorQuantProd",
    "SearchParameters",
    "SearchStats",
    "__version__",
    "deserialize_index",
    "faiss_version",
    "index_factory",
    "omp_get_max_threads",
    "omp_set_num_threads",
    "read_index",
    "serialize_index",
    "simd_active",
    "simd_available",
    "verify_index",
    "write_index",
]
