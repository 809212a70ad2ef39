// SPDX-License-Identifier: MIT
// Every kernel, compiled once for each architecture.
#include "cuda/kernels.inl"
