// SPDX-License-Identifier: MIT
#include <algorithm>
#include <limits>
#include <utility>

#include "cuda/internals.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace gpu {
namespace {

constexpr size_t most_codes = std::numeric_limits<uint32_t>::max() - size_t{1};
constexpr size_t chunk_bytes = size_t{64} << 20U;  // of canonical codes at a time

}  // namespace

size_t codes_a_chunk(const StoreImpl& store) {
  return std::max<size_t>(1, chunk_bytes / store.view.code.code_bytes);
}

RepackArgs repack_args(const StoreImpl& store, uint8_t* codes, size_t first, size_t n) {
  RepackArgs args{};
  args.store = store.view;
  args.codes = codes;
  args.first = to_unsigned(first);
  args.count = to_unsigned(n);
  return args;
}

void StoreImpl::reallocate(size_t capacity) {
  const size_t wanted = (capacity + tile_vectors - 1) / tile_vectors;
  Buffer<uint8_t> fresh_tiles(device, wanted * view.tile.bytes());
  Buffer<uint8_t> fresh_rows(device, wanted * tile_vectors * view.code.row_bytes);
  device->copy(fresh_tiles.data(), tiles.data(), used_tiles() * view.tile.bytes());
  device->copy(fresh_rows.data(), rows.data(), size * view.code.row_bytes);
  tiles = std::move(fresh_tiles);
  rows = std::move(fresh_rows);
  view.tiles = tiles.data();
  view.rows = rows.data();
  if (has_terms) {
    Buffer<float> fresh_terms(device, wanted * tile_vectors);
    device->copy(fresh_terms.data(), terms.data(), size * sizeof(float));
    terms = std::move(fresh_terms);
    view.terms = terms.data();
  }
}

StoreImpl::StoreImpl(DevicePtr on, const CodeLayout& of, bool with_terms)
    : device(std::move(on)), layout(of), has_terms(with_terms) {
  view.code = shape_of(layout, 0);
  view.tile.words = to_unsigned((layout.quads + 7) / 8);
}

void StoreImpl::make_room(size_t n) {
  require(n <= most_codes - size, "codes on one device", most_codes, size + n);
  if (size + n > capacity()) {
    reallocate(std::max(size + n, std::min(most_codes, size + size / 2)));
  }
}

void StoreImpl::append_on_device(const uint8_t* codes, size_t n) {
  make_room(n);
  const size_t before = used_tiles() * tile_vectors;
  // The kernel reads: it is also given places to pack from.
  RepackArgs args = repack_args(*this, const_cast<uint8_t*>(codes), size, n);  // NOLINT
  size += n;
  const size_t after = used_tiles() * tile_vectors;
  clear_places(*device, repack_args(*this, nullptr, before, after - before));
  unpack_codes(*device, args);
}

}  // namespace gpu

GpuCodeStore::GpuCodeStore(const GpuResources& resources, const CodeLayout& layout)
    : impl_(std::make_unique<gpu::StoreImpl>(resources.handle(), layout)) {}
GpuCodeStore::~GpuCodeStore() = default;
GpuCodeStore::GpuCodeStore(GpuCodeStore&&) noexcept = default;
GpuCodeStore& GpuCodeStore::operator=(GpuCodeStore&&) noexcept = default;

size_t GpuCodeStore::size() const {
  return impl_->size;
}
const CodeLayout& GpuCodeStore::layout() const {
  return impl_->layout;
}
size_t GpuCodeStore::memory_bytes() const {
  return impl_->tiles.bytes() + impl_->rows.bytes();
}

void GpuCodeStore::reserve(size_t n) {
  const auto lock = impl_->device->lock();
  if (n > impl_->capacity()) {
    impl_->reallocate(n);
  }
}

void GpuCodeStore::append(const uint8_t* codes, size_t n) {
  const auto lock = impl_->device->lock();
  const size_t bytes = impl_->view.code.code_bytes;
  const size_t step = gpu::codes_a_chunk(*impl_);
  for (size_t first = 0; first < n; first += step) {
    const size_t count = std::min(step, n - first);
    const gpu::Input<uint8_t> input(impl_->device, codes + first * bytes, count * bytes);
    impl_->append_on_device(input.data(), count);
    impl_->device->synchronize();
  }
}

void GpuCodeStore::add(const GpuCodec& codec, const float* x, size_t n, EncodeEffort effort) {
  require(codec.codec().layout() == impl_->layout, "codec's layout", "that of the store",
          "another");
  require(codec.impl().device == impl_->device, "codec's resources", "those of the store",
          "others");
  const size_t before = impl_->size;
  try {
    const auto lock = impl_->device->lock();
    const size_t d = codec.codec().dim();
    const size_t step = gpu::rows_a_chunk(d);
    gpu::Buffer<uint8_t> codes(impl_->device, std::min(step, n) * impl_->view.code.code_bytes);
    if (before + n > impl_->capacity() && n > before / 4) {
      impl_->reallocate(before + n);  // exact; small additions keep growing geometrically
    }
    for (size_t first = 0; first < n; first += step) {
      const size_t count = std::min(step, n - first);
      codec.impl().encode_chunk(x + first * d, count, first, effort, codes.data());
      impl_->append_on_device(codes.data(), count);
    }
    impl_->device->synchronize();
  } catch (...) {
    truncate(before);
    throw;
  }
}

void GpuCodeStore::pack(size_t first, size_t n, uint8_t* codes) const {
  require(first <= impl_->size && n <= impl_->size - first, "codes to pack", impl_->size,
          first + n);
  const auto lock = impl_->device->lock();
  const size_t bytes = impl_->view.code.code_bytes;
  const size_t step = gpu::codes_a_chunk(*impl_);
  for (size_t done = 0; done < n; done += step) {
    const size_t count = std::min(step, n - done);
    gpu::Output<uint8_t> output(impl_->device, codes + done * bytes, count * bytes);
    gpu::pack_codes(*impl_->device, gpu::repack_args(*impl_, output.data(), first + done, count));
    output.finish();
    impl_->device->synchronize();
  }
}

void GpuCodeStore::keep(const std::vector<uint32_t>& places) {
  {
    const auto lock = impl_->device->lock();
    const size_t step = gpu::codes_a_chunk(*impl_);
    const size_t room = std::min(step, places.size());
    gpu::Buffer<uint8_t> codes(impl_->device, room * impl_->view.code.code_bytes);
    // Places only move down, so a chunk never overwrites what a later one reads.
    for (size_t first = 0; first < places.size(); first += step) {
      const size_t count = std::min(step, places.size() - first);
      const gpu::Buffer<uint32_t> from(impl_->device, places.data() + first, count);
      gpu::RepackArgs args = gpu::repack_args(*impl_, codes.data(), first, count);
      args.places = from.data();
      gpu::pack_codes(*impl_->device, args);
      args.places = nullptr;
      gpu::unpack_codes(*impl_->device, args);
      impl_->device->synchronize();
    }
  }
  truncate(places.size());
}

void GpuCodeStore::truncate(size_t n) {
  require(n <= impl_->size, "n", "at most the store's size", n);
  const auto lock = impl_->device->lock();
  const size_t before = impl_->size;
  impl_->size = n;
  const size_t places = std::min(before, impl_->used_tiles() * gpu::tile_vectors);
  if (places > n) {
    gpu::clear_places(*impl_->device, gpu::repack_args(*impl_, nullptr, n, places - n));
  }
  if (impl_->capacity() > 2 * impl_->used_tiles() * gpu::tile_vectors) {
    impl_->reallocate(n);
  }
}

}  // namespace rotorquant
