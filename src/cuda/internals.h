// SPDX-License-Identifier: MIT
#pragma once

// What the classes of rotorquant/gpu.h hold, and how arrays of either memory get to kernels.

#include <memory>
#include <vector>

#include "cuda/kernels.h"
#include "cuda/runtime.h"
#include "rotorquant/gpu.h"

namespace rotorquant::gpu {

using DevicePtr = std::shared_ptr<Device>;

inline unsigned to_unsigned(size_t n) {
  return static_cast<unsigned>(n);
}

/// An input of a kernel: the caller's array where the device can read it, else a copy.
template <class T>
class Input {
 public:
  Input(const DevicePtr& device, const T* p, size_t size) : data_(p) {
    if (size > 0 && !device->owns(p)) {
      copy_ = Buffer<T>(device, p, size);
      data_ = copy_.data();
    }
  }
  const T* data() const { return data_; }

 private:
  Buffer<T> copy_;
  const T* data_;
};

/// An output of a kernel, likewise. finish() brings it to the caller; host memory is filled once
/// the device is synchronised.
template <class T>
class Output {
 public:
  Output(DevicePtr device, T* p, size_t size)
      : device_(std::move(device)), target_(p), data_(p), size_(size) {
    if (size > 0 && !device_->owns(p)) {
      own_ = Buffer<T>(device_, size);
      data_ = own_.data();
    }
  }
  T* data() { return data_; }
  void finish() {
    if (data_ != target_) {
      device_->copy(target_, data_, size_ * sizeof(T));
    }
  }

 private:
  DevicePtr device_;
  T* target_;
  T* data_;
  size_t size_;
  Buffer<T> own_;
};

/// Rotor layers in device memory.
struct DeviceLayers {
  Buffer<uint32_t> permutation;
  Buffer<float> matrices;
  simd::RotorLayersView view{};
};

CodeShape shape_of(const CodeLayout& layout, size_t d);

struct CodecImpl {
  DevicePtr device;
  Codec codec;
  Space space;
  CodecView view;
  Buffer<float> centre;
  DeviceLayers frame;
  DeviceLayers sign_map;
  Buffer<float> data_map;   ///< dense frames: F, P x d
  Buffer<float> query_map;  ///< G
  Buffer<float> inverse;    ///< G^T, d x P
  std::vector<Buffer<float>> tables;
  std::vector<Buffer<int16_t>> fixed_tables;

  CodecImpl(DevicePtr on, Codec of, Space in);

  /// Residuals and exact terms of n rows; bad_row stays n where all are finite.
  void split(const float* x, size_t n, bool query, float* residual, float* term,
             uint32_t* bad_row) const;
  /// y (n x stride, zeros beyond dims) = F or G residual.
  void to_frame(const float* residual, size_t n, bool query, float* y, size_t stride) const;
  /// out (n x stride) = layers of in (n x width).
  void rotate(const simd::RotorLayersView& map, bool inverse, const float* in, size_t width,
              size_t n, float* out, size_t out_width, size_t stride) const;
  Combination combination(size_t levels, Estimator estimator) const;
  /// Encodes rows that all fit into device memory at once; codes on the device.
  void encode_chunk(const float* x, size_t n, size_t first_row, EncodeEffort effort,
                    uint8_t* codes) const;
  /// The same from residuals and additive terms; everything on the device.
  void encode_residuals(const float* residual, const float* additive, size_t n, EncodeEffort effort,
                        uint8_t* codes) const;
  void decode_chunk(const uint8_t* codes, size_t n, size_t levels, float* x) const;
  /// Without the centre; everything on the device.
  void decode_residuals(const uint8_t* codes, size_t n, size_t levels, float* x) const;
};

/// Rows of d floats that are worked on at a time.
size_t rows_a_chunk(size_t d);

struct StoreImpl {
  DevicePtr device;
  CodeLayout layout;
  bool has_terms;  ///< whether every place has a refine term of its own: inverted lists
  StoreView view;  ///< pointers into tiles, rows and terms
  size_t size = 0;
  Buffer<uint8_t> tiles;
  Buffer<uint8_t> rows;
  Buffer<float> terms;

  StoreImpl(DevicePtr on, const CodeLayout& of, bool with_terms = false);

  size_t used_tiles() const { return (size + tile_vectors - 1) / tile_vectors; }
  size_t capacity() const { return tiles.size() / view.tile.bytes() * tile_vectors; }
  /// Room for `capacity` codes exactly; what is there moves.
  void reallocate(size_t capacity);
  /// Room for n more, and some slack where what is there has to move.
  void make_room(size_t n);
  void append_on_device(const uint8_t* codes, size_t n);
};

/// Codes to move at a time.
size_t codes_a_chunk(const StoreImpl& store);
/// Places first .. first + n - 1.
RepackArgs repack_args(const StoreImpl& store, uint8_t* codes, size_t first, size_t n);

}  // namespace rotorquant::gpu
