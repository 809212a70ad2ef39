// SPDX-License-Identifier: MIT
// The coarse quantiser: all centroids against a query, and the nearest of them.

#include "ivf_coarse.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "value_range.h"

namespace rotorquant {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr size_t block_lists = IvfGeometry::block_lists;
constexpr size_t buckets = 256;

}  // namespace

bool LeastOf::fill_buckets(const float* scores, size_t n) {
  const auto [least, greatest] = range_of(scores, n);
  const float range = greatest - least;
  const float scale = static_cast<float>(buckets - 1) / range;
  if (!std::isfinite(range) || !std::isfinite(scale)) {
    return false;
  }
  bucket_.resize(n);
  for (size_t i = 0; i < n; ++i) {
    bucket_[i] = static_cast<int32_t>((scores[i] - least) * scale);
  }
  return true;
}

void LeastOf::find(const float* scores, size_t n, size_t count, std::vector<Neighbour>& least) {
  if (!fill_buckets(scores, n)) {
    least.clear();
    for (size_t i = 0; i < n; ++i) {
      least.push_back({scores[i], static_cast<int64_t>(i)});
    }
    std::sort(least.begin(), least.end());
    least.resize(count);
    return;
  }
  // Neighbouring scores are counted apart: an increment need not wait for the one before.
  std::array<std::array<uint32_t, buckets>, 2> sizes{};
  for (size_t i = 0; i < n; ++i) {
    ++sizes[i % 2][static_cast<size_t>(bucket_[i])];
  }
  std::array<uint32_t, buckets + 1> before{};
  size_t last = 0;  // the buckets below it hold `count` and more
  while (last < buckets && before[last] < count) {
    before[last + 1] = before[last] + sizes[0][last] + sizes[1][last];
    ++last;
  }
  const size_t found = before[last];
  indices_.resize(n + 1);
  size_t kept = 0;
  const auto end = static_cast<int32_t>(last);
  for (size_t i = 0; i < n; ++i) {  // no branch to mispredict
    indices_[kept] = static_cast<uint32_t>(i);
    kept += bucket_[i] < end ? 1 : 0;
  }
  least.resize(found);
  std::array<uint32_t, buckets> next;
  std::copy_n(before.begin(), last, next.begin());
  for (size_t k = 0; k < kept; ++k) {
    const uint32_t i = indices_[k];
    uint32_t& place = next[static_cast<size_t>(bucket_[i])];
    least[place] = {scores[i], static_cast<int64_t>(i)};
    ++place;
  }
  for (size_t b = 0; b < last; ++b) {
    if (before[b + 1] - before[b] > 1) {
      std::sort(least.begin() + before[b], least.begin() + before[b + 1]);
    }
  }
  least.resize(count);
}

void CentroidRanker::score(const float* products) {
  scores_.resize(geometry_.lists());
  for (size_t c = 0; c < geometry_.lists(); ++c) {
    scores_[c] = geometry_.metric() == Metric::l2 ? geometry_.squared_offset(c) - 2.0F * products[c]
                                                  : -(geometry_.centre_product(c) + products[c]);
  }
}

void CentroidRanker::nearest(IvfQuery* queries, size_t count, size_t probes) {
  probes = std::min(probes, geometry_.lists());
  const size_t stride = geometry_.blocks() * block_lists;
  products_.resize(std::max(products_.size(), count * stride));
  for (size_t block = 0; block < geometry_.blocks(); ++block) {
    geometry_.block_products(queries[0].centred, count, block,
                             products_.data() + block * block_lists, stride);
  }
  for (size_t i = 0; i < count; ++i) {
    IvfQuery& query = queries[i];
    const float* products = products_.data() + i * stride;
    score(products);
    least_.find(scores_.data(), geometry_.lists(), probes, lists_);
    query.probes.clear();
    for (const Neighbour& near : lists_) {
      const auto list = static_cast<size_t>(near.id);
      query.probes.push_back(make_probe(geometry_, query, list, products[list]));
    }
  }
}

void CentroidRanker::take(const int64_t* lists, size_t count, IvfQuery& query) {
  query.probes.clear();
  known_blocks_.clear();
  products_.resize(std::max(products_.size(), geometry_.blocks() * block_lists));
  for (size_t i = 0; i < count; ++i) {
    if (lists[i] < 0) {
      continue;
    }
    const auto list = static_cast<size_t>(lists[i]);
    const size_t block = list / block_lists;
    if (std::find(known_blocks_.begin(), known_blocks_.end(), block) == known_blocks_.end()) {
      geometry_.block_products(query.centred, 1, block, products_.data() + block * block_lists,
                               block_lists);
      known_blocks_.push_back(block);
    }
    query.probes.push_back(make_probe(geometry_, query, list, products_[list]));
  }
}

}  // namespace rotorquant
