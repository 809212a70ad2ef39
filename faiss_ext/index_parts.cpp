// SPDX-License-Identifier: MIT
#include "faiss_ext/index_parts.h"

#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <typeinfo>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/boundary.h"
#include "rotorquant/random.h"

namespace rotorquant {
namespace {

/// What Codec::train would look at anyway: choosing the rows here keeps the residuals of a large
/// training set out of memory.
constexpr size_t max_train_rows = 65536;
constexpr size_t block_floats = size_t{1} << 21;

/// Factors are uf16 (codec.h): the upper byte is the exponent, 255 in infinity and NaN.
bool is_finite_uf16(const uint8_t* bytes) {
  return bytes[1] != 0xFF;
}

bool is_finite_float(const uint8_t* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return std::isfinite(value);
}

}  // namespace

size_t block_rows(size_t d) {
  return std::max<size_t>(1, block_floats / d / block_vectors) * block_vectors;
}

void reject_rows(const float* x, size_t n, size_t d, const char* what) {
  require_finite(x, n, d, what);
  throw_error(what, "vectors that are finite relative to their centre", "one that is not");
}

CodecParams codec_params(int d, int bits, bool learned) {
  require_faiss(d >= 1, "d", "at least 1", d);
  CodecParams params;
  params.d = static_cast<size_t>(d);
  params.bits = bits;
  params.frame = learned ? FrameKind::learned : FrameKind::rotor_layers;
  return params;
}

int checked_dimension(const CodecParams& params) {
  require_faiss(params.d >= 1 && params.d <= std::numeric_limits<int>::max(), "d",
                "1 to 2147483647", params.d);
  return static_cast<int>(params.d);
}

Metric core_metric(faiss::MetricType metric) {
  require_faiss(metric == faiss::METRIC_L2 || metric == faiss::METRIC_INNER_PRODUCT, "metric",
                "METRIC_L2 or METRIC_INNER_PRODUCT", static_cast<int>(metric));
  return metric == faiss::METRIC_L2 ? Metric::l2 : Metric::inner_product;
}

size_t checked_count(idx_t n, const char* what) {
  require_faiss(n >= 0, what, "at least 0", n);
  return static_cast<size_t>(n);
}

std::vector<float> mean_row(const float* x, size_t n, size_t d) {
  std::vector<double> sum(d, 0.0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < d; ++j) {
      sum[j] += x[i * d + j];
    }
  }
  std::vector<float> mean(d);
  std::transform(sum.begin(), sum.end(), mean.begin(),
                 [n](double s) { return static_cast<float>(s / static_cast<double>(n)); });
  return mean;
}

std::vector<size_t> sampled_rows(size_t n, uint64_t seed) {
  const size_t count = std::min(n, max_train_rows);
  std::vector<size_t> rows(count);
  Rng rng(seed, max_train_rows);
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * n / count;
    const size_t end = (i + 1) * n / count;
    rows[i] = begin + static_cast<size_t>(rng.below(end - begin));
  }
  return rows;
}

std::vector<float> rows_of(const float* x, const std::vector<size_t>& rows, size_t d) {
  std::vector<float> chosen(rows.size() * d);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x + rows[i] * d, d, chosen.begin() + static_cast<std::ptrdiff_t>(i * d));
  }
  return chosen;
}

void to_faiss_distances(Metric metric, size_t n, float* distances) {
  constexpr float worst = std::numeric_limits<float>::max();
  for (size_t i = 0; i < n; ++i) {
    const float distance = std::min(distances[i], worst);
    distances[i] = metric == Metric::l2 ? distance : -distance;
  }
}

void to_faiss_ranges(Metric metric, const std::vector<std::vector<RangeHit>>& hits,
                     faiss::RangeSearchResult& result) {
  const float sign = metric == Metric::l2 ? 1.0F : -1.0F;
  // FAISS's two steps: lims first holds counts, and do_allocation() makes offsets of them.
  for (size_t i = 0; i < hits.size(); ++i) {
    result.lims[i] = hits[i].size();
  }
  result.do_allocation();
  for (size_t i = 0; i < hits.size(); ++i) {
    for (size_t j = 0; j < hits[i].size(); ++j) {
      result.labels[result.lims[i] + j] = hits[i][j].id;
      result.distances[result.lims[i] + j] = sign * hits[i][j].distance;
    }
  }
}

IdSet::IdSet(std::vector<int64_t> ids) {
  if (ids.empty()) {
    return;
  }
  const auto [least, most] = std::minmax_element(ids.begin(), ids.end());
  const uint64_t span = static_cast<uint64_t>(*most) - static_cast<uint64_t>(*least);
  // As much memory as the ids themselves take, or what nobody minds.
  constexpr uint64_t bits_an_id = 64;
  constexpr uint64_t few_bits = uint64_t{1} << 23U;
  if (span / bits_an_id > ids.size() && span > few_bits) {
    std::sort(ids.begin(), ids.end());
    sorted_ = std::move(ids);
    return;
  }
  least_ = *least;
  bits_.assign(span / 64 + 1, 0);
  for (const int64_t id : ids) {
    const uint64_t at = static_cast<uint64_t>(id) - static_cast<uint64_t>(least_);
    bits_[at / 64] |= uint64_t{1} << (at % 64);
  }
}

bool IdSet::holds(int64_t id) const {
  if (!sorted_.empty()) {
    return std::binary_search(sorted_.begin(), sorted_.end(), id);
  }
  const uint64_t at = static_cast<uint64_t>(id) - static_cast<uint64_t>(least_);
  return id >= least_ && ((word(at / 64) >> (at % 64)) & 1U) != 0;
}

uint64_t IdSet::held(int64_t first, size_t count) const {
  uint64_t bits = 0;
  if (!sorted_.empty()) {
    for (auto id = std::lower_bound(sorted_.begin(), sorted_.end(), first); id != sorted_.end();
         ++id) {
      const uint64_t at = static_cast<uint64_t>(*id) - static_cast<uint64_t>(first);
      if (at >= count) {
        break;
      }
      bits |= uint64_t{1} << at;
    }
    return bits;
  }
  if (first < least_) {
    const uint64_t before = static_cast<uint64_t>(least_) - static_cast<uint64_t>(first);
    bits = before < 64 ? word(0) << before : 0;
  } else {
    const uint64_t at = static_cast<uint64_t>(first) - static_cast<uint64_t>(least_);
    const uint64_t shift = at % 64;
    bits = word(at / 64) >> shift;
    bits |= shift == 0 ? 0 : word(at / 64 + 1) << (64 - shift);
  }
  return count >= 64 ? bits : bits & ((uint64_t{1} << count) - 1);
}

void hand_over(const faiss::Index& index, const float* x, ResultHandler& handler,
               const faiss::SearchParameters* params) {
  faiss::RangeSearchResult found(1);
  index.range_search(1, x, handler.threshold, &found, params);
  for (size_t i = 0; i < found.lims[1]; ++i) {
    const float distance = found.distances[i];
    if (index.metric_type == faiss::METRIC_L2 ? distance < handler.threshold
                                              : distance > handler.threshold) {
      handler.add_result(distance, found.labels[i]);
    }
  }
}

SelectorFilter::SelectorFilter(const faiss::IDSelector& sel)
    : sel_(sel),
      range_(dynamic_cast<const faiss::IDSelectorRange*>(&sel)),
      bitmap_(dynamic_cast<const faiss::IDSelectorBitmap*>(&sel)),
      batch_(dynamic_cast<const faiss::IDSelectorBatch*>(&sel)) {
  if (const auto* negation = dynamic_cast<const faiss::IDSelectorNot*>(&sel)) {
    negated_ = std::make_unique<SelectorFilter>(*negation->sel);
  }
  if (const auto* array = dynamic_cast<const faiss::IDSelectorArray*>(&sel)) {
    listed_.emplace(std::vector<int64_t>(array->ids, array->ids + array->n));
  }
}

const IdSet& SelectorFilter::of_batch() const {
  std::call_once(batch_listed_, [this] {
    listed_of_batch_ = IdSet(std::vector<int64_t>(batch_->set.begin(), batch_->set.end()));
  });
  return listed_of_batch_;
}

bool SelectorFilter::allows(int64_t id) const {
  if (listed_) {
    return listed_->holds(id);
  }
  return negated_ != nullptr ? !negated_->allows(id) : sel_.is_member(id);
}

uint64_t SelectorFilter::allowed(int64_t first, size_t count) const {
  const uint64_t all = count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  const int64_t last = first + static_cast<int64_t>(count);
  if (range_ != nullptr) {
    const int64_t from = std::clamp<int64_t>(range_->imin, first, last) - first;
    const int64_t to = std::clamp<int64_t>(range_->imax, first, last) - first;
    const auto below = [](int64_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; };
    return to <= from ? 0 : below(to) & ~below(from);
  }
  if (bitmap_ != nullptr && first % 8 == 0) {
    uint64_t bits = 0;
    const auto byte = static_cast<size_t>(first) / 8;
    for (size_t i = 0; i < (count + 7) / 8 && byte + i < bitmap_->n; ++i) {
      bits |= static_cast<uint64_t>(bitmap_->bitmap[byte + i]) << (8 * i);
    }
    return bits & all;
  }
  if (negated_ != nullptr) {
    return ~negated_->allowed(first, count) & all;
  }
  if (listed_) {
    return listed_->held(first, count);
  }
  if (batch_ != nullptr) {
    return of_batch().held(first, count);
  }
  return IdFilter::allowed(first, count);
}

std::unique_ptr<SelectorFilter> filter_of(const faiss::SearchParameters* params) {
  if (params == nullptr || params->sel == nullptr) {
    return nullptr;
  }
  return std::make_unique<SelectorFilter>(*params->sel);
}

FlatCall::FlatCall(const IndexRotorQuant& index, const faiss::SearchParameters* faiss_params)
    : params(index.resolve(faiss_params)), filter(filter_of(faiss_params)) {
  params.filter = filter.get();
}

IvfCall::IvfCall(const IndexIVFRotorQuant& index, const faiss::SearchParameters* given)
    : nprobe(index.nprobe) {
  params.refine_error_scale = index.refine_error_scale;
  params.k_factor = index.k_factor;
  params.max_codes = index.max_codes;
  // A query's lists are split where FAISS would: in the modes that say so.
  const bool over_lists = (index.parallel_mode & 3) == 1 || (index.parallel_mode & 3) == 2;
  params.threads = over_lists ? omp_get_max_threads() : 0;
  if (given == nullptr) {
    nprobe = std::min(nprobe, index.nlist);
    return;
  }
  if (const auto* own_ivf = dynamic_cast<const SearchParametersIVFRotorQuant*>(given)) {
    take_ivf(*own_ivf, true);
    take_search_fields(*own_ivf, params);
  } else if (const auto* ivf = dynamic_cast<const faiss::SearchParametersIVF*>(given)) {
    take_ivf(*ivf, false);
  } else if (const auto* own = dynamic_cast<const SearchParametersRotorQuant*>(given)) {
    take_search_fields(*own, params);
  } else {
    // A derived type carries wishes that could not be met: better said than ignored.
    require_faiss(typeid(*given) == typeid(faiss::SearchParameters), "search parameters",
                  "SearchParametersIVFRotorQuant, faiss::SearchParametersIVF, "
                  "SearchParametersRotorQuant or faiss::SearchParameters",
                  typeid(*given).name());
  }
  require_faiss(nprobe >= 1, "nprobe", "at least 1", nprobe);
  nprobe = std::min(nprobe, index.nlist);
  filter = filter_of(given);
  params.filter = filter.get();
}

void IvfCall::take_ivf(const faiss::SearchParametersIVF& ivf, bool zero_is_default) {
  if (const char* field = unserved_field(ivf)) {
    require_faiss(false, field, "0, as it is not served here", "another value");
  }
  if (!zero_is_default || ivf.nprobe != 0) {
    nprobe = ivf.nprobe;
  }
  if (!zero_is_default || ivf.max_codes != 0) {
    params.max_codes = ivf.max_codes;
  }
  quantizer_params = ivf.quantizer_params;
}

bool has_finite_factors(const CodeLayout& layout, const uint8_t* code) {
  const uint8_t* scan = code + layout.scan_factor_offset();
  bool finite = is_finite_uf16(scan) && is_finite_float(scan + 2);
  const uint8_t* factor = code + layout.factor_offset();
  for (size_t i = 0; i < layout.factor_count(); ++i) {
    finite = finite && (layout.wide_factors ? is_finite_float(factor + 4 * i)
                                            : is_finite_uf16(factor + 2 * i));
  }
  return finite;
}

std::vector<uint8_t> serialized(const Codec& codec) {
  ByteWriter out;
  codec.write(out);
  return out.take();
}

}  // namespace rotorquant
