// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>

#include "rotorquant/container.h"

namespace rotorquant {

/// An index and everything below it as container sections (docs/format.md): one "n<i>.node" for
/// each index of the tree, numbered depth first, followed by its data and by the indexes below it.

/// Adds the sections of `index`, which must stay alive and unchanged until `out` is written.
void add_sections(const faiss::Index& index, ContainerWriter& out);

/// Reads the tree back and everything that follows it in the container. The result owns the whole
/// tree. Throws Error or faiss::FaissException.
std::unique_ptr<faiss::Index> read_sections(ContainerReader& in);

}  // namespace rotorquant
