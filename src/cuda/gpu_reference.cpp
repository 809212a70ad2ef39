// SPDX-License-Identifier: MIT
#include <cmath>
#include <numbers>
#include <utility>

#include "cuda/internals.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace gpu {
namespace {

constexpr unsigned norm_bytes = 4;

}  // namespace

struct MseImpl {
  DevicePtr device;
  size_t code_size;
  Buffer<float> rotors;
  Buffer<float> centroids;
  Buffer<float> boundaries;
  RotorMseView view;

  MseImpl(DevicePtr on, const RotorQuantMse& mse) : device(std::move(on)) {
    require(mse.rotation() == Rotation::rotor_blocks, "rotation", "rotor blocks",
            "a Haar rotation");
    require(mse.components() == mse.rotated_dim(), "grades", "the vector grade alone",
            "others too");
    const auto lock = device->lock();
    const ScalarCodebook& codebook = mse.codebook();
    code_size = mse.code_size();
    rotors = Buffer<float>::of(device, mse.rotors());
    centroids = Buffer<float>::of(device, codebook.centroids());
    boundaries = Buffer<float>::of(device, codebook.boundaries());
    view.d = to_unsigned(mse.d());
    view.triples = to_unsigned(mse.rotated_dim() / 3);
    view.bits = to_unsigned(static_cast<size_t>(codebook.bits()));
    view.index_bytes = to_unsigned(code_size) - norm_bytes;
    view.rotors = rotors.data();
    view.centroids = centroids.data();
    view.boundaries = boundaries.data();
    device->synchronize();
  }

  /// All on the device. Codes are `stride` bytes apart, with `header` bytes before the indices.
  void encode(const float* x, size_t n, uint8_t* codes, size_t stride, unsigned header,
              float* residuals) const {
    MseEncodeArgs args{};
    args.mse = view;
    args.x = x;
    args.n = to_unsigned(n);
    args.codes = codes;
    args.code_stride = to_unsigned(stride);
    args.header = header;
    args.residuals = residuals;
    mse_encode(*device, args);
  }
  void decode(const uint8_t* codes, size_t n, float* x) const {
    MseDecodeArgs args{};
    args.mse = view;
    args.codes = codes;
    args.n = to_unsigned(n);
    args.code_stride = to_unsigned(code_size);
    args.header = norm_bytes;
    args.x = x;
    mse_decode(*device, args);
  }
};

/// Codes in device memory that grow by half.
class CodeRows {
 public:
  CodeRows(DevicePtr device, size_t code_size) : device_(std::move(device)), size_(code_size) {}

  uint8_t* room_for(size_t rows, size_t more) {
    if ((rows + more) * size_ > codes_.size()) {
      Buffer<uint8_t> fresh(device_, std::max(rows + more, rows + rows / 2) * size_);
      device_->copy(fresh.data(), codes_.data(), rows * size_);
      codes_ = std::move(fresh);
    }
    return codes_.data() + rows * size_;
  }
  const uint8_t* data() const { return codes_.data(); }
  size_t code_size() const { return size_; }
  void clear() { codes_ = {}; }

 private:
  DevicePtr device_;
  size_t size_;
  Buffer<uint8_t> codes_;
};

struct KvCacheImpl {
  DevicePtr device;
  size_t d_key;
  size_t d_value;
  MseImpl stage1;
  MseImpl values;
  Buffer<float> sketch;  ///< S, d_key x d_key
  CodeRows key_codes;
  CodeRows value_codes;
  size_t size = 0;

  static constexpr unsigned key_header = 8;  ///< |x| and |r|
  unsigned sign_offset() const { return key_header + stage1.view.index_bytes; }

  KvCacheImpl(const DevicePtr& on, const RotorQuantProd& keys, const RotorQuantMse& of_values)
      : device(on),
        d_key(keys.d()),
        d_value(of_values.d()),
        stage1(on, keys.stage1()),
        values(on, of_values),
        key_codes(on, keys.code_size()),
        value_codes(on, of_values.code_size()) {
    const auto lock = device->lock();
    sketch = Buffer<float>::of(device, keys.sketch());
    device->synchronize();
  }
};

}  // namespace gpu

GpuRotorQuantMse::GpuRotorQuantMse(const GpuResources& resources, const RotorQuantMse& mse)
    : impl_(std::make_unique<gpu::MseImpl>(resources.handle(), mse)) {}
GpuRotorQuantMse::~GpuRotorQuantMse() = default;
GpuRotorQuantMse::GpuRotorQuantMse(GpuRotorQuantMse&&) noexcept = default;
GpuRotorQuantMse& GpuRotorQuantMse::operator=(GpuRotorQuantMse&&) noexcept = default;

size_t GpuRotorQuantMse::d() const {
  return impl_->view.d;
}
size_t GpuRotorQuantMse::code_size() const {
  return impl_->code_size;
}

void GpuRotorQuantMse::encode(const float* x, size_t n, uint8_t* codes) const {
  const auto lock = impl_->device->lock();
  const gpu::Input<float> input(impl_->device, x, n * d());
  gpu::Output<uint8_t> output(impl_->device, codes, n * code_size());
  impl_->encode(input.data(), n, output.data(), code_size(), gpu::norm_bytes, nullptr);
  output.finish();
  impl_->device->synchronize();
}

void GpuRotorQuantMse::decode(const uint8_t* codes, size_t n, float* x) const {
  const auto lock = impl_->device->lock();
  const gpu::Input<uint8_t> input(impl_->device, codes, n * code_size());
  gpu::Output<float> output(impl_->device, x, n * d());
  impl_->decode(input.data(), n, output.data());
  output.finish();
  impl_->device->synchronize();
}

GpuRotorQuantKVCache::GpuRotorQuantKVCache(const GpuResources& resources, size_t d_key,
                                           size_t d_value, int bits, uint64_t seed)
    // The parts of RotorQuantKVCache, with its seeds.
    : impl_(std::make_unique<gpu::KvCacheImpl>(resources.handle(),
                                               RotorQuantProd(d_key, bits, d_key, seed),
                                               RotorQuantMse(d_value, bits, seed + 100))) {}
GpuRotorQuantKVCache::~GpuRotorQuantKVCache() = default;
GpuRotorQuantKVCache::GpuRotorQuantKVCache(GpuRotorQuantKVCache&&) noexcept = default;
GpuRotorQuantKVCache& GpuRotorQuantKVCache::operator=(GpuRotorQuantKVCache&&) noexcept = default;

size_t GpuRotorQuantKVCache::size() const {
  return impl_->size;
}
size_t GpuRotorQuantKVCache::bytes() const {
  return impl_->size * (impl_->key_codes.code_size() + impl_->value_codes.code_size());
}

void GpuRotorQuantKVCache::append(const float* keys, const float* values, size_t rows) {
  gpu::KvCacheImpl& impl = *impl_;
  const auto lock = impl.device->lock();
  const gpu::Input<float> key_input(impl.device, keys, rows * impl.d_key);
  const gpu::Input<float> value_input(impl.device, values, rows * impl.d_value);
  uint8_t* key_codes = impl.key_codes.room_for(impl.size, rows);
  uint8_t* value_codes = impl.value_codes.room_for(impl.size, rows);
  gpu::Buffer<float> residuals(impl.device, rows * impl.d_key);
  gpu::Buffer<float> sketched(impl.device, rows * impl.d_key);
  impl.stage1.encode(key_input.data(), rows, key_codes, impl.key_codes.code_size(),
                     gpu::KvCacheImpl::key_header, residuals.data());
  impl.device->multiply_rows(residuals.data(), rows, impl.d_key, impl.sketch.data(), impl.d_key,
                             sketched.data(), impl.d_key);
  gpu::SketchSignsArgs args{};
  args.sketch = sketched.data();
  args.n = gpu::to_unsigned(rows);
  args.m = gpu::to_unsigned(impl.d_key);
  args.codes = key_codes;
  args.code_stride = gpu::to_unsigned(impl.key_codes.code_size());
  args.sign_offset = impl.sign_offset();
  gpu::sketch_signs(*impl.device, args);
  impl.values.encode(value_input.data(), rows, value_codes, impl.value_codes.code_size(),
                     gpu::norm_bytes, nullptr);
  impl.device->synchronize();
  impl.size += rows;
}

void GpuRotorQuantKVCache::attention_scores(const float* queries, size_t m, float* scores) const {
  const gpu::KvCacheImpl& impl = *impl_;
  const auto lock = impl.device->lock();
  const gpu::Input<float> input(impl.device, queries, m * impl.d_key);
  gpu::Output<float> output(impl.device, scores, m * impl.size);
  gpu::Buffer<float> sketches(impl.device, m * impl.d_key);
  impl.device->multiply_rows(input.data(), m, impl.d_key, impl.sketch.data(), impl.d_key,
                             sketches.data(), impl.d_key);
  const auto factor = std::sqrt(0.5 * std::numbers::pi) / static_cast<double>(impl.d_key);
  gpu::AttentionArgs args{};
  args.mse = impl.stage1.view;
  args.codes = impl.key_codes.data();
  args.keys = gpu::to_unsigned(impl.size);
  args.code_stride = gpu::to_unsigned(impl.key_codes.code_size());
  args.header = gpu::KvCacheImpl::key_header;
  args.sign_offset = impl.sign_offset();
  args.m = gpu::to_unsigned(impl.d_key);
  args.factor = static_cast<float>(factor);
  args.queries = input.data();
  args.sketches = sketches.data();
  args.scores = output.data();
  gpu::attention_scores(*impl.device, args, gpu::to_unsigned(m));
  output.finish();
  impl.device->synchronize();
}

void GpuRotorQuantKVCache::get_values(float* values) const {
  const auto lock = impl_->device->lock();
  gpu::Output<float> output(impl_->device, values, impl_->size * impl_->d_value);
  impl_->values.decode(impl_->value_codes.data(), impl_->size, output.data());
  output.finish();
  impl_->device->synchronize();
}

void GpuRotorQuantKVCache::clear() {
  const auto lock = impl_->device->lock();
  impl_->size = 0;
  impl_->key_codes.clear();
  impl_->value_codes.clear();
}

}  // namespace rotorquant
