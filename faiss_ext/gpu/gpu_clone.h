// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <vector>

#include "rotorquant/gpu.h"

namespace rotorquant {

/// A copy of an index tree with every IndexRotorQuant and IndexIVFRotorQuant in it on the device,
/// as GpuIndexRotorQuant and GpuIndexIVFRotorQuant: the index itself, or the one inside IndexIDMap,
/// IndexIDMap2, IndexPreTransform, IndexRefine (its base; the refining index stays on the host),
/// IndexShards, IndexReplicas. Everything else is copied as clone_index does. The copy owns its
/// whole tree and keeps the resources alive.
///
/// Throws faiss::FaissException where nothing in the tree can go to a device, and on graphs of
/// ours, which have no GPU form.
std::unique_ptr<faiss::Index> index_cpu_to_gpu(const GpuResources& resources,
                                               const faiss::Index* index);

/// The way back: codes byte for byte. Shards of one index become one index again, replicas the
/// first of them.
std::unique_ptr<faiss::Index> index_gpu_to_cpu(const faiss::Index* index);

/// The same on several devices (at least one), asked from a thread each. shards: every device gets
/// an equal part of the vectors (of every list), in order; else every device gets all of them, and
/// queries are dealt out. An index of shards takes vectors only while it is empty, as FAISS's does.
std::unique_ptr<faiss::Index> index_cpu_to_gpu_multiple(const std::vector<GpuResources>& resources,
                                                        const faiss::Index* index,
                                                        bool shards = true);

}  // namespace rotorquant
