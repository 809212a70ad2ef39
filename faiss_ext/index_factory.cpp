// SPDX-License-Identifier: MIT
#include "faiss_ext/index_factory.h"

#include <cxxabi.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/index_factory.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <regex>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/index_parts.h"
#include "faiss_ext/index_tree.h"
#include "faiss_ext/ivf_id_map.h"

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
    return make_id_map<faiss::IndexIDMap2>(make_index(d, *inner, metric));
  }
  inner = without_prefix(text, "IDMap,");
  inner = inner ? inner : without_suffix(text, ",IDMap");
  return inner ? make_id_map<faiss::IndexIDMap>(make_index(d, *inner, metric)) : nullptr;
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

/// The parameters behind "RQ3" or "ORQ2mse"; nothing for other words.
std::optional<CodecParams> parse_codec(int d, const std::string& text) {
  static const std::regex pattern("(O?)RQ([1-8])(mse)?");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) {
    return std::nullopt;
  }
  CodecParams params = codec_params(d, std::stoi(match[2].str()), match[1].length() != 0);
  params.signs = !match[3].matched;
  return params;
}

IndexPtr parse_code(int d, const std::string& text, faiss::MetricType metric) {
  static const std::regex reference("RQ([1-8])ref");
  std::smatch match;
  if (std::regex_match(text, match, reference)) {
    return std::make_unique<IndexRotorQuantReference>(d, std::stoi(match[1].str()), metric);
  }
  const std::optional<CodecParams> params = parse_codec(d, text);
  return params ? std::make_unique<IndexRotorQuant>(*params, metric) : nullptr;
}

/// A coarse quantizer with what IndexIVF has to know about it.
struct CoarseQuantizer {
  IndexPtr index;
  size_t nlist = 0;
  char trains_alone = 0;
  faiss::ClusteringParameters clustering;
};

/// FAISS's own parser makes the quantizer: it comes with an IndexIVFFlat, which is thrown away.
CoarseQuantizer faiss_quantizer(int d, const std::string& text, faiss::MetricType metric) {
  const IndexPtr made(faiss::index_factory(d, (text + ",Flat").c_str(), metric));
  auto* ivf = dynamic_cast<faiss::IndexIVF*>(made.get());
  require_faiss(ivf != nullptr && ivf->own_fields, "index_factory: coarse quantizer",
                "IVF or IMI, as FAISS writes them", text);
  ivf->own_fields = false;
  return {IndexPtr(ivf->quantizer), ivf->nlist, ivf->quantizer_trains_alone, ivf->cp};
}

/// "IVF4096", "IVF4096_HNSW32", "IMI2x8" and "IVF65536(...)", where the parentheses hold any index,
/// ours among them, or IVF256,HNSW32: short for IVF256_HNSW32,Flat, centroids of centroids.
CoarseQuantizer parse_quantizer(int d, const std::string& text, faiss::MetricType metric) {
  static const std::regex nested("IVF([0-9]{1,9})\\((.+)\\)");
  static const std::regex two_level("IVF([0-9]+),HNSW([0-9]*)");
  std::smatch match;
  if (!std::regex_match(text, match, nested)) {
    return faiss_quantizer(d, text, metric);
  }
  const std::string inner = std::regex_replace(match[2].str(), two_level, "IVF$1_HNSW$2,Flat",
                                               std::regex_constants::format_first_only);
  // 2: centroids by k-means on a flat index, then added to the quantizer.
  CoarseQuantizer coarse{make_index(d, inner, metric), std::stoul(match[1].str()), 2, {}};
  coarse.clustering.niter = 10;  // FAISS's number for coarse quantizers
  coarse.clustering.spherical = metric == faiss::METRIC_INNER_PRODUCT;
  if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(coarse.index.get())) {
    constexpr size_t useful_nprobe = 16;  // one list of centroids would miss many
    ivf->nprobe = std::min(ivf->nlist, useful_nprobe);
  }
  return coarse;
}

IndexPtr parse_ivf(int d, const std::string& text, faiss::MetricType metric) {
  const std::vector<size_t> commas = top_level_positions(text, ",");
  if (commas.empty() || !(text.starts_with("IVF") || text.starts_with("IMI"))) {
    return nullptr;
  }
  const std::optional<CodecParams> params = parse_codec(d, text.substr(commas.front() + 1));
  if (!params) {
    return nullptr;
  }
  CoarseQuantizer coarse = parse_quantizer(d, text.substr(0, commas.front()), metric);
  auto index =
      std::make_unique<IndexIVFRotorQuant>(coarse.index.get(), *params, coarse.nlist, metric);
  index->own_fields = true;
  coarse.index.release();  // NOLINT(bugprone-unused-return-value): index has it now
  index->quantizer_trains_alone = coarse.trains_alone;
  index->cp = coarse.clustering;
  return index;
}

IndexPtr make_index(int d, const std::string& text, faiss::MetricType metric) {
  if (!mentions_rotorquant(text)) {
    return IndexPtr(faiss::index_factory(d, text.c_str(), metric));
  }
  for (const auto parse :
       {parse_id_map, parse_refine, parse_transformed, parse_graph, parse_ivf, parse_code}) {
    if (IndexPtr index = parse(d, text, metric)) {
      return index;
    }
  }
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

std::string describe_ivf(const IndexIVFRotorQuant& index) {
  const std::string lists = "IVF" + std::to_string(index.nlist);
  require_faiss(index.quantizer != nullptr, "reverse_index_factory: coarse quantizer", "one",
                "none");
  const faiss::Index& quantizer = *index.quantizer;
  if (dynamic_cast<const faiss::IndexFlat*>(&quantizer) != nullptr) {
    return lists + "," + index.code_name();
  }
  if (const auto* imi = dynamic_cast<const faiss::MultiIndexQuantizer*>(&quantizer)) {
    return "IMI" + std::to_string(imi->pq.M) + "x" + std::to_string(imi->pq.nbits) + "," +
           index.code_name();
  }
  if (const auto* hnsw = dynamic_cast<const faiss::IndexHNSWFlat*>(&quantizer)) {
    return lists + "_HNSW" + std::to_string(hnsw->hnsw.nb_neighbors(1)) + "," + index.code_name();
  }
  if (const auto* nsg = dynamic_cast<const faiss::IndexNSGFlat*>(&quantizer)) {
    return lists + "_NSG" + std::to_string(nsg->nsg.R) + "," + index.code_name();
  }
  if (const auto* two_level = dynamic_cast<const faiss::IndexIVFFlat*>(&quantizer)) {
    std::string inner = "IVF" + std::to_string(two_level->nlist);
    if (const auto* top = dynamic_cast<const faiss::IndexHNSWFlat*>(two_level->quantizer)) {
      inner += ",HNSW" + std::to_string(top->hnsw.nb_neighbors(1));
    } else {
      inner += ",Flat";
    }
    return lists + "(" + inner + ")," + index.code_name();
  }
  return lists + "(" + reverse_index_factory(quantizer) + ")," + index.code_name();
}

}  // namespace

IndexPtr index_factory(int d, const std::string& description, faiss::MetricType metric) {
  return faiss_boundary([&] { return make_index(d, description, metric); });
}

std::string reverse_index_factory(const faiss::Index& index) {
  if (const auto* own = dynamic_cast<const IndexRotorQuant*>(&index)) {
    return own->name();
  }
  if (const auto* ivf = dynamic_cast<const IndexIVFRotorQuant*>(&index)) {
    return describe_ivf(*ivf);
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

std::string class_name(const faiss::Index& index) {
  const char* mangled = typeid(index).name();
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : mangled;
}

std::string describe_index(const faiss::Index& index) {
  try {
    return reverse_index_factory(index);
  } catch (const std::exception&) {
    return class_name(index);  // a FAISS index that the reverse factory does not know
  }
}

}  // namespace rotorquant
