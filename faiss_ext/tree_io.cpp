// SPDX-License-Identifier: MIT
#include "faiss_ext/tree_io.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/faiss_bytes.h"
#include "faiss_ext/graph_io.h"
#include "faiss_ext/index_tree.h"
#include "rotorquant/bytes.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;
using Kind = std::array<char, 8>;

/// What a node is, padded with zeros: the first eight bytes of its section.
constexpr Kind kind_of(std::string_view name) {
  Kind kind{};
  std::copy(name.begin(), name.end(), kind.begin());
  return kind;
}
constexpr Kind kind_rotorquant = kind_of("rotorq");
constexpr Kind kind_reference = kind_of("rqref");
constexpr Kind kind_id_map = kind_of("idmap");
constexpr Kind kind_id_map2 = kind_of("idmap2");
constexpr Kind kind_transform = kind_of("pretrans");
constexpr Kind kind_refine = kind_of("refine");
constexpr Kind kind_refine_flat = kind_of("rflat");
constexpr Kind kind_hnsw = kind_of("hnsw");
constexpr Kind kind_nsg = kind_of("nsg");
constexpr Kind kind_faiss = kind_of("faiss");

/// Nested deeper than any sensible index; bounds the recursion on crafted files.
constexpr size_t max_depth = 32;
constexpr size_t chunk_bytes = size_t{1} << 20;

size_t rows_in_chunk(size_t code_bytes) {
  return std::max<size_t>(1, chunk_bytes / code_bytes);
}

std::string section_name(size_t node, const std::string& what) {
  return "n" + std::to_string(node) + "." + what;
}

/// FAISS multiplies k by it unchecked.
void check_k_factor(float k_factor) {
  constexpr float largest = 65536.0F;
  require(k_factor >= 1.0F && k_factor <= largest, "IndexRefine: k_factor", "1 to 65536", k_factor);
}

// ---- writing -------------------------------------------------------------------------------

class TreeWriter {
 public:
  explicit TreeWriter(ContainerWriter& out) : out_(out) {}
  void add(const faiss::Index& index);

 private:
  ContainerWriter& out_;
  size_t next_ = 0;

  void add_node(size_t node, Kind kind, const faiss::Index& index, ByteWriter& fields);
  void add_own(size_t node, const IndexRotorQuant& index);
  void add_reference(size_t node, const IndexRotorQuantReference& index);
  void add_id_map(size_t node, const faiss::IndexIDMap& index);
  void add_transform(size_t node, const faiss::IndexPreTransform& index);
  void add_refine(size_t node, const faiss::IndexRefine& index);
  void add_faiss(size_t node, const faiss::Index& index);
  template <class Graph>
  void add_graph(size_t node, Kind kind, const Graph& index);
  bool add_wrapper(size_t node, const faiss::Index& index);
};

void TreeWriter::add_node(size_t node, Kind kind, const faiss::Index& index, ByteWriter& fields) {
  ByteWriter out;
  out.put(kind);
  out.put<int64_t>(index.ntotal);
  out.put<int32_t>(index.d);
  out.put<uint8_t>(index.metric_type == faiss::METRIC_L2 ? 0 : 1);
  out.put<uint8_t>(index.is_trained ? 1 : 0);
  out.put<uint16_t>(0);
  std::vector<uint8_t> bytes = out.take();
  bytes.insert(bytes.end(), fields.bytes().begin(), fields.bytes().end());
  out_.add(section_name(node, "node"), std::move(bytes));
}

void TreeWriter::add_own(size_t node, const IndexRotorQuant& index) {
  ByteWriter fields;
  fields.put<float>(index.refine_error_scale);
  fields.put<uint32_t>(0);
  fields.put<uint64_t>(index.k_factor);
  fields.put_array(index.space.centre);
  add_node(node, kind_rotorquant, index, fields);
  ByteWriter codec;
  index.codec.write(codec);
  out_.add(section_name(node, "codec"), codec.take());
  out_.add(section_name(node, "codes"), [&index](ByteSink& sink) {
    const size_t code_bytes = index.codec.code_bytes();
    const size_t rows = rows_in_chunk(code_bytes);
    std::vector<uint8_t> codes;
    for (size_t first = 0; first < index.store.size(); first += rows) {
      const size_t count = std::min(rows, index.store.size() - first);
      codes.resize(count * code_bytes);
      index.store.pack(first, count, codes.data());
      sink.write(codes);
    }
  });
}

void TreeWriter::add_reference(size_t node, const IndexRotorQuantReference& index) {
  ByteWriter fields;
  fields.put<uint32_t>(static_cast<uint32_t>(index.bits));
  fields.put<uint32_t>(0);
  fields.put<uint64_t>(index.qjl_dim);
  fields.put<uint64_t>(index.seed);
  add_node(node, kind_reference, index, fields);
  out_.add(section_name(node, "codes"), [&index](ByteSink& sink) {
    sink.write({index.codes.data(), index.codes.size()});
  });
}

void TreeWriter::add_id_map(size_t node, const faiss::IndexIDMap& index) {
  ByteWriter fields;
  const bool two_way = dynamic_cast<const faiss::IndexIDMap2*>(&index) != nullptr;
  add_node(node, two_way ? kind_id_map2 : kind_id_map, index, fields);
  out_.add(section_name(node, "ids"), [&index](ByteSink& sink) {
    sink.write({reinterpret_cast<const uint8_t*>(index.id_map.data()),
                index.id_map.size() * sizeof(int64_t)});
  });
}

void TreeWriter::add_transform(size_t node, const faiss::IndexPreTransform& index) {
  ByteWriter fields;
  fields.put<uint64_t>(index.chain.size());
  add_node(node, kind_transform, index, fields);
  for (size_t i = 0; i < index.chain.size(); ++i) {
    const faiss::VectorTransform* transform = index.chain[i];
    out_.add(section_name(node, "transform" + std::to_string(i)), [transform](ByteSink& sink) {
      SinkWriter writer(sink);
      faiss::write_VectorTransform(transform, &writer);
    });
  }
}

void TreeWriter::add_refine(size_t node, const faiss::IndexRefine& index) {
  require(index.base_index != nullptr && index.refine_index != nullptr, "write: IndexRefine",
          "two indexes", "fewer");
  check_k_factor(index.k_factor);
  ByteWriter fields;
  fields.put<float>(index.k_factor);
  const bool flat = typeid(index) == typeid(faiss::IndexRefineFlat);
  add_node(node, flat ? kind_refine_flat : kind_refine, index, fields);
}

template <class Graph>
void TreeWriter::add_graph(size_t node, Kind kind, const Graph& index) {
  ByteWriter fields;
  add_node(node, kind, index, fields);
  out_.add(section_name(node, "graph"), [&index](ByteSink& sink) { write_graph(index, sink); });
}

void TreeWriter::add_faiss(size_t node, const faiss::Index& index) {
  ByteWriter fields;
  add_node(node, kind_faiss, index, fields);
  out_.add(section_name(node, "faiss"), [&index](ByteSink& sink) {
    SinkWriter writer(sink);
    faiss::write_index(&index, &writer);
  });
}

/// Types are compared exactly: a derived type may hold more than is written here.
bool TreeWriter::add_wrapper(size_t node, const faiss::Index& index) {
  const std::type_info& type = typeid(index);
  if (type == typeid(faiss::IndexIDMap) || type == typeid(faiss::IndexIDMap2)) {
    add_id_map(node, dynamic_cast<const faiss::IndexIDMap&>(index));
  } else if (type == typeid(faiss::IndexPreTransform)) {
    add_transform(node, dynamic_cast<const faiss::IndexPreTransform&>(index));
  } else if (type == typeid(faiss::IndexRefine) || type == typeid(faiss::IndexRefineFlat)) {
    add_refine(node, dynamic_cast<const faiss::IndexRefine&>(index));
  } else if (type == typeid(faiss::IndexHNSW)) {
    add_graph(node, kind_hnsw, dynamic_cast<const faiss::IndexHNSW&>(index));
  } else if (type == typeid(faiss::IndexNSG)) {
    add_graph(node, kind_nsg, dynamic_cast<const faiss::IndexNSG&>(index));
  } else {
    return false;
  }
  return true;
}

void TreeWriter::add(const faiss::Index& index) {
  const size_t node = next_++;
  if (!contains_rotorquant(index)) {
    add_faiss(node, index);
  } else if (const auto* own = dynamic_cast<const IndexRotorQuant*>(&index)) {
    add_own(node, *own);
  } else if (const auto* reference = dynamic_cast<const IndexRotorQuantReference*>(&index)) {
    add_reference(node, *reference);
  } else {
    require(add_wrapper(node, index), "write: type above an index of ours",
            "one of those in index_tree.h", typeid(index).name());
    for (const faiss::Index* sub : sub_indexes(index)) {
      require(sub->ntotal == index.ntotal, "write: vectors below a wrapper", index.ntotal,
              sub->ntotal);
      add(*sub);
    }
  }
}

// ---- reading -------------------------------------------------------------------------------

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
  explicit TreeReader(ContainerReader& in) : in_(in) {}
  IndexPtr read(size_t depth = 0);

 private:
  ContainerReader& in_;
  size_t next_ = 0;

  IndexPtr read_kind(size_t node, const NodeHeader& header, ByteReader& fields, size_t depth);
  IndexPtr read_own(size_t node, const NodeHeader& header, ByteReader& fields);
  void read_codes(size_t node, const NodeHeader& header, IndexRotorQuant& index);
  IndexPtr read_reference(size_t node, const NodeHeader& header, ByteReader& fields);
  IndexPtr read_transform(size_t node, const NodeHeader& header, ByteReader& fields, size_t depth);
  IndexPtr read_faiss(size_t node);
  template <class IdMap>
  IndexPtr read_id_map(size_t node, const NodeHeader& header, size_t depth);
  template <class Refine>
  IndexPtr read_refine(const NodeHeader& header, ByteReader& fields, size_t depth);
  template <class Graph>
  IndexPtr read_graph_index(size_t node, const NodeHeader& header, size_t depth);
  IndexPtr read_below(const NodeHeader& header, size_t depth);
};

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
  read_codes(node, header, *index);
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

template <class IdMap>
IndexPtr TreeReader::read_id_map(size_t node, const NodeHeader& header, size_t depth) {
  const std::vector<uint8_t> bytes = in_.read_section(section_name(node, "ids"));
  require(bytes.size() % sizeof(int64_t) == 0 && bytes.size() / sizeof(int64_t) == header.count(),
          "ids: bytes", std::to_string(header.ntotal) + " ids of 8", bytes.size());
  auto index = std::make_unique<IdMap>();
  index->id_map.resize(header.count());
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(index->id_map.data()));
  index->index = read_below(header, depth).release();
  index->own_fields = true;
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
  if (kind == kind_rotorquant) {
    return read_own(node, header, fields);
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

void add_sections(const faiss::Index& index, ContainerWriter& out) {
  TreeWriter(out).add(index);
}

IndexPtr read_sections(ContainerReader& in) {
  IndexPtr index = TreeReader(in).read();
  in.finish();
  return index;
}

}  // namespace rotorquant
