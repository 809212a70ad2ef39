// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rotorquant {

/// The file container: a header, a table of named sections, the sections, each 64-byte aligned and
/// under an XXH3-64 checksum. docs/format.md has every byte. It knows nothing of what sections
/// hold. Nothing here is thread-safe; separate objects are independent.

/// Where bytes go. write() takes all of them or throws Error.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void write(std::span<const uint8_t> bytes) = 0;

 protected:
  ByteSink() = default;
  ByteSink(const ByteSink&) = default;
  ByteSink& operator=(const ByteSink&) = default;
};

/// Where bytes come from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `to` from the front and returns how many bytes it wrote: fewer than to.size() only where
  /// the source ends.
  virtual size_t read(std::span<uint8_t> to) = 0;
  /// Bytes not yet read, where that is known (not for pipes).
  virtual std::optional<uint64_t> left() const { return std::nullopt; }

 protected:
  ByteSource() = default;
  ByteSource(const ByteSource&) = default;
  ByteSource& operator=(const ByteSource&) = default;
};

/// Collects bytes in memory.
class MemorySink final : public ByteSink {
 public:
  void write(std::span<const uint8_t> bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void reserve(size_t size) { bytes_.reserve(size); }
  std::vector<uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

/// Reads from memory it does not own.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  size_t read(std::span<uint8_t> to) override;
  std::optional<uint64_t> left() const override { return bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
};

/// Reads a file from its start. Throws Error, with the system's reason, when it cannot be opened.
class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::string& path);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  size_t read(std::span<uint8_t> to) override;
  /// Unknown for anything but a regular file.
  std::optional<uint64_t> left() const override;

 private:
  std::string path_;
  int descriptor_;
  std::optional<uint64_t> left_;
};

/// Writes `path` by way of `produce`. The bytes go to a temporary file in the same directory, which
/// is flushed to disk and then renamed over `path`: whatever goes wrong, a file already there stays
/// whole and the temporary is removed (what produce throws passes through). An existing file's
/// permissions are kept and a symbolic link is followed. Something that is no regular file (a
/// device, a pipe) is written to directly.
void write_file(const std::string& path, const std::function<void(ByteSink&)>& produce);

/// Collects sections and writes them as one container.
class ContainerWriter {
 public:
  using Producer = std::function<void(ByteSink&)>;

  /// Names are unique, 1 to 31 characters of a-z, 0-9, '.', '_' and '-'. Sections are written in
  /// the order of add().
  void add(std::string name, std::vector<uint8_t> bytes);
  /// For sections too large to hold twice. `produce` runs twice, once to measure and once to write,
  /// and must emit the same bytes both times (else Error); what it refers to must outlive write().
  void add(std::string name, Producer produce);

  void write(ByteSink& sink) const;

 private:
  struct Section {
    std::string name;
    Producer produce;
  };
  std::vector<Section> sections_;
};

/// Reads a container front to back, from any source, seekable or not. Every byte is checked:
/// header and table at construction, a section when it is closed, padding on the way. Anything that
/// is not exactly what ContainerWriter wrote throws Error. Memory is only ever taken for bytes that
/// have arrived or that the source is known to hold.
class ContainerReader {
 public:
  struct Section {
    std::string name;
    uint64_t offset = 0;
    uint64_t size = 0;
    uint64_t checksum = 0;
  };

  /// Reads header and table. Where the source knows its length, that must be the container's,
  /// unless `more_may_follow`. The source must outlive the reader.
  explicit ContainerReader(ByteSource& source, bool more_may_follow = false);
  ~ContainerReader();
  ContainerReader(const ContainerReader&) = delete;
  ContainerReader& operator=(const ContainerReader&) = delete;

  const std::vector<Section>& sections() const { return sections_; }
  /// Whether the source knows its length, so that section sizes are facts, not claims: only then
  /// may a caller set memory aside for one before it has arrived.
  bool sizes_are_known() const { return sizes_are_known_; }

  /// Goes forward to the named section, checking what it skips, and returns the section's size.
  /// Error when no such section lies ahead.
  uint64_t open(std::string_view name);
  /// The next bytes of the open section, fewer than to.size() only at its end. They are not
  /// verified before close() returns.
  size_t read(std::span<uint8_t> to);
  /// Skips to the end of the open section and verifies its checksum.
  void close();
  /// open, read everything, close: verified bytes.
  std::vector<uint8_t> read_section(std::string_view name);
  /// Checks everything not read yet.
  void finish();

 private:
  struct Hash;

  ByteSource& source_;
  std::vector<Section> sections_;
  uint64_t position_ = 0;   // in the container
  size_t next_ = 0;         // section after the open one
  uint64_t open_left_ = 0;  // bytes of the open section not read yet
  bool is_open_ = false;
  bool sizes_are_known_ = false;
  std::unique_ptr<Hash> hash_;

  void fill(std::span<uint8_t> to, const char* what);
  void read_header_and_table(bool more_may_follow);
  void skip_padding();
};

/// Whether `bytes` (at least the first 8 of a file) start like a container.
bool looks_like_container(std::span<const uint8_t> bytes);

}  // namespace rotorquant
