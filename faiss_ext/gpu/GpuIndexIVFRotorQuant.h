// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/ivf_id_map.h"
#include "rotorquant/gpu.h"

namespace rotorquant {

/// IndexIVFRotorQuant on a CUDA device: the same codes, the same answers (docs/gpu.md). With a flat
/// coarse quantizer of the same metric the device finds the lists to visit, otherwise `quantizer`
/// is asked on the host. A faiss::Index, not a faiss::IndexIVF: lists are reached through
/// index_gpu_to_cpu.
///
/// Arrays, threads and errors are GpuIndexRotorQuant's. Search parameters are those of
/// IndexIVFRotorQuant, but for `levels` and the strict estimator, which are refused; `threads` does
/// not count.
struct GpuIndexIVFRotorQuant : faiss::Index, NumberedLists {
  GpuResources resources;
  /// Quantizer, codec and centroids, nprobe and the other defaults; holds no vectors.
  std::unique_ptr<IndexIVFRotorQuant> settings;
  /// How a search runs on the device.
  GpuSearchOptions search_options;

  /// A copy of `index`, trained or not; of each list the part-th of `parts` equal parts. The direct
  /// map is left behind: ids are looked for.
  GpuIndexIVFRotorQuant(GpuResources on, const IndexIVFRotorQuant& index, size_t part = 0,
                        size_t parts = 1);
  GpuIndexIVFRotorQuant(const GpuIndexIVFRotorQuant&) = delete;
  GpuIndexIVFRotorQuant& operator=(const GpuIndexIVFRotorQuant&) = delete;

  /// Takes on everything of `index`, of the same dimension.
  void copyFrom(const IndexIVFRotorQuant& index, size_t part = 0, size_t parts = 1);
  /// What was copied from: codes, folded terms and ids byte for byte, and a direct map of the same
  /// kind. The vectors of `more` follow, list by list: the other parts of the same index.
  std::unique_ptr<IndexIVFRotorQuant> to_cpu(
      const std::vector<const GpuIndexIVFRotorQuant*>& more = {}) const;

  /// As IndexIVFRotorQuant::train, on the host.
  void train(idx_t n, const float* x) override;
  /// Assigned by `quantizer` on the host, encoded on the device.
  void add(idx_t n, const float* x) override;
  void add_with_ids(idx_t n, const float* x, const idx_t* xids) override;
  /// k <= 2,048 is selected on the device, more by the host.
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params = nullptr) const override;
  void range_search(idx_t n, const float* x, float radius, faiss::RangeSearchResult* result,
                    const faiss::SearchParameters* params = nullptr) const override;
  void reset() override;
  /// Others keep their ids; the selector is asked on the host. Not with a direct map of type Array,
  /// as in IndexIVF.
  size_t remove_ids(const faiss::IDSelector& sel) override;
  /// By id, O(ntotal) a call.
  void reconstruct(idx_t key, float* recons) const override;
  void reconstruct_n(idx_t i0, idx_t ni, float* recons) const override;

  /// As IndexIVFRotorQuant's, on the host.
  size_t sa_code_size() const override;
  void sa_encode(idx_t n, const float* x, uint8_t* bytes) const override;
  void sa_decode(idx_t n, const uint8_t* bytes, float* x) const override;

  void renumber(const std::function<idx_t(idx_t)>& to) override;

  /// The codes' factory string: "RQ3".
  std::string code_name() const { return settings->code_name(); }
  /// Device memory of codes, in bytes.
  size_t memory_bytes() const { return lists_ == nullptr ? 0 : lists_->memory_bytes(); }

 private:
  std::unique_ptr<GpuInvertedFile> lists_;  ///< null until trained
  faiss::DirectMap::Type direct_map_ = faiss::DirectMap::NoMap;

  void adopt_settings();
  const GpuInvertedFile& trained(const char* what) const;
  GpuInvertedFile& trained(const char* what);
  /// The lists that the quantizer names, n x nprobe; empty where the device finds them.
  std::vector<idx_t> asked_lists(size_t n, const float* x, size_t nprobe,
                                 const faiss::SearchParameters* params) const;
};

}  // namespace rotorquant
