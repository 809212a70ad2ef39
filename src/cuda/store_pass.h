// SPDX-License-Identifier: MIT
#pragma once

#include "cuda/search_pass.h"

namespace rotorquant::gpu {

/// A filter as one mask a tile, evaluated once a search; empty without a filter.
class AllowedTiles {
 public:
  AllowedTiles(const StoreImpl& store, const IdFilter* filter);
  const uint32_t* masks() const { return masks_.data(); }

 private:
  Buffer<uint32_t> masks_;
};

/// Every query scans the whole store.
class StorePass final : public SearchPass {
 public:
  StorePass(const CodecImpl& codec, const StoreImpl& store, const AllowedTiles& allowed,
            const PassRequest& request);

 private:
  const AllowedTiles& allowed_;

  TileRange all_tiles() const { return {0, to_unsigned(store_.used_tiles())}; }
  ScanArgs scan_args(TileRange tiles, unsigned step);

  TileRange tiles_of(size_t /*q*/) const override { return all_tiles(); }
  void scan() override;
  void scan_one(size_t q, float limit, TileRange tiles) override;
  /// From a sample of the tiles: a rank of its best that is all but sure to lie behind the k-th
  /// best of all.
  void guess_limits(size_t k) override;
};

}  // namespace rotorquant::gpu
