// SPDX-License-Identifier: MIT
// The parts of container.h that touch the file system.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "rotorquant/container.h"
#include "rotorquant/error.h"

namespace rotorquant {
namespace {

/// One system call moves at most this much: Linux stops just below 2 GiB anyway.
constexpr size_t max_transfer = size_t{1} << 30;

[[noreturn]] void throw_system_error(const std::string& path, const char* what) {
  const std::string reason = std::strerror(errno);  // before anything else can change errno
  throw_error("file " + path, what, reason);
}

/// A file open for writing, buffered. Closed without complaint by the destructor, with checks by
/// close().
class FileSink final : public ByteSink {
 public:
  FileSink(std::string path, int flags, mode_t mode)
      : path_(std::move(path)), descriptor_(::open(path_.c_str(), flags | O_CLOEXEC, mode)) {
    if (descriptor_ < 0) {
      throw_system_error(path_, "to open it for writing");
    }
  }
  ~FileSink() override {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  void write(std::span<const uint8_t> bytes) override {
    if (buffer_.size() + bytes.size() > buffer_bytes) {
      flush();
    }
    if (bytes.size() >= buffer_bytes) {
      write_now(bytes);
    } else {
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }
  }
  void set_permissions(mode_t mode) {
    if (::fchmod(descriptor_, mode) != 0) {
      throw_system_error(path_, "to set its permissions");
    }
  }
  void flush_to_disk() {
    flush();
    if (::fsync(descriptor_) != 0) {
      throw_system_error(path_, "to flush it to disk");
    }
  }
  void close() {
    flush();
    if (::close(std::exchange(descriptor_, -1)) != 0) {
      throw_system_error(path_, "to close it");
    }
  }

 private:
  static constexpr size_t buffer_bytes = size_t{1} << 18;
  std::string path_;
  int descriptor_;
  std::vector<uint8_t> buffer_;

  void write_now(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t written =
          ::write(descriptor_, bytes.data(), std::min(bytes.size(), max_transfer));
      if (written < 0 && errno != EINTR) {
        throw_system_error(path_, "to write to it");
      }
      bytes = bytes.subspan(written < 0 ? 0 : static_cast<size_t>(written));
    }
  }
  void flush() {
    write_now(buffer_);
    buffer_.clear();
  }
};

/// Unlinks a file unless it was kept.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void rename_to(const std::string& target) {
    if (std::rename(path_.c_str(), target.c_str()) != 0) {
      throw_system_error(target, "to move the finished file there");
    }
    path_.clear();
  }

 private:
  std::string path_;
};

std::string temporary_name(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return path + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(counter++);
}

/// After a rename the directory entry itself must reach the disk. Some file systems refuse to
/// flush a directory; the file is complete by then, so that is no error.
void flush_directory_of(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path().string();
  if (directory.empty()) {
    directory = ".";
  }
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
}

/// The file behind a symbolic link: renaming over the link would replace the link.
std::string resolve(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(path, failed);
  return failed ? path : real.string();
}

void replace_file(const std::string& path, const struct stat* existing,
                  const std::function<void(ByteSink&)>& produce) {
  const std::string temporary_path = temporary_name(path);
  constexpr mode_t everyone = 0666;  // less the umask
  FileSink sink(temporary_path, O_WRONLY | O_CREAT | O_EXCL, everyone);
  TemporaryFile temporary(temporary_path);
  produce(sink);
  if (existing != nullptr) {
    constexpr mode_t permission_bits = 07777;
    sink.set_permissions(existing->st_mode & permission_bits);
  }
  sink.flush_to_disk();
  sink.close();
  temporary.rename_to(path);
  flush_directory_of(path);
}

}  // namespace

FileSource::FileSource(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw_system_error(path_, "to open it for reading");
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    left_ = static_cast<uint64_t>(status.st_size);
  }
}

FileSource::~FileSource() {
  ::close(descriptor_);
}

size_t FileSource::read(std::span<uint8_t> to) {
  size_t done = 0;
  while (done < to.size()) {
    const ssize_t received =
        ::read(descriptor_, to.data() + done, std::min(to.size() - done, max_transfer));
    if (received == 0) {
      break;
    }
    if (received < 0 && errno != EINTR) {
      throw_system_error(path_, "to read from it");
    }
    done += received < 0 ? 0 : static_cast<size_t>(received);
  }
  if (left_.has_value()) {
    *left_ -= std::min<uint64_t>(*left_, done);
  }
  return done;
}

std::optional<uint64_t> FileSource::left() const {
  return left_;
}

void write_file(const std::string& path, const std::function<void(ByteSink&)>& produce) {
  const std::string target = resolve(path);
  struct stat status {};
  const bool exists = ::stat(target.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    FileSink sink(target, O_WRONLY, 0);
    produce(sink);
    sink.close();
    return;
  }
  replace_file(target, exists ? &status : nullptr, produce);
}

}  // namespace rotorquant
