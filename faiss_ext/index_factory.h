// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>

namespace rotorquant {

/// FAISS's index factory with our codes in its grammar:
///
///   RQ1 .. RQ8        rotor layers, no training needed (training only finds the centre)
///   ORQ1 .. ORQ8      learned frame and codebooks, training required
///   RQ3mse, ORQ2mse   all bits to levels, no QJL sign
///   RQ1ref .. RQ8ref  the published algorithm, for comparison
///
/// alone, in inverted lists (IVF1024,RQ3 with any coarse quantizer FAISS can write: IVF1024_HNSW32,
/// IMI2x8, or with any index in parentheses: IVF1024(RQ8), IVF65536(IVF256,HNSW32), the last with
/// an nprobe of 16 of its own), and inside IDMap, IDMap2, vector transforms (PCA64,RQ4), RFlat and
/// Refine(...), HNSW32,RQ8 and NSG32,RQ8. Whatever names none of these goes to faiss::index_factory
/// unchanged, so RQ8x8 stays FAISS's residual quantiser. Below a vector transform RQ counts as
/// untrained, so that FAISS trains its centre together with the transform.
///
/// The whole tree belongs to the returned index (own_fields is set throughout). Throws
/// faiss::FaissException that says what is allowed. Thread-safe.
std::unique_ptr<faiss::Index> index_factory(int d, const std::string& description,
                                            faiss::MetricType metric = faiss::METRIC_L2);

/// The string that index_factory would make such an index from. Knows our indexes, the wrappers
/// above and IndexFlat; throws faiss::FaissException on anything else.
std::string reverse_index_factory(const faiss::Index& index);

/// What to call any index: that string, or its C++ class where there is none ("faiss::IndexPQ").
std::string describe_index(const faiss::Index& index);
/// Its C++ class.
std::string class_name(const faiss::Index& index);

}  // namespace rotorquant
