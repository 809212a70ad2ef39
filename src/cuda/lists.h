// SPDX-License-Identifier: MIT
#pragma once

// Inverted lists on a device: what GpuInvertedFile holds.

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/internals.h"

namespace rotorquant::gpu {

/// One list: the tiles of the pool that are its own, in order, and its ids. Entry i is at place
/// tiles[i / 32] * 32 + i % 32.
struct DeviceList {
  std::vector<uint32_t> tiles;
  IdArray ids;

  size_t size() const { return ids.size(); }
  /// Tiles that n more entries need beyond those there are.
  size_t tiles_for(size_t n) const {
    return (size() + n + tile_vectors - 1) / tile_vectors - tiles.size();
  }
  uint32_t place(size_t i) const {
    return tiles[i / tile_vectors] * tile_vectors + to_unsigned(i % tile_vectors);
  }
};

/// What a search reads beside the codes, and every change of the lists makes old: the list of each
/// tile, and labels: 32-bit numbers in the order of the ids, a place each, so that ties go to the
/// smaller id. As long as all ids fit into 32 bits they are their own labels.
struct SearchTables {
  Buffer<uint32_t> tile_lists;
  Buffer<uint32_t> labels;
  std::vector<int64_t> ids;  ///< by label, ascending; empty: labels are ids
  Buffer<int64_t> device_ids;
};

struct ListsImpl {
  DevicePtr device;
  std::shared_ptr<const IvfGeometry> geometry;
  CodecImpl codec;
  StoreImpl pool;  ///< whole tiles; its size counts those given out, free ones among them
  std::vector<DeviceList> lists;
  std::vector<uint32_t> free_tiles;
  ListsView view;  ///< tile_lists aside

  ListsImpl(DevicePtr on, std::shared_ptr<const IvfGeometry> of);

  size_t total() const;
  /// Enters `ids` into a list and returns the places for their codes.
  std::vector<uint32_t> enter(size_t list, const std::vector<int64_t>& ids);
  /// Codes with their centroids' terms, and those of the refine, to places; host memory.
  void put(const std::vector<uint32_t>& places, const uint8_t* codes, const float* terms);
  /// The inverse.
  void get(const std::vector<uint32_t>& places, uint8_t* codes, float* terms) const;
  /// Shortens a list; `unused` takes the places of what is behind its new end.
  void truncate(size_t list, size_t n, std::vector<uint32_t>& unused);
  void clear_unused(const std::vector<uint32_t>& unused);
  /// Hands out n tiles more, all of them free.
  void add_tiles(size_t n);
  void clear();
  void changed() { tables_.reset(); }
  /// Made when asked for after a change; the device is locked.
  const SearchTables& tables() const;

 private:
  Buffer<float> centroids_;
  Buffer<float> squared_offsets_;
  Buffer<float> centre_products_;
  mutable std::unique_ptr<SearchTables> tables_;
};

}  // namespace rotorquant::gpu
