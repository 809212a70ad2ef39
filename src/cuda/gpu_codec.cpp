// SPDX-License-Identifier: MIT
#include <algorithm>
#include <string>
#include <utility>

#include "codec_access.h"
#include "cuda/internals.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace gpu {
namespace {

constexpr size_t chunk_floats = size_t{1} << 24U;  // 64 MiB of vectors at a time

DeviceLayers on_device(const DevicePtr& device, const simd::RotorLayersView& layers) {
  DeviceLayers copy;
  const size_t matrices = layers.layers * (layers.dim / 3 + 1) * 9;
  copy.permutation = Buffer<uint32_t>(device, layers.permutation, layers.layers * layers.dim);
  copy.matrices = Buffer<float>(device, layers.matrices, matrices);
  copy.view = layers;
  copy.view.permutation = copy.permutation.data();
  copy.view.matrices = copy.matrices.data();
  return copy;
}

size_t nodes_of(size_t level) {  // of level + 1
  return size_t{16} << (4 * level);
}

}  // namespace

size_t rows_a_chunk(size_t d) {
  return std::max<size_t>(1, chunk_floats / d / tile_vectors) * tile_vectors;
}

CodeShape shape_of(const CodeLayout& layout, size_t d) {
  CodeShape shape;
  shape.d = to_unsigned(d);
  shape.dims = to_unsigned(layout.quads * quad_dims);
  shape.quads = to_unsigned(layout.quads);
  shape.plane_bytes = to_unsigned(layout.plane_bytes);
  shape.planes = to_unsigned(layout.planes);
  shape.levels = to_unsigned(layout.levels);
  shape.row_bytes = to_unsigned(layout.row_bytes());
  shape.code_bytes = to_unsigned(layout.code_bytes());
  shape.scan_factor_offset = to_unsigned(layout.scan_factor_offset());
  shape.factor_offset = to_unsigned(layout.factor_offset());
  shape.signs = layout.signs;
  shape.wide_factors = layout.wide_factors;
  return shape;
}

CodecImpl::CodecImpl(DevicePtr on, Codec of, Space in)
    : device(std::move(on)), codec(std::move(of)), space(std::move(in)) {
  require(codec.is_trained(), "codec", "a trained codec", "an untrained one");
  require(space.centre.empty() || space.centre.size() == codec.dim(), "centre length", codec.dim(),
          space.centre.size());
  const auto lock = device->lock();
  const CodeLayout& layout = codec.layout();
  const simd::EncodeView host = CodecAccess::encode_view(codec);
  view.code = shape_of(layout, codec.dim());
  view.tree = host.tree;
  centre = Buffer<float>::of(device, space.centre);
  sign_map = on_device(device, host.sign_map);
  view.sign_map = sign_map.view;
  if (const RotorLayers* layers = codec.frame().as_layers()) {
    frame = on_device(device, {layers->dim(), layers->layers(), layers->permutation().data(),
                               layers->matrices().data()});
    view.frame = frame.view;
  } else {
    const DenseFrame& dense = *codec.frame().as_dense();
    data_map = Buffer<float>::of(device, dense.data_map);
    query_map = Buffer<float>::of(device, dense.query_map);
    inverse = Buffer<float>::of(device, dense.query_map_t);
  }
  const auto table = [&](const float* from, size_t size) -> const float* {
    return tables.emplace_back(device, from, size).data();
  };
  const auto fixed_table = [&](const int16_t* from, size_t size) -> const int16_t* {
    return fixed_tables.emplace_back(device, from, size).data();
  };
  const size_t trees = view.tree.trees;
  const AlignedVector<float> third_level =
      view.tree.levels >= 3 ? CodecAccess::third_level(codec) : AlignedVector<float>{};
  view.tree.level3 = third_level.data();
  const float** const encode_tables[max_tree_levels] = {&view.tree.level1, &view.tree.level2,
                                                        &view.tree.level3};
  for (size_t level = 0; level < static_cast<size_t>(view.tree.levels); ++level) {
    const size_t nodes = trees * nodes_of(level);
    *encode_tables[level] = table(*encode_tables[level], nodes * 5);
    view.tree.centroids[level] = table(view.tree.centroids[level], nodes * 4);
    view.tree.fixed[level] = fixed_table(view.tree.fixed[level], nodes * 4);
  }
  if (view.tree.scalar_bits > 0) {
    view.tree.leaf_scales = table(view.tree.leaf_scales, trees * nodes_of(1) * 4);
    view.tree.fixed_scales = fixed_table(view.tree.fixed_scales, trees * nodes_of(1) * 4);
    constexpr size_t entries = size_t{1} << max_scalar_levels;
    view.scalar_centroids =
        table(host.scalar->centroids.front().data(), max_scalar_levels * entries);
    view.scalar_thresholds = table(host.scalar->thresholds.data(), entries);
    std::vector<int16_t> fixed(max_scalar_levels * entries);
    for (size_t bits = 1; bits <= view.tree.scalar_bits; ++bits) {
      const simd::RefineView refine =
          CodecAccess::refine_view(codec, CodecQuery{}, max_tree_levels + bits);
      std::copy_n(refine.fixed_entries, entries, fixed.data() + (bits - 1) * entries);
    }
    view.fixed_entries = fixed_table(fixed.data(), fixed.size());
  }
  const std::vector<float>& error = CodecAccess::scan_error(codec);
  view.scan_error = table(error.data(), error.size());
  view.scan_errors = to_unsigned(error.size());
  view.fixed_unit = CodecAccess::fixed_unit(codec);
  view.largest_fixed = static_cast<int32_t>(CodecAccess::largest_coordinate(codec));
  device->synchronize();  // host tables may go
}

void CodecImpl::split(const float* x, size_t n, bool query, float* residual, float* term,
                      uint32_t* bad_row) const {
  ResidualArgs args{};
  args.x = x;
  args.centre = space.centre.empty() ? nullptr : centre.data();
  args.n = to_unsigned(n);
  args.d = to_unsigned(codec.dim());
  args.squared = space.metric == Metric::l2;
  args.query = query;
  args.residual = residual;
  args.term = term;
  args.bad_row = bad_row;
  device->fill(bad_row, 0xFF, sizeof(*bad_row));
  split_rows(*device, args);
}

void CodecImpl::rotate(const simd::RotorLayersView& map, bool inverse_map, const float* in,
                       size_t width, size_t n, float* out, size_t out_width, size_t stride) const {
  const Buffer<float> workspace(device,
                                rotate_workspace(*device, to_unsigned(map.dim), to_unsigned(n)));
  RotateArgs args{};
  args.map = map;
  args.inverse = inverse_map;
  args.in = in;
  args.in_width = to_unsigned(width);
  args.out = out;
  args.out_width = to_unsigned(out_width);
  args.out_stride = to_unsigned(stride);
  args.n = to_unsigned(n);
  args.workspace = const_cast<float*>(workspace.data());  // NOLINT: the kernel's own
  rotate_rows(*device, args);
}

void CodecImpl::to_frame(const float* residual, size_t n, bool query, float* y,
                         size_t stride) const {
  const size_t d = codec.dim();
  const size_t dims = view.code.dims;
  if (stride != dims) {
    device->fill(y, 0, n * stride * sizeof(float));
  }
  if (view.frame.layers > 0) {
    rotate(view.frame, false, residual, d, n, y, dims, stride);
    return;
  }
  const float* map = query ? query_map.data() : data_map.data();
  device->multiply_rows(residual, n, d, map, dims, y, stride);
}

Combination CodecImpl::combination(size_t levels, Estimator estimator) const {
  const CodeLayout& layout = codec.layout();
  const auto& statistics = CodecAccess::statistics(codec);
  Combination how;
  how.levels = to_unsigned(CodecAccess::effective_levels(layout, levels));
  how.signs = CodecAccess::reads_signs(layout, levels);
  how.cos2 = statistics.cos2[0];
  if (estimator == Estimator::strict && how.signs && how.levels > 0) {
    how.kind = Combination::Kind::strict;
    how.gain = statistics.strict_gain;
    how.norm_from_additive = space.metric == Metric::l2 && CodecAccess::is_isometric(codec);
  } else if (how.signs == layout.signs && how.levels == layout.levels) {
    how.kind = Combination::Kind::whole;
  } else if (how.levels == 1) {
    how.kind = Combination::Kind::first_level;
  } else {
    how.kind = Combination::Kind::prefix;
    how.gain = statistics.prefix_gain[how.levels - 1];
  }
  return how;
}

void CodecImpl::encode_chunk(const float* x, size_t n, size_t first_row, EncodeEffort effort,
                             uint8_t* codes) const {
  const size_t d = codec.dim();
  const Input<float> input(device, x, n * d);
  Buffer<float> residual(device, n * d);
  Buffer<float> additive(device, n);
  Buffer<uint32_t> bad_row(device, 1);
  split(input.data(), n, false, residual.data(), additive.data(), bad_row.data());
  encode_residuals(residual.data(), additive.data(), n, effort, codes);
  const uint32_t bad = bad_row.read()[0];
  require(bad >= n, "vectors", "finite numbers",
          "infinity or NaN in row " + std::to_string(first_row + bad));
}

void CodecImpl::encode_residuals(const float* residual, const float* additive, size_t n,
                                 EncodeEffort effort, uint8_t* codes) const {
  Buffer<float> y(device, n * view.code.dims);
  to_frame(residual, n, false, y.data(), view.code.dims);
  Buffer<float> workspace(device, encode_workspace(*device, view.code, to_unsigned(n)));
  EncodeArgs args{};
  args.codec = view;
  args.y = y.data();
  args.additive = additive;
  args.n = to_unsigned(n);
  args.joint_rounds = CodecAccess::joint_rounds(codec.params(), effort);
  args.codes = codes;
  args.workspace = workspace.data();
  encode_rows(*device, args);
}

void CodecImpl::decode_residuals(const uint8_t* codes, size_t n, size_t levels, float* x) const {
  const size_t d = codec.dim();
  const size_t dims = view.code.dims;
  Buffer<float> level_part(device, n * dims);
  DecodeArgs args{};
  args.codec = view;
  args.codes = codes;
  args.n = to_unsigned(n);
  args.combination = combination(levels, Estimator::rescaled);
  args.shrink =
      CodecAccess::statistics(codec).cos2[args.combination.signs ? 0 : args.combination.levels];
  Buffer<float> sign_part(device, args.combination.signs ? n * dims : 0);
  args.level_part = level_part.data();
  args.sign_part = sign_part.data();
  decode_rows(*device, args);
  if (args.combination.signs) {
    rotate(view.sign_map, true, sign_part.data(), dims, n, sign_part.data(), dims, dims);
    ResidualArgs sum{};
    sum.x = sign_part.data();
    sum.residual = level_part.data();
    sum.n = to_unsigned(n);
    sum.d = to_unsigned(dims);
    add_rows(*device, sum);
  }
  if (view.frame.layers > 0) {
    rotate(view.frame, true, level_part.data(), dims, n, x, d, d);
  } else {
    device->multiply_rows(level_part.data(), n, dims, inverse.data(), d, x, d);
  }
}

void CodecImpl::decode_chunk(const uint8_t* codes, size_t n, size_t levels, float* x) const {
  const size_t d = codec.dim();
  const Input<uint8_t> input(device, codes, n * view.code.code_bytes);
  Output<float> output(device, x, n * d);
  decode_residuals(input.data(), n, levels, output.data());
  if (!space.centre.empty()) {
    ResidualArgs shift{};
    shift.x = output.data();
    shift.centre = centre.data();
    shift.residual = output.data();
    shift.n = to_unsigned(n);
    shift.d = to_unsigned(d);
    add_centre(*device, shift);
  }
  output.finish();
  device->synchronize();
}

}  // namespace gpu

int gpu_device_count() {
  return gpu::Device::count();
}

namespace {

/// The owner of a stream goes after what works on it.
struct OwnedDevice {
  std::shared_ptr<const void> owner;
  gpu::Device device;

  OwnedDevice(std::shared_ptr<const void> of_stream, int index, void* stream)
      : owner(std::move(of_stream)), device(index, stream) {}
};

}  // namespace

GpuResources::GpuResources(int device, void* stream, std::shared_ptr<const void> owner) {
  auto held = std::make_shared<OwnedDevice>(std::move(owner), device, stream);
  device_ = std::shared_ptr<gpu::Device>(held, &held->device);
}
int GpuResources::device() const {
  return device_->index();
}
std::string GpuResources::name() const {
  return device_->name();
}
void* GpuResources::stream() const {
  return device_->stream();
}
void GpuResources::synchronize() const {
  const auto lock = device_->lock();
  device_->synchronize();
}

void GpuResources::wait_for(void* stream) const {
  const auto lock = device_->lock();
  device_->wait_for(stream);
}

bool GpuResources::owns(const void* p) const {
  return device_->owns(p);
}
void GpuResources::copy(void* to, const void* from, size_t bytes) const {
  const auto lock = device_->lock();
  device_->copy(to, from, bytes);
  device_->synchronize();
}

GpuCodec::GpuCodec(const GpuResources& resources, const Codec& codec, const Space& space)
    : impl_(std::make_unique<gpu::CodecImpl>(resources.handle(), codec, space)) {}
GpuCodec::~GpuCodec() = default;
GpuCodec::GpuCodec(GpuCodec&&) noexcept = default;
GpuCodec& GpuCodec::operator=(GpuCodec&&) noexcept = default;

const Codec& GpuCodec::codec() const {
  return impl_->codec;
}
const Space& GpuCodec::space() const {
  return impl_->space;
}

void GpuCodec::encode(const float* x, size_t n, uint8_t* codes, EncodeEffort effort) const {
  const auto lock = impl_->device->lock();
  const size_t step = gpu::rows_a_chunk(impl_->codec.dim());
  for (size_t first = 0; first < n; first += step) {
    const size_t count = std::min(step, n - first);
    gpu::Output<uint8_t> output(impl_->device, codes + first * impl_->codec.code_bytes(),
                                count * impl_->codec.code_bytes());
    impl_->encode_chunk(x + first * impl_->codec.dim(), count, first, effort, output.data());
    output.finish();
    impl_->device->synchronize();
  }
}

void GpuCodec::decode(const uint8_t* codes, size_t n, float* x, size_t levels) const {
  require(levels <= impl_->codec.layout().levels, "levels", impl_->codec.layout().levels, levels);
  const auto lock = impl_->device->lock();
  const size_t step = gpu::rows_a_chunk(impl_->codec.dim());
  for (size_t first = 0; first < n; first += step) {
    const size_t count = std::min(step, n - first);
    impl_->decode_chunk(codes + first * impl_->codec.code_bytes(), count, levels,
                        x + first * impl_->codec.dim());
  }
}

}  // namespace rotorquant
