// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/impl/FaissException.h>

#include <string>
#include <utility>

#include "rotorquant/error.h"

namespace rotorquant {

/// Runs f; the core's errors leave as faiss::FaissException, with the same message, because that is
/// what callers of a faiss::Index catch.
template <class F>
decltype(auto) faiss_boundary(F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const Error& error) {
    throw faiss::FaissException(error.what());
  }
}

/// require() of the core, thrown as faiss::FaissException.
template <class Expected, class Received>
void require_faiss(bool ok, const std::string& argument, const Expected& expected,
                   const Received& received) {
  if (!ok) [[unlikely]] {
    faiss_boundary([&] { require(false, argument, expected, received); });
  }
}

}  // namespace rotorquant
