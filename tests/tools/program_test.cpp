// SPDX-License-Identifier: MIT
// Runs the program as a user does: command lines, exit statuses, what goes where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "temporary_folder.h"

namespace rotorquant::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int crashed = -1;

struct Outcome {
  int status = crashed;
  std::string out;
  std::string err;
};

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::string quoted(const std::string& word) {
  return "'" + word + "'";
}

class ProgramTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  const std::string sift = std::string(ROTORQUANT_DATASETS) + "/sift-128-euclidean-20k.hdf5";
  const std::string glove = std::string(ROTORQUANT_DATASETS) + "/glove-100-angular-20k.hdf5";

  /// environment: "NAME=value " or nothing, set for this run.
  Outcome run(const std::vector<std::string>& arguments, const std::string& environment = "") {
    const std::string out = folder_.file("stdout");
    const std::string err = folder_.file("stderr");
    std::string line = environment + quoted(ROTORQUANT_PROGRAM);
    for (const std::string& argument : arguments) {
      line += " " + quoted(argument);
    }
    line += " > " + quoted(out) + " 2> " + quoted(err);
    const int raw = std::system(line.c_str());  // NOLINT(cert-env33-c): a shell is wanted here
    const bool exited = WIFEXITED(raw) && WEXITSTATUS(raw) < 128;
    return {exited ? WEXITSTATUS(raw) : crashed, read_all(out), read_all(err)};
  }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_.file(name), std::ios::binary) << bytes;
    return folder_.file(name);
  }

  /// A small build of the sift subset.
  std::string build(const std::string& index) {
    std::string path = folder_.file("index");
    const Outcome built = run({"build", "--dataset", sift, "--index", index, "--output", path});
    EXPECT_EQ(built.status, 0) << built.err;
    return path;
  }
};

// ---- eval ----------------------------------------------------------------------------------

TEST_F(ProgramTest, JsonHasExactlyTheDocumentedKeysInOrder) {
  const Outcome eval = run({"eval", "--dataset", glove, "--index", "RQ3", "--rows", "2000",
                            "--queries", "20", "--k", "5", "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  ASSERT_EQ(lines_of(eval.out).size(), 1U);
  const auto json = nlohmann::ordered_json::parse(eval.out);
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    keys.push_back(key);
  }
  EXPECT_THAT(keys, ElementsAre("index", "dataset", "metric", "n", "d", "queries", "k", "threads",
                                "simd", "recall_at_1", "recall_at_k", "bytes_per_vector",
                                "index_bytes", "train_seconds", "add_seconds", "single_query_us",
                                "batch_qps", "distortion"));
  EXPECT_EQ(json["index"], "RQ3");
  EXPECT_EQ(json["dataset"], "glove-100-angular-20k");
  EXPECT_EQ(json["metric"], "angular");
  EXPECT_EQ(json["n"], 2000);
  EXPECT_EQ(json["d"], 100);
  EXPECT_EQ(json["queries"], 20);
  EXPECT_EQ(json["k"], 5);
  EXPECT_EQ(json["threads"], 1);
  EXPECT_GT(json["recall_at_k"], 0.6);
  EXPECT_NEAR(json["bytes_per_vector"], 49.0, 2.5);
  EXPECT_GT(json["index_bytes"], 2000 * 45);
  EXPECT_GT(json["distortion"], 0.0);
  EXPECT_LT(json["distortion"], 0.1);
  EXPECT_GT(json["single_query_us"], 0.0);
  EXPECT_GT(json["batch_qps"], 0.0);
}

TEST_F(ProgramTest, ExactSearchAgreesWithTheShippedAndTheRecomputedTruth) {
  for (const std::string& dataset : {sift, glove}) {
    const Outcome whole = run({"eval", "--dataset", dataset, "--index", "Flat", "--queries", "50",
                               "--k", "20", "--json"});
    ASSERT_EQ(whole.status, 0) << whole.err;
    EXPECT_GE(nlohmann::json::parse(whole.out)["recall_at_k"], 0.998);
    const Outcome cut = run({"eval", "--dataset", dataset, "--index", "Flat", "--queries", "50",
                             "--rows", "3000", "--json"});
    ASSERT_EQ(cut.status, 0) << cut.err;
    EXPECT_GE(nlohmann::json::parse(cut.out)["recall_at_k"], 0.998);
    EXPECT_THAT(cut.err, HasSubstr("computing the true neighbours"));
  }
}

TEST_F(ProgramTest, OneAlignedRowForEveryPair) {
  const Outcome eval = run({"eval", "--dataset", sift, "--dataset", glove, "--index", "Flat",
                            "--index", "PQ{d/2}x4fs", "--rows", "1000", "--queries", "10"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  const std::vector<std::string> lines = lines_of(eval.out);
  ASSERT_EQ(lines.size(), 5U);
  for (const std::string& line : lines) {
    EXPECT_EQ(line.size(), lines[0].size()) << line;
  }
  EXPECT_THAT(lines[0],
              AllOf(HasSubstr("10-recall@10"), HasSubstr("bytes/vector"), HasSubstr("one query us"),
                    HasSubstr("batch q/s"), HasSubstr("add vec/s")));
  EXPECT_THAT(lines[2], HasSubstr("PQ64x4fs"));
  EXPECT_THAT(lines[4], AllOf(HasSubstr("glove"), HasSubstr("PQ50x4fs")));
  EXPECT_THAT(eval.err, AllOf(HasSubstr("training"), HasSubstr("adding"), Not(HasSubstr("\r"))));
}

TEST_F(ProgramTest, ParametersReachTheIndexesThatKnowThem) {
  const std::vector<std::string> common{"eval", "--dataset", sift, "--rows",
                                        "3000", "--queries", "50", "--json"};
  const auto recall_with = [&](const std::string& index, const std::string& param) {
    std::vector<std::string> arguments = common;
    arguments.insert(arguments.end(), {"--index", index, "--param", param});
    const Outcome eval = run(arguments);
    EXPECT_EQ(eval.status, 0) << eval.err;
    return nlohmann::json::parse(eval.out)["recall_at_k"].get<double>();
  };
  EXPECT_LT(recall_with("RQ4", "levels=1"), recall_with("RQ4", "levels=0,k_factor=20"));
  EXPECT_LT(recall_with("IVF16,Flat", "nprobe=1"), recall_with("IVF16,Flat", "nprobe=16"));
}

TEST_F(ProgramTest, AnIndexThatFailsDoesNotStopTheOthers) {
  const Outcome eval = run({"eval", "--dataset", sift, "--index", "IVF5000,Flat", "--index", "Flat",
                            "--rows", "1000", "--queries", "5", "--json"});
  EXPECT_EQ(eval.status, 1);
  EXPECT_THAT(eval.err, HasSubstr("IVF5000,Flat"));
  EXPECT_EQ(lines_of(eval.out).size(), 1U);
}

TEST_F(ProgramTest, FewVectorsManyNeighbours) {
  const Outcome eval = run({"eval", "--dataset", sift, "--index", "RQ3", "--rows", "3", "--queries",
                            "2", "--k", "10", "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  EXPECT_DOUBLE_EQ(nlohmann::json::parse(eval.out)["recall_at_k"], 1.0);
}

// ---- build, info, search -------------------------------------------------------------------

TEST_F(ProgramTest, BuildInfoAndSearch) {
  const std::string index = build("RQ3");
  const Outcome info = run({"info", "--index-file", index});
  ASSERT_EQ(info.status, 0) << info.err;
  EXPECT_THAT(info.out, AllOf(HasSubstr("IndexRotorQuant"), HasSubstr("RQ3"), HasSubstr("20000"),
                              HasSubstr("128"), HasSubstr("l2"), HasSubstr("bits a dimension"),
                              HasSubstr(std::to_string(std::filesystem::file_size(index)))));

  const std::string ids = folder_.file("ids.ivecs");
  const Outcome search = run({"search", "--index-file", index, "--dataset", sift, "--k", "7",
                              "--queries", "30", "--output", ids});
  ASSERT_EQ(search.status, 0) << search.err;
  EXPECT_THAT(search.out, HasSubstr("7-recall@7: 0."));
  EXPECT_EQ(std::filesystem::file_size(ids), 30U * 8U * 4U);
}

TEST_F(ProgramTest, InfoOfAFaissIndex) {
  const Outcome info = run({"info", "--index-file", build("SQ8")});
  ASSERT_EQ(info.status, 0) << info.err;
  EXPECT_THAT(info.out, AllOf(HasSubstr("faiss::IndexScalarQuantizer"), HasSubstr("20000")));
}

TEST_F(ProgramTest, SearchWritesJson) {
  const std::string path = folder_.file("found.json");
  const Outcome search = run({"search", "--index-file", build("Flat"), "--dataset", sift,
                              "--queries", "3", "--k", "4", "--output", path});
  ASSERT_EQ(search.status, 0) << search.err;
  const auto json = nlohmann::json::parse(read_all(path));
  EXPECT_EQ(json["k"], 4);
  ASSERT_EQ(json["ids"].size(), 3U);
  EXPECT_EQ(json["ids"][0].size(), 4U);
  EXPECT_EQ(json["distances"][2].size(), 4U);
  EXPECT_LE(json["distances"][0][0], json["distances"][0][1]);
}

TEST_F(ProgramTest, BuildFromAFileOfVectors) {
  std::string bytes;
  for (int row = 0; row < 50; ++row) {
    const std::vector<int32_t> header{4};
    bytes.append(reinterpret_cast<const char*>(header.data()), 4);
    const std::vector<float> values{static_cast<float>(row), 1.0F, 2.0F, 3.0F};
    bytes.append(reinterpret_cast<const char*>(values.data()), 16);
  }
  const std::string output = folder_.file("index");
  const Outcome built = run({"build", "--input", write("v.fvecs", bytes), "--distance", "angular",
                             "--index", "RQ{d}", "--output", output, "--rows", "40"});
  ASSERT_EQ(built.status, 0) << built.err;
  EXPECT_THAT(run({"info", "--index-file", output}).out,
              AllOf(HasSubstr("40"), HasSubstr("inner product"), HasSubstr("RQ4")));
}

// ---- errors --------------------------------------------------------------------------------

TEST_F(ProgramTest, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(run({"--help"}).status, 0);
  EXPECT_THAT(run({"--version"}).out, HasSubstr("rotorquant "));
  for (const char* command : {"eval", "build", "search", "info"}) {
    const Outcome help = run({command, "--help"});
    EXPECT_EQ(help.status, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("--"));
  }
  EXPECT_THAT(run({"eval", "--help"}).out, HasSubstr("searched by inner product"));
}

TEST_F(ProgramTest, BadArgumentsGiveStatus2AndOnlyStderr) {
  const std::string out = folder_.file("out");
  const std::vector<std::vector<std::string>> all{
      {},
      {"frobnicate"},
      {"eval"},
      {"eval", "--dataset", sift},
      {"eval", "--index", "Flat"},
      {"eval", "--dataset", sift, "--index", "Flat", "--bogus"},
      {"eval", "--dataset", sift, "--index", "Flat", "stray"},
      {"eval", "--dataset", sift, "--index", "NoSuchIndex"},
      {"eval", "--dataset", sift, "--index", "RQ9"},
      {"eval", "--dataset", sift, "--index", ""},
      {"eval", "--dataset", sift, "--index", "PQ{x}"},
      {"eval", "--dataset", sift, "--index", "PQ7"},
      {"eval", "--dataset", sift, "--index", "Flat", "--k", "0"},
      {"eval", "--dataset", sift, "--index", "Flat", "--k", "-3"},
      {"eval", "--dataset", sift, "--index", "Flat", "--k", "ten"},
      {"eval", "--dataset", sift, "--index", "Flat", "--rows", "0"},
      {"eval", "--dataset", sift, "--index", "Flat", "--queries", "0"},
      {"eval", "--dataset", sift, "--index", "Flat", "--threads", "0"},
      {"eval", "--dataset", sift, "--index", "Flat", "--param", "nprobe=1"},
      {"eval", "--dataset", sift, "--index", "RQ3", "--param", "levels"},
      {"eval", "--dataset", sift, "--index", "RQ3", "--param", "levels=7"},
      {"eval", "--dataset", sift, "--index", "RQ3", "--param", "estimator=best"},
      {"build", "--index", "Flat", "--output", out},
      {"build", "--dataset", sift, "--input", "a.npy", "--index", "Flat", "--output", out},
      {"build", "--dataset", sift, "--index", "Nope", "--output", out},
      {"build", "--input", write("a.txt", "1"), "--index", "Flat", "--output", out},
      {"search", "--dataset", sift},
      {"search", "--index-file", out, "--dataset", sift, "--output", "ids.txt"},
      {"info"},
  };
  for (const auto& arguments : all) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2) << ::testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.out, "") << ::testing::PrintToString(arguments);
    EXPECT_NE(outcome.err, "") << ::testing::PrintToString(arguments);
  }
}

TEST_F(ProgramTest, FailuresGiveStatus1AndNameTheFile) {
  const std::string garbage = write("garbage.hdf5", "no HDF5 here");
  const std::string truncated = write("truncated.hdf5", read_all(sift).substr(0, 100'000));
  const std::string missing = folder_.file("missing");
  const std::vector<std::pair<std::vector<std::string>, std::string>> all{
      {{"eval", "--dataset", missing, "--index", "Flat"}, missing},
      {{"eval", "--dataset", garbage, "--index", "Flat"}, garbage},
      {{"eval", "--dataset", truncated, "--index", "Flat"}, truncated},
      {{"eval", "--dataset", "/", "--index", "Flat"}, "/"},
      {{"build", "--dataset", garbage, "--index", "Flat", "--output", missing}, garbage},
      {{"build", "--dataset", sift, "--index", "Flat", "--output", missing + "/x"}, missing},
      {{"info", "--index-file", missing}, missing},
      {{"info", "--index-file", garbage}, ""},
      {{"search", "--index-file", missing, "--dataset", sift}, missing},
  };
  for (const auto& [arguments, named] : all) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 1) << ::testing::PrintToString(arguments) << outcome.err;
    EXPECT_EQ(outcome.out, "") << ::testing::PrintToString(arguments);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("rotorquant: "), HasSubstr(named)));
  }
}

TEST_F(ProgramTest, AnUnknownParameterListsTheAllowed) {
  const Outcome outcome = run({"eval", "--dataset", sift, "--index", "RQ3", "--param", "speed=11"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("speed"), HasSubstr("refine_error_scale"), HasSubstr("k_factor"),
                    HasSubstr("levels"), HasSubstr("estimator")));
}

TEST_F(ProgramTest, AnUnknownKernelSetIsABadArgument) {
  const Outcome outcome =
      run({"eval", "--dataset", sift, "--index", "Flat"}, "ROTORQUANT_SIMD=abacus ");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("abacus"), HasSubstr("scalar")));
}

TEST_F(ProgramTest, SearchingWithTheWrongQueriesIsABadArgument) {
  const Outcome outcome = run({"search", "--index-file", build("Flat"), "--dataset", glove});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("128"), HasSubstr("100")));
}

TEST_F(ProgramTest, OutputThatCannotBeWrittenIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) {
    GTEST_SKIP() << "no /dev/full on this system";
  }
  const std::string line = quoted(ROTORQUANT_PROGRAM) + " eval --dataset " + quoted(sift) +
                           " --index Flat --rows 100 --queries 2 > /dev/full 2> /dev/null";
  const int raw = std::system(line.c_str());  // NOLINT(cert-env33-c)
  ASSERT_TRUE(WIFEXITED(raw));
  EXPECT_EQ(WEXITSTATUS(raw), 1);
}

}  // namespace
}  // namespace rotorquant::tools
