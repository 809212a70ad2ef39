// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace rotorquant {

/// A cache line and the widest vector register.
constexpr size_t cache_line = 64;

template <class T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <class U>
  explicit AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}

  T* allocate(size_t n) {
    return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{cache_line}));
  }
  void deallocate(T* p, size_t /*n*/) { ::operator delete (p, std::align_val_t{cache_line}); }

  friend bool operator==(const AlignedAllocator& /*a*/, const AlignedAllocator& /*b*/) {
    return true;
  }
};

/// A vector whose storage starts on a cache line.
template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace rotorquant
