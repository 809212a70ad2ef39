// SPDX-License-Identifier: MIT
// Codecs as bytes, and bytes that are no codec.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "rotorquant/codec.h"
#include "rotorquant/random.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::codec_params;
using test_data::decoded;
using test_data::encoded;
using test_data::Floats;
using test_data::message_of;
using test_data::ready_codec;
using test_data::same_bits;
using test_data::some_codecs;

Bytes written(const Codec& codec) {
  ByteWriter out;
  codec.write(out);
  return out.take();
}

TEST(CodecFile, GivesIdenticalCodesDecodingsAndEstimates) {
  constexpr size_t d = 22;
  const Floats x = test_data::gaussian(40, d, 22);
  for (const Codec& codec : some_codecs(d)) {
    const Bytes bytes = written(codec);
    ByteReader in(bytes);
    const Codec back = Codec::read(in);
    EXPECT_EQ(in.left(), 0U) << codec.name();
    EXPECT_EQ(back.name(), codec.name());
    const Bytes codes = encoded(codec, x);
    EXPECT_EQ(encoded(back, x), codes) << codec.name();
    for (size_t levels = 0; levels <= codec.layout().levels; ++levels) {
      EXPECT_TRUE(same_bits(decoded(back, codes, levels), decoded(codec, codes, levels)));
      EXPECT_EQ(back.expected_distortion(levels), codec.expected_distortion(levels));
      EXPECT_EQ(back.estimate(back.prepare(x.data()), codes.data(), levels, Estimator::strict),
                codec.estimate(codec.prepare(x.data()), codes.data(), levels, Estimator::strict));
    }
    EXPECT_EQ(written(back), bytes) << codec.name();
  }
}

TEST(CodecFile, AnUntrainedCodecComesBackUntrained) {
  const Bytes bytes = written(Codec(codec_params(9, 4, false, FrameKind::learned)));
  ByteReader in(bytes);
  const Codec back = Codec::read(in);
  EXPECT_FALSE(back.is_trained());
  EXPECT_EQ(back.name(), "ORQ4mse");
  EXPECT_EQ(back.dim(), 9U);
}

TEST(CodecFile, EveryTruncationIsRefused) {
  for (const Codec& codec : {ready_codec(codec_params(5, 3, true)),
                             ready_codec(codec_params(5, 2, true, FrameKind::learned))}) {
    const Bytes bytes = written(codec);
    for (size_t size = 0; size < bytes.size(); ++size) {
      ByteReader in(test_data::first_bytes(bytes, size));
      EXPECT_THROW(Codec::read(in), Error) << codec.name() << " " << size;
    }
  }
}

/// Offsets in the header: d, bits, signs, frame, seed, layers, rounds, trained.
constexpr size_t bits_offset = 8;
constexpr size_t frame_offset = 13;
constexpr size_t layers_offset = 22;
constexpr size_t rounds_offset = 30;
constexpr size_t trained_offset = 34;

std::string message_with(Bytes bytes, size_t offset, const Bytes& patch) {
  std::copy(patch.begin(), patch.end(), bytes.begin() + static_cast<ptrdiff_t>(offset));
  return message_of([&] {
    ByteReader in(bytes);
    Codec::read(in);
  });
}

TEST(CodecFile, ImpossibleHeadersAreRefusedByName) {
  const Bytes bytes = written(Codec(codec_params(5, 3, true)));
  const auto expect_refusal = [&](size_t offset, const Bytes& patch, const std::string& what) {
    const std::string message = message_with(bytes, offset, patch);
    EXPECT_NE(message.find(what), std::string::npos) << what << ": " << message;
  };
  expect_refusal(0, {0}, "d");
  expect_refusal(0, {0, 0, 0, 0, 1}, "dimension");
  expect_refusal(bits_offset, {9}, "bits");
  expect_refusal(bits_offset, {0xFF, 0xFF, 0xFF, 0xFF}, "bits");
  expect_refusal(frame_offset, {3}, "frame");
  expect_refusal(layers_offset, {0, 0, 1}, "layers");
  expect_refusal(rounds_offset, {0xFF, 0xFF, 0xFF, 0xFF}, "rounds");
  expect_refusal(rounds_offset, {0xFF, 0xFF, 0xFF, 0x7F}, "rounds");
  // A dense rotation of 32,768 dimensions would take gigabytes.
  expect_refusal(0, {0, 0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 2}, "Haar dimension");
  expect_refusal(bytes.size() - 4, {0, 0, 0xC0, 0x7F}, "statistics");  // NaN
}

TEST(CodecFile, AFlippedBitIsRefusedOrHarmless) {
  // Whatever reads back must be usable; d itself is left alone: it may name a valid, large codec.
  const Codec codec = ready_codec(codec_params(6, 3, true, FrameKind::learned));
  const Bytes bytes = written(codec);
  const Floats x = test_data::gaussian(3, 6, 23);
  Rng rng(24);
  for (int trial = 0; trial < 300; ++trial) {
    Bytes broken = bytes;
    const size_t header = 40;
    const size_t at = trial < 200 ? 8 + rng.below(header) : 48 + rng.below(bytes.size() - 48);
    broken[at] = static_cast<uint8_t>(broken[at] ^ (1U << rng.below(8)));
    if (at >= layers_offset && at <= trained_offset) {
      continue;  // a valid but costly number of layers or rounds
    }
    try {
      ByteReader in(broken);
      const Codec back = Codec::read(in);
      if (back.is_trained() && back.dim() == 6) {
        const Bytes codes = encoded(back, x);
        decoded(back, codes);
        back.estimate(back.prepare(x.data()), codes.data());
      }
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("rotorquant: "), std::string::npos);
    }
  }
}

TEST(CodecFile, GarbledCodesDecodeToSomethingWithoutHarm) {
  // Nibbles are all valid; factors may be infinite or NaN. No crash, nothing read out of bounds.
  Rng rng(25);
  for (const Codec& codec : some_codecs(37)) {
    Bytes codes(30 * codec.code_bytes());
    std::generate(codes.begin(), codes.end(), [&] { return static_cast<uint8_t>(rng.bits()); });
    EXPECT_EQ(decoded(codec, codes).size(), 30U * 37);
    const CodecQuery query = codec.prepare(test_data::gaussian(1, 37, 26).data());
    for (size_t i = 0; i < 30; ++i) {
      codec.estimate(query, codes.data() + i * codec.code_bytes());
    }
  }
}

}  // namespace
}  // namespace rotorquant
