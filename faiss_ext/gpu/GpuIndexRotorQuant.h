// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>

#include <memory>
#include <string>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/compat.h"
#include "rotorquant/gpu.h"

namespace rotorquant {

/// IndexRotorQuant on a CUDA device: the same codes, the same answers (docs/gpu.md). Needs the CUDA
/// runtime and cuBLAS, not FAISS's own GPU part. Link rotorquant::faiss_gpu.
///
/// Arrays may lie in host memory or on the index's device, each by itself; work is done on the
/// resources' stream and finished when a call returns. Several threads may search at a time: one
/// runs. Search parameters are those of IndexRotorQuant; `threads` does not count. Errors are
/// faiss::FaissException. A copy shares nothing but the resources: clone with index_gpu_to_cpu.
struct GpuIndexRotorQuant : faiss::Index {
  GpuResources resources;
  /// Codec and space, and the defaults of the search parameters; holds no vectors.
  IndexRotorQuant settings;
  /// How a search runs on the device.
  GpuSearchOptions search_options;

  /// Throws faiss::FaissException on another metric and on parameters that Codec refuses.
  GpuIndexRotorQuant(GpuResources on, const CodecParams& params,
                     faiss::MetricType metric = faiss::METRIC_L2);
  /// A copy of `index`.
  GpuIndexRotorQuant(GpuResources on, const IndexRotorQuant& index);
  GpuIndexRotorQuant(const GpuIndexRotorQuant&) = delete;
  GpuIndexRotorQuant& operator=(const GpuIndexRotorQuant&) = delete;

  /// Takes on everything of `index`, of the same dimension; vectors first .. first + n - 1 of it.
  void copyFrom(const IndexRotorQuant& index);
  void copyFrom(const IndexRotorQuant& index, size_t first, size_t n);
  /// Makes `index` what was copied from: codes byte for byte.
  void copyTo(IndexRotorQuant& index) const;

  /// As IndexRotorQuant::train, on the host. x: n x d, host or device.
  void train(idx_t n, const float* x) override;
  /// Encodes on the device. On an exception the index is as before.
  void add(idx_t n, const float* x) override;
  /// k <= 2,048 is selected on the device, more by the host.
  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params = nullptr) const override;
  void range_search(idx_t n, const float* x, float radius, faiss::RangeSearchResult* result,
                    const faiss::SearchParameters* params = nullptr) const override;
  void reset() override;
  /// Later vectors move up, in order. The selector is asked on the host.
  size_t remove_ids(const faiss::IDSelector& sel) override;
  void reconstruct(idx_t key, float* recons) const override;
  void reconstruct_n(idx_t i0, idx_t ni, float* recons) const override;

  size_t sa_code_size() const override;
  void sa_encode(idx_t n, const float* x, uint8_t* bytes) const override;
  void sa_decode(idx_t n, const uint8_t* bytes, float* x) const override;
  /// codes: host memory. As IndexRotorQuant::add_sa_codes.
  void add_sa_codes(idx_t n, const uint8_t* codes,
                    const idx_t* xids) ROTORQUANT_ADD_SA_CODES_OVERRIDE;

  /// The factory string of its CPU form: "RQ3".
  std::string name() const { return settings.name(); }
  /// Device memory of codes, in bytes.
  size_t memory_bytes() const { return store_->memory_bytes(); }

 private:
  std::unique_ptr<GpuCodec> codec_;  ///< null until trained
  std::unique_ptr<GpuCodeStore> store_;

  void adopt_settings();
  const GpuCodec& trained(const char* what) const;
};

}  // namespace rotorquant
