// SPDX-License-Identifier: MIT
#include "rotorquant/page_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "rotorquant/aligned.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr std::align_val_t alignment{cache_line};
/// From here on a buffer has pages of its own: a copy below it is cheap, and an index of a million
/// inverted lists must not spend a page on each.
constexpr size_t least_mapped = size_t{1} << 20U;
constexpr size_t huge_page = size_t{2} << 20U;

bool is_mapped(size_t capacity) {
  return capacity >= least_mapped;
}

/// What is asked of the allocator or the system for a capacity.
size_t rounded(size_t capacity) {
  const size_t unit = is_mapped(capacity) ? huge_page : cache_line;
  if (capacity > std::numeric_limits<size_t>::max() - unit) {
    throw std::bad_alloc();
  }
  return (capacity + unit - 1) / unit * unit;
}

void advise(void* pages, size_t capacity) {
#ifdef MADV_HUGEPAGE
  // Advice: a system without huge pages is as right, only slower.
  (void)madvise(pages, capacity, MADV_HUGEPAGE);
#else
  (void)pages;
  (void)capacity;
#endif
}

uint8_t* map_pages(size_t capacity) {
  void* pages = mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {  // NOLINT: the macro's cast
    throw std::bad_alloc();
  }
  advise(pages, capacity);
  return static_cast<uint8_t*>(pages);
}

uint8_t* allocate(size_t capacity) {
  return is_mapped(capacity) ? map_pages(capacity)
                             : static_cast<uint8_t*>(::operator new(capacity, alignment));
}

void release(uint8_t* data, size_t capacity) {
  if (is_mapped(capacity)) {
    munmap(data, capacity);
  } else {
    ::operator delete(data, alignment);
  }
}

}  // namespace

PageBuffer::~PageBuffer() {
  if (data_ != nullptr && !is_view()) {
    release(data_, capacity_);
  }
}

PageBuffer::PageBuffer(const PageBuffer& other) {
  if (other.is_view()) {
    data_ = other.data_;
    size_ = other.size_;
    capacity_ = other.capacity_;
    owner_ = other.owner_;
    return;
  }
  if (other.size_ > 0) {
    reallocate(other.size_);
    std::memcpy(data_, other.data_, other.size_);
    size_ = other.size_;
  }
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept {
  swap(*this, other);
}

PageBuffer& PageBuffer::operator=(const PageBuffer& other) {
  PageBuffer copy(other);
  swap(*this, copy);
  return *this;
}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  swap(*this, other);
  return *this;
}

void swap(PageBuffer& a, PageBuffer& b) noexcept {
  std::swap(a.data_, b.data_);
  std::swap(a.size_, b.size_);
  std::swap(a.capacity_, b.capacity_);
  std::swap(a.owner_, b.owner_);
}

PageBuffer PageBuffer::view(const uint8_t* data, size_t size, std::shared_ptr<const void> owner) {
  require(owner != nullptr, "owner", "what keeps the bytes alive", "nothing");
  require(reinterpret_cast<uintptr_t>(data) % cache_line == 0, "view", "64-byte aligned bytes",
          "others");
  PageBuffer buffer;
  buffer.data_ = const_cast<uint8_t*>(data);  // NOLINT: data() refuses to hand it out for writing
  buffer.size_ = size;
  buffer.capacity_ = size;
  buffer.owner_ = std::move(owner);
  return buffer;
}

void PageBuffer::require_own() const {
  require(!is_view(), "store", "one that can be written", "a read-only view of a file");
}

uint8_t* PageBuffer::data() {
  require_own();
  return data_;
}

void PageBuffer::reallocate(size_t capacity) {
  const size_t room = rounded(capacity);
#ifdef MREMAP_MAYMOVE
  if (data_ != nullptr && is_mapped(capacity_) && is_mapped(room)) {
    void* moved = mremap(data_, capacity_, room, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {  // NOLINT: the macro's cast
      throw std::bad_alloc();
    }
    advise(moved, room);
    data_ = static_cast<uint8_t*>(moved);
    capacity_ = room;
    return;
  }
#endif
  uint8_t* fresh = allocate(room);
  if (data_ != nullptr) {
    std::memcpy(fresh, data_, std::min(size_, room));
    release(data_, capacity_);
  }
  data_ = fresh;
  capacity_ = room;
}

void PageBuffer::resize(size_t size) {
  require_own();
  if (size > capacity_) {
    // Half as much again: amortised, and what is not written yet costs addresses only.
    reallocate(std::max(size, capacity_ + capacity_ / 2));
  }
  if (size > size_) {
    std::memset(data_ + size_, 0, size - size_);
  }
  size_ = size;
}

void PageBuffer::reserve(size_t capacity) {
  require_own();
  if (capacity > capacity_) {
    reallocate(capacity);
  }
}

void PageBuffer::shrink_to_fit() {
  require_own();
  if (size_ == 0) {
    *this = PageBuffer();
  } else if (rounded(size_) < capacity_) {
    reallocate(size_);
  }
}

}  // namespace rotorquant
