// SPDX-License-Identifier: MIT
#include "faiss_ext/index_io.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/index_io.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "rotorquant/container.h"
#include "test_data.h"

namespace rotorquant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

constexpr size_t d = 24;

std::unique_ptr<faiss::Index> filled(const std::string& description, faiss::MetricType metric,
                                     size_t n = 500, size_t dim = d) {
  auto index = index_factory(static_cast<int>(dim), description, metric);
  const Floats x = vectors(n, dim);
  shorten_training(*index);
  train(*index, vectors(std::max<size_t>(n, 400), dim));
  if (dynamic_cast<const faiss::IndexIDMap*>(index.get()) != nullptr) {
    Ids ids(n);
    for (size_t i = 0; i < n; ++i) {
      ids[i] = static_cast<int64_t>(1000 + 2 * i);
    }
    index->add_with_ids(static_cast<int64_t>(n), x.data(), ids.data());
  } else {
    add(*index, x);
  }
  return index;
}

class IndexFile : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() /
                 ("rotorquant-io-" + std::to_string(::getpid()) + "-" +
                  testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  Bytes bytes_of(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path directory_;
};

// ---- round trips ---------------------------------------------------------------------------

class RoundTrips : public testing::TestWithParam<const char*> {};

TEST_P(RoundTrips, AnswersAreTheSameAfterLoading) {
  for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
    const auto index = filled(GetParam(), metric);
    const Floats queries = vectors(8, d, 5);
    const Bytes bytes = serialize_index(index.get());
    const auto loaded = deserialize_index(bytes);
    if (std::string(GetParam()) != "Flat") {  // FAISS reads that as an IndexFlatL2 or IndexFlatIP
      EXPECT_EQ(typeid(*loaded), typeid(*index));
    }
    EXPECT_EQ(loaded->ntotal, index->ntotal);
    EXPECT_EQ(loaded->d, index->d);
    EXPECT_EQ(loaded->metric_type, metric);
    EXPECT_EQ(loaded->is_trained, index->is_trained);
    EXPECT_EQ(search(*loaded, queries, 7), search(*index, queries, 7));
    EXPECT_EQ(serialize_index(loaded.get()), bytes);
    // A loaded index goes on as the original would.
    if (std::string(GetParam()).find("NSG") == std::string::npos) {
      const Floats more = vectors(20, d, 6);
      Ids ids(20, 7);
      const bool mapped = dynamic_cast<const faiss::IndexIDMap*>(index.get()) != nullptr;
      for (faiss::Index* each : {index.get(), loaded.get()}) {
        mapped ? each->add_with_ids(20, more.data(), ids.data()) : each->add(20, more.data());
      }
      EXPECT_EQ(loaded->ntotal, 520);
      if (std::string(GetParam()).find("HNSW") == std::string::npos) {  // a random level each
        EXPECT_EQ(search(*loaded, queries, 7), search(*index, queries, 7));
      }
    }
  }
}

TEST_P(RoundTrips, EmptyIndexes) {
  if (ROTORQUANT_FAISS_VERSION >= 11402 && std::string(GetParam()).starts_with("ITQ")) {
    GTEST_SKIP() << "FAISS writes an untrained ITQTransform, but from 1.14.2 on does not read it";
  }
  auto index = index_factory(static_cast<int>(d), GetParam());
  const auto loaded = deserialize_index(serialize_index(index.get()));
  EXPECT_EQ(loaded->ntotal, 0);
  EXPECT_EQ(loaded->is_trained, index->is_trained);
  EXPECT_EQ(serialize_index(loaded.get()), serialize_index(index.get()));
}

INSTANTIATE_TEST_SUITE_P(Descriptions, RoundTrips,
                         testing::Values("RQ1", "RQ3", "RQ8", "RQ2mse", "RQ1mse", "ORQ3", "ORQ2mse",
                                         "ORQ1", "RQ3ref", "IDMap,RQ3", "IDMap2,RQ3", "PCA12,RQ4",
                                         "IDMap2,PCAR12,RQ4", "OPQ2_12,RQ3", "RR24,RQ3",
                                         "L2norm,RQ3", "ITQ12,RQ3", "RQ3,RFlat", "ORQ3,Refine(SQ8)",
                                         "RQ2,Refine(RQ8)", "HNSW16,RQ6", "NSG16,RQ6",
                                         "IDMap2,PCA12,HNSW8,RQ6,RFlat", "Flat", "SQ8", "IVF4,Flat",
                                         "HNSW8", "IVF4,RQ3", "IVF4_HNSW4,ORQ4", "IDMap2,IVF4,RQ3",
                                         "IVF4(RQ8),RQ2mse"),
                         [](const testing::TestParamInfo<const char*>& description) {
                           std::string name = description.param;
                           for (char& c : name) {
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           }
                           return name;
                         });

TEST(IndexIo, KeepsSearchDefaults) {
  IndexRotorQuant index(8, 3);
  index.refine_error_scale = 0.5F;
  index.k_factor = 33;
  const auto loaded = deserialize_index(serialize_index(&index));
  const auto& own = dynamic_cast<const IndexRotorQuant&>(*loaded);
  EXPECT_EQ(own.refine_error_scale, 0.5F);
  EXPECT_EQ(own.k_factor, 33U);
}

TEST(IndexIo, AnUntrainedLearnedIndex) {
  IndexRotorQuant index(8, 3, true);
  const auto loaded = deserialize_index(serialize_index(&index));
  EXPECT_FALSE(loaded->is_trained);
  train(*loaded, vectors(300, 8));
  add(*loaded, vectors(300, 8));
  EXPECT_EQ(loaded->ntotal, 300);
}

TEST_F(IndexFile, FilesAndFaissStreamsHoldTheSameBytes) {
  const auto index = filled("IDMap2,RQ4", faiss::METRIC_L2);
  const Bytes bytes = serialize_index(index.get());
  rotorquant::write_index(index.get(), path("index"));
  EXPECT_EQ(bytes_of("index"), bytes);
  faiss::VectorIOWriter writer;
  rotorquant::write_index(index.get(), &writer);
  EXPECT_EQ(writer.data, bytes);
  const Floats queries = vectors(5, d, 5);
  const Answer expected = search(*index, queries, 5);
  EXPECT_EQ(search(*read_index(path("index")), queries, 5), expected);
  faiss::VectorIOReader reader;
  reader.data = writer.data;
  reader.data.insert(reader.data.end(), {1, 2, 3});
  EXPECT_EQ(search(*rotorquant::read_index(&reader), queries, 5), expected);
  EXPECT_EQ(reader.rp, writer.data.size());  // and no further
}

TEST_F(IndexFile, FaissFilesAreHandedToFaiss) {
  const auto index = filled("PQ4x4", faiss::METRIC_L2);
  faiss::write_index(index.get(), path("faiss").c_str());
  const Floats queries = vectors(5, d, 5);
  const Answer expected = search(*index, queries, 5);
  EXPECT_EQ(search(*read_index(path("faiss")), queries, 5), expected);
  const Bytes bytes = bytes_of("faiss");
  EXPECT_EQ(search(*deserialize_index(bytes), queries, 5), expected);
  faiss::VectorIOReader reader;
  reader.data = bytes;
  EXPECT_EQ(search(*rotorquant::read_index(&reader), queries, 5), expected);
}

// ---- what is refused -----------------------------------------------------------------------

/// Any error is welcome, as long as it is FAISS's; a crash or another exception is not.
void expect_refused(const Bytes& bytes, const std::string& what) {
  EXPECT_THROW(deserialize_index(bytes), faiss::FaissException) << what;
  faiss::VectorIOReader reader;
  reader.data = bytes;
  EXPECT_THROW(rotorquant::read_index(&reader), faiss::FaissException) << what;
}

class Corruption : public testing::TestWithParam<const char*> {};

TEST_P(Corruption, EveryFlippedByteIsRefused) {
  const auto index = filled(GetParam(), faiss::METRIC_L2, 5, 6);
  const Bytes bytes = serialize_index(index.get());
  // Long files: every byte of the first kilobyte, then a sample with a step prime to 64.
  constexpr size_t dense = 1024;
  for (size_t i = 0; i < bytes.size(); i += i < dense ? 1 : bytes.size() / 499 * 2 + 1) {
    Bytes broken = bytes;
    broken[i] ^= static_cast<uint8_t>(1U << (i % 8));
    expect_refused(broken, "byte " + std::to_string(i));
  }
}

TEST_P(Corruption, EveryTruncationIsRefused) {
  const auto index = filled(GetParam(), faiss::METRIC_L2, 5, 6);
  const Bytes bytes = serialize_index(index.get());
  constexpr size_t dense = 1024;
  for (size_t size = 0; size < bytes.size();
       size += size < dense ? 1 : bytes.size() / 499 * 2 + 1) {
    expect_refused(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)),
                   std::to_string(size) + " bytes");
  }
}

INSTANTIATE_TEST_SUITE_P(Descriptions, Corruption,
                         testing::Values("RQ3", "ORQ2", "RQ3ref", "IDMap2,RQ3", "HNSW4,RQ3",
                                         "L2norm,RQ3,RFlat", "IVF3,RQ3", "IDMap,IVF3,ORQ2"),
                         [](const testing::TestParamInfo<const char*>& description) {
                           std::string name = description.param;
                           for (char& c : name) {
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           }
                           return name;
                         });

/// Sections of a container, to be changed and written again with right checksums.
std::vector<std::pair<std::string, Bytes>> sections_of(const Bytes& bytes) {
  MemorySource source(bytes);
  ContainerReader reader(source);
  std::vector<std::pair<std::string, Bytes>> sections;
  for (const auto& section : reader.sections()) {
    sections.emplace_back(section.name, reader.read_section(section.name));
  }
  return sections;
}

Bytes rewritten(const std::vector<std::pair<std::string, Bytes>>& sections) {
  ContainerWriter writer;
  for (const auto& [name, bytes] : sections) {
    writer.add(name, bytes);
  }
  MemorySink sink;
  writer.write(sink);
  return sink.take();
}

/// Files made on purpose, checksums right: no crash, and never an index that disagrees with itself.
TEST_P(Corruption, ForgedSectionsDoNotCrash) {
  const auto index = filled(GetParam(), faiss::METRIC_L2, 5, 6);
  const auto sections = sections_of(serialize_index(index.get()));
  size_t refused = 0;
  for (size_t s = 0; s < sections.size(); ++s) {
    const size_t size = sections[s].second.size();
    // FAISS's own reader trusts what it reads, and codecs have tests of their own.
    const auto holds = [&, &name = sections[s].first](const char* what) {
      return name.find(what) != std::string::npos;
    };
    if (holds("faiss") || holds("transform") || holds("codec")) {
      continue;
    }
    for (size_t i = 0; i < size; i += size / 61 + 1) {
      for (const uint8_t flip : {uint8_t{1}, uint8_t{0x80}}) {
        auto forged = sections;
        forged[s].second[i] ^= flip;
        try {
          const auto loaded = deserialize_index(rewritten(forged));
          EXPECT_EQ(loaded->ntotal, 5);
          search(*loaded, vectors(1, 6), 3);
        } catch (const faiss::FaissException&) {
          ++refused;
        }
      }
    }
  }
  EXPECT_GT(refused, 0U);
}

TEST(IndexIo, ForeignBytesAreRefused) {
  expect_refused(Bytes(1000, 'x'), "text");
  expect_refused({}, "nothing");
  expect_refused({'R', 'T', 'R', 'Q'}, "a beginning");
  EXPECT_THAT(message_of([] { read_index(std::string("/nowhere/at/all")); }),
              HasSubstr("No such file"));
}

TEST(IndexIo, WrongContainersAreRefused) {
  ContainerWriter writer;
  writer.add("something", Bytes(10));
  MemorySink sink;
  writer.write(sink);
  EXPECT_THAT(message_of([&] { deserialize_index(sink.take()); }), HasSubstr("n0.node"));
}

TEST(IndexIo, SectionsThatDisagreeAreRefused) {
  const IndexRotorQuant index = [] {
    IndexRotorQuant made(8, 3);
    add(made, vectors(5, 8));
    return made;
  }();
  auto sections = sections_of(serialize_index(&index));
  for (auto& [name, bytes] : sections) {
    if (name == "n0.codes") {
      bytes.resize(bytes.size() - index.sa_code_size());
    }
  }
  EXPECT_THAT(message_of([&] { deserialize_index(rewritten(sections)); }), HasSubstr("5 codes"));
}

/// Takes so many bytes, then no more: a disk that is full.
struct FullWriter : faiss::IOWriter {
  explicit FullWriter(size_t bytes) : room(bytes) {}
  size_t operator()(const void*, size_t size, size_t nitems) override {
    const size_t taken = std::min(room, size * nitems);
    room -= taken;
    return taken / size;
  }
  size_t room;
};

TEST(IndexIo, AFullDiskIsReported) {
  const auto index = filled("RQ3", faiss::METRIC_L2, 50);
  const size_t size = serialize_index(index.get()).size();
  for (size_t room = 0; room < size; room += 61) {
    FullWriter writer(room);
    EXPECT_THROW(rotorquant::write_index(index.get(), &writer), faiss::FaissException) << room;
  }
  FullWriter writer(size);
  rotorquant::write_index(index.get(), &writer);
}

TEST_F(IndexFile, AFailedWriteLeavesTheOldFileWhole) {
  const auto index = filled("RQ3", faiss::METRIC_L2);
  rotorquant::write_index(index.get(), path("index"));
  const Bytes before = bytes_of("index");
  // A type that FAISS cannot write stops the writer before and while it emits.
  const auto inner = filled("RQ3", faiss::METRIC_L2);
  faiss::IndexHNSWFlat odd(static_cast<int>(d), 8);
  delete odd.storage;
  odd.storage = inner.get();
  odd.own_fields = false;
  odd.ntotal = inner->ntotal;
  EXPECT_THAT(message_of([&] { rotorquant::write_index(&odd, path("index")); }),
              HasSubstr("type above"));
  EXPECT_EQ(bytes_of("index"), before);
  EXPECT_THAT(message_of([&] { rotorquant::write_index(index.get(), path("no/where")); }),
              HasSubstr("No such file"));
  EXPECT_THAT(message_of([&] { rotorquant::write_index(nullptr, path("index")); }),
              HasSubstr("none"));
  EXPECT_EQ(bytes_of("index"), before);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, ElementsAre("index"));
}

TEST(IndexIo, WritingRefusesAWrapperOutOfStep) {
  auto index = filled("IDMap,RQ3", faiss::METRIC_L2);
  dynamic_cast<faiss::IndexIDMap&>(*index).index->reset();
  EXPECT_THAT(message_of([&] { serialize_index(index.get()); }), HasSubstr("below a wrapper"));
}

// ---- golden files --------------------------------------------------------------------------

/// The format is frozen: these files, written once, must load and answer as they did. (Answers
/// follow the default error scale too: a vector counts as the larger of refined distance and
/// bound, and codes are scored in fixed point, which is some thousandths of a coordinate off the
/// floats that the oldest answers were written with: in so few dimensions, 1e-3 of a distance.)
TEST(GoldenFiles, StillLoadAndAnswer) {
  const std::string directory = std::string(ROTORQUANT_TEST_DATA) + "/format-1/";
  for (const char* name : {"rq3", "idmap2_rq4_ip", "orq2", "ivf4_orq4", "idmap2_ivf4_rq3_ip"}) {
    const auto index = read_index(directory + name + ".rqindex");
    std::ifstream in(directory + name + ".answers");
    ASSERT_TRUE(in.is_open());
    const size_t k = 5;
    const size_t queries = 4;
    const Answer answer = search(*index, vectors(queries, static_cast<size_t>(index->d), 5), k);
    for (size_t i = 0; i < queries * k; ++i) {
      int64_t label = 0;
      float distance = 0.0F;
      in >> label >> distance;
      ASSERT_TRUE(static_cast<bool>(in));
      EXPECT_EQ(answer.labels[i], label) << name << " " << i;
      EXPECT_NEAR(answer.distances[i], distance, 1e-3F * (1.0F + std::abs(distance)));
    }
    // And what is written today is what was written then.
    std::ifstream file(directory + name + ".rqindex", std::ios::binary);
    const Bytes bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(serialize_index(index.get()), bytes) << name;
  }
}

/// Mapped where it lies, or read, a mappable file answers as the plain one of the same index.
TEST(GoldenFiles, MappableOnesToo) {
  const std::string directory = std::string(ROTORQUANT_TEST_DATA) + "/format-1/";
  const auto plain = read_index(directory + "ivf4_orq4.rqindex");
  const Answer expected = search(*plain, vectors(4, 8, 5), 5);
  const std::string mappable = directory + "ivf4_orq4_mappable.rqindex";
  EXPECT_EQ(search(*map_index(mappable), vectors(4, 8, 5), 5), expected);
  EXPECT_EQ(serialize_index(read_index(mappable).get()), serialize_index(plain.get()));
}

/// Writes the golden files; run by hand when a new format version is made:
///   ROTORQUANT_WRITE_GOLDEN=directory rotorquant_faiss_tests --gtest_also_run_disabled_tests
///       --gtest_filter='*WriteGolden*'
TEST(GoldenFiles, DISABLED_WriteGolden) {
  const char* directory = std::getenv("ROTORQUANT_WRITE_GOLDEN");
  ASSERT_NE(directory, nullptr);
  struct Golden {
    const char* name;
    const char* description;
    faiss::MetricType metric;
    size_t d;
  };
  const std::vector<Golden> all = {
      {"rq3", "RQ3", faiss::METRIC_L2, 16},
      {"idmap2_rq4_ip", "IDMap2,RQ4", faiss::METRIC_INNER_PRODUCT, 16},
      {"orq2", "ORQ2", faiss::METRIC_L2, 6},
      {"ivf4_orq4", "IVF4,ORQ4", faiss::METRIC_L2, 8},
      {"idmap2_ivf4_rq3_ip", "IDMap2,IVF4,RQ3", faiss::METRIC_INNER_PRODUCT, 8}};
  for (const Golden& golden : all) {
    const auto index = filled(golden.description, golden.metric, 40, golden.d);
    const std::string base = std::string(directory) + "/" + golden.name;
    rotorquant::write_index(index.get(), base + ".rqindex");
    if (std::string(golden.name) == "ivf4_orq4") {
      write_mappable_index(index.get(), base + "_mappable.rqindex");
    }
    const Answer answer = search(*index, vectors(4, golden.d, 5), 5);
    std::ofstream out(base + ".answers");
    out.precision(9);
    for (size_t i = 0; i < answer.labels.size(); ++i) {
      out << answer.labels[i] << " " << answer.distances[i] << "\n";
    }
  }
}

}  // namespace
}  // namespace rotorquant
