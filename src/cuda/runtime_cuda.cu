// SPDX-License-Identifier: MIT
// A CUDA device: runtime API, a stream-ordered pool of its own, cuBLAS.

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <limits>
#include <string>

#include "cuda/device.h"
#include "rotorquant/error.h"

namespace rotorquant::gpu {
namespace {

void check_cublas(cublasStatus_t status, const char* what) {
  require(status == CUBLAS_STATUS_SUCCESS, what, "success", cublasGetStatusString(status));
}

/// Makes a device current while it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    check_cuda(cudaGetDevice(&before_), "the current device");
    check_cuda(cudaSetDevice(index), "choosing a device");
  }
  ~CurrentDevice() { cudaSetDevice(before_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

struct StreamDelete {
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct EventDelete {
  void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
struct PoolDelete {
  void operator()(cudaMemPool_t pool) const noexcept { cudaMemPoolDestroy(pool); }
};
struct BlasDelete {
  void operator()(cublasHandle_t handle) const noexcept { cublasDestroy(handle); }
};

}  // namespace

void check_cuda(cudaError_t status, const char* what) {
  require(status == cudaSuccess, what, "success", cudaGetErrorString(status));
}

struct Device::State {
  std::unique_ptr<CUstream_st, StreamDelete> own_stream;
  cudaStream_t stream = nullptr;
  std::unique_ptr<CUmemPoolHandle_st, PoolDelete> pool;
  std::unique_ptr<cublasContext, BlasDelete> blas;
};

int Device::count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // no driver, no device: nothing that a later call should hear about
    return 0;
  }
  return count;
}

Device::Device(int index, void* stream) : state_(std::make_unique<State>()), index_(index) {
  require(count() > 0, "CUDA device", "one", "none");
  require(index >= 0 && index < count(), "device", "below " + std::to_string(count()), index);
  const CurrentDevice current(index);
  if (stream == nullptr) {
    cudaStream_t fresh = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&fresh, cudaStreamNonBlocking), "making a stream");
    state_->own_stream.reset(fresh);
    stream = fresh;
  }
  state_->stream = static_cast<cudaStream_t>(stream);

  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = index;
  cudaMemPool_t pool = nullptr;
  check_cuda(cudaMemPoolCreate(&pool, &properties), "making a memory pool");
  state_->pool.reset(pool);
  // Working memory comes and goes with every call: keep it.
  auto keep = uint64_t{256} << 20U;
  check_cuda(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep),
             "setting up a memory pool");

  cublasHandle_t handle = nullptr;
  check_cublas(cublasCreate(&handle), "making a cuBLAS handle");
  state_->blas.reset(handle);
  check_cublas(cublasSetStream(handle, state_->stream), "giving cuBLAS its stream");
  check_cublas(cublasSetMathMode(handle, CUBLAS_PEDANTIC_MATH), "asking cuBLAS for fp32");

  int value = 0;
  check_cuda(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, index),
             "counting multiprocessors");
  multiprocessors_ = static_cast<unsigned>(value);
  check_cuda(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, index),
             "asking for the shared memory a block");
  shared_bytes_a_block_ = static_cast<size_t>(value);
}

Device::~Device() {
  cudaStreamSynchronize(state_->stream);
}

std::string Device::name() const {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, index_), "asking for a device's name");
  return properties.name;
}

void* Device::stream() const {
  return state_->stream;
}

std::unique_lock<std::mutex> Device::lock() {
  std::unique_lock<std::mutex> held(mutex_);
  check_cuda(cudaSetDevice(index_), "choosing a device");
  return held;
}

void* Device::allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t status = cudaMallocFromPoolAsync(&p, bytes, state_->pool.get(), state_->stream);
  if (status != cudaSuccess) {
    cudaGetLastError();  // the next call is not to hear of it
  }
  require(status == cudaSuccess, "device memory of " + std::to_string(bytes) + " bytes", "success",
          cudaGetErrorString(status));
  return p;
}

void Device::release(void* p) noexcept {
  cudaFreeAsync(p, state_->stream);
}

void Device::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, state_->stream), "copy");
  }
}

void Device::fill(void* to, int byte, size_t bytes) {
  if (bytes > 0) {
    check_cuda(cudaMemsetAsync(to, byte, bytes, state_->stream), "fill");
  }
}

void Device::synchronize() {
  check_cuda(cudaStreamSynchronize(state_->stream), "work on the device");
}

void Device::wait_for(void* stream) {
  cudaEvent_t fresh = nullptr;
  check_cuda(cudaEventCreateWithFlags(&fresh, cudaEventDisableTiming), "making an event");
  const std::unique_ptr<CUevent_st, EventDelete> event(fresh);
  check_cuda(cudaEventRecord(fresh, static_cast<cudaStream_t>(stream)), "recording an event");
  check_cuda(cudaStreamWaitEvent(state_->stream, fresh), "waiting for an event");
}

bool Device::owns(const void* p) const {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, p) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return attributes.type == cudaMemoryTypeManaged ||
         (attributes.type == cudaMemoryTypeDevice && attributes.device == index_);
}

void Device::multiply_rows(const float* x, size_t n, size_t cols, const float* m, size_t rows,
                           float* y, size_t y_stride) {
  if (n == 0 || rows == 0) {
    return;
  }
  // Column-major: y^T (rows x n) = m (given as cols x rows, transposed) x^T (cols x n).
  const auto as_int = [](size_t value) {
    require(value <= static_cast<size_t>(std::numeric_limits<int>::max()), "matrix dimension",
            "at most 2147483647", value);
    return static_cast<int>(value);
  };
  const float one = 1.0F;
  const float zero = 0.0F;
  check_cublas(
      cublasSgemm(state_->blas.get(), CUBLAS_OP_T, CUBLAS_OP_N, as_int(rows), as_int(n),
                  as_int(cols), &one, m, as_int(cols), x, as_int(cols), &zero, y, as_int(y_stride)),
      "matrix product");
}

}  // namespace rotorquant::gpu
