// SPDX-License-Identifier: MIT
#include <faiss/IndexFlat.h>
#include <faiss/impl/FaissException.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "errors.h"
#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "index_spec.h"
#include "measure.h"
#include "report.h"
#include "search_options.h"
#include "timing.h"

namespace rotorquant::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class F>
std::string bad_argument(F&& f) {
  try {
    f();
  } catch (const BadArgument& error) {
    return error.what();
  }
  return "no error";
}

// ---- index strings -------------------------------------------------------------------------

TEST(Placeholders, AreReplacedByTheDimension) {
  EXPECT_EQ(expand_placeholders("PQ{d/2}x4fs", 128), "PQ64x4fs");
  EXPECT_EQ(expand_placeholders("PCA{d/4},PQ{d/16},{d}", 64), "PCA16,PQ4,64");
  EXPECT_EQ(expand_placeholders("RQ3", 10), "RQ3");
  EXPECT_EQ(expand_placeholders("PQ{d/2}", 25), "PQ12");
}

TEST(Placeholders, AnythingElseInBracesIsAnError) {
  for (const char* spec : {"PQ{x}", "PQ{d", "{}", "{d/0}", "{d/}", "{d/9}", "{d*2}", "{d/2x}"}) {
    EXPECT_THAT(bad_argument([&] { expand_placeholders(spec, 8); }), HasSubstr(spec)) << spec;
  }
}

TEST(MakeIndex, WrongStringsAreBadArguments) {
  EXPECT_THAT(bad_argument([] { make_index("NoSuchIndex", 8, Distance::euclidean); }),
              HasSubstr("--index 'NoSuchIndex'"));
}

TEST(MakeIndex, CountsOfZeroAreBadArguments) {
  // FAISS divides by some of them.
  for (const char* spec : {"PQ0", "PQ0x4fs", "IVF0,Flat", "PQ4x0", "OPQ0,PQ4", "HNSW00,Flat"}) {
    EXPECT_THAT(bad_argument([&] { make_index(spec, 8, Distance::euclidean); }), HasSubstr(spec));
  }
  EXPECT_NO_THROW(make_index("IVF10,Flat", 8, Distance::euclidean));
}

TEST(MakeIndex, MetricFollowsTheDistance) {
  EXPECT_EQ(make_index("Flat", 4, Distance::euclidean)->metric_type, faiss::METRIC_L2);
  EXPECT_EQ(make_index("Flat", 4, Distance::angular)->metric_type, faiss::METRIC_INNER_PRODUCT);
  EXPECT_EQ(make_index("Flat", 4, Distance::ip)->metric_type, faiss::METRIC_INNER_PRODUCT);
}

// ---- search parameters ---------------------------------------------------------------------

TEST(Params, AreSplitAtCommas) {
  const auto settings = parse_params({"a=1,b=x", "c=2"});
  ASSERT_EQ(settings.size(), 3U);
  EXPECT_EQ(settings[1].name, "b");
  EXPECT_EQ(settings[1].value, "x");
  EXPECT_TRUE(parse_params({}).empty());
}

TEST(Params, MalformedTextsAreErrors) {
  for (const char* text : {"", "a", "a=", "=1", "a=1,", "a=1,,b=2", "a=1,a=2"}) {
    EXPECT_THAT(bad_argument([&] { parse_params({text}); }), HasSubstr("--param")) << text;
  }
}

TEST(Params, ReachTheSearchParametersOfOurIndexes) {
  IndexRotorQuant index(8, 3);
  const auto settings =
      parse_params({"refine_error_scale=1.5,k_factor=7,levels=1,estimator=strict"});
  const SearchSetup setup = prepare_search(index, settings, 2);
  const auto* params = dynamic_cast<const SearchParametersRotorQuant*>(setup.params.get());
  ASSERT_NE(params, nullptr);
  EXPECT_EQ(params->refine_error_scale, 1.5F);
  EXPECT_EQ(params->k_factor, 7U);
  EXPECT_EQ(params->levels, 1U);
  EXPECT_EQ(params->estimator, Estimator::strict);
  EXPECT_EQ(params->threads, 2);
  EXPECT_TRUE(setup.unused.empty());
}

TEST(Params, ValuesAreChecked) {
  IndexRotorQuant index(8, 3);
  for (const char* text :
       {"refine_error_scale=-1", "refine_error_scale=x", "refine_error_scale=nan", "k_factor=0",
        "k_factor=1.5", "levels=9", "levels=-1", "estimator=best"}) {
    EXPECT_THAT(bad_argument([&] { prepare_search(index, parse_params({text}), 1); }),
                AllOf(HasSubstr("expected"), HasSubstr("received")))
        << text;
  }
}

TEST(Params, StrictNeedsSigns) {
  CodecParams codec;
  codec.d = 8;
  codec.signs = false;
  IndexRotorQuant index(codec);
  EXPECT_THAT(bad_argument([&] { prepare_search(index, parse_params({"estimator=strict"}), 1); }),
              HasSubstr("signs"));
}

TEST(Params, AreSetOnFaissIndexesThatKnowThem) {
  const auto index = make_index("IVF4,Flat", 8, Distance::euclidean);
  EXPECT_THAT(allowed_params(*index), ElementsAre("nprobe"));
  const SearchSetup setup = prepare_search(*index, parse_params({"nprobe=3,levels=1"}), 1);
  EXPECT_EQ(setup.params, nullptr);
  EXPECT_THAT(setup.unused, ElementsAre("levels"));
}

TEST(Params, OfInvertedListsOfOurs) {
  const auto index = make_index("IVF4,RQ3", 8, Distance::euclidean);
  EXPECT_THAT(allowed_params(*index), ElementsAre("refine_error_scale", "k_factor", "levels",
                                                  "estimator", "nprobe", "max_codes"));
  const SearchSetup setup =
      prepare_search(*index, parse_params({"nprobe=3,levels=1,max_codes=50"}), 2);
  const auto& params = dynamic_cast<const SearchParametersIVFRotorQuant&>(*setup.params);
  EXPECT_EQ(params.nprobe, 3U);
  EXPECT_EQ(params.levels, 1U);
  EXPECT_EQ(params.max_codes, 50U);
  EXPECT_EQ(params.threads, 2);
  EXPECT_THAT(bad_argument([&] { prepare_search(*index, parse_params({"nprobe=0"}), 1); }),
              HasSubstr("1 or more"));
}

TEST(Params, ANameThatNoIndexKnowsIsAnErrorThatListsTheAllowed) {
  const auto settings = parse_params({"nprobe=3"});
  EXPECT_NO_THROW(require_known_params(settings, {{"A", {"x"}}, {"B", {"nprobe"}}}));
  EXPECT_THAT(bad_argument([&] {
                require_known_params(settings, {{"A", {"x", "y"}}, {"B", {}}});
              }),
              AllOf(HasSubstr("A takes x, y"), HasSubstr("B takes none")));
}

// ---- measures ------------------------------------------------------------------------------

TEST(Distortion, OfExactVectorsIsZero) {
  faiss::IndexFlatL2 index(2);
  const std::vector<float> x{1, 2, 3, 4, 0, 0};
  index.add(3, x.data());
  const auto value = distortion(index, x.data(), 3);
  ASSERT_TRUE(value.has_value());
  EXPECT_NEAR(*value, 0.0, 1e-12);
}

TEST(Distortion, IsTheSquaredSineOfTheAngle) {
  faiss::IndexFlatL2 index(2);
  const std::vector<float> stored{1, 0, 1, 1};  // what the index decodes to
  index.add(2, stored.data());
  const std::vector<float> base{0, 5, 3, 3};  // at 90 and 0 degrees
  EXPECT_NEAR(distortion(index, base.data(), 2).value(), 0.5, 1e-12);
}

/// Has FAISS's own refusal to reconstruct.
struct UndecodableIndex : faiss::Index {
  UndecodableIndex() : faiss::Index(2) {}
  void add(int64_t n, const float* /*x*/) override { ntotal += n; }
  void search(int64_t /*n*/, const float* /*x*/, int64_t /*k*/, float* /*distances*/,
              int64_t* /*labels*/, const faiss::SearchParameters* /*params*/) const override {}
  void reset() override { ntotal = 0; }
};

TEST(Distortion, NothingWhereAnIndexCannotDecode) {
  UndecodableIndex index;
  const std::vector<float> x{1, 2};
  index.add(1, x.data());
  EXPECT_FALSE(distortion(index, x.data(), 1).has_value());
}

TEST(Median, OfOddEvenAndNone) {
  EXPECT_DOUBLE_EQ(median({3.0, 1.0, 2.0}), 2.0);
  EXPECT_DOUBLE_EQ(median({4.0, 1.0, 2.0, 3.0}), 2.5);
  EXPECT_DOUBLE_EQ(median({}), 0.0);
}

// ---- reports -------------------------------------------------------------------------------

EvalResult some_result() {
  EvalResult result;
  result.index = "RQ3";
  result.dataset = "some";
  result.metric = "ip";
  result.n = 1000;
  result.recall_at_k = 0.8125;
  result.bytes_per_vector = 58;
  result.add_seconds = 0.5;
  return result;
}

TEST(Json, IsOneLineWithNullForWhatIsUnknown) {
  EvalResult result = some_result();
  const std::string text = to_json(result);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_TRUE(nlohmann::json::parse(text).at("distortion").is_null());
  result.distortion = 0.25;
  EXPECT_DOUBLE_EQ(nlohmann::json::parse(to_json(result)).at("distortion"), 0.25);
}

TEST(Json, SurvivesNamesThatAreNotUtf8) {
  EvalResult result = some_result();
  result.dataset = "a\"b\\c\xff";
  EXPECT_TRUE(nlohmann::json::accept(to_json(result)));
}

TEST(Table, RowsAlignWithTheHeader) {
  const EvalTable table({"some", "a-longer-name"}, {"RQ3", "PQ64x4fs"}, 10);
  const std::string row = table.row(some_result());
  EXPECT_EQ(table.header().size(), row.size());
  EXPECT_THAT(table.header(), HasSubstr("10-recall@10"));
  EXPECT_THAT(row, AllOf(HasSubstr("0.8125"), HasSubstr("58.0"), HasSubstr("2000")));
}

// ---- messages ------------------------------------------------------------------------------

TEST(Messages, LoseTheSourcePositionThatFaissAdds) {
  const faiss::FaissException error("'d > 0' failed: d must be positive", "void f(int, a::b)",
                                    "x/y.cpp", 12);
  EXPECT_THAT(message_of(error), HasSubstr("d must be positive"));
  EXPECT_EQ(message_of(error).find(".cpp"), std::string::npos);
  EXPECT_EQ(message_of(std::runtime_error("rotorquant: d: expected 1, received 2")),
            "d: expected 1, received 2");
  EXPECT_EQ(message_of(std::runtime_error("Error in nothing at all")), "Error in nothing at all");
  EXPECT_EQ(message_of(std::bad_alloc()), "out of memory");
}

}  // namespace
}  // namespace rotorquant::tools
