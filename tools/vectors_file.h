// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rotorquant::tools {

/// Rows of float32: n x d, row-major.
struct Vectors {
  size_t n = 0;
  size_t d = 0;
  std::vector<float> values;
};

/// Reads .fvecs and .bvecs (each row: a little-endian int32 d, then d floats or bytes) and .npy
/// (version 1 to 3, two dimensions, little-endian float32, C order). Only the first `rows` rows; 0:
/// all. Throws Error naming file, expected and received; an ending of another kind is BadArgument.
Vectors read_vectors(const std::string& path, size_t rows = 0);

/// Writes ids (n x k, row-major) as .ivecs: each row an int32 k, then k int32. Throws Error when an
/// id does not fit or the file cannot be written.
void write_ivecs(const std::string& path, const int64_t* ids, size_t n, size_t k);

}  // namespace rotorquant::tools
