// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "rotorquant/bytes.h"
#include "rotorquant/container.h"

namespace rotorquant {

/// An IndexIVFRotorQuant as node fields and sections (docs/format.md), without its quantizer, which
/// is a node of its own. Section names start with `prefix`.

void write_ivf_fields(const IndexIVFRotorQuant& index, ByteWriter& fields);
/// The index must stay alive and unchanged until `out` is written. Without the lists' codes and ids
/// where `with_codes` is false.
void add_ivf_sections(const IndexIVFRotorQuant& index, const std::string& prefix, bool with_codes,
                      ContainerWriter& out);

/// What of a node's header an inverted file needs before it can be read.
struct IvfHeader {
  size_t d = 0;
  size_t ntotal = 0;
  faiss::MetricType metric = faiss::METRIC_L2;
  bool is_trained = false;
};

/// Reads in the order written; take_quantizer() completes the index. Throw Error on whatever does
/// not fit.
class IvfReader {
 public:
  IvfReader(const IvfHeader& header, ByteReader& fields);
  void read_sections(ContainerReader& in, const std::string& prefix, bool with_codes);
  std::unique_ptr<IndexIVFRotorQuant> take_quantizer(std::unique_ptr<faiss::Index> quantizer);
  /// Of the lists.
  const std::vector<uint64_t>& sizes() const { return sizes_; }
  faiss::DirectMap::Type direct_map_type() const { return map_type_; }

 private:
  IvfHeader header_;
  std::unique_ptr<IndexIVFRotorQuant> index_;
  std::vector<float> centre_;
  float error_ratio_ = 0.0F;
  faiss::DirectMap::Type map_type_ = faiss::DirectMap::NoMap;
  std::vector<uint64_t> sizes_;
  std::unique_ptr<InvertedFile> file_;
  bool file_has_codes_ = false;

  void check_sizes() const;
  void read_lists(ContainerReader& in, const std::string& prefix);
};

}  // namespace rotorquant
