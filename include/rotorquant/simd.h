// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

namespace rotorquant {

/// Names of the kernel sets that this build has and this machine can run, best first;
/// "scalar" is always the last.
std::vector<std::string> simd_available();

/// The kernel set that new indexes use: the best available one, or what the environment variable
/// ROTORQUANT_SIMD names. Throws Error when the variable names an unknown set (the message lists
/// the known ones) or one that this machine or build lacks.
std::string simd_active();

}  // namespace rotorquant
