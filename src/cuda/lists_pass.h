// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "cuda/lists.h"
#include "cuda/search_pass.h"

namespace rotorquant::gpu {

/// Which lists queries are to visit.
struct ProbeRequest {
  const int64_t* given;  ///< count x probes, negative ones are skipped; null: the nearest ones
  size_t probes;
  size_t max_codes;  ///< visit lists until this many vectors have been; 0: all of them
};

/// A filter as one mask a tile, asked about the lists that somebody visits, once each.
class AllowedLists {
 public:
  AllowedLists(const ListsImpl& lists, const IdFilter* filter);
  /// Null without a filter.
  const uint32_t* masks(const std::vector<std::vector<uint32_t>>& visited);

 private:
  const ListsImpl& lists_;
  const IdFilter* filter_;
  std::vector<bool> known_;
  std::vector<uint32_t> masks_;
  Buffer<uint32_t> on_device_;
};

/// Every query scans the lists that are nearest to it. Bounds and distances hold their base, since
/// that depends on the list.
class ListsPass final : public SearchPass {
 public:
  ListsPass(const ListsImpl& lists, AllowedLists& allowed, const ProbeRequest& probes,
            const PassRequest& request);

  /// Bytes of working memory a query, candidates aside.
  static size_t bytes_a_query(const ListsImpl& lists);

 private:
  const ListsImpl& lists_;
  const SearchTables& tables_of_lists_;
  float error_scale_;
  Buffer<float> terms_;  ///< |q - g|^2, <q, g>, bias and rounding of the table: count each
  Buffer<float> products_;
  ProbeView probe_view_;
  ListsView lists_view_;
  std::vector<std::vector<uint32_t>> probes_;  ///< a query: its lists, nearest first, none empty
  const uint32_t* allowed_ = nullptr;

  /// The part of a list that a query is to scan.
  struct Wish {
    uint32_t list;
    uint32_t first;
    uint32_t tiles;
    uint32_t query;
  };

  /// Ranks all lists for all queries; keys: count x lists.
  Buffer<uint64_t> rank_all(const float* queries);
  void choose_nearest(const Buffer<uint64_t>& keys, size_t probes);
  void take_given(const int64_t* given, size_t probes);
  void drop_probes(size_t max_codes);
  uint32_t tiles_in(uint32_t list) const { return to_unsigned(lists_.lists[list].tiles.size()); }
  /// Scans what is wished for; wishes for one list are met together.
  void visit(std::vector<Wish> wishes, const float* limits);

  TileRange tiles_of(size_t q) const override;
  void scan() override;
  void scan_one(size_t q, float limit, TileRange tiles) override;
  /// The k-th best of what is in the first lists of a query: a limit that holds.
  void guess_limits(size_t k) override;
  void complete(RefineArgs& args, size_t first) const override;
  const std::vector<int64_t>* label_ids() const override;
  const int64_t* device_label_ids() const override;
};

}  // namespace rotorquant::gpu
