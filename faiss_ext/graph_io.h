// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/IndexHNSW.h>
#include <faiss/IndexNSG.h>

#include "rotorquant/bytes.h"
#include "rotorquant/container.h"

namespace rotorquant {

/// The links of FAISS's graph indexes as section bytes (docs/format.md). FAISS's own writer cannot
/// be used: it takes storage types of FAISS only.
void write_graph(const faiss::IndexHNSW& index, ByteSink& sink);
void write_graph(const faiss::IndexNSG& index, ByteSink& sink);

/// Fill the graph of an index whose storage and ntotal are set. Every link is checked, so that a
/// search cannot leave the arrays; throw Error otherwise.
void read_graph(ByteReader& in, faiss::IndexHNSW& index);
void read_graph(ByteReader& in, faiss::IndexNSG& index);

}  // namespace rotorquant
