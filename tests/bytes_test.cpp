// SPDX-License-Identifier: MIT
#include "rotorquant/bytes.h"

#include <gtest/gtest.h>

#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::Bytes;
using test_data::message_of;

TEST(Bytes, ValuesAreLittleEndianAndUnpadded) {
  ByteWriter out;
  out.put<uint8_t>(0xAB);
  out.put<uint32_t>(0x01020304U);
  out.put<uint16_t>(0x0506U);
  out.put<float>(1.0F);
  EXPECT_EQ(out.bytes(), (Bytes{0xAB, 0x04, 0x03, 0x02, 0x01, 0x06, 0x05, 0x00, 0x00, 0x80, 0x3F}));
}

TEST(Bytes, AnArrayIsItsCountThenItsElements) {
  ByteWriter out;
  out.put_array(std::vector<uint16_t>{1, 0x0203});
  EXPECT_EQ(out.bytes(), (Bytes{2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 2}));
}

/// A bit of everything, at odd offsets.
ByteWriter mixed() {
  ByteWriter out;
  out.put<uint8_t>(7);
  out.put<double>(-0.25);
  out.put_array(std::vector<float>{1.5F, -2.0F, 1e-30F});
  out.put_array(std::vector<uint8_t>{});
  out.put<int32_t>(-5);
  return out;
}

void read_mixed(ByteReader& in) {
  EXPECT_EQ(in.get<uint8_t>(), 7);
  EXPECT_EQ(in.get<double>(), -0.25);
  EXPECT_EQ(in.get_array<float>(3, "floats"), (std::vector<float>{1.5F, -2.0F, 1e-30F}));
  EXPECT_TRUE(in.get_array<uint8_t>().empty());
  EXPECT_EQ(in.get<int32_t>(), -5);
}

TEST(Bytes, WhatWasWrittenComesBack) {
  const Bytes bytes = mixed().take();
  ByteReader in(bytes);
  EXPECT_EQ(in.left(), bytes.size());
  read_mixed(in);
  EXPECT_EQ(in.left(), 0U);
}

TEST(Bytes, EveryTruncationThrows) {
  const Bytes bytes = mixed().take();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    ByteReader in(part);
    EXPECT_THROW(read_mixed(in), Error) << size;
  }
}

TEST(Bytes, AFailedReadConsumesNothing) {
  const Bytes bytes = {1, 2, 3, 4, 5};
  ByteReader in(test_data::first_bytes(bytes, 3));
  EXPECT_THROW(in.get<uint32_t>(), Error);
  EXPECT_EQ(in.left(), 3U);
  EXPECT_EQ(in.get<uint16_t>(), 0x0201);
}

TEST(Bytes, AnAbsurdCountIsRefusedBeforeAnythingIsAllocated) {
  // Above what the buffer holds, where count * size wraps around to little, and the largest.
  for (const uint64_t count : {uint64_t{3}, uint64_t{1} << 62U, ~uint64_t{0}}) {
    ByteWriter out;
    out.put<uint64_t>(count);
    out.put<uint64_t>(0);
    ByteReader in(out.bytes());
    EXPECT_THROW(in.get_array<uint32_t>(), Error) << count;
  }
}

TEST(Bytes, AnArrayOfAnotherLengthNamesBothLengths) {
  ByteWriter out;
  out.put_array(std::vector<float>(3));
  ByteReader in(out.bytes());
  const std::string message = message_of([&] { in.get_array<float>(4, "weights"); });
  EXPECT_NE(message.find("weights: expected 4, received 3"), std::string::npos) << message;
}

TEST(Bytes, TakeLeavesTheWriterReadyForMore) {
  ByteWriter out;
  out.put<uint8_t>(1);
  EXPECT_EQ(out.take(), (Bytes{1}));
  out.put<uint8_t>(2);
  EXPECT_EQ(out.take(), (Bytes{2}));
}

}  // namespace
}  // namespace rotorquant
