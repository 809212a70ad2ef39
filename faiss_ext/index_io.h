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

/// A file of ours is refused unless every byte is right. A file that is none of ours is handed to
/// faiss::read_index.
std::unique_ptr<faiss::Index> read_index(const std::string& path);
/// Reads to the end of the index and no further; the reader may be a pipe.
std::unique_ptr<faiss::Index> read_index(faiss::IOReader* reader);
std::unique_ptr<faiss::Index> deserialize_index(std::span<const uint8_t> bytes);

}  // namespace rotorquant
