// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include "rotorquant/codec.h"

namespace rotorquant::python {

/// The keywords that Codec and IndexRotorQuant share. d >= 1.
inline CodecParams codec_params(int64_t d, int bits, bool learned, bool signs, uint64_t seed,
                                size_t rotor_layers, int joint_rounds) {
  CodecParams params;
  params.d = static_cast<size_t>(d);
  params.bits = bits;
  params.signs = signs;
  params.frame = learned ? FrameKind::learned : FrameKind::rotor_layers;
  params.seed = seed;
  params.rotor_layers = rotor_layers;
  params.joint_rounds = joint_rounds;
  return params;
}

}  // namespace rotorquant::python
