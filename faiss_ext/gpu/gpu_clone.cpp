// SPDX-License-Identifier: MIT
#include "faiss_ext/gpu/gpu_clone.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexNSG.h>

#include <functional>
#include <typeinfo>
#include <utility>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#include "faiss_ext/several.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

/// clone_index with to_gpu() for every flat index of ours, of which there must be one.
IndexPtr clone_to_gpu(const faiss::Index* index,
                      const std::function<IndexPtr(const IndexRotorQuant&)>& to_gpu) {
  size_t moved = 0;
  IndexPtr copy = clone_index(index, [&](const faiss::Index& part) -> IndexPtr {
    if (const auto* flat = dynamic_cast<const IndexRotorQuant*>(&part)) {
      ++moved;
      return to_gpu(*flat);
    }
    const bool other = dynamic_cast<const faiss::IndexHNSW*>(&part) != nullptr ||
                       dynamic_cast<const faiss::IndexNSG*>(&part) != nullptr ||
                       dynamic_cast<const IndexIVFRotorQuant*>(&part) != nullptr;
    require_faiss(!other, "index_cpu_to_gpu: index", "flat rotor-quantized codes in any wrappers",
                  typeid(part).name());
    return nullptr;
  });
  require_faiss(moved > 0, "index_cpu_to_gpu: index", "rotor-quantized codes somewhere in it",
                typeid(*index).name());
  return copy;
}

IndexPtr shard(const std::vector<GpuResources>& resources, const IndexRotorQuant& index) {
  std::vector<IndexPtr> parts;
  parts.reserve(resources.size());
  const size_t n = index.store.size();
  for (size_t i = 0; i < resources.size(); ++i) {
    const size_t first = i * n / resources.size();
    const size_t last = (i + 1) * n / resources.size();
    auto part =
        std::make_unique<GpuIndexRotorQuant>(resources[i], index.codec.params(), index.metric_type);
    part->copyFrom(index, first, last - first);
    parts.push_back(std::move(part));
  }
  return make_several<faiss::IndexShards>(std::move(parts), true, true);
}

IndexPtr replicate(const std::vector<GpuResources>& resources, const IndexRotorQuant& index) {
  std::vector<IndexPtr> parts;
  parts.reserve(resources.size());
  for (const GpuResources& on : resources) {
    parts.push_back(std::make_unique<GpuIndexRotorQuant>(on, index));
  }
  return make_several<faiss::IndexReplicas>(std::move(parts), false, true);
}

std::unique_ptr<IndexRotorQuant> on_cpu(const GpuIndexRotorQuant& index) {
  auto copy = std::make_unique<IndexRotorQuant>();
  index.copyTo(*copy);
  return copy;
}

/// The parts of shards or replicas, where all of them are on a device.
template <class Several>
std::vector<const GpuIndexRotorQuant*> gpu_parts(const Several& several) {
  std::vector<const GpuIndexRotorQuant*> parts;
  for (int i = 0; i < several.count(); ++i) {
    if (const auto* part = dynamic_cast<const GpuIndexRotorQuant*>(several.at(i))) {
      parts.push_back(part);
    }
  }
  return parts.size() == static_cast<size_t>(several.count())
             ? parts
             : std::vector<const GpuIndexRotorQuant*>{};
}

/// One index again of what clone_to_gpu spread out; null for anything else.
IndexPtr back_on_cpu(const faiss::Index& part) {
  if (const auto* gpu = dynamic_cast<const GpuIndexRotorQuant*>(&part)) {
    return on_cpu(*gpu);
  }
  if (const auto* replicas = dynamic_cast<const faiss::IndexReplicas*>(&part)) {
    const auto parts = gpu_parts(*replicas);
    return parts.empty() ? nullptr : on_cpu(*parts.front());
  }
  const auto* shards = dynamic_cast<const faiss::IndexShards*>(&part);
  if (shards == nullptr || !shards->successive_ids) {
    return nullptr;
  }
  std::unique_ptr<IndexRotorQuant> whole;
  for (const GpuIndexRotorQuant* gpu : gpu_parts(*shards)) {
    std::unique_ptr<IndexRotorQuant> next = on_cpu(*gpu);
    if (whole == nullptr) {
      whole = std::move(next);
    } else {
      whole->merge_from(*next);
    }
  }
  return whole;
}

}  // namespace

IndexPtr index_cpu_to_gpu(const GpuResources& resources, const faiss::Index* index) {
  return clone_to_gpu(index, [&](const IndexRotorQuant& flat) {
    return std::make_unique<GpuIndexRotorQuant>(resources, flat);
  });
}

IndexPtr index_gpu_to_cpu(const faiss::Index* index) {
  return clone_index(index, back_on_cpu);
}

IndexPtr index_cpu_to_gpu_multiple(const std::vector<GpuResources>& resources,
                                   const faiss::Index* index, bool shards) {
  require_faiss(!resources.empty(), "index_cpu_to_gpu_multiple: resources", "at least one", 0);
  return clone_to_gpu(index, [&](const IndexRotorQuant& flat) {
    return shards ? shard(resources, flat) : replicate(resources, flat);
  });
}

}  // namespace rotorquant
