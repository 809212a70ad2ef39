// SPDX-License-Identifier: MIT
// The device is this process: memory is the heap's, allocation by allocation, and work is done when
// a call returns.

#include <cstring>
#include <map>
#include <string>

#include "cuda/runtime.h"
#include "rotorquant/error.h"

namespace rotorquant::gpu {

struct Device::State {
  std::map<const uint8_t*, std::unique_ptr<uint8_t[]>> memory;
  std::map<const uint8_t*, size_t> sizes;
};

int Device::count() {
  return 2;  // so that what spreads over several devices is tested
}

Device::Device(int index, void* /*stream*/) : state_(std::make_unique<State>()), index_(index) {
  require(index >= 0 && index < count(), "device", "an emulated one, 0 or 1", index);
  multiprocessors_ = 2;
  // As little as any GPU has, so that large dimensions take the path through global memory.
  shared_bytes_a_block_ = size_t{64} << 10U;
}
Device::~Device() = default;

std::string Device::name() const {
  return "emulated device";
}

void* Device::stream() const {
  return nullptr;
}

std::unique_lock<std::mutex> Device::lock() {
  return std::unique_lock<std::mutex>(mutex_);
}

void* Device::allocate(size_t bytes) {
  auto fresh = std::make_unique<uint8_t[]>(bytes);
  constexpr int uninitialised = 0x5A;
  std::memset(fresh.get(), uninitialised, bytes);
  uint8_t* p = fresh.get();
  state_->sizes[p] = bytes;
  state_->memory[p] = std::move(fresh);
  return p;
}

void Device::release(void* p) noexcept {
  state_->sizes.erase(static_cast<uint8_t*>(p));
  state_->memory.erase(static_cast<uint8_t*>(p));
}

void Device::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) {
    std::memmove(to, from, bytes);
  }
}

void Device::fill(void* to, int byte, size_t bytes) {
  if (bytes > 0) {
    std::memset(to, byte, bytes);
  }
}

void Device::synchronize() {}

void Device::wait_for(void* /*stream*/) {}

bool Device::owns(const void* p) const {
  const auto* byte = static_cast<const uint8_t*>(p);
  auto after = state_->sizes.upper_bound(byte);
  if (after == state_->sizes.begin()) {
    return false;
  }
  --after;
  return byte < after->first + after->second;
}

void Device::multiply_rows(const float* x, size_t n, size_t cols, const float* m, size_t rows,
                           float* y, size_t y_stride) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t r = 0; r < rows; ++r) {
      float sum = 0.0F;
      for (size_t j = 0; j < cols; ++j) {
        sum = m[r * cols + j] * x[i * cols + j] + sum;
      }
      y[i * y_stride + r] = sum;
    }
  }
}

}  // namespace rotorquant::gpu
