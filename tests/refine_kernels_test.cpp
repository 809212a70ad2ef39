// SPDX-License-Identifier: MIT
// The kernels that score single codes, of every set against the scalar one.
#include <gtest/gtest.h>

#include <cmath>

#include "codec_access.h"
#include "kernel_test_data.h"
#include "simd/kernels.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using simd::lanes;
using test_data::Bytes;
using test_data::codecs_to_compare;
using test_data::described;
using test_data::Floats;
using test_data::Lanes;
using test_data::random_codes;
using test_data::same_bits;
using test_data::store_of;

using RefineKernel = test_data::EveryKernelSet;

/// Views at every number of levels of a code, and of the whole with its signs.
std::vector<simd::RefineView> views_of(const Codec& codec, const CodecQuery& query) {
  std::vector<simd::RefineView> views;
  for (size_t levels = 0; levels <= codec.layout().levels; ++levels) {
    views.push_back(CodecAccess::refine_view(codec, query, levels));
  }
  return views;
}

TEST_P(RefineKernel, HasTheScalarBits) {
  for (const Codec& codec : codecs_to_compare()) {
    const CodecQuery query = codec.prepare(test_data::gaussian(1, codec.dim(), 16).data());
    const Bytes codes = random_codes(codec.layout(), 5, 17);
    for (const simd::RefineView& view : views_of(codec, query)) {
      for (size_t i = 0; i < 5; ++i) {
        const uint8_t* plane1 = codes.data() + i * codec.code_bytes();
        const uint8_t* row = plane1 + codec.layout().plane_bytes;
        Floats expected(2);
        Floats found(2);
        simd::scalar_kernels.refine(view, plane1, row, expected.data(), expected.data() + 1);
        kernels().refine(view, plane1, row, found.data(), found.data() + 1);
        ASSERT_TRUE(same_bits(found, expected)) << described(codec) << " levels " << view.levels;
      }
    }
  }
}

TEST_P(RefineKernel, ScoresAreTheScalarIntegers) {
  for (const Codec& codec : codecs_to_compare()) {
    const CodecQuery query = codec.prepare(test_data::gaussian(1, codec.dim(), 21).data());
    const Bytes codes = random_codes(codec.layout(), 5, 22);
    for (const simd::RefineView& view : views_of(codec, query)) {
      for (size_t i = 0; i < 5; ++i) {
        const uint8_t* plane1 = codes.data() + i * codec.code_bytes();
        const uint8_t* row = plane1 + codec.layout().plane_bytes;
        const simd::RefineSums expected = simd::scalar_kernels.score(view, plane1, row);
        const simd::RefineSums found = kernels().score(view, plane1, row);
        ASSERT_EQ(found.level, expected.level) << described(codec) << " levels " << view.levels;
        ASSERT_EQ(found.sign, expected.sign) << described(codec) << " levels " << view.levels;
      }
    }
  }
}

TEST_P(RefineKernel, ScoresAreTheProductsUpToFixedPoint) {
  for (const Codec& codec : codecs_to_compare()) {
    const CodecQuery query = codec.prepare(test_data::gaussian(1, codec.dim(), 23).data());
    const Bytes code = random_codes(codec.layout(), 1, 24);
    const uint8_t* row = code.data() + codec.layout().plane_bytes;
    double length = 0.0;
    for (const float q : query.frame_query) {
      length += static_cast<double>(q) * static_cast<double>(q);
    }
    for (const simd::RefineView& view : views_of(codec, query)) {
      float level_product = 0.0F;
      float sign_product = 0.0F;
      kernels().refine(view, code.data(), row, &level_product, &sign_product);
      const simd::RefineSums sums = kernels().score(view, code.data(), row);
      // Rounding errors of some thousandths of a coordinate, as independent as the coordinates.
      const double tolerance = 0.01 * std::sqrt(length);
      ASSERT_NEAR(static_cast<double>(query.fixed.level_step) * sums.level,
                  static_cast<double>(level_product), tolerance)
          << described(codec) << " levels " << view.levels;
      ASSERT_NEAR(static_cast<double>(query.fixed.sign_step) * sums.sign,
                  static_cast<double>(sign_product), tolerance)
          << described(codec) << " levels " << view.levels;
    }
  }
}

TEST_P(RefineKernel, DecodeLevelsHasTheScalarBits) {
  for (const Codec& codec : codecs_to_compare()) {
    const Bytes codes = random_codes(codec.layout(), 5, 18);
    for (const simd::RefineView& view : views_of(codec, CodecQuery{})) {
      if (view.levels == 0) {
        continue;
      }
      for (size_t i = 0; i < 5; ++i) {
        const uint8_t* plane1 = codes.data() + i * codec.code_bytes();
        Lanes expected(padded_dim(codec.dim()) + lanes);
        Lanes found(expected.size());
        const uint8_t* row = plane1 + codec.layout().plane_bytes;
        simd::scalar_kernels.decode_levels(view, plane1, row, expected.data());
        kernels().decode_levels(view, plane1, row, found.data());
        ASSERT_EQ(found, expected) << described(codec) << " levels " << view.levels;
      }
    }
  }
}

TEST_P(RefineKernel, IsTheProductOfTheQueryWithTheDecodedLevelsAndSigns) {
  for (const Codec& codec : codecs_to_compare()) {
    const size_t dims = padded_dim(codec.dim());
    const CodecQuery query = codec.prepare(test_data::gaussian(1, codec.dim(), 19).data());
    const Bytes code = random_codes(codec.layout(), 1, 20);
    const uint8_t* row = code.data() + codec.layout().plane_bytes;
    const simd::RefineView view = CodecAccess::refine_view(codec, query, 0);
    float level_product = 0.0F;
    float sign_product = 0.0F;
    kernels().refine(view, code.data(), row, &level_product, &sign_product);
    Lanes a(dims + lanes, 0.0F);
    if (view.levels > 0) {
      kernels().decode_levels(view, code.data(), row, a.data());
    }
    const uint8_t* signs = code.data() + (codec.layout().planes - 1) * codec.layout().plane_bytes;
    double by_levels = 0.0;
    double by_signs = 0.0;
    for (size_t j = 0; j < dims; ++j) {
      by_levels += static_cast<double>(query.frame_query[j]) * static_cast<double>(a[j]);
      if (view.use_signs) {
        const bool negative = ((signs[j / 8] >> (j % 8)) & 1U) != 0;
        by_signs += static_cast<double>(negative ? -query.sign_query[j] : query.sign_query[j]);
      }
    }
    const double tolerance = 1e-6 * static_cast<double>(dims);
    ASSERT_NEAR(static_cast<double>(level_product), by_levels, tolerance) << described(codec);
    ASSERT_NEAR(static_cast<double>(sign_product), by_signs, tolerance) << described(codec);
  }
}

TEST_P(RefineKernel, CodesScoredTogetherScoreAsAlone) {
  for (const Codec& codec : codecs_to_compare()) {
    const CodecQuery query = codec.prepare(test_data::gaussian(1, codec.dim(), 25).data());
    const Bytes codes = random_codes(codec.layout(), 7, 26);
    for (const simd::RefineView& view : views_of(codec, query)) {
      for (const size_t n : {0U, 1U, 7U}) {
        std::vector<simd::CodePlaces> places;
        for (size_t i = 0; i < n; ++i) {
          const uint8_t* code = codes.data() + i * codec.code_bytes();
          places.push_back({code, code + codec.layout().plane_bytes});
        }
        std::vector<simd::RefineSums> sums(n);
        kernels().score_codes(view, places.data(), n, sums.data());
        for (size_t i = 0; i < n; ++i) {
          const simd::RefineSums expected =
              simd::scalar_kernels.score(view, places[i].plane1, places[i].row);
          ASSERT_EQ(sums[i].level, expected.level) << described(codec) << " " << view.levels;
          ASSERT_EQ(sums[i].sign, expected.sign) << described(codec) << " " << view.levels;
        }
      }
    }
  }
}

TEST_P(RefineKernel, TwoLevelsOfStoredCodesAreTheScalarIntegers) {
  for (const Codec& codec : codecs_to_compare()) {
    if (codec.layout().levels < 2) {
      continue;
    }
    constexpr size_t n = 67;
    const Bytes codes = random_codes(codec.layout(), n, 27);
    const CodeStore store = store_of(kernels(), codec.layout(), codes);
    const Floats vectors = test_data::gaussian(3, codec.dim(), 28);
    std::vector<CodecQuery> queries(3);
    codec.prepare(vectors.data(), 3, queries.data());
    std::vector<simd::StoredCode> stored;
    for (size_t i = 0; i < n; ++i) {
      stored.push_back({store.block(i / block_vectors), store.row(i),
                        queries[i % 3].fixed.frame.data(), i % block_vectors});
    }
    Bytes plane(store.padded_quads() / 2);
    std::vector<int32_t> sums(n);
    kernels().score_two_levels(CodecAccess::refine_view(codec, CodecQuery{}, 2),
                               store.padded_quads(), stored.data(), n, plane.data(), sums.data());
    for (size_t i = 0; i < n; ++i) {
      const uint8_t* code = codes.data() + i * codec.code_bytes();
      const simd::RefineView view = CodecAccess::refine_view(codec, queries[i % 3], 2);
      const simd::RefineSums expected =
          simd::scalar_kernels.score(view, code, code + codec.layout().plane_bytes);
      ASSERT_EQ(sums[i], expected.level) << described(codec) << " code " << i;
    }
  }
}

RQ_FOR_EVERY_KERNEL_SET(RefineKernel);

}  // namespace
}  // namespace rotorquant
