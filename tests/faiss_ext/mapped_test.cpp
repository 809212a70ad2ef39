// SPDX-License-Identifier: MIT
#include <faiss/impl/IDSelector.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "ivf_test_data.h"
#include "simd/kernels.h"

namespace rotorquant {
namespace {

using testing::HasSubstr;

constexpr size_t d = 20;

class MappedIndex : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = (std::filesystem::temp_directory_path() /
             ("rotorquant-mapped-" + std::to_string(::getpid()) + ".rqindex"))
                .string();
  }
  void TearDown() override { std::filesystem::remove(path_); }

  static std::unique_ptr<faiss::Index> filled(const std::string& description, int64_t id_step = 3) {
    auto index = index_factory(d, description);
    const Floats x = vectors(700, d);
    train(*index, x);
    if (try_extract_index_ivf(index.get()) != nullptr) {
      set_index_parameters(*index, "nprobe=6");
    }
    if (description.find("IVF") == 0 || description.find("IDMap") == 0) {
      Ids ids(700);
      for (size_t i = 0; i < ids.size(); ++i) {
        ids[i] = static_cast<int64_t>(i) * id_step;
      }
      index->add_with_ids(700, x.data(), ids.data());
    } else {
      add(*index, x);
    }
    return index;
  }

  std::string path_;
};

TEST_P(MappedIndex, AnswersAsTheOriginal) {
  for (const int64_t id_step : {int64_t{3}, int64_t{1} << 33}) {
    const auto index = filled(GetParam(), id_step);
    const Floats queries = vectors(20, d, 4);
    const Answer expected = search(*index, queries, 9);
    write_mappable_index(index.get(), path_);
    verify_index(path_);
    const auto mapped = map_index(path_);
    EXPECT_EQ(mapped->ntotal, index->ntotal);
    EXPECT_EQ(search(*mapped, queries, 9), expected);
    EXPECT_EQ(search(*clone_index(mapped.get()), queries, 9), expected);
    EXPECT_EQ(serialize_index(mapped.get()), serialize_index(index.get()));
    const auto read = read_index(path_);
    EXPECT_EQ(search(*read, queries, 9), expected);
    EXPECT_EQ(serialize_index(read.get()), serialize_index(index.get()));
    std::filesystem::remove(path_);  // what is mapped stays
    EXPECT_EQ(search(*mapped, queries, 9), expected);
  }
}

TEST_P(MappedIndex, IsReadOnlyButReadsBackWritable) {
  const auto index = filled(GetParam());
  write_mappable_index(index.get(), path_);
  const auto mapped = map_index(path_);
  const Floats x = vectors(1, d, 9);
  const Answer before = search(*mapped, x, 3);
  const int64_t id = 5000;
  const bool takes_ids = std::string(GetParam()).find('I') == 0;
  const auto add_to = [&](faiss::Index& to) {
    if (takes_ids) {
      to.add_with_ids(1, x.data(), &id);
    } else {
      to.add(1, x.data());
    }
  };
  EXPECT_THAT(message_of([&] { add_to(*mapped); }), HasSubstr("read-only"));
  EXPECT_EQ(search(*mapped, x, 3), before);
  EXPECT_EQ(mapped->ntotal, 700);
  const auto read = read_index(path_);
  add_to(*read);
  EXPECT_EQ(read->ntotal, 701);
}

TEST_P(MappedIndex, FromAnotherMachine) {
  const auto index = filled(GetParam());
  const Floats queries = vectors(20, d, 4);
  const Answer expected = search(*index, queries, 9);
  for (const simd::KernelTable* writer : simd::available_kernels()) {
    for (const simd::KernelTable* reader : simd::available_kernels()) {
      {
        const simd::ScopedKernels forced(*writer);
        write_mappable_index(deserialize_index(serialize_index(index.get())).get(), path_);
      }
      const simd::ScopedKernels forced(*reader);
      EXPECT_EQ(search(*map_index(path_), queries, 9).labels, expected.labels)
          << writer->name << " to " << reader->name;
    }
  }
}

TEST_P(MappedIndex, TruncatedOrChangedFilesAreRefused) {
  const auto index = filled(GetParam());
  write_mappable_index(index.get(), path_);
  const auto size = std::filesystem::file_size(path_);
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size - 200));
    file.put('\x55');
    file.put('\x55');
  }
  EXPECT_NE(message_of([&] { verify_index(path_); }), "");
  EXPECT_NE(message_of([&] { read_index(path_); }), "");
  std::filesystem::resize_file(path_, size - 64);
  EXPECT_NE(message_of([&] { map_index(path_); }), "");
  std::filesystem::resize_file(path_, 100);
  EXPECT_NE(message_of([&] { map_index(path_); }), "");
  std::filesystem::resize_file(path_, 0);
  EXPECT_NE(message_of([&] { map_index(path_); }), "");
  std::filesystem::remove(path_);
  EXPECT_THAT(message_of([&] { map_index(path_); }), HasSubstr("No such file"));
}

INSTANTIATE_TEST_SUITE_P(All, MappedIndex,
                         testing::Values("RQ4", "ORQ6", "RQ1", "IVF20,RQ4", "IVF30,ORQ6mse",
                                         "IDMap2,IVF20,RQ3", "PCA16,IVF20,RQ4", "RQ2,Refine(RQ8)"),
                         [](const testing::TestParamInfo<const char*>& test) {
                           std::string name = test.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST(MappedFiles, WithoutMappableCodesAreRead) {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("rotorquant-plain-" + std::to_string(::getpid()) + ".rqindex"))
                               .string();
  const auto index = filled_ivf(d, "IVF10,RQ3", 300);
  write_index(index.get(), path);
  const auto mapped = map_index(path);
  EXPECT_EQ(search(*mapped, vectors(5, d), 3), search(*index, vectors(5, d), 3));
  add(*mapped, vectors(3, d));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace rotorquant
