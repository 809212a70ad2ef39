// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rotorquant {

/// A dense orthogonal matrix, d x d, row-major, uniform on O(d): the Q of the QR decomposition of a
/// Gaussian matrix, with the signs of R's diagonal moved into Q (Mezzadri, arXiv:math-ph/0609050).
/// Householder reflections in double, rounded to float once at the end; only operations that
/// IEEE 754 rounds exactly, in a fixed order, so the bits depend on (d, seed) alone: not on the
/// machine and not on the number of threads. About 8/3 d^3 flops and 16 d^2 bytes of scratch.
/// Throws Error when d is 0. Thread-safe.
std::vector<float> haar_rotation(size_t d, uint64_t seed);

}  // namespace rotorquant
