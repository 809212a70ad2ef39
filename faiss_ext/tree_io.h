// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>

#include "rotorquant/container.h"
#include "rotorquant/mapped_file.h"

namespace rotorquant {

/// An index and everything below it as container sections (docs/format.md): one "n<i>.node" for
/// each index of the tree, numbered depth first, followed by its data and by the indexes below it.

/// Adds the sections of `index`, which must stay alive and unchanged until `out` is written.
/// mappable: codes of ours as map_index uses them, behind everything else.
void add_sections(const faiss::Index& index, ContainerWriter& out, bool mappable = false);

/// Reads the tree back and everything that follows it in the container. The result owns the whole
/// tree. Throws Error or faiss::FaissException.
std::unique_ptr<faiss::Index> read_sections(ContainerReader& in);

/// The same from a file that is mapped, of which `in` has read header and table: mappable codes
/// stay where they are, unchecked, and nothing behind the last small section is touched.
std::unique_ptr<faiss::Index> map_sections(ContainerReader& in,
                                           std::shared_ptr<const MappedFile> file);

}  // namespace rotorquant
