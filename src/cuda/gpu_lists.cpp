// SPDX-License-Identifier: MIT
#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "cuda/lists.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace gpu {
namespace {

/// mu_c - g of all lists in the order of IvfGeometry's own table: [block][dimension][64].
std::vector<float> centroid_table(const IvfGeometry& geometry) {
  constexpr size_t width = IvfGeometry::block_lists;
  const size_t d = geometry.dim();
  std::vector<float> table(geometry.blocks() * d * width, 0.0F);
  std::vector<float> offset(d);
  for (size_t list = 0; list < geometry.lists(); ++list) {
    geometry.offset(list, offset.data());
    float* column = table.data() + list / width * d * width + list % width;
    for (size_t j = 0; j < d; ++j) {
      column[j * width] = offset[j];
    }
  }
  return table;
}

/// f(list) of every list, on the device.
template <class F>
Buffer<float> by_list(const DevicePtr& device, const IvfGeometry& geometry, F&& f) {
  std::vector<float> values(geometry.lists());
  for (size_t list = 0; list < values.size(); ++list) {
    values[list] = f(list);
  }
  return Buffer<float>::of(device, values);
}

bool fits_label(int64_t id) {
  return id >= 0 && id < int64_t{std::numeric_limits<uint32_t>::max()};
}

}  // namespace

ListsImpl::ListsImpl(DevicePtr on, std::shared_ptr<const IvfGeometry> of)
    : device(std::move(on)),
      geometry(std::move(of)),
      codec(device, geometry->codec(), Space{geometry->metric(), geometry->centre()}),
      pool(device, geometry->codec().layout(), true),
      lists(geometry->lists()) {
  const auto lock = device->lock();
  if (geometry->by_residual()) {
    centroids_ = Buffer<float>::of(device, centroid_table(*geometry));
  }
  squared_offsets_ =
      by_list(device, *geometry, [&](size_t list) { return geometry->squared_offset(list); });
  centre_products_ =
      by_list(device, *geometry, [&](size_t list) { return geometry->centre_product(list); });
  view.lists = to_unsigned(geometry->lists());
  view.d = to_unsigned(geometry->dim());
  view.squared = geometry->metric() == Metric::l2;
  view.table = centroids_.data();
  view.squared_offsets = squared_offsets_.data();
  view.centre_products = centre_products_.data();
  view.centre = codec.centre.data();
  view.error_ratio = geometry->error_ratio();
  device->synchronize();  // host tables may go
}

size_t ListsImpl::total() const {
  return std::accumulate(lists.begin(), lists.end(), size_t{0},
                         [](size_t sum, const DeviceList& list) { return sum + list.size(); });
}

void ListsImpl::add_tiles(size_t n) {
  pool.make_room(n * tile_vectors);
  const size_t first = pool.used_tiles();
  clear_places(*device, repack_args(pool, nullptr, pool.size, n * tile_vectors));
  pool.size += n * tile_vectors;
  for (size_t i = n; i-- > 0;) {
    free_tiles.push_back(to_unsigned(first + i));
  }
}

std::vector<uint32_t> ListsImpl::enter(size_t list, const std::vector<int64_t>& ids) {
  DeviceList& l = lists[list];
  const size_t first = l.size();
  while (l.tiles.size() * tile_vectors < first + ids.size()) {
    if (free_tiles.empty()) {
      add_tiles(1);
    }
    l.tiles.push_back(free_tiles.back());
    free_tiles.pop_back();
  }
  l.ids.append(ids.data(), ids.size());
  std::vector<uint32_t> places(ids.size());
  for (size_t i = 0; i < places.size(); ++i) {
    places[i] = l.place(first + i);
  }
  return places;
}

void ListsImpl::put(const std::vector<uint32_t>& places, const uint8_t* codes, const float* terms) {
  const size_t bytes = pool.view.code.code_bytes;
  const size_t step = codes_a_chunk(pool);
  for (size_t first = 0; first < places.size(); first += step) {
    const size_t n = std::min(step, places.size() - first);
    const Buffer<uint32_t> to(device, places.data() + first, n);
    Buffer<uint8_t> own_codes(device, codes + first * bytes, n * bytes);
    Buffer<float> own_terms(device, terms + first, n);
    RepackArgs args = repack_args(pool, own_codes.data(), 0, n);
    args.places = to.data();
    args.terms = own_terms.data();
    unpack_codes(*device, args);
    device->synchronize();
  }
}

void ListsImpl::get(const std::vector<uint32_t>& places, uint8_t* codes, float* terms) const {
  const size_t bytes = pool.view.code.code_bytes;
  const size_t step = codes_a_chunk(pool);
  for (size_t first = 0; first < places.size(); first += step) {
    const size_t n = std::min(step, places.size() - first);
    const Buffer<uint32_t> from(device, places.data() + first, n);
    Buffer<uint8_t> own_codes(device, n * bytes);
    Buffer<float> own_terms(device, n);
    RepackArgs args = repack_args(pool, own_codes.data(), 0, n);
    args.places = from.data();
    args.terms = own_terms.data();
    pack_codes(*device, args);
    device->copy(codes + first * bytes, own_codes.data(), n * bytes);
    device->copy(terms + first, own_terms.data(), n * sizeof(float));
    device->synchronize();
  }
}

void ListsImpl::truncate(size_t list, size_t n, std::vector<uint32_t>& unused) {
  DeviceList& l = lists[list];
  for (size_t i = n; i < l.size(); ++i) {
    unused.push_back(l.place(i));
  }
  l.ids.truncate(n);
  while (l.tiles.size() * tile_vectors >= n + tile_vectors) {
    free_tiles.push_back(l.tiles.back());
    l.tiles.pop_back();
  }
}

void ListsImpl::clear_unused(const std::vector<uint32_t>& unused) {
  const auto places = Buffer<uint32_t>::of(device, unused);
  RepackArgs args = repack_args(pool, nullptr, 0, unused.size());
  args.places = places.data();
  clear_places(*device, args);
  device->synchronize();
}

void ListsImpl::clear() {
  lists.assign(lists.size(), {});
  free_tiles.clear();
  pool.size = 0;
  pool.reallocate(0);
  changed();
}

const SearchTables& ListsImpl::tables() const {
  if (tables_ != nullptr) {
    return *tables_;
  }
  auto fresh = std::make_unique<SearchTables>();
  bool wide = false;
  for (const DeviceList& list : lists) {
    for (size_t i = 0; i < list.size() && !wide; ++i) {
      wide = !fits_label(list.ids[i]);
    }
  }
  if (wide) {
    for (const DeviceList& list : lists) {
      for (size_t i = 0; i < list.size(); ++i) {
        fresh->ids.push_back(list.ids[i]);
      }
    }
    std::sort(fresh->ids.begin(), fresh->ids.end());
    fresh->ids.erase(std::unique(fresh->ids.begin(), fresh->ids.end()), fresh->ids.end());
    fresh->device_ids = Buffer<int64_t>::of(device, fresh->ids);
  }
  const auto label_of = [&](int64_t id) {
    const auto& ids = fresh->ids;
    return static_cast<uint32_t>(wide ? std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()
                                      : id);
  };
  std::vector<uint32_t> labels(pool.size, 0);
  std::vector<uint32_t> tile_lists(pool.used_tiles(), 0);
  for (size_t list = 0; list < lists.size(); ++list) {
    const DeviceList& l = lists[list];
    for (const uint32_t tile : l.tiles) {
      tile_lists[tile] = to_unsigned(list);
    }
    for (size_t i = 0; i < l.size(); ++i) {
      labels[l.place(i)] = label_of(l.ids[i]);
    }
  }
  fresh->labels = Buffer<uint32_t>::of(device, labels);
  fresh->tile_lists = Buffer<uint32_t>::of(device, tile_lists);
  device->synchronize();  // host tables may go
  tables_ = std::move(fresh);
  return *tables_;
}

}  // namespace gpu

namespace {

void require_same_lists(const gpu::ListsImpl& own, const InvertedFile& file) {
  require(file.geometry().codec().layout() == own.pool.layout, "inverted file: code layout",
          "that of the device's lists", "another");
  require(file.lists() == own.lists.size(), "inverted file: lists", own.lists.size(), file.lists());
}

/// Codes on their way to or from a device, gathered over lists until they are worth a transfer.
struct Transfer {
  std::vector<uint32_t> places;
  std::vector<uint8_t> codes;
  std::vector<float> terms;

  void clear() {
    places.clear();
    codes.clear();
    terms.clear();
  }
};

}  // namespace

GpuInvertedFile::GpuInvertedFile(const GpuResources& resources,
                                 std::shared_ptr<const IvfGeometry> geometry)
    : impl_(std::make_unique<gpu::ListsImpl>(resources.handle(), std::move(geometry))) {}
GpuInvertedFile::~GpuInvertedFile() = default;
GpuInvertedFile::GpuInvertedFile(GpuInvertedFile&&) noexcept = default;
GpuInvertedFile& GpuInvertedFile::operator=(GpuInvertedFile&&) noexcept = default;

const IvfGeometry& GpuInvertedFile::geometry() const {
  return *impl_->geometry;
}
size_t GpuInvertedFile::lists() const {
  return impl_->lists.size();
}
size_t GpuInvertedFile::size(size_t list) const {
  return impl_->lists[list].size();
}
size_t GpuInvertedFile::total() const {
  return impl_->total();
}
size_t GpuInvertedFile::memory_bytes() const {
  return impl_->pool.tiles.bytes() + impl_->pool.rows.bytes() + impl_->pool.terms.bytes();
}

void GpuInvertedFile::append(const InvertedFile& file, size_t part, size_t parts) {
  require_same_lists(*impl_, file);
  require(parts >= 1 && part < parts, "part", "below " + std::to_string(parts), part);
  const auto lock = impl_->device->lock();
  const size_t bytes = impl_->pool.view.code.code_bytes;
  const size_t enough = gpu::codes_a_chunk(impl_->pool);
  const auto begin_of = [&](size_t list, size_t i) { return i * file.size(list) / parts; };
  size_t tiles = 0;
  for (size_t list = 0; list < file.lists(); ++list) {
    const size_t n = begin_of(list, part + 1) - begin_of(list, part);
    tiles += impl_->lists[list].tiles_for(n);
  }
  if (tiles > impl_->free_tiles.size()) {
    impl_->add_tiles(tiles - impl_->free_tiles.size());
  }
  Transfer sent;
  std::vector<int64_t> ids;
  impl_->changed();
  for (size_t list = 0; list < file.lists(); ++list) {
    const size_t last = begin_of(list, part + 1);
    for (size_t first = begin_of(list, part); first < last;) {
      const size_t n = std::min(last - first, enough);
      ids.resize(n);
      for (size_t i = 0; i < n; ++i) {
        ids[i] = file.ids(list)[first + i];
      }
      const std::vector<uint32_t> places = impl_->enter(list, ids);
      sent.places.insert(sent.places.end(), places.begin(), places.end());
      const size_t before = sent.codes.size();
      sent.codes.resize(before + n * bytes);
      file.codes(list).pack(first, n, sent.codes.data() + before);
      const float* terms = file.refine_terms(list) + first;
      sent.terms.insert(sent.terms.end(), terms, terms + n);
      if (sent.places.size() >= enough) {
        impl_->put(sent.places, sent.codes.data(), sent.terms.data());
        sent.clear();
      }
      first += n;
    }
  }
  impl_->put(sent.places, sent.codes.data(), sent.terms.data());
}

void GpuInvertedFile::add(const float* x, size_t n, const int64_t* lists, const int64_t* ids,
                          EncodeEffort effort) {
  const IvfGeometry& geometry = *impl_->geometry;
  const size_t d = geometry.dim();
  const size_t bytes = impl_->pool.view.code.code_bytes;
  require_finite(x, n, d, "vectors");
  std::vector<size_t> rows;  // those that have a list, by list
  for (size_t i = 0; i < n; ++i) {
    require(lists[i] < static_cast<int64_t>(this->lists()), "list",
            "below " + std::to_string(this->lists()), lists[i]);
    if (lists[i] >= 0) {
      rows.push_back(i);
    }
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [&](size_t a, size_t b) { return lists[a] < lists[b]; });
  // The core folds the centroids' terms in, in lists of its own.
  InvertedFile folded(impl_->geometry);
  const size_t step = gpu::rows_a_chunk(d);
  std::vector<float> part;
  std::vector<float> residuals;
  std::vector<float> additive;
  std::vector<int64_t> part_lists;
  std::vector<int64_t> part_ids;
  std::vector<uint8_t> codes;
  for (size_t first = 0; first < rows.size(); first += step) {
    const size_t count = std::min(step, rows.size() - first);
    part.resize(count * d);
    part_lists.resize(count);
    part_ids.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const size_t row = rows[first + i];
      std::copy_n(x + row * d, d, part.data() + i * d);
      part_lists[i] = lists[row];
      part_ids[i] = ids[row];
    }
    residuals.resize(count * d);
    additive.resize(count);
    geometry.split(part.data(), part_lists.data(), count, residuals.data(), additive.data());
    codes.resize(count * bytes);
    {
      const auto lock = impl_->device->lock();
      const auto own_residuals = gpu::Buffer<float>::of(impl_->device, residuals);
      const auto own_additive = gpu::Buffer<float>::of(impl_->device, additive);
      gpu::Buffer<uint8_t> own_codes(impl_->device, codes.size());
      impl_->codec.encode_residuals(own_residuals.data(), own_additive.data(), count, effort,
                                    own_codes.data());
      codes = own_codes.read();
    }
    for (size_t begin = 0; begin < count;) {
      size_t end = begin;
      while (end < count && part_lists[end] == part_lists[begin]) {
        ++end;
      }
      folded.append(static_cast<size_t>(part_lists[begin]), end - begin, part_ids.data() + begin,
                    codes.data() + begin * bytes);
      begin = end;
    }
  }
  append(folded);
}

void GpuInvertedFile::copy_to(InvertedFile& file) const {
  require_same_lists(*impl_, file);
  const auto lock = impl_->device->lock();
  const size_t bytes = impl_->pool.view.code.code_bytes;
  const size_t enough = gpu::codes_a_chunk(impl_->pool);
  Transfer received;
  std::vector<int64_t> ids;
  std::vector<std::pair<size_t, size_t>> parts;  // list, entries
  const auto flush = [&] {
    received.codes.resize(received.places.size() * bytes);
    received.terms.resize(received.places.size());
    impl_->get(received.places, received.codes.data(), received.terms.data());
    size_t at = 0;
    for (const auto& [list, n] : parts) {
      file.append_folded(list, n, ids.data() + at, received.codes.data() + at * bytes,
                         received.terms.data() + at);
      at += n;
    }
    received.clear();
    parts.clear();
    ids.clear();
  };
  for (size_t list = 0; list < impl_->lists.size(); ++list) {
    const gpu::DeviceList& own = impl_->lists[list];
    file.reserve(list, file.size(list) + own.size());
    for (size_t first = 0; first < own.size();) {
      const size_t n = std::min(own.size() - first, enough);
      for (size_t i = first; i < first + n; ++i) {
        received.places.push_back(own.place(i));
        ids.push_back(own.ids[i]);
      }
      parts.emplace_back(list, n);
      if (received.places.size() >= enough) {
        flush();
      }
      first += n;
    }
  }
  flush();
}

size_t GpuInvertedFile::remove(const IdFilter& doomed) {
  const auto lock = impl_->device->lock();
  std::vector<uint32_t> from;
  std::vector<uint32_t> to;
  std::vector<std::pair<size_t, size_t>> shortened;  // list, new size
  size_t removed = 0;
  for (size_t list = 0; list < impl_->lists.size(); ++list) {
    gpu::DeviceList& own = impl_->lists[list];
    // What moves into a gap comes from behind the new end, whatever moves after it.
    std::vector<uint32_t> sources(own.size());
    std::iota(sources.begin(), sources.end(), 0U);
    size_t size = own.size();
    for (size_t i = 0; i < size;) {
      if (doomed.allows(own.ids[sources[i]])) {
        --size;
        sources[i] = sources[size];
      } else {
        ++i;
      }
    }
    if (size == own.size()) {
      continue;
    }
    removed += own.size() - size;
    std::vector<std::pair<size_t, int64_t>> new_ids;
    for (size_t i = 0; i < size; ++i) {
      if (sources[i] != i) {
        from.push_back(own.place(sources[i]));
        to.push_back(own.place(i));
        new_ids.emplace_back(i, own.ids[sources[i]]);
      }
    }
    for (const auto& [i, id] : new_ids) {
      own.ids.set(i, id);
    }
    shortened.emplace_back(list, size);
  }
  std::vector<uint8_t> codes(from.size() * impl_->pool.view.code.code_bytes);
  std::vector<float> terms(from.size());
  impl_->get(from, codes.data(), terms.data());
  impl_->put(to, codes.data(), terms.data());
  std::vector<uint32_t> unused;
  for (const auto& [list, size] : shortened) {
    impl_->truncate(list, size, unused);
  }
  impl_->clear_unused(unused);
  if (removed > 0) {
    impl_->changed();
  }
  return removed;
}

void GpuInvertedFile::renumber(const std::function<int64_t(int64_t)>& to) {
  const auto lock = impl_->device->lock();
  for (gpu::DeviceList& list : impl_->lists) {
    for (size_t i = 0; i < list.size(); ++i) {
      list.ids.set(i, to(list.ids[i]));
    }
  }
  impl_->changed();
}

void GpuInvertedFile::clear() {
  const auto lock = impl_->device->lock();
  impl_->clear();
}

size_t GpuInvertedFile::reconstruct(int64_t first, size_t n, float* x) const {
  const auto lock = impl_->device->lock();
  std::vector<uint32_t> places;
  std::vector<int64_t> lists;
  std::vector<size_t> rows;
  std::vector<bool> found(n, false);
  for (size_t list = 0; list < impl_->lists.size(); ++list) {
    const gpu::DeviceList& own = impl_->lists[list];
    for (size_t i = 0; i < own.size(); ++i) {
      const int64_t id = own.ids[i];
      const auto row = static_cast<uint64_t>(id) - static_cast<uint64_t>(first);
      if (id >= first && row < n && !found[row]) {
        found[row] = true;
        places.push_back(own.place(i));
        lists.push_back(static_cast<int64_t>(list));
        rows.push_back(row);
      }
    }
  }
  const size_t d = impl_->geometry->dim();
  const size_t bytes = impl_->pool.view.code.code_bytes;
  std::vector<uint8_t> codes(places.size() * bytes);
  std::vector<float> terms(places.size());
  impl_->get(places, codes.data(), terms.data());
  const size_t step = gpu::rows_a_chunk(d);
  std::vector<float> decoded;
  for (size_t done = 0; done < rows.size(); done += step) {
    const size_t count = std::min(step, rows.size() - done);
    const gpu::Buffer<uint8_t> own_codes(impl_->device, codes.data() + done * bytes, count * bytes);
    gpu::Buffer<float> residuals(impl_->device, count * d);
    impl_->codec.decode_residuals(own_codes.data(), count, 0, residuals.data());
    decoded = residuals.read();
    impl_->geometry->restore(lists.data() + done, count, decoded.data());
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(decoded.data() + i * d, d, x + rows[done + i] * d);
    }
  }
  return rows.size();
}

}  // namespace rotorquant
