// SPDX-License-Identifier: MIT
#include "faiss_ext/gpu/gpu_clone.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexNSG.h>

#include <typeinfo>
#include <utility>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#include "faiss_ext/several.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

/// clone_index with to_gpu() for every flat index and inverted file of ours, of which there must be
/// one.
template <class ToGpu>
IndexPtr clone_to_gpu(const faiss::Index* index, const ToGpu& to_gpu) {
  size_t moved = 0;
  // clang-tidy loses track of a pointer that becomes one to its base: NOLINTBEGIN(*NewDeleteLeaks)
  IndexPtr copy = clone_index(index, [&](const faiss::Index& part) -> IndexPtr {
    if (const auto* flat = dynamic_cast<const IndexRotorQuant*>(&part)) {
      ++moved;
      return to_gpu(*flat);
    }
    if (const auto* lists = dynamic_cast<const IndexIVFRotorQuant*>(&part)) {
      ++moved;
      return to_gpu(*lists);
    }
    const bool graph = dynamic_cast<const faiss::IndexHNSW*>(&part) != nullptr ||
                       dynamic_cast<const faiss::IndexNSG*>(&part) != nullptr;
    require_faiss(!graph, "index_cpu_to_gpu: index", "flat codes or inverted lists in any wrappers",
                  typeid(part).name());
    return nullptr;
  });
  // NOLINTEND(*NewDeleteLeaks)
  require_faiss(moved > 0, "index_cpu_to_gpu: index", "rotor-quantized codes somewhere in it",
                typeid(*index).name());
  return copy;
}

IndexPtr part_on_gpu(const GpuResources& on, const IndexRotorQuant& index, size_t part,
                     size_t parts) {
  const size_t n = index.store.size();
  const size_t first = part * n / parts;
  auto copy = std::make_unique<GpuIndexRotorQuant>(on, index.codec.params(), index.metric_type);
  copy->copyFrom(index, first, (part + 1) * n / parts - first);
  return copy;
}

IndexPtr part_on_gpu(const GpuResources& on, const IndexIVFRotorQuant& index, size_t part,
                     size_t parts) {
  return std::make_unique<GpuIndexIVFRotorQuant>(on, index, part, parts);
}

/// Flat codes are numbered from one shard on to the next; lists know their ids.
constexpr bool numbers_follow(const IndexRotorQuant& /*index*/) {
  return true;
}
constexpr bool numbers_follow(const IndexIVFRotorQuant& /*index*/) {
  return false;
}

template <class Cpu>
IndexPtr shard(const std::vector<GpuResources>& resources, const Cpu& index) {
  std::vector<IndexPtr> parts;
  parts.reserve(resources.size());
  for (size_t i = 0; i < resources.size(); ++i) {
    parts.push_back(part_on_gpu(resources[i], index, i, resources.size()));
  }
  return make_several<faiss::IndexShards>(std::move(parts), numbers_follow(index), true);
}

template <class Cpu>
IndexPtr replicate(const std::vector<GpuResources>& resources, const Cpu& index) {
  std::vector<IndexPtr> parts;
  parts.reserve(resources.size());
  for (const GpuResources& on : resources) {
    parts.push_back(part_on_gpu(on, index, 0, 1));
  }
  return make_several<faiss::IndexReplicas>(std::move(parts), false, true);
}

/// One index of its parts, which follow each other.
std::unique_ptr<IndexRotorQuant> join(const std::vector<const GpuIndexRotorQuant*>& parts) {
  std::unique_ptr<IndexRotorQuant> whole;
  for (const GpuIndexRotorQuant* part : parts) {
    auto next = std::make_unique<IndexRotorQuant>();
    part->copyTo(*next);
    if (whole == nullptr) {
      whole = std::move(next);
    } else {
      whole->merge_from(*next);
    }
  }
  return whole;
}

std::unique_ptr<IndexIVFRotorQuant> join(const std::vector<const GpuIndexIVFRotorQuant*>& parts) {
  return parts.front()->to_cpu({parts.begin() + 1, parts.end()});
}

/// The parts of shards or replicas, where all of them are Gpu; else none.
template <class Gpu, class Several>
std::vector<const Gpu*> gpu_parts(const Several& several) {
  std::vector<const Gpu*> parts;
  for (int i = 0; i < several.count(); ++i) {
    if (const auto* part = dynamic_cast<const Gpu*>(several.at(i))) {
      parts.push_back(part);
    }
  }
  return parts.size() == static_cast<size_t>(several.count()) ? parts : std::vector<const Gpu*>{};
}

/// One index again of what clone_to_gpu made of one; null for anything else.
template <class Gpu>
IndexPtr back_on_cpu_from(const faiss::Index& part, bool successive_shards) {
  if (const auto* gpu = dynamic_cast<const Gpu*>(&part)) {
    return join(std::vector<const Gpu*>{gpu});
  }
  if (const auto* replicas = dynamic_cast<const faiss::IndexReplicas*>(&part)) {
    const auto parts = gpu_parts<Gpu>(*replicas);
    return parts.empty() ? nullptr : join(std::vector<const Gpu*>{parts.front()});
  }
  const auto* shards = dynamic_cast<const faiss::IndexShards*>(&part);
  if (shards == nullptr || shards->successive_ids != successive_shards) {
    return nullptr;
  }
  const auto parts = gpu_parts<Gpu>(*shards);
  return parts.empty() ? nullptr : join(parts);
}

IndexPtr back_on_cpu(const faiss::Index& part) {
  IndexPtr flat = back_on_cpu_from<GpuIndexRotorQuant>(part, true);
  return flat != nullptr ? std::move(flat) : back_on_cpu_from<GpuIndexIVFRotorQuant>(part, false);
}

}  // namespace

IndexPtr index_cpu_to_gpu(const GpuResources& resources, const faiss::Index* index) {
  return clone_to_gpu(index, [&](const auto& part) { return part_on_gpu(resources, part, 0, 1); });
}

IndexPtr index_gpu_to_cpu(const faiss::Index* index) {
  return clone_index(index, back_on_cpu);
}

IndexPtr index_cpu_to_gpu_multiple(const std::vector<GpuResources>& resources,
                                   const faiss::Index* index, bool shards) {
  require_faiss(!resources.empty(), "index_cpu_to_gpu_multiple: resources", "at least one", 0);
  return clone_to_gpu(index, [&](const auto& part) {
    return shards ? shard(resources, part) : replicate(resources, part);
  });
}

}  // namespace rotorquant
