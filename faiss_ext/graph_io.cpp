// SPDX-License-Identifier: MIT
#include "faiss_ext/graph_io.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

/// ByteWriter's encoding, written straight to the sink: graphs are too large to hold twice.
template <class T>
void put(ByteSink& sink, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  sink.write({reinterpret_cast<const uint8_t*>(&value), sizeof(T)});
}

template <class T>
void put_array(ByteSink& sink, const T* values, size_t count) {
  put<uint64_t>(sink, count);
  sink.write({reinterpret_cast<const uint8_t*>(values), count * sizeof(T)});
}

static_assert(sizeof(faiss::HNSW::storage_idx_t) == sizeof(int32_t) && sizeof(int) == 4);

/// levels, offsets and the table of list lengths must describe the same neighbour array.
void check_shape(const faiss::HNSW& hnsw, size_t n) {
  const std::vector<int>& starts = hnsw.cum_nneighbor_per_level;
  require(!starts.empty() && starts.front() == 0 && std::is_sorted(starts.begin(), starts.end()),
          "HNSW graph: list lengths", "ascending from 0", "something else");
  require(hnsw.levels.size() == n, "HNSW graph: vectors", n, hnsw.levels.size());
  require(hnsw.offsets.size() == n + 1 && hnsw.offsets.front() == 0 &&
              hnsw.offsets.back() == hnsw.neighbors.size(),
          "HNSW graph: offsets", "from 0 to the number of links", "something else");
  for (size_t i = 0; i < n; ++i) {
    const int level = hnsw.levels[i];
    const bool valid = level >= 1 && static_cast<size_t>(level) < starts.size();
    require(valid && hnsw.offsets[i + 1] - hnsw.offsets[i] ==
                         static_cast<size_t>(starts[static_cast<size_t>(level)]),
            "HNSW graph: level and links of a vector", "ones that agree", level);
  }
}

/// A link on layer l must lead to a vector that has links there too.
void check_links(const faiss::HNSW& hnsw, size_t n) {
  const std::vector<int>& starts = hnsw.cum_nneighbor_per_level;
  for (size_t i = 0; i < n; ++i) {
    for (int layer = 0; layer < hnsw.levels[i]; ++layer) {
      const auto begin = static_cast<size_t>(starts[static_cast<size_t>(layer)]);
      const auto end = static_cast<size_t>(starts[static_cast<size_t>(layer) + 1]);
      for (size_t j = hnsw.offsets[i] + begin; j < hnsw.offsets[i] + end; ++j) {
        const int64_t to = hnsw.neighbors[j];
        const bool valid = to == -1 || (to >= 0 && static_cast<size_t>(to) < n &&
                                        hnsw.levels[static_cast<size_t>(to)] > layer);
        require(valid, "HNSW graph: link", "a vector of that layer", to);
      }
    }
  }
  const bool entered = hnsw.entry_point >= 0 && static_cast<size_t>(hnsw.entry_point) < n &&
                       hnsw.max_level >= 0 &&
                       hnsw.max_level < hnsw.levels[static_cast<size_t>(hnsw.entry_point)];
  require(n == 0 ? hnsw.entry_point == -1 : entered, "HNSW graph: entry point",
          "a vector of the top layer", hnsw.entry_point);
}

}  // namespace

void write_graph(const faiss::IndexHNSW& index, ByteSink& sink) {
  const faiss::HNSW& hnsw = index.hnsw;
  put_array(sink, hnsw.assign_probas.data(), hnsw.assign_probas.size());
  put_array(sink, hnsw.cum_nneighbor_per_level.data(), hnsw.cum_nneighbor_per_level.size());
  put_array(sink, hnsw.levels.data(), hnsw.levels.size());
  put_array(sink, hnsw.offsets.data(), hnsw.offsets.size());
  put_array(sink, hnsw.neighbors.data(), hnsw.neighbors.size());
  put<int32_t>(sink, hnsw.entry_point);
  put<int32_t>(sink, hnsw.max_level);
  put<int32_t>(sink, hnsw.efConstruction);
  put<int32_t>(sink, hnsw.efSearch);
  put<uint8_t>(sink, hnsw.check_relative_distance ? 1 : 0);
  put<uint8_t>(sink, hnsw.search_bounded_queue ? 1 : 0);
}

void read_graph(ByteReader& in, faiss::IndexHNSW& index) {
  faiss::HNSW& hnsw = index.hnsw;
  hnsw.assign_probas = in.get_array<double>();
  hnsw.cum_nneighbor_per_level = in.get_array<int>();
  hnsw.levels = in.get_array<int>();
  hnsw.offsets = in.get_array<size_t>();
  hnsw.neighbors = in.get_array<faiss::HNSW::storage_idx_t>();
  hnsw.entry_point = in.get<int32_t>();
  hnsw.max_level = in.get<int32_t>();
  hnsw.efConstruction = in.get<int32_t>();
  hnsw.efSearch = in.get<int32_t>();
  hnsw.check_relative_distance = in.get<uint8_t>() != 0;
  hnsw.search_bounded_queue = in.get<uint8_t>() != 0;
  const auto n = static_cast<size_t>(index.ntotal);
  check_shape(hnsw, n);
  check_links(hnsw, n);
}

void write_graph(const faiss::IndexNSG& index, ByteSink& sink) {
  const faiss::NSG& nsg = index.nsg;
  const bool built = nsg.is_built && nsg.final_graph != nullptr;
  const int entry = built ? nsg.enterpoint : 0;  // not initialised before
  for (const int field : {nsg.R, nsg.L, nsg.C, nsg.search_L, entry, index.GK, index.nndescent_S,
                          index.nndescent_R, index.nndescent_L, index.nndescent_iter}) {
    put<int32_t>(sink, field);
  }
  put<uint8_t>(sink, static_cast<uint8_t>(index.build_type));
  put<uint8_t>(sink, built ? 1 : 0);
  if (built) {
    const auto rows = static_cast<size_t>(nsg.final_graph->N);
    put_array(sink, nsg.final_graph->data, rows * static_cast<size_t>(nsg.final_graph->K));
  }
}

void read_graph(ByteReader& in, faiss::IndexNSG& index) {
  faiss::NSG& nsg = index.nsg;
  for (int* field :
       {&nsg.R, &nsg.L, &nsg.C, &nsg.search_L, &nsg.enterpoint, &index.GK, &index.nndescent_S,
        &index.nndescent_R, &index.nndescent_L, &index.nndescent_iter}) {
    *field = in.get<int32_t>();
  }
  index.build_type = static_cast<char>(in.get<uint8_t>());
  index.is_built = nsg.is_built = in.get<uint8_t>() != 0;
  require(index.ntotal <= std::numeric_limits<int>::max(), "NSG graph: vectors",
          "at most 2147483647", index.ntotal);
  nsg.ntotal = static_cast<int>(index.ntotal);
  if (!nsg.is_built) {
    return;
  }
  const auto n = static_cast<size_t>(index.ntotal);
  require(nsg.R >= 1 && nsg.enterpoint >= 0 && nsg.enterpoint < nsg.ntotal, "NSG graph: entry",
          "a vector, and links", nsg.enterpoint);
  const std::vector<int> links = in.get_array<int>(n * static_cast<size_t>(nsg.R), "NSG graph");
  const bool valid =
      std::all_of(links.begin(), links.end(), [&](int to) { return to >= -1 && to < nsg.ntotal; });
  require(valid, "NSG graph: links", "-1 or a vector", "something else");
  nsg.final_graph = std::make_shared<faiss::nsg::Graph<int>>(nsg.ntotal, nsg.R);
  std::copy(links.begin(), links.end(), nsg.final_graph->data);
}

}  // namespace rotorquant
