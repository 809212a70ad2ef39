// SPDX-License-Identifier: MIT
// Compiled and linked, never run.
#include <cublas_v2.h>

#include <concepts>
#include <memory>
#include <string>

template <std::integral T>
__global__ void add(T* x, T by) {
  x[threadIdx.x] += by;
}

int main() {
  const std::string text = "rotorquant";
  const auto owned = std::make_unique<int>(static_cast<int>(text.size()));
  add<<<1, 1>>>(owned.get(), 1);
  cublasHandle_t handle = nullptr;
  return static_cast<int>(cublasCreate(&handle));
}
