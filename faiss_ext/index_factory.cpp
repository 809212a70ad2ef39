// SPDX-License-Identifier: MIT
#include "faiss_ext/index_factory.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/index_factory.h>

#include <optional>
#include <regex>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/index_tree.h"

namespace rotorquant {
namespace {

using IndexPtr = std::unique_ptr<faiss::Index>;

constexpr const char* allowed_codes =
    "RQ1 to RQ8 or ORQ1 to ORQ8, perhaps with 'mse' behind, or RQ1ref to RQ8ref (FAISS's residual "
    "quantiser is RQ{M}x{bits})";

/// Whether some part of the string is one of our codes, or a misspelt one: RQ{M}x{bits} is FAISS's.
bool mentions_rotorquant(const std::string& text) {
  static const std::regex pattern("(^|[,(_])O?RQ(?![0-9]+x)");
  return std::regex_search(text, pattern);
}

/// Positions of `text` outside all parentheses where `token` starts.
std::vector<size_t> top_level_positions(const std::string& text, const std::string& token) {
  std::vector<size_t> positions;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (depth == 0 && text.compare(i, token.size(), token) == 0) {
      positions.push_back(i);
    }
    depth += text[i] == '(' ? 1 : 0;
    depth -= text[i] == ')' ? 1 : 0;
    require_faiss(depth >= 0, "index_factory", "balanced parentheses", text);
  }
  require_faiss(depth == 0, "index_factory", "balanced parentheses", text);
  return positions;
}

std::optional<std::string> without_prefix(const std::string& text, const std::string& prefix) {
  return text.starts_with(prefix) ? std::optional(text.substr(prefix.size())) : std::nullopt;
}

std::optional<std::string> without_suffix(const std::string& text, const std::string& suffix) {
  return text.ends_with(suffix) ? std::optional(text.substr(0, text.size() - suffix.size()))
                                : std::nullopt;
}

IndexPtr make_index(int d, const std::string& text, faiss::MetricType metric);

/// IDMap is a prefix or, in old strings, a suffix.
IndexPtr parse_id_map(int d, const std::string& text, faiss::MetricType metric) {
  auto inner = without_prefix(text, "IDMap2,");
  inner = inner ? inner : without_suffix(text, ",IDMap2");
  if (inner) {
    return wrap<faiss::IndexIDMap2>(make_index(d, *inner, metric));
  }
  inner = without_prefix(text, "IDMap,");
  inner = inner ? inner : without_suffix(text, ",IDMap");
  return inner ? wrap<faiss::IndexIDMap>(make_index(d, *inner, metric)) : nullptr;
}

IndexPtr parse_refine(int d, const std::string& text, faiss::MetricType metric) {
  if (const auto base = without_suffix(text, ",RFlat")) {
    return wrap<faiss::IndexRefineFlat>(make_index(d, *base, metric));
  }
  const std::string opening = ",Refine(";
  const std::vector<size_t> found = top_level_positions(text, opening);
  if (found.empty() || text.back() != ')') {
    return nullptr;
  }
  const size_t begin = found.back() + opening.size();
  IndexPtr refine = make_index(d, text.substr(begin, text.size() - 1 - begin), metric);
  auto index =
      wrap<faiss::IndexRefine>(make_index(d, text.substr(0, found.back()), metric), refine.get());
  index->own_refine_index = true;
  refine.release();  // NOLINT(bugprone-unused-return-value): index has it now
  return index;
}

/// FAISS's own parser makes the transform: it comes with a Flat index, which is thrown away.
std::unique_ptr<faiss::VectorTransform> parse_transform(int d, const std::string& token) {
  static const std::regex pattern("(PCAW?R?|L2[nN]orm|RR|HR|ITQ|OPQ|Pad)[0-9_]*");
  if (!std::regex_match(token, pattern)) {
    return nullptr;
  }
  const IndexPtr made(faiss::index_factory(d, (token + ",Flat").c_str()));
  auto* carrier = dynamic_cast<faiss::IndexPreTransform*>(made.get());
  require_faiss(carrier != nullptr && carrier->chain.size() == 1, "index_factory: transform",
                "one that FAISS knows", token);
  std::unique_ptr<faiss::VectorTransform> transform(carrier->chain.front());
  carrier->chain.clear();
  return transform;
}

/// Marks our indexes, and all that stands above them, as untrained. IndexPreTransform trains what
/// is below it only then, and a rotated or projected RQ needs its centre as much as any other.
bool ask_for_training(faiss::Index& index) {
  bool below = is_rotorquant(index);
  for (faiss::Index* sub : sub_indexes(index)) {
    below = ask_for_training(*sub) || below;
  }
  index.is_trained = index.is_trained && !below;
  return below;
}

IndexPtr parse_transformed(int d, const std::string& text, faiss::MetricType metric) {
  const std::vector<size_t> commas = top_level_positions(text, ",");
  if (commas.empty()) {
    return nullptr;
  }
  std::unique_ptr<faiss::VectorTransform> transform =
      parse_transform(d, text.substr(0, commas.front()));
  if (transform == nullptr) {
    return nullptr;
  }
  IndexPtr inner = make_index(transform->d_out, text.substr(commas.front() + 1), metric);
  // Transforms in a row share one IndexPreTransform, as FAISS builds them.
  if (auto* chain = dynamic_cast<faiss::IndexPreTransform*>(inner.get())) {
    chain->prepend_transform(transform.get());
    transform.release();  // NOLINT(bugprone-unused-return-value): the chain has it now
    return inner;
  }
  ask_for_training(*inner);
  auto index = wrap<faiss::IndexPreTransform>(std::move(inner));
  index->prepend_transform(transform.get());
  transform.release();  // NOLINT(bugprone-unused-return-value): the chain has it now
  return index;
}

template <class Graph>
IndexPtr make_graph(IndexPtr storage, int degree) {
  const bool trained = storage->is_trained;
  auto graph = wrap<Graph>(std::move(storage), degree);
  graph->is_trained = trained;  // FAISS assumes a trained storage
  return graph;
}

IndexPtr parse_graph(int d, const std::string& text, faiss::MetricType metric) {
  static const std::regex pattern("(HNSW|NSG)([0-9]{0,4})[,_](.+)");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) {
    return nullptr;
  }
  constexpr int default_degree = 32;
  const int degree = match[2].length() == 0 ? default_degree : std::stoi(match[2].str());
  require_faiss(degree >= 2, "index_factory: graph degree", "at least 2", degree);
  IndexPtr storage = make_index(d, match[3].str(), metric);
  return match[1] == "HNSW" ? make_graph<faiss::IndexHNSW>(std::move(storage), degree)
                            : make_graph<faiss::IndexNSG>(std::move(storage), degree);
}

IndexPtr parse_code(int d, const std::string& text, faiss::MetricType metric) {
  static const std::regex pattern("(O?)RQ([1-8])(mse)?|RQ([1-8])ref");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) {
    return nullptr;
  }
  if (match[4].matched) {
    return std::make_unique<IndexRotorQuantReference>(d, std::stoi(match[4].str()), metric);
  }
  require_faiss(d >= 1, "index_factory: d", "at least 1", d);
  CodecParams params;
  params.d = static_cast<size_t>(d);
  params.bits = std::stoi(match[2].str());
  params.signs = !match[3].matched;
  params.frame = match[1].length() == 0 ? FrameKind::rotor_layers : FrameKind::learned;
  return std::make_unique<IndexRotorQuant>(params, metric);
}

IndexPtr make_index(int d, const std::string& text, faiss::MetricType metric) {
  if (!mentions_rotorquant(text)) {
    return IndexPtr(faiss::index_factory(d, text.c_str(), metric));
  }
  for (const auto parse :
       {parse_id_map, parse_refine, parse_transformed, parse_graph, parse_code}) {
    if (IndexPtr index = parse(d, text, metric)) {
      return index;
    }
  }
  require_faiss(!text.starts_with("IVF") && !text.starts_with("IMI"), "index_factory",
                "a flat index or a graph: inverted lists of rotor codes are not there yet", text);
  require_faiss(false, "index_factory: code", allowed_codes, text);
  return nullptr;  // not reached
}

// ---- and back ------------------------------------------------------------------------------

std::string describe_transform(const faiss::VectorTransform& transform) {
  const std::string d_out = std::to_string(transform.d_out);
  if (const auto* pca = dynamic_cast<const faiss::PCAMatrix*>(&transform)) {
    return std::string("PCA") + (pca->eigen_power != 0.0F ? "W" : "") +
           (pca->random_rotation ? "R" : "") + d_out;
  }
  if (const auto* opq = dynamic_cast<const faiss::OPQMatrix*>(&transform)) {
    return "OPQ" + std::to_string(opq->M) + "_" + d_out;
  }
  if (dynamic_cast<const faiss::ITQTransform*>(&transform) != nullptr) {
    return "ITQ" + d_out;
  }
  if (dynamic_cast<const faiss::RandomRotationMatrix*>(&transform) != nullptr) {
    return "RR" + d_out;
  }
  if (dynamic_cast<const faiss::NormalizationTransform*>(&transform) != nullptr) {
    return "L2norm";
  }
  if (dynamic_cast<const faiss::RemapDimensionsTransform*>(&transform) != nullptr) {
    return "Pad" + d_out;
  }
  require_faiss(false, "reverse_index_factory: transform", "a known type",
                typeid(transform).name());
  return {};  // not reached
}

std::string describe_refine(const faiss::IndexRefine& refine) {
  if (refine.base_index == nullptr || refine.refine_index == nullptr) {
    throw faiss::FaissException(
        "rotorquant: reverse_index_factory: an IndexRefine without indexes");
  }
  const std::string base = reverse_index_factory(*refine.base_index);
  return dynamic_cast<const faiss::IndexFlat*>(refine.refine_index) != nullptr
             ? base + ",RFlat"
             : base + ",Refine(" + reverse_index_factory(*refine.refine_index) + ")";
}

std::string describe_chain(const faiss::IndexPreTransform& index) {
  std::string text;
  for (const faiss::VectorTransform* transform : index.chain) {
    text += describe_transform(*transform) + ",";
  }
  return text + reverse_index_factory(*index.index);
}

}  // namespace

IndexPtr index_factory(int d, const std::string& description, faiss::MetricType metric) {
  return faiss_boundary([&] { return make_index(d, description, metric); });
}

std::string reverse_index_factory(const faiss::Index& index) {
  if (const auto* own = dynamic_cast<const IndexRotorQuant*>(&index)) {
    return own->name();
  }
  if (const auto* reference = dynamic_cast<const IndexRotorQuantReference*>(&index)) {
    return reference->name();
  }
  if (const auto* id_map2 = dynamic_cast<const faiss::IndexIDMap2*>(&index)) {
    return "IDMap2," + reverse_index_factory(*id_map2->index);
  }
  if (const auto* id_map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
    return "IDMap," + reverse_index_factory(*id_map->index);
  }
  if (const auto* transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
    return describe_chain(*transformed);
  }
  if (const auto* refine = dynamic_cast<const faiss::IndexRefine*>(&index)) {
    return describe_refine(*refine);
  }
  if (const auto* hnsw = dynamic_cast<const faiss::IndexHNSW*>(&index)) {
    return "HNSW" + std::to_string(hnsw->hnsw.nb_neighbors(1)) + "," +
           reverse_index_factory(*hnsw->storage);
  }
  if (const auto* nsg = dynamic_cast<const faiss::IndexNSG*>(&index)) {
    return "NSG" + std::to_string(nsg->nsg.R) + "," + reverse_index_factory(*nsg->storage);
  }
  require_faiss(dynamic_cast<const faiss::IndexFlat*>(&index) != nullptr,
                "reverse_index_factory: index", "one of ours, a known wrapper or IndexFlat",
                typeid(index).name());
  return "Flat";
}

}  // namespace rotorquant
