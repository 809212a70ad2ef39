// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "rotorquant/code_store.h"
#include "rotorquant/codec.h"
#include "rotorquant/ivf.h"
#include "rotorquant/reference.h"
#include "rotorquant/search.h"

/// The core on a CUDA device (docs/gpu.md). Link rotorquant::gpu; no CUDA header is needed here.
///
/// Every array may lie in host memory or in memory of the object's device (managed memory too),
/// also inputs in one and outputs in the other. Host arrays may be used again when a call returns;
/// results in device memory are ordered by the resources' stream.
///
/// Objects that share resources share a stream, and one lock: their methods may be called from
/// several threads, one runs at a time. Objects of different resources are independent. Errors of
/// the device, out of memory among them, are thrown as rotorquant::Error.
namespace rotorquant {

namespace gpu {
class Device;
struct CodecImpl;
struct StoreImpl;
struct ListsImpl;
struct KvCacheImpl;
struct MseImpl;
}  // namespace gpu

/// Devices there are; 0 without a driver.
int gpu_device_count();

/// One device with a stream, a memory pool and a cuBLAS handle. A handle: copies share them, and
/// everything made with them keeps them alive.
class GpuResources {
 public:
  /// stream: a cudaStream_t of that device, which must outlive everything made with this; null: a
  /// stream of its own. owner: kept as long as the stream is used. Throws Error where there is no
  /// such device.
  explicit GpuResources(int device = 0, void* stream = nullptr,
                        std::shared_ptr<const void> owner = nullptr);

  int device() const;
  std::string name() const;
  void* stream() const;
  /// Returns when all work so far is done.
  void synchronize() const;
  /// Lets later work begin when what is in `stream` (a cudaStream_t of this device) now is done:
  /// for arrays that somebody else is still writing.
  void wait_for(void* stream) const;
  /// Whether `p` lies in memory that kernels of this device can read.
  bool owns(const void* p) const;
  /// Copies between memories of either kind; returns when it is done.
  void copy(void* to, const void* from, size_t bytes) const;
  const std::shared_ptr<gpu::Device>& handle() const { return device_; }

 private:
  std::shared_ptr<gpu::Device> device_;
};

/// A codec and a space on a device: raw vectors to codes and back. With rotor layers the codes are
/// the CPU's bytes; with a dense frame up to the rounding of its product.
class GpuCodec {
 public:
  /// Copies the tables. codec: trained.
  GpuCodec(const GpuResources& resources, const Codec& codec, const Space& space);
  ~GpuCodec();
  GpuCodec(GpuCodec&&) noexcept;
  GpuCodec& operator=(GpuCodec&&) noexcept;
  GpuCodec(const GpuCodec&) = delete;
  GpuCodec& operator=(const GpuCodec&) = delete;

  const Codec& codec() const;
  const Space& space() const;
  /// x: n x d -> codes: n x code_bytes(), additive terms included (Space::split and
  /// Codec::encode). Throws on NaN or infinity, naming the row.
  void encode(const float* x, size_t n, uint8_t* codes,
              EncodeEffort effort = EncodeEffort::standard) const;
  /// codes: n x code_bytes() -> x: n x d. levels as in Codec::decode.
  void decode(const uint8_t* codes, size_t n, float* x, size_t levels = 0) const;

  const gpu::CodecImpl& impl() const { return *impl_; }

 private:
  std::unique_ptr<gpu::CodecImpl> impl_;
};

/// CodeStore on a device. At most 2^32 - 2 codes.
class GpuCodeStore {
 public:
  GpuCodeStore(const GpuResources& resources, const CodeLayout& layout);
  ~GpuCodeStore();
  GpuCodeStore(GpuCodeStore&&) noexcept;
  GpuCodeStore& operator=(GpuCodeStore&&) noexcept;
  GpuCodeStore(const GpuCodeStore&) = delete;
  GpuCodeStore& operator=(const GpuCodeStore&) = delete;

  size_t size() const;
  const CodeLayout& layout() const;
  /// Bytes of device memory held, slack included.
  size_t memory_bytes() const;
  /// Room for exactly n codes, where that is more than there is.
  void reserve(size_t n);
  /// Appends n canonical codes (n x layout().code_bytes()).
  void append(const uint8_t* codes, size_t n);
  /// Encodes x (n x d) and appends the codes, which never leave the device. On an exception the
  /// store is as before.
  void add(const GpuCodec& codec, const float* x, size_t n,
           EncodeEffort effort = EncodeEffort::standard);
  /// Writes codes first .. first + n - 1 in canonical form.
  void pack(size_t first, size_t n, uint8_t* codes) const;
  /// Keeps the codes at these places, ascending, and moves them up in order; gives memory back.
  void keep(const std::vector<uint32_t>& places);
  /// Drops everything from n on; gives memory back.
  void truncate(size_t n);

  const gpu::StoreImpl& impl() const { return *impl_; }

 private:
  std::unique_ptr<gpu::StoreImpl> impl_;
};

/// InvertedFile on a device: codes by list, in tiles of 32 that belong to one list each. Ids are
/// kept on the host, for removal and filters; a search after a change first brings their order to
/// the device, 4 bytes a vector. At most 2^32 - 2 vectors, the unused places of tiles among them.
class GpuInvertedFile {
 public:
  /// Copies codec and centroids of a trained geometry; holds no vectors.
  GpuInvertedFile(const GpuResources& resources, std::shared_ptr<const IvfGeometry> geometry);
  ~GpuInvertedFile();
  GpuInvertedFile(GpuInvertedFile&&) noexcept;
  GpuInvertedFile& operator=(GpuInvertedFile&&) noexcept;
  GpuInvertedFile(const GpuInvertedFile&) = delete;
  GpuInvertedFile& operator=(const GpuInvertedFile&) = delete;

  const IvfGeometry& geometry() const;
  size_t lists() const;
  size_t size(size_t list) const;
  /// Vectors in all lists.
  size_t total() const;
  /// Bytes of device memory held by codes, slack included.
  size_t memory_bytes() const;

  /// Appends to every list what `file`, of an equal geometry, has in its own: of each list the
  /// part-th of `parts` equal parts, in order.
  void append(const InvertedFile& file, size_t part = 0, size_t parts = 1);
  /// Encodes x (n x d, host memory) and appends the codes. lists, ids: n; negative lists are left
  /// out. Residuals and the centroids' terms are made by the core on the host, codes on the device.
  /// On an exception the file is as before, unless device memory runs out.
  void add(const float* x, size_t n, const int64_t* lists, const int64_t* ids,
           EncodeEffort effort = EncodeEffort::standard);
  /// Appends everything to `file`, of an equal geometry: the bytes that came from one.
  void copy_to(InvertedFile& file) const;
  /// Drops the vectors whose id `doomed` allows; as in InvertedFile, the last of a list move into
  /// its gaps. Returns how many they were. Memory is kept for later vectors.
  size_t remove(const IdFilter& doomed);
  /// Every id becomes to(id).
  void renumber(const std::function<int64_t(int64_t)>& to);
  void clear();
  /// Decodes the vectors with ids first .. first + n - 1 into x, n x d, host memory, a row each;
  /// returns how many of them there are. O(total()).
  size_t reconstruct(int64_t first, size_t n, float* x) const;

  const gpu::ListsImpl& impl() const { return *impl_; }

 private:
  std::unique_ptr<gpu::ListsImpl> impl_;
};

/// How a search is run and its results are written; the defaults are right for nearly everybody.
struct GpuSearchOptions {
  /// Candidates a query that the scan has room for, at least 32; 0: by k. Where more pass, the
  /// query is searched again with a lower limit or part by part: slower, the same results.
  size_t candidate_capacity = 0;
  /// Queries of one pass; 0: as many as 64 MiB of candidates allow.
  size_t queries_a_pass = 0;
  /// From this many queries in a pass on, tensor cores do the scan.
  size_t tensor_queries = 16;
  /// What distances are multiplied by when they are written, 1 or -1, and what stands for missing.
  float distance_sign = 1.0F;
  float missing_distance = std::numeric_limits<float>::infinity();
};

/// search() of search.h on the device: the same candidates, the same distances, the same results.
/// k <= 2,048 is selected on the device; above, by the host, query by query. params.filter is asked
/// on the host, once a vector; params.threads does not count.
void search(const GpuCodec& codec, const GpuCodeStore& store, const float* queries, size_t n,
            size_t k, const SearchParams& params, float* distances, int64_t* ids,
            const GpuSearchOptions& options = {});

/// range_search() of search.h on the device. queries: host or device.
std::vector<std::vector<RangeHit>> range_search(const GpuCodec& codec, const GpuCodeStore& store,
                                                const float* queries, size_t n, float radius,
                                                const SearchParams& params,
                                                const GpuSearchOptions& options = {});

/// search() of ivf.h on the device: the same candidates, bounds and distances. probed: n x probes,
/// host memory, as there, or null: the nearest `probes` lists, which the device finds. k as above.
/// Not on a device: params.levels, the strict estimator and store_pairs, which are refused.
void search(const GpuInvertedFile& file, const float* queries, size_t n, size_t k,
            const int64_t* probed, size_t probes, const IvfSearchParams& params, float* distances,
            int64_t* ids, const GpuSearchOptions& options = {});

/// range_search() of ivf.h on the device; probed may be null.
std::vector<std::vector<RangeHit>> range_search(const GpuInvertedFile& file, const float* queries,
                                                size_t n, float radius, const int64_t* probed,
                                                size_t probes, const IvfSearchParams& params,
                                                const GpuSearchOptions& options = {});

/// RotorQuantMse (rotor blocks, vector grade alone) on a device: each row in one pass.
class GpuRotorQuantMse {
 public:
  GpuRotorQuantMse(const GpuResources& resources, const RotorQuantMse& mse);
  ~GpuRotorQuantMse();
  GpuRotorQuantMse(GpuRotorQuantMse&&) noexcept;
  GpuRotorQuantMse& operator=(GpuRotorQuantMse&&) noexcept;
  GpuRotorQuantMse(const GpuRotorQuantMse&) = delete;
  GpuRotorQuantMse& operator=(const GpuRotorQuantMse&) = delete;

  size_t d() const;
  size_t code_size() const;
  /// x: n x d; codes: n x code_size(), RotorQuantMse's packed codes. Values that are not finite are
  /// the caller's to keep away.
  void encode(const float* x, size_t n, uint8_t* codes) const;
  void decode(const uint8_t* codes, size_t n, float* x) const;

 private:
  std::unique_ptr<gpu::MseImpl> impl_;
};

/// RotorQuantKVCache (rotor blocks) on a device: keys as inner-product codes, values as MSE codes.
class GpuRotorQuantKVCache {
 public:
  GpuRotorQuantKVCache(const GpuResources& resources, size_t d_key, size_t d_value, int bits = 3,
                       uint64_t seed = 42);
  ~GpuRotorQuantKVCache();
  GpuRotorQuantKVCache(GpuRotorQuantKVCache&&) noexcept;
  GpuRotorQuantKVCache& operator=(GpuRotorQuantKVCache&&) noexcept;
  GpuRotorQuantKVCache(const GpuRotorQuantKVCache&) = delete;
  GpuRotorQuantKVCache& operator=(const GpuRotorQuantKVCache&) = delete;

  size_t size() const;
  size_t bytes() const;  ///< of the packed codes
  /// keys: rows x d_key, values: rows x d_value.
  void append(const float* keys, const float* values, size_t rows);
  /// queries: m x d_key -> scores: m x size(), not scaled, no softmax.
  void attention_scores(const float* queries, size_t m, float* scores) const;
  /// size() x d_value, in order of appending.
  void get_values(float* values) const;
  void clear();

 private:
  std::unique_ptr<gpu::KvCacheImpl> impl_;
};

}  // namespace rotorquant
