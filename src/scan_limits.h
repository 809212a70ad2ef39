// SPDX-License-Identifier: MIT
#pragma once

// What the searches of stores, inverted lists and devices agree on about the limits of a scan.

#include <limits>

namespace rotorquant {

/// Lets every vector pass, but not the unused places of a last block: their bound is +infinity.
constexpr float no_limit = std::numeric_limits<float>::max();

/// Standard deviations of the scan table's rounding that a bound allows for where level 1 is all
/// there is: refining then undoes that rounding and nothing else, and there is no need to be
/// frugal.
constexpr float rounding_error_scale = 4.0F;

/// Inverted lists: what is lost beyond this is less than the lists not probed lose, at any number
/// of bits. What default scales are cut to.
constexpr float widest_list_error_scale = 2.0F;
/// The second bound is so much nearer that a wider margin costs little, and it loses nothing then.
constexpr float second_error_scale_more = 1.0F;

}  // namespace rotorquant
