// SPDX-License-Identifier: MIT
#pragma once

// Everything that differs between the FAISS versions we build with (1.7.3 to 1.15).

#include <faiss/Index.h>

#include <cstdint>

#define ROTORQUANT_FAISS_VERSION \
  (FAISS_VERSION_MAJOR * 10000 + FAISS_VERSION_MINOR * 100 + FAISS_VERSION_PATCH)

/// Index::add_sa_codes became a virtual function in 1.10; before, ours is a plain member.
#if ROTORQUANT_FAISS_VERSION >= 11000
#define ROTORQUANT_ADD_SA_CODES_OVERRIDE override
#else
#define ROTORQUANT_ADD_SA_CODES_OVERRIDE
#endif

namespace rotorquant {

/// faiss::Index::idx_t up to 1.7.3, faiss::idx_t from 1.7.4 on; the same type all along.
using idx_t = int64_t;

}  // namespace rotorquant
