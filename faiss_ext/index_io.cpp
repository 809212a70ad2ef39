// SPDX-License-Identifier: MIT
#include "faiss_ext/index_io.h"

#include <faiss/index_io.h>

#include <algorithm>

#include "faiss_ext/boundary.h"
#include "faiss_ext/faiss_bytes.h"
#include "faiss_ext/tree_io.h"
#include "rotorquant/container.h"
#include "rotorquant/mapped_file.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

constexpr size_t magic_bytes = 8;  // what looks_like_container wants to see

ContainerWriter sections_of(const faiss::Index* index, bool mappable = false) {
  require(index != nullptr, "write: index", "one", "none");
  ContainerWriter out;
  add_sections(*index, out, mappable);
  return out;
}

IndexPtr read_container(ByteSource& source, bool more_may_follow) {
  ContainerReader container(source, more_may_follow);
  return read_sections(container);
}

std::vector<uint8_t> first_bytes(const std::string& path) {
  FileSource source(path);
  std::vector<uint8_t> bytes(magic_bytes);
  bytes.resize(source.read(bytes));
  return bytes;
}

}  // namespace

void write_index(const faiss::Index* index, const std::string& path) {
  faiss_boundary([&] {
    const ContainerWriter out = sections_of(index);
    write_file(path, [&](ByteSink& sink) { out.write(sink); });
  });
}

void write_mappable_index(const faiss::Index* index, const std::string& path) {
  faiss_boundary([&] {
    const ContainerWriter out = sections_of(index, true);
    write_file(path, [&](ByteSink& sink) { out.write(sink); });
  });
}

IndexPtr map_index(const std::string& path) {
  return faiss_boundary([&] {
    const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
    require(looks_like_container(file->bytes()), path, "an index file of ours", "another");
    MemorySource source(file->bytes());
    ContainerReader container(source);
    const auto& sections = container.sections();
    const bool mappable = std::any_of(sections.begin(), sections.end(), [](const auto& section) {
      return section.name.ends_with(".scan");
    });
    return mappable ? map_sections(container, file) : read_sections(container);
  });
}

void verify_index(const std::string& path) {
  faiss_boundary([&] {
    FileSource source(path);
    ContainerReader container(source);
    container.finish();
  });
}

void write_index(const faiss::Index* index, faiss::IOWriter* writer) {
  faiss_boundary([&] {
    WriterSink sink(*writer);
    sections_of(index).write(sink);
  });
}

std::vector<uint8_t> serialize_index(const faiss::Index* index) {
  return faiss_boundary([&] {
    MemorySink sink;
    sections_of(index).write(sink);
    return sink.take();
  });
}

IndexPtr read_index(const std::string& path) {
  return faiss_boundary([&] {
    FileSource source(path);
    if (source.left().has_value() && !looks_like_container(first_bytes(path))) {
      return IndexPtr(faiss::read_index(path.c_str()));
    }
    return read_container(source, false);
  });
}

IndexPtr read_index(faiss::IOReader* reader) {
  return faiss_boundary([&] {
    std::vector<uint8_t> front(magic_bytes);
    ReplayReader nothing({}, *reader);
    front.resize(nothing.read(front));
    const bool ours = looks_like_container(front);
    ReplayReader all(std::move(front), *reader);
    return ours ? read_container(all, true) : IndexPtr(faiss::read_index(&all));
  });
}

IndexPtr deserialize_index(std::span<const uint8_t> bytes) {
  return faiss_boundary([&] {
    if (!looks_like_container(bytes)) {
      SpanReader reader(bytes);
      return IndexPtr(faiss::read_index(&reader));
    }
    MemorySource source(bytes);
    return read_container(source, false);
  });
}

}  // namespace rotorquant
