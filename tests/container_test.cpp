// SPDX-License-Identifier: MIT
#include "rotorquant/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Bytes = std::vector<uint8_t>;

Bytes counting(size_t size) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  return bytes;
}

Bytes written(const ContainerWriter& writer) {
  MemorySink sink;
  writer.write(sink);
  return sink.take();
}

Bytes small_container() {
  ContainerWriter writer;
  writer.add("first", counting(5));
  writer.add("empty", Bytes{});
  writer.add("exact.64", counting(64));
  writer.add("last", counting(65));
  return written(writer);
}

void read_all(const Bytes& bytes) {
  MemorySource source(bytes);
  ContainerReader reader(source);
  reader.finish();
}

/// What a pipe looks like: no known length.
class PipeSource final : public ByteSource {
 public:
  explicit PipeSource(const Bytes& bytes) : memory_(bytes) {}
  size_t read(std::span<uint8_t> to) override { return memory_.read(to); }

 private:
  MemorySource memory_;
};

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// A directory of its own for each test, removed afterwards.
class ContainerFile : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() /
                 ("rotorquant-" + std::to_string(::getpid()) + "-" +
                  testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }
  std::string get(const std::string& name) const {
    std::ifstream in(path(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  }

 private:
  std::filesystem::path directory_;
};

void write_text(ByteSink& sink, const std::string& text) {
  sink.write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

TEST(Container, RoundTripKeepsNamesOrderAndBytes) {
  const Bytes bytes = small_container();
  MemorySource source(bytes);
  ContainerReader reader(source);
  ASSERT_EQ(reader.sections().size(), 4U);
  EXPECT_EQ(reader.sections()[2].name, "exact.64");
  EXPECT_EQ(reader.read_section("first"), counting(5));
  EXPECT_THAT(reader.read_section("empty"), IsEmpty());
  EXPECT_EQ(reader.read_section("exact.64"), counting(64));
  EXPECT_EQ(reader.read_section("last"), counting(65));
  reader.finish();
}

TEST(Container, SectionsStartAtMultiplesOf64) {
  const Bytes bytes = small_container();
  EXPECT_EQ(bytes.size() % 64, 0U);
  MemorySource source(bytes);
  const ContainerReader reader(source);
  for (const auto& section : reader.sections()) {
    EXPECT_EQ(section.offset % 64, 0U) << section.name;
  }
}

TEST(Container, EmptyContainer) {
  const Bytes bytes = written(ContainerWriter());
  EXPECT_EQ(bytes.size(), 64U);
  read_all(bytes);
}

TEST(Container, SkippedSectionsAreStillChecked) {
  Bytes bytes = small_container();
  MemorySource intact(bytes);
  ContainerReader reader(intact);
  EXPECT_EQ(reader.read_section("last"), counting(65));
  const uint64_t offset = reader.sections()[0].offset;
  bytes[offset] ^= 1;
  MemorySource broken(bytes);
  ContainerReader careful(broken);
  EXPECT_THAT(error_of([&] { careful.read_section("last"); }), HasSubstr("section first"));
}

TEST(Container, SectionsAreReadForwardOnly) {
  const Bytes bytes = small_container();
  MemorySource source(bytes);
  ContainerReader reader(source);
  reader.read_section("empty");
  EXPECT_THAT(error_of([&] { reader.read_section("first"); }), HasSubstr("first"));
  EXPECT_THROW(reader.read_section("nowhere"), Error);
}

TEST(Container, PiecewiseReadingStopsAtTheSectionsEnd) {
  const Bytes bytes = small_container();
  MemorySource source(bytes);
  ContainerReader reader(source);
  EXPECT_EQ(reader.open("last"), 65U);
  Bytes piece(40);
  EXPECT_EQ(reader.read(piece), 40U);
  EXPECT_EQ(reader.read(piece), 25U);
  EXPECT_EQ(reader.read(piece), 0U);
  reader.close();
  EXPECT_THROW(reader.read(piece), Error);
}

TEST(Container, EveryFlippedByteIsRefused) {
  const Bytes bytes = small_container();
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const uint8_t flip : {uint8_t{1}, uint8_t{0x80}, uint8_t{0xFF}}) {
      Bytes broken = bytes;
      broken[i] ^= flip;
      EXPECT_THROW(read_all(broken), Error) << "byte " << i;
    }
  }
}

TEST(Container, EveryTruncationIsRefused) {
  const Bytes bytes = small_container();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THROW(read_all(cut), Error) << size << " bytes";
    PipeSource pipe(cut);
    EXPECT_THROW(ContainerReader(pipe).finish(), Error) << size << " bytes through a pipe";
  }
}

TEST(Container, TrailingBytesAreRefusedUnlessAllowed) {
  Bytes bytes = small_container();
  bytes.push_back(0);
  EXPECT_THROW(read_all(bytes), Error);
  MemorySource source(bytes);
  ContainerReader(source, true).finish();
  EXPECT_EQ(source.left(), 1U);
}

TEST(Container, ForeignBytesAreNamedAsSuch) {
  const Bytes foreign(1000, 'x');
  EXPECT_THAT(error_of([&] { read_all(foreign); }), HasSubstr("foreign"));
  EXPECT_FALSE(looks_like_container(foreign));
  EXPECT_TRUE(looks_like_container(small_container()));
  EXPECT_FALSE(looks_like_container({}));
}

TEST(Container, PipesAreReadWithoutKnowingTheirLength) {
  const Bytes bytes = small_container();
  PipeSource pipe(bytes);
  ContainerReader reader(pipe);
  EXPECT_FALSE(reader.sizes_are_known());
  EXPECT_EQ(reader.read_section("last"), counting(65));
  reader.finish();
}

TEST(Container, WriterRefusesBadNames) {
  ContainerWriter writer;
  writer.add("a", Bytes{});
  EXPECT_THROW(writer.add("a", Bytes{}), Error);
  EXPECT_THROW(writer.add("", Bytes{}), Error);
  EXPECT_THROW(writer.add("Upper", Bytes{}), Error);
  EXPECT_THROW(writer.add(std::string(32, 'a'), Bytes{}), Error);
  writer.add(std::string(31, 'a'), Bytes{});
}

TEST(Container, WriterNoticesAChangingSection) {
  ContainerWriter writer;
  int calls = 0;
  writer.add("moving", [&](ByteSink& sink) { write_text(sink, std::to_string(calls++)); });
  EXPECT_THAT(error_of([&] { written(writer); }), HasSubstr("moving"));
}

TEST_F(ContainerFile, RoundTrip) {
  ContainerWriter writer;
  const Bytes large = counting(3'000'000);
  writer.add("large", large);
  write_file(path("index"), [&](ByteSink& sink) { writer.write(sink); });
  FileSource source(path("index"));
  ContainerReader reader(source);
  EXPECT_TRUE(reader.sizes_are_known());
  EXPECT_EQ(reader.read_section("large"), large);
  reader.finish();
  EXPECT_THAT(names(), ElementsAre("index"));
}

TEST_F(ContainerFile, AFailedWriteLeavesTheOldFileWhole) {
  put("index", "old");
  const auto fail_half_way = [](ByteSink& sink) {
    sink.write(counting(1'000'000));
    throw Error("the disk is full");
  };
  EXPECT_THAT(error_of([&] { write_file(path("index"), fail_half_way); }), HasSubstr("disk"));
  EXPECT_EQ(get("index"), "old");
  EXPECT_THAT(names(), ElementsAre("index"));
}

TEST_F(ContainerFile, MissingDirectoryIsReported) {
  const auto produce = [](ByteSink& sink) { write_text(sink, "new"); };
  EXPECT_THAT(error_of([&] { write_file(path("no/where"), produce); }),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(error_of([&] { FileSource source(path("nothing")); }), HasSubstr("nothing"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(ContainerFile, DirectoryIsNoFile) {
  std::filesystem::create_directory(path("directory"));
  EXPECT_THROW(write_file(path("directory"), [](ByteSink& sink) { write_text(sink, "x"); }), Error);
}

TEST_F(ContainerFile, PermissionsAndLinksAreKept) {
  put("real", "old");
  ::chmod(path("real").c_str(), 0640);
  std::filesystem::create_symlink(path("real"), path("link"));
  write_file(path("link"), [](ByteSink& sink) { write_text(sink, "new"); });
  EXPECT_TRUE(std::filesystem::is_symlink(path("link")));
  EXPECT_EQ(get("real"), "new");
  struct stat status {};
  ASSERT_EQ(::stat(path("real").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
}

TEST_F(ContainerFile, DevicesAreWrittenToAndNotReplaced) {
  write_file("/dev/null", [](ByteSink& sink) { write_text(sink, "new"); });
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST_F(ContainerFile, PipesCanBeWrittenAndRead) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  ContainerWriter writer;
  writer.add("large", counting(500'000));
  std::thread producer(
      [&] { write_file(path("pipe"), [&](ByteSink& sink) { writer.write(sink); }); });
  {
    FileSource source(path("pipe"));
    EXPECT_FALSE(source.left().has_value());
    ContainerReader reader(source);
    EXPECT_EQ(reader.read_section("large"), counting(500'000));
    reader.finish();
  }
  producer.join();
}

}  // namespace
}  // namespace rotorquant
