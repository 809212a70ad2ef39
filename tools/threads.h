// SPDX-License-Identifier: MIT
#pragma once

namespace rotorquant::tools {

/// Makes OpenMP and, where the BLAS in use is OpenBLAS, matrix products use that many threads.
void set_threads(int threads);

}  // namespace rotorquant::tools
