// SPDX-License-Identifier: MIT
#include "rotorquant/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

/// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}  // NOLINT(*-vararg)
  ~Descriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

void require_system(bool ok, const std::string& path) {
  if (!ok) {
    throw_error(path, "a file that can be mapped", std::generic_category().message(errno));
  }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file(path);
  require_system(file.number() >= 0, path);
  struct stat status {};
  require_system(::fstat(file.number(), &status) == 0, path);
  require(S_ISREG(status.st_mode) && status.st_size > 0, path, "a regular file with bytes in it",
          "something else");
  const std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->size_ = static_cast<size_t>(status.st_size);
  void* pages = ::mmap(nullptr, mapped->size_, PROT_READ, MAP_SHARED, file.number(), 0);
  require_system(pages != MAP_FAILED, path);  // NOLINT: the macro's cast
  mapped->data_ = static_cast<const uint8_t*>(pages);
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<uint8_t*>(data_), size_);  // NOLINT: munmap wants it so
  }
}

void MappedFile::expect_random_reads(uint64_t offset, uint64_t size) const {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = (offset + page - 1) / page * page;
  if (offset + size > first) {  // whole pages only; advice, so a failure means nothing
    (void)::madvise(const_cast<uint8_t*>(data_) + first, offset + size - first,  // NOLINT
                    MADV_RANDOM);
  }
}

}  // namespace rotorquant
