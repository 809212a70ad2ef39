// SPDX-License-Identifier: MIT
#include "rotorquant/page_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "rotorquant/aligned.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using test_data::message_of;

/// Sizes around the cache line and around where a buffer gets pages of its own.
const std::vector<size_t> sizes = {0,        1, 63, 64, 65, 4096, (1U << 20U) - 1, (1U << 20U) + 1,
                                   5U << 20U};

void fill(PageBuffer& buffer) {
  for (size_t i = 0; i < buffer.size(); ++i) {
    buffer.data()[i] = static_cast<uint8_t>(i * 7 + 3);
  }
}

size_t wrong_bytes(const PageBuffer& buffer, size_t filled) {
  size_t wrong = 0;
  for (size_t i = 0; i < buffer.size(); ++i) {
    wrong += buffer.data()[i] != (i < filled ? static_cast<uint8_t>(i * 7 + 3) : 0) ? 1 : 0;
  }
  return wrong;
}

TEST(PageBuffer, KeepsItsBytesAndAddsZeros) {
  for (const size_t from : sizes) {
    for (const size_t to : sizes) {
      PageBuffer buffer;
      buffer.resize(from);
      fill(buffer);
      buffer.resize(to);
      EXPECT_EQ(buffer.size(), to);
      EXPECT_GE(buffer.capacity(), to);
      EXPECT_EQ(wrong_bytes(buffer, std::min(from, to)), 0U) << from << " to " << to;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(std::as_const(buffer).data()) % cache_line, 0U);
    }
  }
}

TEST(PageBuffer, BytesThatWereDroppedComeBackAsZeros) {
  PageBuffer buffer;
  buffer.resize(3U << 20U);
  fill(buffer);
  buffer.resize(100);
  buffer.resize(3U << 20U);
  EXPECT_EQ(wrong_bytes(buffer, 100), 0U);
}

TEST(PageBuffer, CopiesAndMoves) {
  for (const size_t size : sizes) {
    PageBuffer buffer;
    buffer.resize(size);
    fill(buffer);
    PageBuffer copy = buffer;
    if (size > 0) {
      buffer.data()[0] = 0xFF;
    }
    EXPECT_EQ(wrong_bytes(copy, size), 0U);
    const PageBuffer moved = std::move(copy);
    EXPECT_EQ(wrong_bytes(moved, size), 0U);
    copy = moved;
    EXPECT_EQ(wrong_bytes(copy, size), 0U);
  }
}

TEST(PageBuffer, GivesMemoryBack) {
  PageBuffer buffer;
  buffer.resize(64U << 20U);
  buffer.resize(100);
  EXPECT_GE(buffer.capacity(), 64U << 20U);
  buffer.shrink_to_fit();
  EXPECT_LE(buffer.capacity(), 4096U);
  EXPECT_EQ(buffer.size(), 100U);
  buffer.resize(0);
  buffer.shrink_to_fit();
  EXPECT_EQ(buffer.capacity(), 0U);
  buffer.reserve(1000);
  EXPECT_GE(buffer.capacity(), 1000U);
  EXPECT_EQ(buffer.size(), 0U);
}

TEST(PageBuffer, AViewIsReadAndNotWritten) {
  const auto bytes = std::make_shared<AlignedVector<uint8_t>>(100, uint8_t{9});
  PageBuffer view = PageBuffer::view(bytes->data(), 100, bytes);
  EXPECT_TRUE(view.is_view());
  EXPECT_EQ(std::as_const(view).data()[99], 9);
  const PageBuffer copy = view;
  EXPECT_EQ(copy.data(), bytes->data());
  EXPECT_NE(message_of([&] { view.data()[0] = 1; }).find("read-only"), std::string::npos);
  EXPECT_NE(message_of([&] { view.resize(200); }).find("read-only"), std::string::npos);
  EXPECT_NE(message_of([&] { PageBuffer::view(bytes->data() + 1, 10, bytes); }).find("aligned"),
            std::string::npos);
}

}  // namespace
}  // namespace rotorquant
