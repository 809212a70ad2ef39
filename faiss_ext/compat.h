// SPDX-License-Identifier: MIT
#pragma once

// Everything that differs between the FAISS versions we build with (1.7.3 to 1.15).

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>

#include <cstdint>

#define ROTORQUANT_FAISS_VERSION \
  (FAISS_VERSION_MAJOR * 10000 + FAISS_VERSION_MINOR * 100 + FAISS_VERSION_PATCH)

/// Index::add_sa_codes became a virtual function in 1.10; before, ours is a plain member.
#if ROTORQUANT_FAISS_VERSION >= 11000
#define ROTORQUANT_ADD_SA_CODES_OVERRIDE override
#else
#define ROTORQUANT_ADD_SA_CODES_OVERRIDE
#endif

/// The search parameters that IndexIVF::get_InvertedListScanner took on in 1.10.
#if ROTORQUANT_FAISS_VERSION >= 11000
#define ROTORQUANT_SCANNER_PARAMS , const faiss::IVFSearchParameters* = nullptr
#define ROTORQUANT_SCANNER_PARAMS_IGNORED , const faiss::IVFSearchParameters*
#else
#define ROTORQUANT_SCANNER_PARAMS
#define ROTORQUANT_SCANNER_PARAMS_IGNORED
#endif

namespace rotorquant {

/// IndexIVF has had the field by_residual since 1.8; before, subclasses had their own.
#if ROTORQUANT_FAISS_VERSION >= 10800
using IndexIVFBase = faiss::IndexIVF;
#else
struct IndexIVFBase : faiss::IndexIVF {
  using faiss::IndexIVF::IndexIVF;
  IndexIVFBase() = default;
  /// Whether codes are relative to the list's centroid.
  bool by_residual = true;
};
#endif

/// Makes IndexShards or IndexReplicas delete its parts: own_fields up to 1.7.3, own_indices since.
template <class Several>
void own_parts(Several& several) {
  if constexpr (requires { several.own_indices; }) {
    several.own_indices = true;
  } else {
    several.own_fields = true;
  }
}

/// copy_subset_to takes an enumeration since 1.7.4.
#if ROTORQUANT_FAISS_VERSION >= 10704
using subset_type = faiss::InvertedLists::subset_type_t;
#else
using subset_type = int;
#endif

/// faiss::Index::idx_t up to 1.7.3, faiss::idx_t from 1.7.4 on; the same type all along.
using idx_t = int64_t;

}  // namespace rotorquant
