// SPDX-License-Identifier: MIT
#include "index_facts.h"

#include <faiss/IndexIVF.h>
#include <fmt/core.h>

#include <exception>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_parameters.h"

namespace rotorquant::tools {
namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

const char* frame_name(FrameKind kind) {
  switch (kind) {
    case FrameKind::rotor_layers:
      return "layers of rotors";
    case FrameKind::learned:
      return "learned";
    case FrameKind::haar:
      return "dense Haar rotation";
  }
  return "unknown";
}

void add_codec_facts(const Codec& codec, Facts& facts) {
  const CodecParams& params = codec.params();
  facts.emplace_back("bits a dimension", std::to_string(params.bits));
  facts.emplace_back("levels", std::to_string(codec.layout().levels));
  facts.emplace_back("signs", params.signs ? "yes" : "no");
  facts.emplace_back("frame", frame_name(params.frame));
  if (params.frame == FrameKind::rotor_layers) {
    const size_t layers =
        params.rotor_layers != 0 ? params.rotor_layers : RotorLayers::default_layers(params.d);
    facts.emplace_back("rotor layers", std::to_string(layers));
  }
  facts.emplace_back("seed", std::to_string(params.seed));
  facts.emplace_back("joint rounds", std::to_string(params.joint_rounds));
  facts.emplace_back("code bytes a vector", std::to_string(codec.code_bytes()));
  if (codec.is_trained()) {
    facts.emplace_back("expected distortion", fmt::format("{:.5f}", codec.expected_distortion()));
  }
}

void add_code_size(const faiss::Index& index, Facts& facts) {
  try {
    facts.emplace_back("code bytes a vector", std::to_string(index.sa_code_size()));
  } catch (const std::exception&) {
    return;  // not every FAISS index has standalone codes
  }
}

}  // namespace

std::vector<float> centre_of(const faiss::Index& index) {
  if (const auto* ours = dynamic_cast<const IndexRotorQuant*>(&index)) {
    return ours->space.centre;
  }
  const auto* ivf = dynamic_cast<const IndexIVFRotorQuant*>(&index);
  return ivf != nullptr && ivf->geometry != nullptr ? ivf->geometry->centre()
                                                    : std::vector<float>();
}

std::string metric_name(faiss::MetricType metric) {
  switch (metric) {
    case faiss::METRIC_L2:
      return "l2";
    case faiss::METRIC_INNER_PRODUCT:
      return "inner product";
    default:
      return fmt::format("faiss metric {}", static_cast<int>(metric));
  }
}

Facts facts_of(const faiss::Index& index) {
  Facts facts;
  facts.emplace_back("type", class_name(index));
  if (const std::string name = describe_index(index); name != class_name(index)) {
    facts.emplace_back("factory string", name);
  }
  facts.emplace_back("d", std::to_string(index.d));
  facts.emplace_back("n", std::to_string(index.ntotal));
  facts.emplace_back("metric", metric_name(index.metric_type));
  facts.emplace_back("trained", index.is_trained ? "yes" : "no");
  if (const auto* ours = dynamic_cast<const IndexRotorQuant*>(&index)) {
    add_codec_facts(ours->codec, facts);
    return facts;
  }
  if (const faiss::IndexIVF* ivf = try_extract_index_ivf(&index)) {
    facts.emplace_back("inverted lists", std::to_string(ivf->nlist));
    facts.emplace_back("nprobe", std::to_string(ivf->nprobe));
    if (const auto* own = dynamic_cast<const IndexIVFRotorQuant*>(ivf)) {
      add_codec_facts(*own->codec, facts);
      return facts;
    }
  }
  add_code_size(index, facts);
  return facts;
}

}  // namespace rotorquant::tools
