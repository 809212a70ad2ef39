// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace rotorquant {

/// Bytes that grow without being held twice: a small buffer lies on the heap, a large one in pages
/// of its own that growth moves instead of copying (where the system can), on huge pages where it
/// offers them. Pages reserved but never written take no memory.
///
/// The start is aligned to a cache line. Not thread-safe for writing.
class PageBuffer {
 public:
  PageBuffer() = default;
  ~PageBuffer();
  PageBuffer(const PageBuffer& other);
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(const PageBuffer& other);
  PageBuffer& operator=(PageBuffer&& other) noexcept;

  /// Reads `size` bytes of somebody else's memory, which `owner` keeps alive; `data` must be
  /// aligned to a cache line. Whatever would write to it throws Error.
  static PageBuffer view(const uint8_t* data, size_t size, std::shared_ptr<const void> owner);
  bool is_view() const { return owner_ != nullptr; }

  /// Throws Error for a view.
  uint8_t* data();
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  /// Bytes that it holds or has reserved.
  size_t capacity() const { return capacity_; }

  /// New bytes are 0.
  void resize(size_t size);
  /// Room for exactly `capacity` bytes, where that is more than there is.
  void reserve(size_t capacity);
  void shrink_to_fit();

  friend void swap(PageBuffer& a, PageBuffer& b) noexcept;

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
  std::shared_ptr<const void> owner_;

  void reallocate(size_t capacity);
  void require_own() const;
};

}  // namespace rotorquant
