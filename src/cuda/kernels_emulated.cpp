// SPDX-License-Identifier: MIT
// The same kernels for the CPU (device_emulated.h).
#include "cuda/kernels.inl"
