// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/io.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rotorquant {

/// Files of indexes: ours, FAISS's, and any mix of both that index_tree.h can walk, in the
/// container of docs/format.md, every byte of it under a checksum.
///
/// Call these qualified (rotorquant::write_index): FAISS has functions of the same names that
/// cannot handle our types. Nothing may write to an index while it is being written out. Everything
/// read owns its whole tree. All throw faiss::FaissException.

/// Replaces `path` only once everything is safely on disk: a failed write leaves an old file whole.
void write_index(const faiss::Index* index, const std::string& path);
void write_index(const faiss::Index* index, faiss::IOWriter* writer);
std::vector<uint8_t> serialize_index(const faiss::Index* index);

/// A file that map_index can use in place, and read_index can read like any other. Codes of ours in
/// it are ordered for this machine's kernels (ROTORQUANT_SIMD); elsewhere map_index reorders them
/// at opening, into memory. Inverted lists must be ours.
void write_mappable_index(const faiss::Index* index, const std::string& path);

/// Opens such a file without reading codes: they stay in it, and the system keeps in memory what
/// searches touch (docs/format.md says how much that is). The result is read-only: what would
/// change codes throws. Header, table and small sections are checked, codes are not: use
/// verify_index. Files without mappable codes are read as read_index reads them. The file must not
/// be changed meanwhile; replacing it by write_index or write_mappable_index is fine.
std::unique_ptr<faiss::Index> map_index(const std::string& path);

/// Reads a file of ours and checks every byte against its checksums; throws if one is wrong.
void verify_index(const std::string& path);

/// A file of ours is refused unless every byte is right. A file that is none of ours is handed to
/// faiss::read_index.
std::unique_ptr<faiss::Index> read_index(const std::string& path);
/// Reads to the end of the index and no further; the reader may be a pipe.
std::unique_ptr<faiss::Index> read_index(faiss::IOReader* reader);
std::unique_ptr<faiss::Index> deserialize_index(std::span<const uint8_t> bytes);

}  // namespace rotorquant
