// SPDX-License-Identifier: MIT
#include "vectors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>

#include "errors.h"
#include "rotorquant/error.h"
#include "temporary_folder.h"

namespace rotorquant::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class T>
void put(std::string& bytes, T value) {
  const auto raw = std::bit_cast<std::array<char, sizeof(T)>>(value);
  bytes.append(raw.begin(), raw.end());
}

template <class T>
std::string vecs(const std::vector<std::vector<T>>& rows) {
  std::string bytes;
  for (const auto& row : rows) {
    put(bytes, static_cast<int32_t>(row.size()));
    for (const T value : row) {
      put(bytes, value);
    }
  }
  return bytes;
}

std::string npy(const std::string& dictionary, const std::vector<float>& values) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  put(bytes, static_cast<uint16_t>(dictionary.size()));
  bytes += dictionary;
  for (const float value : values) {
    put(bytes, value);
  }
  return bytes;
}

class VectorsFileTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_.file(name), std::ios::binary) << bytes;
    return folder_.file(name);
  }
  std::string error_of(const std::string& name, const std::string& bytes) const {
    try {
      read_vectors(write(name, bytes));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(VectorsFileTest, Fvecs) {
  const Vectors v = read_vectors(write("a.fvecs", vecs<float>({{1, 2, 3}, {4, 5, 6}})));
  EXPECT_EQ(v.n, 2U);
  EXPECT_EQ(v.d, 3U);
  EXPECT_THAT(v.values, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(VectorsFileTest, Bvecs) {
  const Vectors v = read_vectors(write("a.bvecs", vecs<uint8_t>({{0, 255}, {7, 8}})));
  EXPECT_THAT(v.values, ElementsAre(0, 255, 7, 8));
}

TEST_F(VectorsFileTest, Npy) {
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n";
  const Vectors v = read_vectors(write("a.npy", npy(header, {1, 2, 3, 4, 5, 6})));
  EXPECT_EQ(v.n, 2U);
  EXPECT_EQ(v.d, 3U);
  EXPECT_THAT(v.values, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(VectorsFileTest, FirstRowsOnly) {
  const std::string path = write("a.fvecs", vecs<float>({{1}, {2}, {3}}));
  EXPECT_THAT(read_vectors(path, 2).values, ElementsAre(1, 2));
  EXPECT_THAT(read_vectors(path, 9).values, ElementsAre(1, 2, 3));
}

TEST_F(VectorsFileTest, DamagedFilesAreRefused) {
  EXPECT_THAT(error_of("a.fvecs", ""), HasSubstr("received 0"));
  EXPECT_THAT(error_of("a.fvecs", vecs<float>({{1, 2}}) + "x"), HasSubstr("whole rows"));
  EXPECT_THAT(error_of("a.fvecs", std::string("\xff\xff\xff\xff", 4)), HasSubstr("dimension"));
  EXPECT_THAT(error_of("a.bvecs", std::string("\xff\xff\xff\x7f", 4)), HasSubstr("dimension"));
  std::string uneven = vecs<float>({{1, 2}, {3, 4}});
  uneven[12] = 1;  // the second row says that it is shorter
  EXPECT_THAT(error_of("a.fvecs", uneven), HasSubstr("dimension of row 1"));
  EXPECT_THAT(error_of("a.fvecs", vecs<float>({{1, std::nanf("")}})), HasSubstr("row 0"));
}

TEST_F(VectorsFileTest, WrongNpyFilesAreRefused) {
  EXPECT_THAT(error_of("a.npy", "PK and so on"), HasSubstr("a .npy file"));
  const std::string tail = ", 'fortran_order': False, 'shape': (1, 2), }\n";
  EXPECT_THAT(error_of("a.npy", npy("{'descr': '<f8'" + tail, {1, 2})), HasSubstr("'<f8'"));
  const std::string head = "{'descr': '<f4', 'fortran_order': ";
  EXPECT_THAT(error_of("a.npy", npy(head + "True, 'shape': (1, 2), }\n", {1, 2})),
              HasSubstr("fortran_order"));
  for (const char* shape : {"(2,)", "()", "(1, 2, 3)", "(0, 2)", "(99999999999999999999, 2)",
                            "(1000000, 2)", "(-1, 2)"}) {
    EXPECT_THAT(error_of("a.npy", npy(head + "False, 'shape': " + shape + ", }\n", {1, 2})),
                HasSubstr("shape"))
        << shape;
  }
}

TEST_F(VectorsFileTest, MissingFilesAndOtherEndings) {
  EXPECT_THROW(read_vectors(folder_.file("none.fvecs")), Error);
  EXPECT_THROW(read_vectors(write("a.txt", "1 2 3")), BadArgument);
}

TEST_F(VectorsFileTest, WritesIvecs) {
  const std::string path = folder_.file("ids.ivecs");
  const std::vector<int64_t> ids{5, -1, 7, 8};
  write_ivecs(path, ids.data(), 2, 2);
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(bytes, vecs<int32_t>({{5, -1}, {7, 8}}));

  const std::vector<int64_t> large{int64_t{1} << 31};
  EXPECT_THROW(write_ivecs(path, large.data(), 1, 1), Error);
  EXPECT_THROW(write_ivecs(folder_.file("no/such/folder"), ids.data(), 1, 1), Error);
}

}  // namespace
}  // namespace rotorquant::tools
