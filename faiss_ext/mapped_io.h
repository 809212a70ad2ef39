// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "rotorquant/bytes.h"
#include "rotorquant/code_blocks.h"
#include "rotorquant/container.h"

namespace rotorquant {

/// Codes of our indexes as sections that can be used where they lie (docs/format.md, "Mappable
/// files"): blocks, rows, refine terms and ids as they are in memory.

/// How the large sections of a mappable node are laid out; behind the node's other fields.
struct MappableFields {
  ScanLayout order = ScanLayout::row_per_quad;
  uint32_t id_bytes = 0;  ///< 4 or 8; 0: there are none
};
void write_mappable_fields(const MappableFields& fields, ByteWriter& out);
MappableFields read_mappable_fields(ByteReader& in, bool has_ids);
MappableFields mappable_fields(const IndexRotorQuant& index);
MappableFields mappable_fields(const IndexIVFRotorQuant& index);

/// The index must stay alive and unchanged until `out` is written, and its lists must be ours.
void add_mappable_sections(const IndexRotorQuant& index, const std::string& prefix,
                           ContainerWriter& out);
void add_mappable_sections(const IndexIVFRotorQuant& index, const std::string& prefix,
                           ContainerWriter& out);

/// Where large sections come from: mapped, or read into memory.
struct SectionSource {
  std::function<std::span<const uint8_t>(const std::string& name)> bytes;
  std::shared_ptr<const void> owner;  ///< keeps what bytes() returns alive
  bool is_mapped = false;
};

/// Fill an index that is complete but for its codes. Mapped: read-only views; else copies.
void fill_from_sections(const SectionSource& source, const std::string& prefix,
                        const MappableFields& fields, size_t ntotal, IndexRotorQuant& index);
void fill_from_sections(const SectionSource& source, const std::string& prefix,
                        const MappableFields& fields, const std::vector<uint64_t>& sizes,
                        IndexIVFRotorQuant& index);

}  // namespace rotorquant
