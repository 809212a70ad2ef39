// SPDX-License-Identifier: MIT
// The coarse quantiser: all centroids against a query, and the nearest of them.

#include "ivf_coarse.h"

#include <algorithm>

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr size_t block_lists = IvfGeometry::block_lists;

}  // namespace

void CentroidRanker::score(const IvfQuery& query) {
  for (size_t block = 0; block < geometry_.blocks(); ++block) {
    geometry_.block_products(query.centred, block, products_.data() + block * block_lists);
  }
  scores_.assign(products_.size(), infinity);
  for (size_t c = 0; c < geometry_.lists(); ++c) {
    scores_[c] = geometry_.metric() == Metric::l2
                     ? geometry_.squared_offset(c) - 2.0F * products_[c]
                     : -(geometry_.centre_product(c) + products_[c]);
  }
}

float CentroidRanker::limit(size_t probes) {
  if (probes > block_lists || scores_.size() == block_lists) {
    order_ = scores_;
  } else {
    // The least of every residue class: each that is within the limit has a list to offer.
    order_.assign(scores_.begin(), scores_.begin() + block_lists);
    for (size_t first = block_lists; first < scores_.size(); first += block_lists) {
      for (size_t i = 0; i < block_lists; ++i) {
        order_[i] = std::min(order_[i], scores_[first + i]);
      }
    }
  }
  const auto nth = order_.begin() + static_cast<std::ptrdiff_t>(probes - 1);
  std::nth_element(order_.begin(), nth, order_.end());
  return *nth;
}

void CentroidRanker::nearest(IvfQuery& query, size_t probes) {
  score(query);
  probes = std::min(probes, geometry_.lists());
  const float furthest = limit(probes);
  lists_.clear();
  for (size_t c = 0; c < geometry_.lists(); ++c) {
    if (scores_[c] <= furthest) {
      lists_.push_back({scores_[c], static_cast<int64_t>(c)});
    }
  }
  std::sort(lists_.begin(), lists_.end());
  query.probes.clear();
  for (size_t i = 0; i < probes; ++i) {
    const auto list = static_cast<size_t>(lists_[i].id);
    query.probes.push_back(make_probe(geometry_, query, list, products_[list]));
  }
}

void CentroidRanker::take(const int64_t* lists, size_t count, IvfQuery& query) {
  query.probes.clear();
  known_blocks_.clear();
  for (size_t i = 0; i < count; ++i) {
    if (lists[i] < 0) {
      continue;
    }
    const auto list = static_cast<size_t>(lists[i]);
    const size_t block = list / block_lists;
    if (std::find(known_blocks_.begin(), known_blocks_.end(), block) == known_blocks_.end()) {
      geometry_.block_products(query.centred, block, products_.data() + block * block_lists);
      known_blocks_.push_back(block);
    }
    query.probes.push_back(make_probe(geometry_, query, list, products_[list]));
  }
}

}  // namespace rotorquant
