// SPDX-License-Identifier: MIT
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/index_io.h>

#include <functional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/faiss_bytes.h"
#include "faiss_ext/graph_io.h"
#include "faiss_ext/index_tree.h"
#include "faiss_ext/ivf_id_map.h"
#include "faiss_ext/ivf_io.h"
#include "faiss_ext/mapped_io.h"
#include "faiss_ext/several.h"
#include "faiss_ext/tree_io.h"
#include "faiss_ext/tree_nodes.h"
#include "rotorquant/bytes.h"

namespace rotorquant {
namespace {

class TreeWriter {
 public:
  TreeWriter(ContainerWriter& out, bool mappable) : out_(out), mappable_(mappable) {}
  void add(const faiss::Index& index);
  /// What stands behind all nodes.
  void add_large_sections() {
    for (const auto& add_sections_of : large_) {
      add_sections_of();
    }
  }

 private:
  ContainerWriter& out_;
  bool mappable_;
  std::vector<std::function<void()>> large_;
  size_t next_ = 0;

  /// Whether codes go behind everything else; then their fields are added.
  template <class Own>
  bool put_off_codes(size_t node, const Own& index, ByteWriter& fields);

  void add_node(size_t node, Kind kind, const faiss::Index& index, ByteWriter& fields);
  void add_own(size_t node, const IndexRotorQuant& index);
  void add_ivf(size_t node, const IndexIVFRotorQuant& index);
  void add_reference(size_t node, const IndexRotorQuantReference& index);
  template <class Several>
  bool add_several(size_t node, Kind kind, const faiss::Index& index);
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

template <class Own>
bool TreeWriter::put_off_codes(size_t node, const Own& index, ByteWriter& fields) {
  if (!mappable_ || !index.is_trained) {
    return false;
  }
  write_mappable_fields(mappable_fields(index), fields);
  large_.emplace_back(
      [this, node, &index] { add_mappable_sections(index, section_name(node, ""), out_); });
  return true;
}

void TreeWriter::add_own(size_t node, const IndexRotorQuant& index) {
  ByteWriter fields;
  fields.put<float>(index.refine_error_scale);
  fields.put<uint32_t>(0);
  fields.put<uint64_t>(index.k_factor);
  fields.put_array(index.space.centre);
  const bool put_off = put_off_codes(node, index, fields);
  add_node(node, put_off ? kind_mappable : kind_rotorquant, index, fields);
  ByteWriter codec;
  index.codec.write(codec);
  out_.add(section_name(node, "codec"), codec.take());
  if (put_off) {
    return;
  }
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

void TreeWriter::add_ivf(size_t node, const IndexIVFRotorQuant& index) {
  ByteWriter fields;
  write_ivf_fields(index, fields);
  const bool put_off = put_off_codes(node, index, fields);
  add_node(node, put_off ? kind_mappable_ivf : kind_ivf, index, fields);
  add_ivf_sections(index, section_name(node, ""), !put_off, out_);
  require(index.quantizer != nullptr, "write: quantizer", "one", "none");
  add(*index.quantizer);
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

/// Parts have numbers of vectors of their own.
template <class Several>
bool TreeWriter::add_several(size_t node, Kind kind, const faiss::Index& index) {
  if (typeid(index) != typeid(Several)) {
    return false;
  }
  const auto& several = dynamic_cast<const Several&>(index);
  ByteWriter fields;
  fields.put<uint64_t>(static_cast<uint64_t>(several.count()));
  fields.put<uint8_t>(has_successive_ids(several) ? 1 : 0);
  add_node(node, kind, index, fields);
  for (int i = 0; i < several.count(); ++i) {
    add(*several.at(i));
  }
  return true;
}

/// Types are compared exactly: a derived type may hold more than is written here.
bool TreeWriter::add_wrapper(size_t node, const faiss::Index& index) {
  const std::type_info& type = typeid(index);
  if (is_id_map<faiss::IndexIDMap>(index) || is_id_map<faiss::IndexIDMap2>(index)) {
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
  } else if (const auto* ivf = dynamic_cast<const IndexIVFRotorQuant*>(&index)) {
    add_ivf(node, *ivf);
  } else if (const auto* reference = dynamic_cast<const IndexRotorQuantReference*>(&index)) {
    add_reference(node, *reference);
  } else if (add_several<faiss::IndexShards>(node, kind_shards, index) ||
             add_several<faiss::IndexReplicas>(node, kind_replicas, index)) {
    return;
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

}  // namespace

void add_sections(const faiss::Index& index, ContainerWriter& out, bool mappable) {
  TreeWriter writer(out, mappable);
  writer.add(index);
  writer.add_large_sections();
}

}  // namespace rotorquant
