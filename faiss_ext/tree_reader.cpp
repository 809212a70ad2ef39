// SPDX-License-Identifier: MIT
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/faiss_bytes.h"
#include "faiss_ext/graph_io.h"
#include "faiss_ext/index_parameters.h"
#include "faiss_ext/index_tree.h"
#include "faiss_ext/ivf_id_map.h"
#include "faiss_ext/ivf_io.h"
#include "faiss_ext/mapped_io.h"
#include "faiss_ext/several.h"
#include "faiss_ext/tree_io.h"
#include "faiss_ext/tree_nodes.h"
#include "rotorquant/aligned.h"
#include "rotorquant/bytes.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

/// The fields every node starts with.
struct NodeHeader {
  Kind kind{};
  int64_t ntotal = 0;
  int32_t d = 0;
  faiss::MetricType metric = faiss::METRIC_L2;
  bool is_trained = false;

  size_t count() const { return static_cast<size_t>(ntotal); }
  size_t dim() const { return static_cast<size_t>(d); }
};

NodeHeader read_header(ByteReader& in) {
  NodeHeader header;
  header.kind = in.get<Kind>();
  header.ntotal = in.get<int64_t>();
  header.d = in.get<int32_t>();
  const auto metric = in.get<uint8_t>();
  const auto trained = in.get<uint8_t>();
  const auto reserved = in.get<uint16_t>();
  require(header.ntotal >= 0, "node: vectors", "at least 0", header.ntotal);
  require(header.d >= 1, "node: d", "at least 1", header.d);
  require(metric <= 1 && trained <= 1 && reserved == 0, "node: metric, trained and reserved fields",
          "0 or 1, 0 or 1, 0", "something else");
  header.metric = metric == 0 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  header.is_trained = trained != 0;
  return header;
}

void check_codes(const NodeHeader& header, size_t code_bytes, uint64_t size) {
  require(size % code_bytes == 0 && size / code_bytes == header.count(), "codes: bytes",
          std::to_string(header.ntotal) + " codes of " + std::to_string(code_bytes), size);
}

class TreeReader {
 public:
  explicit TreeReader(ContainerReader& in, std::shared_ptr<const MappedFile> file = nullptr)
      : in_(in), file_(std::move(file)) {}
  IndexPtr read(size_t depth = 0);
  /// What stands behind all nodes.
  void read_large_sections() {
    for (const auto& fill : large_) {
      fill();
    }
  }

 private:
  ContainerReader& in_;
  std::shared_ptr<const MappedFile> file_;  ///< null: codes are read, not mapped
  std::vector<std::function<void()>> large_;
  size_t next_ = 0;

  SectionSource section_source();

  IndexPtr read_kind(size_t node, const NodeHeader& header, ByteReader& fields, size_t depth);
  IndexPtr read_own(size_t node, const NodeHeader& header, ByteReader& fields);
  void read_codes(size_t node, const NodeHeader& header, IndexRotorQuant& index);
  IndexPtr read_ivf(size_t node, const NodeHeader& header, ByteReader& fields, size_t depth);
  IndexPtr read_reference(size_t node, const NodeHeader& header, ByteReader& fields);
  IndexPtr read_transform(size_t node, const NodeHeader& header, ByteReader& fields, size_t depth);
  IndexPtr read_faiss(size_t node);
  template <class Several>
  IndexPtr read_several(const NodeHeader& header, ByteReader& fields, size_t depth);
  template <class IdMap>
  IndexPtr read_id_map(size_t node, const NodeHeader& header, size_t depth);
  template <class Refine>
  IndexPtr read_refine(const NodeHeader& header, ByteReader& fields, size_t depth);
  template <class Graph>
  IndexPtr read_graph_index(size_t node, const NodeHeader& header, size_t depth);
  IndexPtr read_below(const NodeHeader& header, size_t depth);
};

/// Large sections where they lie, or read one by one into memory that they share.
SectionSource TreeReader::section_source() {
  if (file_ != nullptr) {
    const auto bytes = [this](const std::string& name) {
      const auto& sections = in_.sections();
      const auto found = std::find_if(sections.begin(), sections.end(),
                                      [&](const auto& section) { return section.name == name; });
      require(found != sections.end(), "section", name, "none");
      if (name.ends_with(".rows")) {
        file_->expect_random_reads(found->offset, found->size);
      }
      return file_->bytes().subspan(found->offset, found->size);
    };
    return {bytes, file_, true};
  }
  auto kept = std::make_shared<std::vector<AlignedVector<uint8_t>>>();
  const auto bytes = [this, kept](const std::string& name) {
    const std::vector<uint8_t> read = in_.read_section(name);
    kept->emplace_back(read.begin(), read.end());
    return std::span<const uint8_t>(kept->back());
  };
  return {bytes, kept, false};
}

IndexPtr TreeReader::read_own(size_t node, const NodeHeader& header, ByteReader& fields) {
  auto index = std::make_unique<IndexRotorQuant>();
  index->d = header.d;
  index->space.metric = header.metric == faiss::METRIC_L2 ? Metric::l2 : Metric::inner_product;
  index->refine_error_scale = fields.get<float>();
  require(!std::isnan(index->refine_error_scale), "node: refine_error_scale", "a number", "NaN");
  require(fields.get<uint32_t>() == 0, "node: reserved field", 0, "something else");
  index->k_factor = static_cast<size_t>(fields.get<uint64_t>());
  index->space.centre = fields.get_array<float>();
  const std::vector<float>& centre = index->space.centre;
  require(centre.empty() || centre.size() == header.dim(), "centre: numbers", header.d,
          centre.size());
  require_finite(centre.data(), centre.empty() ? 0 : 1, centre.size(), "centre");
  const std::vector<uint8_t> codec_bytes = in_.read_section(section_name(node, "codec"));
  ByteReader codec_reader(codec_bytes);
  index->codec = Codec::read(codec_reader, header.dim());
  require(codec_reader.left() == 0, "codec: bytes left over", 0, codec_reader.left());
  require(index->codec.is_trained() || header.ntotal == 0, "codec", "a trained one with vectors",
          "an untrained one");
  index->store = CodeStore(index->codec.layout());
  if (header.kind != kind_mappable) {
    read_codes(node, header, *index);
    return index;
  }
  const MappableFields mappable = read_mappable_fields(fields, false);
  large_.emplace_back([this, node, mappable, to = index.get(), n = header.count()] {
    fill_from_sections(section_source(), section_name(node, ""), mappable, n, *to);
  });
  return index;
}

/// Chunk by chunk: the codes of a large index are never held twice.
void TreeReader::read_codes(size_t node, const NodeHeader& header, IndexRotorQuant& index) {
  const size_t code_bytes = index.codec.code_bytes();
  uint64_t left = in_.open(section_name(node, "codes"));
  check_codes(header, code_bytes, left);
  if (in_.sizes_are_known()) {
    index.store.reserve(header.count());
  }
  std::vector<uint8_t> codes(rows_in_chunk(code_bytes) * code_bytes);
  while (left != 0) {
    const size_t received = in_.read(codes);
    index.add_sa_codes(static_cast<idx_t>(received / code_bytes), codes.data(), nullptr);
    left -= received;
  }
  in_.close();
}

IndexPtr TreeReader::read_ivf(size_t node, const NodeHeader& header, ByteReader& fields,
                              size_t depth) {
  IvfReader reader({header.dim(), header.count(), header.metric, header.is_trained}, fields);
  const bool mappable = header.kind == kind_mappable_ivf;
  const MappableFields layout = mappable ? read_mappable_fields(fields, true) : MappableFields{};
  require(!mappable || header.is_trained, "mappable node", "a trained index", "an untrained one");
  reader.read_sections(in_, section_name(node, ""), !mappable);
  auto index = reader.take_quantizer(read(depth + 1));
  if (mappable) {
    large_.emplace_back([this, node, layout, to = index.get(), sizes = reader.sizes(),
                         map = reader.direct_map_type()] {
      fill_from_sections(section_source(), section_name(node, ""), layout, sizes, *to);
      to->set_direct_map_type(map);
    });
  }
  return index;
}

IndexPtr TreeReader::read_reference(size_t node, const NodeHeader& header, ByteReader& fields) {
  const auto bits = fields.get<uint32_t>();
  require(fields.get<uint32_t>() == 0, "node: reserved field", 0, "something else");
  const auto qjl_dim = fields.get<uint64_t>();
  const auto seed = fields.get<uint64_t>();
  require(bits >= 1 && bits <= 8, "reference codec: bits", "1 to 8", bits);
  std::vector<uint8_t> codes = in_.read_section(section_name(node, "codes"));
  // Rotation and sign matrix are made anew from d and qjl_dim: first see that these can be true.
  constexpr uint64_t most_floats = uint64_t{1} << 28;
  require(qjl_dim >= 1 && qjl_dim <= most_floats / header.dim(), "reference codec: d * qjl_dim",
          "at most 268435456", qjl_dim);
  require(header.count() == 0 || qjl_dim / 8 <= codes.size() / header.count(),
          "reference codec: qjl_dim", "what the codes have room for", qjl_dim);
  auto index = std::make_unique<IndexRotorQuantReference>(
      header.d, static_cast<int>(bits), header.metric, static_cast<size_t>(qjl_dim), seed);
  check_codes(header, index->code_size, codes.size());
  index->codes = std::move(codes);
  return index;
}

/// An id map looks up what the lists below it hold, unchecked.
void check_numbers(const faiss::Index& below, size_t count) {
  const auto* ivf = dynamic_cast<const IndexIVFRotorQuant*>(try_extract_index_ivf(&below));
  const InvertedFile* file = ivf == nullptr ? nullptr : ivf->file();
  for (size_t list = 0; file != nullptr && list < file->lists(); ++list) {
    for (size_t i = 0; i < file->size(list); ++i) {
      const int64_t number = file->ids(list)[i];
      require(number >= 0 && static_cast<size_t>(number) < count, "ids below an id map",
              "below " + std::to_string(count), number);
    }
  }
}

template <class IdMap>
IndexPtr TreeReader::read_id_map(size_t node, const NodeHeader& header, size_t depth) {
  const std::vector<uint8_t> bytes = in_.read_section(section_name(node, "ids"));
  require(bytes.size() % sizeof(int64_t) == 0 && bytes.size() / sizeof(int64_t) == header.count(),
          "ids: bytes", std::to_string(header.ntotal) + " ids of 8", bytes.size());
  auto index = make_id_map<IdMap>(read_below(header, depth));
  large_.emplace_back([below = index->index, n = header.count()] { check_numbers(*below, n); });
  index->id_map.resize(header.count());
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(index->id_map.data()));
  index->ntotal = header.ntotal;
  if constexpr (std::is_same_v<IdMap, faiss::IndexIDMap2>) {
    index->construct_rev_map();
  }
  return index;
}

IndexPtr TreeReader::read_transform(size_t node, const NodeHeader& header, ByteReader& fields,
                                    size_t depth) {
  const auto length = fields.get<uint64_t>();
  require(length <= max_depth, "transforms", "at most 32", length);
  auto index = std::make_unique<faiss::IndexPreTransform>();
  index->own_fields = true;
  int d = header.d;
  for (uint64_t i = 0; i < length; ++i) {
    const std::vector<uint8_t> bytes =
        in_.read_section(section_name(node, "transform" + std::to_string(i)));
    SpanReader reader(bytes);
    std::unique_ptr<faiss::VectorTransform> transform(faiss::read_VectorTransform(&reader));
    require(transform->d_in == d, "transform: input dimension", d, transform->d_in);
    d = transform->d_out;
    index->chain.push_back(transform.get());
    transform.release();  // NOLINT(bugprone-unused-return-value): the chain has it now
  }
  NodeHeader below = header;
  below.d = d;
  index->index = read_below(below, depth).release();
  return index;
}

template <class Refine>
IndexPtr TreeReader::read_refine(const NodeHeader& header, ByteReader& fields, size_t depth) {
  auto index = std::make_unique<Refine>();
  index->own_fields = true;
  index->own_refine_index = true;
  index->k_factor = fields.get<float>();
  check_k_factor(index->k_factor);
  index->base_index = read_below(header, depth).release();
  index->refine_index = read_below(header, depth).release();
  return index;
}

template <class Graph>
IndexPtr TreeReader::read_graph_index(size_t node, const NodeHeader& header, size_t depth) {
  const std::vector<uint8_t> bytes = in_.read_section(section_name(node, "graph"));
  auto index = wrap<Graph>(read_below(header, depth));
  index->ntotal = header.ntotal;
  ByteReader reader(bytes);
  read_graph(reader, *index);
  require(reader.left() == 0, "graph: bytes left over", 0, reader.left());
  return index;
}

template <class Several>
IndexPtr TreeReader::read_several(const NodeHeader& header, ByteReader& fields, size_t depth) {
  const auto count = fields.get<uint64_t>();
  constexpr uint64_t most = 4096;
  require(count >= 1 && count <= most, "shards or replicas", "1 to 4096", count);
  const bool successive = fields.get<uint8_t>() != 0;
  std::vector<IndexPtr> parts;
  for (uint64_t i = 0; i < count; ++i) {
    parts.push_back(read(depth + 1));
    require(parts.back()->d == header.d && parts.back()->metric_type == header.metric,
            "index below a wrapper: d and metric", "the wrapper's", "others");
  }
  auto index = make_several<Several>(std::move(parts), successive);
  require(index->ntotal == header.ntotal, "shards or replicas: vectors", header.ntotal,
          index->ntotal);
  return index;
}

/// Only after its checksum is verified: FAISS's reader takes sizes in a file at their word.
IndexPtr TreeReader::read_faiss(size_t node) {
  const std::vector<uint8_t> bytes = in_.read_section(section_name(node, "faiss"));
  SpanReader reader(bytes);
  IndexPtr index(faiss::read_index(&reader));
  require(reader.left() == 0, "FAISS index: bytes left over", 0, reader.left());
  return index;
}

/// The next index of the tree, which must fit the wrapper it belongs to.
IndexPtr TreeReader::read_below(const NodeHeader& header, size_t depth) {
  IndexPtr index = read(depth + 1);
  require(
      index->d == header.d && index->ntotal == header.ntotal && index->metric_type == header.metric,
      "index below a wrapper: d, vectors and metric", "the wrapper's", "others");
  return index;
}

IndexPtr TreeReader::read_kind(size_t node, const NodeHeader& header, ByteReader& fields,
                               size_t depth) {
  const Kind& kind = header.kind;
  if (kind == kind_rotorquant || kind == kind_mappable) {
    return read_own(node, header, fields);
  }
  if (kind == kind_ivf || kind == kind_mappable_ivf) {
    return read_ivf(node, header, fields, depth);
  }
  if (kind == kind_reference) {
    return read_reference(node, header, fields);
  }
  if (kind == kind_id_map) {
    return read_id_map<faiss::IndexIDMap>(node, header, depth);
  }
  if (kind == kind_id_map2) {
    return read_id_map<faiss::IndexIDMap2>(node, header, depth);
  }
  if (kind == kind_transform) {
    return read_transform(node, header, fields, depth);
  }
  if (kind == kind_refine) {
    return read_refine<faiss::IndexRefine>(header, fields, depth);
  }
  if (kind == kind_refine_flat) {
    return read_refine<faiss::IndexRefineFlat>(header, fields, depth);
  }
  if (kind == kind_hnsw) {
    return read_graph_index<faiss::IndexHNSW>(node, header, depth);
  }
  if (kind == kind_nsg) {
    return read_graph_index<faiss::IndexNSG>(node, header, depth);
  }
  if (kind == kind_shards) {
    return read_several<faiss::IndexShards>(header, fields, depth);
  }
  if (kind == kind_replicas) {
    return read_several<faiss::IndexReplicas>(header, fields, depth);
  }
  require(kind == kind_faiss, "node: kind", "one of docs/format.md",
          std::string(kind.begin(), kind.end()).c_str());
  return read_faiss(node);
}

IndexPtr TreeReader::read(size_t depth) {
  require(depth <= max_depth, "index: nesting", "at most 32 levels", depth);
  const size_t node = next_++;
  const std::vector<uint8_t> bytes = in_.read_section(section_name(node, "node"));
  ByteReader fields(bytes);
  const NodeHeader header = read_header(fields);
  IndexPtr index = read_kind(node, header, fields, depth);
  require(fields.left() == 0, "node: bytes left over", 0, fields.left());
  if (header.kind == kind_faiss) {
    require(index->d == header.d && index->ntotal == header.ntotal, "FAISS index: d and vectors",
            "those of its node", "others");
    return index;
  }
  index->d = header.d;
  index->metric_type = header.metric;
  index->ntotal = header.ntotal;
  index->is_trained = header.is_trained;
  return index;
}

}  // namespace

IndexPtr read_sections(ContainerReader& in) {
  TreeReader reader(in);
  IndexPtr index = reader.read();
  reader.read_large_sections();
  in.finish();
  return index;
}

IndexPtr map_sections(ContainerReader& in, std::shared_ptr<const MappedFile> file) {
  TreeReader reader(in, std::move(file));
  IndexPtr index = reader.read();
  reader.read_large_sections();
  return index;
}

}  // namespace rotorquant
