// SPDX-License-Identifier: MIT
#include "faiss_ext/IndexRotorQuantReference.h"

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/IDSelector.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/boundary.h"

namespace rotorquant {
namespace {

constexpr float worst = std::numeric_limits<float>::max();

size_t checked_count(idx_t n) {
  require_faiss(n >= 0, "n", "at least 0", n);
  return static_cast<size_t>(n);
}

/// Scores codes against one query; smaller is nearer, as in the core.
class ReferenceScorer {
 public:
  ReferenceScorer(const IndexRotorQuantReference& index, const float* query)
      : prod_(*index.prod),
        is_l2_(index.metric_type == faiss::METRIC_L2),
        query_(index.prod->prepare_query(query)) {
    for (size_t j = 0; j < prod_.d(); ++j) {
      squared_norm_ += query[j] * query[j];
    }
  }
  float distance(const uint8_t* code) const {
    const float product = prod_.inner_product(query_, code);
    if (!is_l2_) {
      return -product;
    }
    float norm;  // of the vector: the first number of a packed code
    std::memcpy(&norm, code, sizeof(norm));
    return squared_norm_ + norm * norm - 2.0F * product;
  }

 private:
  const RotorQuantProd& prod_;
  bool is_l2_;
  RotorQuantProd::QueryState query_;
  float squared_norm_ = 0.0F;
};

using Hit = std::pair<float, idx_t>;

/// Calls f(hit) for every code the selector allows.
template <class F>
void score_all(const IndexRotorQuantReference& index, const float* query,
               const faiss::IDSelector* sel, F&& f) {
  const ReferenceScorer scorer(index, query);
  for (idx_t i = 0; i < index.ntotal; ++i) {
    if (sel == nullptr || sel->is_member(i)) {
      f(Hit{scorer.distance(index.codes.data() + static_cast<size_t>(i) * index.code_size), i});
    }
  }
}

void search_one(const IndexRotorQuantReference& index, const float* query, size_t k,
                const faiss::IDSelector* sel, float* distances, idx_t* labels) {
  std::vector<Hit> heap;  // the worst of the best k on top
  score_all(index, query, sel, [&](const Hit& hit) {
    if (heap.size() == k) {
      if (!(hit < heap.front())) {
        return;
      }
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back(hit);
    std::push_heap(heap.begin(), heap.end());
  });
  std::sort_heap(heap.begin(), heap.end());
  const float sign = index.metric_type == faiss::METRIC_L2 ? 1.0F : -1.0F;
  for (size_t j = 0; j < k; ++j) {
    const bool found = j < heap.size();
    distances[j] = sign * (found ? heap[j].first : worst);
    labels[j] = found ? heap[j].second : -1;
  }
}

struct Call {
  explicit Call(const faiss::SearchParameters* params) {
    const auto* own = dynamic_cast<const SearchParametersRotorQuant*>(params);
    require_faiss(
        params == nullptr || own != nullptr || typeid(*params) == typeid(faiss::SearchParameters),
        "search parameters", "SearchParametersRotorQuant or faiss::SearchParameters",
        params == nullptr ? "" : typeid(*params).name());
    sel = params == nullptr ? nullptr : params->sel;
    threads = own != nullptr && own->threads > 0 ? own->threads : omp_get_max_threads();
  }
  const faiss::IDSelector* sel;
  int threads;
};

class ReferenceDistanceComputer final : public faiss::FlatCodesDistanceComputer {
 public:
  explicit ReferenceDistanceComputer(const IndexRotorQuantReference& index)
      : FlatCodesDistanceComputer(index.codes.data(), index.code_size),
        index_(index),
        sign_(index.metric_type == faiss::METRIC_L2 ? 1.0F : -1.0F),
        dim_(static_cast<size_t>(index.d)) {}

  // Not allowed to throw, see RotorQuantDistanceComputer.
  void set_query(const float* x) override {
    scorer_.reset();
    if (std::all_of(x, x + dim_, [](float v) { return std::isfinite(v); })) {
      scorer_ = std::make_unique<ReferenceScorer>(index_, x);
    }
  }
  float distance_to_code(const uint8_t* code) override {
    return sign_ * (scorer_ == nullptr ? worst : scorer_->distance(code));
  }
  float symmetric_dis(idx_t i, idx_t j) override {
    std::vector<float> pair(2 * dim_);
    index_.prod->decode(codes + static_cast<size_t>(i) * code_size, 1, pair.data());
    index_.prod->decode(codes + static_cast<size_t>(j) * code_size, 1, pair.data() + dim_);
    float product = 0.0F;
    float distance = 0.0F;
    for (size_t c = 0; c < dim_; ++c) {
      const float difference = pair[c] - pair[dim_ + c];
      distance += difference * difference;
      product += pair[c] * pair[dim_ + c];
    }
    return sign_ > 0.0F ? distance : product;
  }

 private:
  const IndexRotorQuantReference& index_;
  float sign_;
  size_t dim_;
  std::unique_ptr<ReferenceScorer> scorer_;
};

}  // namespace

IndexRotorQuantReference::IndexRotorQuantReference(int dim, int bits_a_dim,
                                                   faiss::MetricType metric, size_t sketch_dim,
                                                   uint64_t rng_seed)
    : IndexFlatCodes(0, dim, metric), bits(bits_a_dim), seed(rng_seed) {
  require_faiss(dim >= 1, "d", "at least 1", dim);
  require_faiss(metric == faiss::METRIC_L2 || metric == faiss::METRIC_INNER_PRODUCT, "metric",
                "METRIC_L2 or METRIC_INNER_PRODUCT", static_cast<int>(metric));
  faiss_boundary([&] {
    prod = std::make_shared<const RotorQuantProd>(static_cast<size_t>(dim), bits, sketch_dim, seed);
  });
  qjl_dim = prod->qjl_dim();
  code_size = prod->code_size();
}

void IndexRotorQuantReference::train(idx_t /*n*/, const float* /*x*/) {}

void IndexRotorQuantReference::add(idx_t n, const float* x) {
  faiss_boundary([&] { require_finite(x, checked_count(n), static_cast<size_t>(d), "add: x"); });
  try {
    IndexFlatCodes::add(n, x);
  } catch (...) {
    codes.resize(static_cast<size_t>(ntotal) * code_size);
    throw;
  }
}

void IndexRotorQuantReference::search(idx_t n, const float* x, idx_t k, float* distances,
                                      idx_t* labels, const faiss::SearchParameters* params) const {
  require_faiss(k > 0, "search: k", "at least 1", k);
  const size_t queries = checked_count(n);
  const auto dim = static_cast<size_t>(d);
  const auto wanted = static_cast<size_t>(k);
  const Call call(params);
  faiss_boundary([&] { require_finite(x, queries, dim, "search: x"); });
#pragma omp parallel for num_threads(call.threads) if (queries > 1)
  for (size_t i = 0; i < queries; ++i) {
    search_one(*this, x + i * dim, wanted, call.sel, distances + i * wanted, labels + i * wanted);
  }
}

void IndexRotorQuantReference::range_search(idx_t n, const float* x, float radius,
                                            faiss::RangeSearchResult* result,
                                            const faiss::SearchParameters* params) const {
  const size_t queries = checked_count(n);
  const auto dim = static_cast<size_t>(d);
  const Call call(params);
  const float sign = metric_type == faiss::METRIC_L2 ? 1.0F : -1.0F;
  faiss_boundary([&] { require_finite(x, queries, dim, "range_search: x"); });
  std::vector<std::vector<Hit>> hits(queries);
#pragma omp parallel for num_threads(call.threads) if (queries > 1)
  for (size_t i = 0; i < queries; ++i) {
    score_all(*this, x + i * dim, call.sel, [&](const Hit& hit) {
      if (hit.first < sign * radius) {
        hits[i].push_back(hit);
      }
    });
  }
  for (size_t i = 0; i < queries; ++i) {
    result->lims[i] = hits[i].size();
  }
  result->do_allocation();
  for (size_t i = 0; i < queries; ++i) {
    for (size_t j = 0; j < hits[i].size(); ++j) {
      result->labels[result->lims[i] + j] = hits[i][j].second;
      result->distances[result->lims[i] + j] = sign * hits[i][j].first;
    }
  }
}

void IndexRotorQuantReference::sa_encode(idx_t n, const float* x, uint8_t* bytes) const {
  faiss_boundary([&] { prod->encode(x, checked_count(n), bytes); });
}

void IndexRotorQuantReference::sa_decode(idx_t n, const uint8_t* bytes, float* x) const {
  faiss_boundary([&] { prod->decode(bytes, checked_count(n), x); });
}

faiss::FlatCodesDistanceComputer* IndexRotorQuantReference::get_FlatCodesDistanceComputer() const {
  return new ReferenceDistanceComputer(*this);  // the caller's by FAISS convention
}

void IndexRotorQuantReference::check_compatible_for_merge(const faiss::Index& other) const {
  const auto* source = dynamic_cast<const IndexRotorQuantReference*>(&other);
  require_faiss(source != nullptr && source != this, "merge: other index",
                "another IndexRotorQuantReference",
                source == nullptr ? "another type" : "this one");
  require_faiss(source->d == d && source->bits == bits && source->qjl_dim == qjl_dim &&
                    source->seed == seed && source->metric_type == metric_type,
                "merge: d, bits, qjl_dim, seed and metric of the other index", "equal ones",
                "others");
}

}  // namespace rotorquant
