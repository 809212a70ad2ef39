// SPDX-License-Identifier: MIT
#pragma once

// The host's side of a device: memory, copies, launches, matrix products. Two implementations, one
// chosen at link time: runtime_cuda.cu, and runtime_emulated.cpp, where the device is this process.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace rotorquant::gpu {

/// Blocks and threads of one launch. Threads come in whole warps.
struct LaunchShape {
  unsigned blocks_x = 1;
  unsigned blocks_y = 1;
  unsigned threads = 256;
  size_t shared_bytes = 0;  ///< dynamic shared memory a block
};

/// One device as its user sees it: a stream, a stream-ordered memory pool and a cuBLAS handle.
/// Everything runs in the order it was asked for. Methods other than synchronize() and download()
/// return before the device is done. One thread at a time: lock() serialises whole operations.
class Device {
 public:
  /// Devices that can be opened; 0 where there is no driver.
  static int count();
  /// stream: a cudaStream_t to work on, which stays the caller's; null: one of our own. Throws
  /// Error on an index without a device.
  explicit Device(int index, void* stream = nullptr);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  std::string name() const;
  void* stream() const;
  unsigned multiprocessors() const { return multiprocessors_; }
  /// Dynamic shared memory that one block may have.
  size_t shared_bytes_a_block() const { return shared_bytes_a_block_; }

  /// Holds the device for one operation, and makes it current to this thread.
  std::unique_lock<std::mutex> lock();

  /// Never null for bytes > 0; throws Error that names the size when memory is short.
  void* allocate(size_t bytes);
  void release(void* p) noexcept;

  /// Either side may be host or device memory.
  void copy(void* to, const void* from, size_t bytes);
  void fill(void* to, int byte, size_t bytes);
  void synchronize();
  /// Later work begins when what is in `stream` now is done.
  void wait_for(void* stream);
  /// Whether kernels can read `p`: memory of this device, or managed.
  bool owns(const void* p) const;

  /// y (n x rows, y_stride floats apart) = x (n x cols) m^T with m (rows x cols), all row-major on
  /// the device, in fp32.
  void multiply_rows(const float* x, size_t n, size_t cols, const float* m, size_t rows, float* y,
                     size_t y_stride);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::mutex mutex_;
  int index_ = 0;
  unsigned multiprocessors_ = 1;
  size_t shared_bytes_a_block_ = 0;
};

/// An array of T on a device. Movable; freed in stream order.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<Device> device, size_t size)
      : memory_(size == 0 ? nullptr : device->allocate(size * sizeof(T)), Release{device}),
        size_(size) {}
  Buffer(const std::shared_ptr<Device>& device, const T* from, size_t size) : Buffer(device, size) {
    if (size > 0) {
      device->copy(data(), from, size * sizeof(T));
    }
  }
  template <class Container>
  static Buffer of(const std::shared_ptr<Device>& device, const Container& values) {
    return Buffer(device, values.data(), values.size());
  }

  T* data() { return static_cast<T*>(memory_.get()); }
  const T* data() const { return static_cast<const T*>(memory_.get()); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

  /// The first n elements, on the host, once all work before is done.
  std::vector<T> read(size_t n) const {
    std::vector<T> values(n);
    if (n > 0) {
      Device& device = *memory_.get_deleter().device;
      device.copy(values.data(), data(), n * sizeof(T));
      device.synchronize();
    }
    return values;
  }
  std::vector<T> read() const { return read(size_); }

 private:
  struct Release {
    std::shared_ptr<Device> device;
    void operator()(void* p) const noexcept {
      if (p != nullptr) {
        device->release(p);
      }
    }
  };
  std::unique_ptr<void, Release> memory_;
  size_t size_ = 0;
};

}  // namespace rotorquant::gpu
