// SPDX-License-Identifier: MIT
#pragma once

// Everything that differs between the FAISS versions we build with (1.7.3 to 1.15).

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>

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

/// Index::search1 came with 1.14; before, ours is a plain member.
#if ROTORQUANT_FAISS_VERSION >= 11400
#include <faiss/impl/ResultHandler.h>
#define ROTORQUANT_SEARCH1_OVERRIDE override
#else
#define ROTORQUANT_SEARCH1_OVERRIDE
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

/// What search1 hands results to.
#if ROTORQUANT_FAISS_VERSION >= 11400
using faiss::ResultHandler;
#else
struct ResultHandler {
  /// Results that are no better may be left out. Handlers may change it.
  float threshold = 0.0F;
  virtual ~ResultHandler() = default;
  /// Whether the threshold changed.
  virtual bool add_result(float distance, int64_t id) = 0;
};
#endif

/// FAISS's own loops over the codes of a list ask the selector from 1.8 on; before, these do.
#if ROTORQUANT_FAISS_VERSION >= 10800
using ScannerBase = faiss::InvertedListScanner;
#else
struct ScannerBase : faiss::InvertedListScanner {
  using faiss::InvertedListScanner::InvertedListScanner;

  size_t scan_codes(size_t n, const uint8_t* codes, const int64_t* ids, float* distances,
                    int64_t* labels, size_t k) const override {
    size_t updates = 0;
    for_allowed(n, codes, ids, [&](float distance, int64_t id) {
      if (keep_max ? distance > distances[0] : distance < distances[0]) {
        if (keep_max) {
          faiss::minheap_replace_top(k, distances, labels, distance, id);
        } else {
          faiss::maxheap_replace_top(k, distances, labels, distance, id);
        }
        ++updates;
      }
    });
    return updates;
  }

  void scan_codes_range(size_t n, const uint8_t* codes, const int64_t* ids, float radius,
                        faiss::RangeQueryResult& result) const override {
    for_allowed(n, codes, ids, [&](float distance, int64_t id) {
      if (keep_max ? distance > radius : distance < radius) {
        result.add(distance, id);
      }
    });
  }

 private:
  template <class Use>
  void for_allowed(size_t n, const uint8_t* codes, const int64_t* ids, const Use& use) const {
    for (size_t i = 0; i < n; ++i) {
      const bool by_pair = store_pairs || ids == nullptr;
      const auto pair = static_cast<int64_t>(faiss::lo_build(static_cast<uint64_t>(list_no), i));
      if (sel == nullptr || ids == nullptr || sel->is_member(ids[i])) {
        use(distance_to_code(codes + i * code_size), by_pair ? pair : ids[i]);
      }
    }
  }
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

/// The first field set of those that 1.14.3 added and our searches do not serve; null for none.
template <class Parameters>
const char* unserved_field([[maybe_unused]] const Parameters& parameters) {
  if constexpr (requires { parameters.max_lists_num; }) {
    if (parameters.max_lists_num != 0) return "max_lists_num";
    if (parameters.ensure_topk_full) return "ensure_topk_full";
    if (parameters.max_empty_result_buckets != 0) return "max_empty_result_buckets";
  }
  return nullptr;
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
