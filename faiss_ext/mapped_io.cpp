// SPDX-License-Identifier: MIT
#include "faiss_ext/mapped_io.h"

#include <algorithm>
#include <limits>

#include "faiss_ext/index_parts.h"
#include "rotorquant/aligned.h"

namespace rotorquant {
namespace {

std::span<const uint8_t> bytes_of(const void* data, size_t size) {
  return {static_cast<const uint8_t*>(data), size};
}

/// Rows of a list start at a cache line.
size_t padded_rows(size_t bytes) {
  return (bytes + cache_line - 1) / cache_line * cache_line;
}

void write_blocks(const CodeStore& store, ByteSink& sink) {
  if (store.blocks() != 0) {
    sink.write({store.block(0), store.blocks() * store.block_bytes()});
  }
}

void write_rows(const CodeStore& store, ByteSink& sink) {
  const size_t bytes = store.size() * store.layout().row_bytes();
  if (bytes != 0) {
    sink.write({store.row(0), bytes});
    const std::vector<uint8_t> zeros(padded_rows(bytes) - bytes, 0);
    sink.write(zeros);
  }
}

template <class Write>
void add_list_section(const IndexIVFRotorQuant& index, const std::string& name,
                      ContainerWriter& out, Write write) {
  const InvertedFile* file = index.file();
  out.add(name, [file, write](ByteSink& sink) {
    for (size_t list = 0; list < file->lists(); ++list) {
      write(*file, list, sink);
    }
  });
}

template <class T>
void write_ids(const InvertedFile& file, size_t list, ByteSink& sink) {
  std::vector<T> ids(file.size(list));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<T>(file.ids(list)[i]);
  }
  sink.write(bytes_of(ids.data(), ids.size() * sizeof(T)));
}

/// Takes a section apart from the front.
class Cursor {
 public:
  Cursor(std::span<const uint8_t> bytes, std::string name)
      : bytes_(bytes), name_(std::move(name)) {}
  std::span<const uint8_t> take(size_t size) {
    require(size <= bytes_.size(), name_ + ": bytes", "as many as its codes need", "fewer");
    const std::span<const uint8_t> taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }
  /// Of whole cache lines; `size` of them are meant.
  std::span<const uint8_t> take_padded(size_t size) { return take(padded_rows(size)).first(size); }
  void finish() const { require(bytes_.empty(), name_ + ": bytes left over", 0, bytes_.size()); }

 private:
  std::span<const uint8_t> bytes_;
  std::string name_;
};

CodeStore take_store(const CodeLayout& layout, ScanLayout order, size_t size, Cursor& scan,
                     Cursor& rows, const std::shared_ptr<const void>& owner) {
  const std::span<const uint8_t> blocks = scan.take(blocks_bytes(layout, size));
  return store_of_blocks(layout, order, size, blocks, rows.take_padded(size * layout.row_bytes()),
                         owner);
}

/// What read-only lists hold, as lists of its own.
void copy_lists(const InvertedFile& from, InvertedFile& to) {
  std::vector<uint8_t> codes;
  std::vector<idx_t> ids;
  for (size_t list = 0; list < from.lists(); ++list) {
    const size_t size = from.size(list);
    codes.resize(size * from.geometry().codec().code_bytes());
    from.pack(list, 0, size, codes.data());
    ids.resize(size);
    for (size_t i = 0; i < size; ++i) {
      ids[i] = from.ids(list)[i];
    }
    to.reserve(list, size);
    to.append(list, size, ids.data(), codes.data());
  }
}

}  // namespace

void write_mappable_fields(const MappableFields& fields, ByteWriter& out) {
  out.put<uint32_t>(static_cast<uint32_t>(fields.order));
  out.put<uint32_t>(fields.id_bytes);
}

MappableFields read_mappable_fields(ByteReader& in, bool has_ids) {
  const auto order = in.get<uint32_t>();
  require(order <= static_cast<uint32_t>(ScanLayout::dword_per_vector), "node: order of blocks",
          "0 or 1", order);
  const auto id_bytes = in.get<uint32_t>();
  require(has_ids ? id_bytes == 4 || id_bytes == 8 : id_bytes == 0, "node: bytes an id",
          has_ids ? "4 or 8" : "0", id_bytes);
  return {static_cast<ScanLayout>(order), id_bytes};
}

MappableFields mappable_fields(const IndexRotorQuant& /*index*/) {
  return {active_scan_layout(), 0};
}

MappableFields mappable_fields(const IndexIVFRotorQuant& index) {
  const InvertedFile* file = index.file();
  require(file != nullptr, "mappable file: inverted lists", "trained ones of ours", "others");
  bool narrow = true;
  for (size_t list = 0; list < file->lists() && narrow; ++list) {
    for (size_t i = 0; i < file->size(list) && narrow; ++i) {
      const int64_t id = file->ids(list)[i];
      narrow = id >= 0 && id <= std::numeric_limits<uint32_t>::max();
    }
  }
  return {active_scan_layout(), narrow ? 4U : 8U};
}

void add_mappable_sections(const IndexRotorQuant& index, const std::string& prefix,
                           ContainerWriter& out) {
  const CodeStore* store = &index.store;
  out.add(prefix + "scan", [store](ByteSink& sink) { write_blocks(*store, sink); });
  out.add(prefix + "rows", [store](ByteSink& sink) { write_rows(*store, sink); });
}

void add_mappable_sections(const IndexIVFRotorQuant& index, const std::string& prefix,
                           ContainerWriter& out) {
  add_list_section(index, prefix + "scan", out,
                   [](const InvertedFile& file, size_t list, ByteSink& sink) {
                     write_blocks(file.codes(list), sink);
                   });
  add_list_section(index, prefix + "terms", out,
                   [](const InvertedFile& file, size_t list, ByteSink& sink) {
                     sink.write(bytes_of(file.refine_terms(list), file.size(list) * sizeof(float)));
                   });
  const bool narrow = mappable_fields(index).id_bytes == sizeof(uint32_t);
  add_list_section(index, prefix + "ids", out, narrow ? write_ids<uint32_t> : write_ids<int64_t>);
  add_list_section(index, prefix + "rows", out,
                   [](const InvertedFile& file, size_t list, ByteSink& sink) {
                     write_rows(file.codes(list), sink);
                   });
}

void fill_from_sections(const SectionSource& source, const std::string& prefix,
                        const MappableFields& fields, size_t ntotal, IndexRotorQuant& index) {
  const CodeLayout& layout = index.codec.layout();
  Cursor scan(source.bytes(prefix + "scan"), "blocks");
  Cursor rows(source.bytes(prefix + "rows"), "rows");
  CodeStore store = take_store(layout, fields.order, ntotal, scan, rows, source.owner);
  scan.finish();
  rows.finish();
  if (source.is_mapped) {
    index.store = std::move(store);
    return;
  }
  std::vector<uint8_t> codes;
  index.store = CodeStore(layout);
  index.store.reserve(ntotal);
  for_blocks(ntotal, index.codec.dim(), [&](size_t first, size_t count) {
    codes.resize(count * layout.code_bytes());
    store.pack(first, count, codes.data());
    index.store.append(codes.data(), count);
  });
}

void fill_from_sections(const SectionSource& source, const std::string& prefix,
                        const MappableFields& fields, const std::vector<uint64_t>& sizes,
                        IndexIVFRotorQuant& index) {
  const CodeLayout& layout = index.codec->layout();
  Cursor scan(source.bytes(prefix + "scan"), "blocks");
  Cursor terms(source.bytes(prefix + "terms"), "refine terms");
  Cursor ids(source.bytes(prefix + "ids"), "ids");
  Cursor rows(source.bytes(prefix + "rows"), "rows");
  std::vector<ListParts> parts(sizes.size());
  for (size_t list = 0; list < sizes.size(); ++list) {
    const auto size = static_cast<size_t>(sizes[list]);
    ListParts& part = parts[list];
    part.codes = take_store(layout, fields.order, size, scan, rows, source.owner);
    // Sections start at 64 bytes, so that values of 4 and 8 bytes are aligned.
    part.refine_terms = reinterpret_cast<const float*>(terms.take(size * sizeof(float)).data());
    const uint8_t* first_id = ids.take(size * fields.id_bytes).data();
    if (fields.id_bytes == sizeof(uint32_t)) {
      part.narrow_ids = reinterpret_cast<const uint32_t*>(first_id);
    } else {
      part.wide_ids = reinterpret_cast<const int64_t*>(first_id);
    }
  }
  for (const Cursor* cursor : {&scan, &terms, &ids, &rows}) {
    cursor->finish();
  }
  InvertedFile viewed(index.geometry);
  viewed.adopt(std::move(parts), source.owner);
  if (source.is_mapped) {
    *index.file() = std::move(viewed);
  } else {
    copy_lists(viewed, *index.file());
  }
}

}  // namespace rotorquant
