// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/impl/io.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "rotorquant/container.h"
#include "rotorquant/error.h"

namespace rotorquant {

/// FAISS's byte streams over the core's and the other way round. None owns what it wraps.

/// FAISS writes, a core sink receives.
class SinkWriter final : public faiss::IOWriter {
 public:
  explicit SinkWriter(ByteSink& sink) : sink_(sink) {}
  size_t operator()(const void* from, size_t size, size_t nitems) override {
    sink_.write({static_cast<const uint8_t*>(from), size * nitems});
    return nitems;
  }

 private:
  ByteSink& sink_;
};

/// The core writes, a FAISS writer receives.
class WriterSink final : public ByteSink {
 public:
  explicit WriterSink(faiss::IOWriter& writer) : writer_(writer) {}
  void write(std::span<const uint8_t> bytes) override {
    const size_t written = bytes.empty() ? 0 : writer_(bytes.data(), 1, bytes.size());
    require(written == bytes.size(), "IOWriter " + writer_.name,
            "to take " + std::to_string(bytes.size()) + " bytes", written);
  }

 private:
  faiss::IOWriter& writer_;
};

/// FAISS reads from memory, without the copy that VectorIOReader wants.
class SpanReader final : public faiss::IOReader {
 public:
  explicit SpanReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  size_t operator()(void* to, size_t size, size_t nitems) override {
    const size_t items = size == 0 ? 0 : std::min(nitems, bytes_.size() / size);
    if (items != 0) {
      std::memcpy(to, bytes_.data(), items * size);
      bytes_ = bytes_.subspan(items * size);
    }
    return items;
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
};

/// A FAISS reader with some bytes, already taken from it, put back in front: as a source of the
/// core and as a reader for FAISS.
class ReplayReader final : public faiss::IOReader, public ByteSource {
 public:
  ReplayReader(std::vector<uint8_t> front, faiss::IOReader& rest)
      : front_(std::move(front)), rest_(rest) {
    name = rest.name;
  }
  size_t read(std::span<uint8_t> to) override {
    size_t done = std::min(to.size(), front_.size() - used_);
    std::copy_n(front_.begin() + static_cast<std::ptrdiff_t>(used_), done, to.begin());
    used_ += done;
    while (done < to.size()) {
      const size_t received = rest_(to.data() + done, 1, to.size() - done);
      if (received == 0) {
        break;
      }
      done += received;
    }
    return done;
  }
  size_t operator()(void* to, size_t size, size_t nitems) override {
    return size == 0 ? 0 : read({static_cast<uint8_t*>(to), size * nitems}) / size;
  }

 private:
  std::vector<uint8_t> front_;
  size_t used_ = 0;
  faiss::IOReader& rest_;
};

}  // namespace rotorquant
