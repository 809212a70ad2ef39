// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rotorquant {

/// A file in memory as the system pages it in: read-only, shared with whoever maps it too. The file
/// must not be changed while it is mapped; replacing it by rename, as write_file does, is fine.
class MappedFile {
 public:
  /// Throws Error, with the system's reason, when the file cannot be mapped.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }
  /// Tells the system that a part of the file will be read at random places, a row here and a row
  /// there, so that it does not read ahead.
  void expect_random_reads(uint64_t offset, uint64_t size) const;

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;

  MappedFile() = default;
};

}  // namespace rotorquant
