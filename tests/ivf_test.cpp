// SPDX-License-Identifier: MIT
#include "rotorquant/ivf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec_access.h"
#include "ivf_coarse.h"
#include "rotorquant/error.h"
#include "test_data.h"

namespace rotorquant {
namespace {

constexpr size_t d = 20;
constexpr size_t lists = 150;

std::vector<float> gaussian(size_t n, uint64_t seed, float scale = 1.0F) {
  return test_data::gaussian(n, d, seed, scale);
}

std::shared_ptr<const IvfGeometry> geometry_of(int bits, bool signs, Metric metric) {
  CodecParams params;
  params.d = d;
  params.bits = bits;
  params.signs = signs;
  const auto codec = std::make_shared<const Codec>(params);
  return std::make_shared<const IvfGeometry>(metric, codec, gaussian(1, 1),
                                             gaussian(lists, 2, 3.0F), lists,
                                             IvfGeometry::measure_error_ratio(*codec, {}, 0));
}

/// Canonical codes of n vectors near the centroids they belong to.
std::vector<uint8_t> codes_of(const IvfGeometry& geometry, const std::vector<int64_t>& lists_of,
                              uint64_t seed) {
  const size_t n = lists_of.size();
  std::vector<float> x = gaussian(n, seed, 0.5F);
  geometry.restore(lists_of.data(), n, x.data());
  std::vector<float> residuals(n * d);
  std::vector<float> additive(n);
  geometry.split(x.data(), lists_of.data(), n, residuals.data(), additive.data());
  std::vector<uint8_t> codes(n * geometry.codec().code_bytes());
  geometry.codec().encode(residuals.data(), additive.data(), n, codes.data());
  return codes;
}

TEST(IdArray, WidensWhenItHasTo) {
  IdArray ids;
  const std::vector<int64_t> narrow{5, 0, 4294967295};
  ids.append(narrow.data(), narrow.size());
  const size_t bytes = ids.memory_bytes();
  const int64_t wide = int64_t{1} << 40;
  ids.append(&wide, 1);
  EXPECT_GT(ids.memory_bytes(), bytes);
  ASSERT_EQ(ids.size(), 4U);
  EXPECT_EQ(ids[2], 4294967295);
  EXPECT_EQ(ids[3], wide);
  ids.set(0, -7);
  EXPECT_EQ(ids[0], -7);
  ids.truncate(0);
  EXPECT_EQ(ids.size(), 0U);
  ids.append(narrow.data(), narrow.size());
  ids.set(1, -1);
  EXPECT_EQ(ids[0], 5);
  EXPECT_EQ(ids[1], -1);
}

/// Taken out and put in again, codes fold to the same numbers, to the last bit.
TEST(InvertedFile, PackedCodesFoldToTheSameTerms) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    for (const auto& [bits, signs] : {std::pair{1, true}, {1, false}, {3, true}, {6, false}}) {
      const auto geometry = geometry_of(bits, signs, metric);
      const std::vector<int64_t> belong(300, 17);
      const std::vector<uint8_t> codes = codes_of(*geometry, belong, 3);
      std::vector<int64_t> ids(300);
      std::iota(ids.begin(), ids.end(), 0);
      InvertedFile first(geometry);
      first.append(17, 300, ids.data(), codes.data());
      std::vector<uint8_t> packed(codes.size());
      first.pack(17, 0, 300, packed.data());
      InvertedFile second(geometry);
      second.append(17, 300, ids.data(), packed.data());
      for (size_t i = 0; i < 300; ++i) {
        EXPECT_EQ(second.refine_terms(17)[i], first.refine_terms(17)[i]);
        EXPECT_EQ(second.codes(17).additive(i), first.codes(17).additive(i));
      }
      std::vector<uint8_t> again(codes.size());
      second.pack(17, 0, 300, again.data());
      EXPECT_EQ(again, packed);
      // Nothing but the additive term may differ from what was added, and that by rounding alone.
      const CodeLayout& layout = geometry->codec().layout();
      for (size_t i = 0; i < 300; ++i) {
        const uint8_t* before = codes.data() + i * layout.code_bytes();
        const uint8_t* after = packed.data() + i * layout.code_bytes();
        const float own = read_code_factors(layout, before).additive;
        EXPECT_NEAR(read_code_factors(layout, after).additive, own, 1e-4F * (1.0F + std::abs(own)));
        EXPECT_TRUE(std::equal(before, before + layout.scan_factor_offset(), after));
      }
    }
  }
}

TEST(InvertedFile, EntriesMoveAndGo) {
  const auto geometry = geometry_of(3, true, Metric::l2);
  InvertedFile file(geometry);
  const std::vector<int64_t> belong(100, 3);
  const std::vector<uint8_t> codes = codes_of(*geometry, belong, 5);
  const size_t code_bytes = geometry->codec().code_bytes();
  std::vector<int64_t> ids(100);
  std::iota(ids.begin(), ids.end(), 1000);
  EXPECT_EQ(file.append(3, 60, ids.data(), codes.data()), 0U);
  EXPECT_EQ(file.append(3, 40, ids.data() + 60, codes.data() + 60 * code_bytes), 60U);
  EXPECT_EQ(file.total(), 100U);
  file.copy_within(3, 99, 0);
  EXPECT_EQ(file.ids(3)[0], 1099);
  EXPECT_EQ(file.refine_terms(3)[0], file.refine_terms(3)[99]);
  const size_t bytes = file.memory_bytes();
  file.truncate(3, 10);
  EXPECT_EQ(file.size(3), 10U);
  EXPECT_LT(file.memory_bytes(), bytes);
  file.renumber([](int64_t id) { return id - 1000; });
  EXPECT_EQ(file.ids(3)[5], 5);
  file.clear();
  EXPECT_EQ(file.total(), 0U);
}

std::vector<Neighbour> least_by_sorting(const std::vector<float>& scores, size_t count) {
  std::vector<Neighbour> all;
  for (size_t i = 0; i < scores.size(); ++i) {
    all.push_back({scores[i], static_cast<int64_t>(i)});
  }
  std::sort(all.begin(), all.end());
  all.resize(count);
  return all;
}

TEST(LeastOf, AreThoseOfSorting) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  LeastOf least_of;
  std::vector<Neighbour> found;
  for (const size_t n : {1U, 2U, 15U, 16U, 17U, 200U, 1024U}) {
    const std::vector<float> spread = test_data::gaussian(1, n, n);
    std::vector<float> ties(n);
    std::transform(spread.begin(), spread.end(), ties.begin(),
                   [](float v) { return std::round(v); });
    std::vector<float> lopsided = spread;  // all but one in the lowest bucket
    lopsided[n / 2] = 1e30F;
    std::vector<float> endless = spread;  // a range that is none
    endless[n / 3] = infinity;
    const std::vector<float> equal(n, -3.0F);
    for (const std::vector<float>* scores : std::initializer_list<const std::vector<float>*>{
             &spread, &ties, &lopsided, &endless, &equal}) {
      for (const size_t count : {size_t{1}, (n + 1) / 2, n}) {
        least_of.find(scores->data(), n, count, found);
        const std::vector<Neighbour> expected = least_by_sorting(*scores, count);
        ASSERT_EQ(found.size(), count);
        for (size_t i = 0; i < count; ++i) {
          EXPECT_EQ(found[i].distance, expected[i].distance) << n << " " << count << " " << i;
          EXPECT_EQ(found[i].id, expected[i].id) << n << " " << count << " " << i;
        }
      }
    }
  }
}

/// The spread of what the whole code adds to two levels, predicted from the mean cosines alone,
/// against the one that is measured.
TEST(SecondBound, KnowsTheErrorOfTwoLevels) {
  constexpr size_t dim = 128;
  for (const FrameKind frame : {FrameKind::rotor_layers, FrameKind::learned}) {
    for (const auto& [bits, signs] : {std::pair{4, true}, {3, false}, {6, false}, {8, true}}) {
      const Codec codec = test_data::ready_codec(test_data::codec_params(dim, bits, signs, frame));
      const std::vector<float> x = test_data::correlated(500, dim, 92);
      const std::vector<float> queries = test_data::correlated(20, dim, 93);
      const std::vector<uint8_t> codes = test_data::encoded(codec, x);
      const float gain = CodecAccess::statistics(codec).prefix_gain[1];
      const float first_gain = CodecAccess::statistics(codec).prefix_gain[0];
      const float ratio = IvfGeometry::measure_error_ratio(codec, x.data(), 500);
      double squared = 0.0;
      double sum = 0.0;
      for (size_t q = 0; q < 20; ++q) {
        const CodecQuery query = codec.prepare(queries.data() + q * dim);
        const double length =
            test_data::dot(queries.data() + q * dim, queries.data() + q * dim, dim);
        for (size_t i = 0; i < 500; ++i) {
          const uint8_t* code = codes.data() + i * codec.code_bytes();
          const float alpha = read_code_factors(codec.layout(), code).alpha;
          const auto view = CodecAccess::refine_view(codec, query, 2);
          const CodeProducts two = score(simd::active_kernels(), view, query.fixed, code,
                                         code + codec.layout().plane_bytes);
          const float whole = codec.estimate(query, code, 0, Estimator::rescaled, -1.0F);
          const float margin = CodecAccess::second_error(codec) * first_gain *
                               std::sqrt(ratio * static_cast<float>(length));
          const auto deviation =
              static_cast<double>((whole - alpha * gain * two.level) / (alpha * margin));
          squared += deviation * deviation;
          sum += deviation;
        }
      }
      const double count = 20.0 * 500.0;
      EXPECT_NEAR(std::sqrt(squared / count), 1.0, 0.2) << codec.name();
      EXPECT_NEAR(sum / count, 0.0, 0.1) << codec.name();
    }
  }
}

TEST(CentroidRanker, FindsTheNearestLists) {
  for (const Metric metric : {Metric::l2, Metric::inner_product}) {
    const auto geometry = geometry_of(2, true, metric);
    CentroidRanker ranker(*geometry);
    const std::vector<float> queries = gaussian(20, 9, 2.0F);
    std::vector<float> mu(d);
    for (size_t q = 0; q < 20; ++q) {
      const float* query = queries.data() + q * d;
      std::vector<std::pair<double, size_t>> exact;
      for (size_t c = 0; c < lists; ++c) {
        geometry->centroid(c, mu.data());
        double distance = 0.0;
        for (size_t j = 0; j < d; ++j) {
          const double difference = static_cast<double>(query[j]) - static_cast<double>(mu[j]);
          distance += metric == Metric::l2
                          ? difference * difference
                          : -static_cast<double>(query[j]) * static_cast<double>(mu[j]);
        }
        exact.emplace_back(distance, c);
      }
      std::sort(exact.begin(), exact.end());
      std::vector<float> centred(d);
      std::transform(query, query + d, geometry->centre().begin(), centred.begin(),
                     [](float a, float g) { return a - g; });
      IvfQuery prepared;
      prepared.vector = query;
      prepared.centred = centred.data();
      prepared.squared = inner_product(centred.data(), centred.data(), d);
      prepared.centre_product = inner_product(query, geometry->centre().data(), d);
      for (const size_t probes : {size_t{1}, size_t{7}, size_t{64}, size_t{65}, lists, lists + 5}) {
        ranker.nearest(&prepared, 1, probes);
        ASSERT_EQ(prepared.probes.size(), std::min(probes, lists));
        for (size_t i = 0; i < prepared.probes.size(); ++i) {
          const auto expected = static_cast<float>(exact[i].first);
          EXPECT_NEAR(prepared.probes[i].base, expected, 1e-4F * (1.0F + std::abs(expected)));
        }
      }
      // Lists that somebody else found have the same bits.
      const std::vector<Probe> found = prepared.probes;
      std::vector<int64_t> named{-1};
      for (const Probe& probe : found) {
        named.push_back(static_cast<int64_t>(probe.list));
      }
      ranker.take(named.data(), named.size(), prepared);
      ASSERT_EQ(prepared.probes.size(), found.size());
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(prepared.probes[i].base, found[i].base);
        EXPECT_EQ(prepared.probes[i].squared_distance, found[i].squared_distance);
      }
    }
  }
}

TEST(IvfGeometry, RefusesWhatDoesNotFit) {
  CodecParams params;
  params.d = d;
  const auto codec = std::make_shared<const Codec>(params);
  const auto make = [&](std::vector<float> centre, const std::vector<float>& offsets, size_t count,
                        float ratio) {
    return IvfGeometry(Metric::l2, codec, std::move(centre), offsets, count, ratio);
  };
  EXPECT_NO_THROW(make(gaussian(1, 1), {}, 4, 0.1F));
  EXPECT_THROW(make(gaussian(2, 1), {}, 4, 0.1F), Error);
  EXPECT_THROW(make(gaussian(1, 1), gaussian(3, 2), 4, 0.1F), Error);
  EXPECT_THROW(make(gaussian(1, 1), {}, 0, 0.1F), Error);
  EXPECT_THROW(make(gaussian(1, 1), {}, 4, std::nanf("")), Error);
  auto offsets = gaussian(4, 2);
  offsets[5] = std::nanf("");
  EXPECT_THROW(make(gaussian(1, 1), offsets, 4, 0.1F), Error);
}

}  // namespace
}  // namespace rotorquant
