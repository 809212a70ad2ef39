// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>

#include <string>

#include "faiss_ext/IndexIVFRotorQuant.h"

namespace rotorquant {

/// Sets search parameters by name, through all wrappers of index_tree.h:
///
///   nprobe, max_codes     of the inverted file (ours or FAISS's)
///   quantizer_nprobe ...  "quantizer_" before a name: of its coarse quantizer
///   refine_error_scale, k_factor   of every index of ours below
///   encode_effort         of the same: 0 fast, 1 standard, 2 best (for vectors added later)
///   k_factor_rf           of IndexRefine
///   efSearch, efConstruction       of HNSW graphs (efSearch also of NSG: its search_L)
///
/// What stands in the way of `name` is passed over; every part it names is set. Names that nothing
/// here knows go to faiss::ParameterSpace where no index of ours is below. Throws
/// faiss::FaissException on a name that no part of the index has, and on a value it cannot take.
void set_index_parameter(faiss::Index& index, const std::string& name, double value);
/// "nprobe=16,refine_error_scale=1.5,k_factor_rf=4". Nothing is set when the string is malformed.
void set_index_parameters(faiss::Index& index, const std::string& description);

/// The inverted file inside any wrappers, or null. Borrowed.
faiss::IndexIVF* try_extract_index_ivf(faiss::Index* index);
const faiss::IndexIVF* try_extract_index_ivf(const faiss::Index* index);
/// The same, but throws faiss::FaissException where there is none.
faiss::IndexIVF* extract_index_ivf(faiss::Index* index);
const faiss::IndexIVF* extract_index_ivf(const faiss::Index* index);

}  // namespace rotorquant
