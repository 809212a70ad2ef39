// SPDX-License-Identifier: MIT
#include "rotorquant/container.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iomanip>
#include <limits>
#include <sstream>
#include <utility>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

constexpr uint64_t alignment = 64;
constexpr uint32_t format_version = 1;
/// The line ends tell a file that went through a text-mode transfer.
constexpr std::array<char, 8> magic = {'R', 'T', 'R', 'Q', '\r', '\n', '\x1a', '\n'};
constexpr size_t max_name = 31;
/// Bounds the table before its checksum is known; an index has a handful of sections a node.
constexpr uint32_t max_sections = 1U << 16;
constexpr size_t chunk_bytes = size_t{1} << 20;

/// The first 64 bytes, little-endian, no padding (docs/format.md).
struct Header {
  std::array<char, 8> magic{};
  uint32_t version = 0;
  uint32_t section_count = 0;
  uint64_t total_bytes = 0;
  uint64_t table_checksum = 0;
  std::array<uint64_t, 3> reserved{};
  uint64_t header_checksum = 0;  // of the 56 bytes before it
};
static_assert(sizeof(Header) == alignment);
static_assert(std::has_unique_object_representations_v<Header>);

struct TableEntry {
  std::array<char, max_name + 1> name{};  // zero-padded
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t checksum = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(TableEntry) == alignment);
static_assert(std::has_unique_object_representations_v<TableEntry>);

constexpr uint64_t align_up(uint64_t n) {
  return (n + alignment - 1) / alignment * alignment;
}

template <class T>
std::span<const uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof(T)};
}

template <class T>
std::span<const uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

uint64_t checksum_of(std::span<const uint8_t> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t checksum_of(const Header& header) {
  return checksum_of(bytes_of(header).first(offsetof(Header, header_checksum)));
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= max_name &&
         std::all_of(name.begin(), name.end(), is_name_character);
}

std::string hex(uint64_t value) {
  std::ostringstream out;
  out << std::hex << std::setw(16) << std::setfill('0') << value;
  return out.str();
}

void require_checksum(std::string_view what, uint64_t expected, uint64_t received) {
  require(expected == received, std::string(what) + ": checksum", hex(expected), hex(received));
}

/// A streaming XXH3 that owns its state.
class Hasher {
 public:
  Hasher() : state_(XXH3_createState(), &XXH3_freeState) {
    if (state_ == nullptr) {
      throw std::bad_alloc();
    }
    reset();
  }
  void reset() { XXH3_64bits_reset(state_.get()); }
  void update(std::span<const uint8_t> bytes) {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }
  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

/// Measures what a producer emits, and passes it on where there is somewhere to pass it.
class MeasuringSink final : public ByteSink {
 public:
  explicit MeasuringSink(ByteSink* next = nullptr) : next_(next) {}
  void write(std::span<const uint8_t> bytes) override {
    hasher_.update(bytes);
    size_ += bytes.size();
    if (next_ != nullptr) {
      next_->write(bytes);
    }
  }
  uint64_t size() const { return size_; }
  uint64_t checksum() const { return hasher_.digest(); }

 private:
  ByteSink* next_;
  Hasher hasher_;
  uint64_t size_ = 0;
};

void write_padding(ByteSink& sink, uint64_t size) {
  constexpr std::array<uint8_t, alignment> zeros{};
  sink.write(std::span(zeros).first(align_up(size) - size));
}

ContainerReader::Section read_entry(const TableEntry& entry) {
  const auto* end = std::find(entry.name.begin(), entry.name.end(), '\0');
  const std::string name(entry.name.begin(), end);
  const bool padded = std::all_of(end, entry.name.end(), [](char c) { return c == '\0'; });
  require(padded && is_name(name), "container: section name", "1 to 31 of a-z 0-9 . _ -",
          "something else");
  require(entry.reserved == 0, "container: reserved field of section " + name, 0, entry.reserved);
  return {name, entry.offset, entry.size, entry.checksum};
}

void check_header(const Header& header) {
  require(header.magic == magic, "container: first bytes", "a rotorquant file",
          "something else (foreign file?)");
  require_checksum("container: header", header.header_checksum, checksum_of(header));
  require(header.version == format_version, "container: format version", format_version,
          header.version);
  require(header.section_count <= max_sections, "container: sections",
          "at most " + std::to_string(max_sections), header.section_count);
  for (const uint64_t field : header.reserved) {
    require(field == 0, "container: reserved field of the header", 0, field);
  }
}

/// Sections must follow each other without gap or overlap and fill the container exactly.
void check_layout(const std::vector<ContainerReader::Section>& sections, uint64_t first_offset,
                  uint64_t total_bytes) {
  uint64_t offset = first_offset;
  for (const ContainerReader::Section& section : sections) {
    require(section.offset == offset, "container: offset of section " + section.name, offset,
            section.offset);
    require(offset <= total_bytes && section.size <= total_bytes - offset,
            "container: size of section " + section.name, "at most the file's", section.size);
    offset = align_up(offset + section.size);
  }
  require(offset == total_bytes, "container: total size", offset, total_bytes);
}

}  // namespace

bool looks_like_container(std::span<const uint8_t> bytes) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

size_t MemorySource::read(std::span<uint8_t> to) {
  const size_t count = std::min(to.size(), bytes_.size());
  std::copy_n(bytes_.begin(), count, to.begin());
  bytes_ = bytes_.subspan(count);
  return count;
}

// ---- writing -------------------------------------------------------------------------------

void ContainerWriter::add(std::string name, std::vector<uint8_t> bytes) {
  auto shared = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  add(std::move(name), [shared](ByteSink& sink) { sink.write(*shared); });
}

void ContainerWriter::add(std::string name, Producer produce) {
  require(is_name(name), "container: section name", "1 to 31 of a-z 0-9 . _ -", name);
  require(std::none_of(sections_.begin(), sections_.end(),
                       [&](const Section& section) { return section.name == name; }),
          "container: section name", "a new one", name);
  require(sections_.size() < max_sections, "container: sections", max_sections,
          sections_.size() + 1);
  sections_.push_back({std::move(name), std::move(produce)});
}

void ContainerWriter::write(ByteSink& sink) const {
  // The table goes in front, so that a reader of a pipe knows what comes; hence two passes.
  uint64_t offset = sizeof(Header) + sections_.size() * sizeof(TableEntry);
  std::vector<TableEntry> table;
  for (const Section& section : sections_) {
    MeasuringSink measured;
    section.produce(measured);
    TableEntry& entry = table.emplace_back();
    std::copy(section.name.begin(), section.name.end(), entry.name.begin());
    entry.offset = offset;
    entry.size = measured.size();
    entry.checksum = measured.checksum();
    offset = align_up(offset + entry.size);
  }
  Header header;
  header.magic = magic;
  header.version = format_version;
  header.section_count = static_cast<uint32_t>(table.size());
  header.total_bytes = offset;
  header.table_checksum = checksum_of(bytes_of(table));
  header.header_checksum = checksum_of(header);
  sink.write(bytes_of(header));
  sink.write(bytes_of(table));
  for (size_t i = 0; i < table.size(); ++i) {
    MeasuringSink measured(&sink);
    sections_[i].produce(measured);
    require(measured.size() == table[i].size && measured.checksum() == table[i].checksum,
            "container: section " + sections_[i].name, "the same bytes twice",
            "others (changed while it was written?)");
    write_padding(sink, table[i].size);
  }
}

// ---- reading -------------------------------------------------------------------------------

struct ContainerReader::Hash : Hasher {};

ContainerReader::ContainerReader(ByteSource& source, bool more_may_follow)
    : source_(source), hash_(std::make_unique<Hash>()) {
  read_header_and_table(more_may_follow);
}

ContainerReader::~ContainerReader() = default;

void ContainerReader::fill(std::span<uint8_t> to, const char* what) {
  const size_t received = source_.read(to);
  position_ += received;
  require(received == to.size(), std::string("container: ") + what,
          std::to_string(to.size()) + " bytes",
          std::to_string(received) + " (truncated at byte " + std::to_string(position_) + ")");
}

void ContainerReader::read_header_and_table(bool more_may_follow) {
  const std::optional<uint64_t> length = source_.left();
  Header header;
  fill({reinterpret_cast<uint8_t*>(&header), sizeof(header)}, "header");
  check_header(header);
  if (length.has_value()) {
    require(header.total_bytes == *length || (more_may_follow && header.total_bytes <= *length),
            "container: bytes", header.total_bytes, *length);
    sizes_are_known_ = true;
  }
  std::vector<TableEntry> table(header.section_count);  // at most 4 MiB
  fill({reinterpret_cast<uint8_t*>(table.data()), table.size() * sizeof(TableEntry)}, "table");
  require_checksum("container: table", header.table_checksum, checksum_of(bytes_of(table)));
  for (const TableEntry& entry : table) {
    sections_.push_back(read_entry(entry));
  }
  check_layout(sections_, position_, header.total_bytes);
}

uint64_t ContainerReader::open(std::string_view name) {
  require(!is_open_, "container: open section", "none", "one");
  while (true) {
    require(next_ < sections_.size(), "container: section", name, "none of that name");
    const Section& section = sections_[next_++];
    open_left_ = section.size;
    is_open_ = true;
    hash_->reset();
    if (section.name == name) {
      return section.size;
    }
    close();
  }
}

size_t ContainerReader::read(std::span<uint8_t> to) {
  require(is_open_, "container: open section", "one", "none");
  const auto count = static_cast<size_t>(std::min<uint64_t>(to.size(), open_left_));
  fill(to.first(count), "section");
  hash_->update(to.first(count));
  open_left_ -= count;
  return count;
}

void ContainerReader::close() {
  require(is_open_, "container: open section", "one", "none");
  if (open_left_ != 0) {
    std::vector<uint8_t> chunk(static_cast<size_t>(std::min<uint64_t>(open_left_, chunk_bytes)));
    while (open_left_ != 0) {
      read(chunk);
    }
  }
  is_open_ = false;
  const Section& section = sections_[next_ - 1];
  require_checksum("container: section " + section.name, section.checksum, hash_->digest());
  skip_padding();
}

void ContainerReader::skip_padding() {
  std::array<uint8_t, alignment> padding{};
  const auto used = std::span(padding).first(static_cast<size_t>(align_up(position_) - position_));
  fill(used, "padding");
  require(std::all_of(used.begin(), used.end(), [](uint8_t b) { return b == 0; }),
          "container: padding", "zeros", "something else");
}

std::vector<uint8_t> ContainerReader::read_section(std::string_view name) {
  const uint64_t size = open(name);
  require(size <= std::numeric_limits<size_t>::max() / 2, "container: size of section",
          "what memory can address", size);
  std::vector<uint8_t> bytes;
  if (sizes_are_known_) {
    bytes.reserve(static_cast<size_t>(size));
  }
  while (bytes.size() < size) {
    // From a pipe the size is only a claim: memory grows with what really arrives.
    const size_t begin = bytes.size();
    bytes.resize(begin + static_cast<size_t>(std::min<uint64_t>(size - begin, chunk_bytes)));
    read(std::span(bytes).subspan(begin));
  }
  close();
  return bytes;
}

void ContainerReader::finish() {
  if (is_open_) {
    close();
  }
  while (next_ < sections_.size()) {
    open(sections_[next_].name);
    close();
  }
}

}  // namespace rotorquant
