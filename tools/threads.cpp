// SPDX-License-Identifier: MIT
#include "threads.h"

#include <dlfcn.h>
#include <omp.h>

namespace rotorquant::tools {

void set_threads(int threads) {
  omp_set_num_threads(threads);
  // BLAS has no call for this, only OpenBLAS has; looked up at run time, because the BLAS of a
  // machine can be changed without building anew.
  using Setter = void (*)(int);
  if (auto* set = reinterpret_cast<Setter>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) {
    set(threads);
  }
}

}  // namespace rotorquant::tools
