// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {

static_assert(std::endian::native == std::endian::little, "files hold values as memory does");

/// Appends plain little-endian values to a growing buffer.
class ByteWriter {
 public:
  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&value, sizeof(T));
  }
  /// A 64-bit count, then the elements.
  template <class T>
  void put_array(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put<uint64_t>(values.size());
    append(values.data(), values.size_bytes());
  }
  template <class T>
  void put_array(const std::vector<T>& values) {
    put_array(std::span<const T>(values));
  }

  const std::vector<uint8_t>& bytes() const { return bytes_; }
  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;

  void append(const void* data, size_t size) {
    const auto* first = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }
};

/// Reads back what ByteWriter wrote. Every read is checked against what is left, so a truncated or
/// foreign buffer throws Error and never allocates more than the buffer could fill.
/// Does not own the bytes.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <class T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    copy(&value, sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> get_array() {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto count = get<uint64_t>();
    require(count <= left() / sizeof(T), "array length", "at most what the section still holds",
            count);
    std::vector<T> values(static_cast<size_t>(count));
    copy(values.data(), values.size() * sizeof(T));
    return values;
  }
  /// As get_array, for an array whose length is known: another length is an error.
  template <class T>
  std::vector<T> get_array(size_t expected_count, const char* what) {
    std::vector<T> values = get_array<T>();
    require(values.size() == expected_count, what, expected_count, values.size());
    return values;
  }

  size_t left() const { return bytes_.size() - position_; }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;

  void copy(void* to, size_t size) {
    require(size <= left(), "section", "more bytes than it has", left());
    if (size != 0) {
      std::memcpy(to, bytes_.data() + position_, size);
      position_ += size;
    }
  }
};

}  // namespace rotorquant
