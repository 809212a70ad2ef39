// SPDX-License-Identifier: MIT
// Inverted lists in memory: what they share, and what is in one.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "codec_access.h"
#include "ivf_scan.h"
#include "rotorquant/error.h"
#include "rotorquant/ivf.h"

namespace rotorquant {

IvfGeometry::IvfGeometry(Metric metric, std::shared_ptr<const Codec> codec,
                         std::vector<float> centre, const std::vector<float>& offsets, size_t lists,
                         float error_ratio)
    : metric_(metric),
      codec_(std::move(codec)),
      lists_(lists),
      error_ratio_(error_ratio),
      centre_(std::move(centre)) {
  const size_t d = codec_->dim();
  require(codec_->is_trained(), "codec", "a trained codec", "an untrained one");
  require(lists >= 1 && lists <= std::numeric_limits<uint32_t>::max(), "lists", "1 to 4294967295",
          lists);
  require(centre_.size() == d, "centre length", d, centre_.size());
  require(offsets.empty() || offsets.size() == lists * d, "centroid numbers", lists * d,
          offsets.size());
  require(std::isfinite(error_ratio) && error_ratio >= 0.0F, "error ratio",
          "a finite number, at least 0", error_ratio);
  require_finite(centre_.data(), 1, d, "centre");
  require_finite(offsets.data(), offsets.empty() ? 0 : lists, d, "centroids");
  squared_offsets_.assign(lists, 0.0F);
  centre_products_.assign(lists, 0.0F);
  if (offsets.empty()) {
    return;
  }
  table_.assign(blocks() * d * block_lists, 0.0F);
  for (size_t c = 0; c < lists; ++c) {
    const float* from = offsets.data() + c * d;
    float* column = table_.data() + c / block_lists * d * block_lists + c % block_lists;
    double squared = 0.0;
    double centre_product = 0.0;
    for (size_t j = 0; j < d; ++j) {
      column[j * block_lists] = from[j];
      squared += static_cast<double>(from[j]) * static_cast<double>(from[j]);
      centre_product += static_cast<double>(centre_[j]) * static_cast<double>(from[j]);
    }
    squared_offsets_[c] = static_cast<float>(squared);
    centre_products_[c] = static_cast<float>(centre_product);
  }
}

float IvfGeometry::measure_error_ratio(const Codec& codec, const float* residuals, size_t n) {
  const std::vector<float>& error = CodecAccess::scan_error(codec);
  if (error.size() == 1) {  // an isometry, and no coordinate is special
    return error[0];
  }
  constexpr size_t enough = 4096;
  const size_t step = std::max<size_t>(1, n / enough);
  double sum = 0.0;
  size_t count = 0;
  for (size_t i = 0; i < n; i += step) {
    const float* r = residuals + i * codec.dim();
    const float squared = inner_product(r, r, codec.dim());
    if (squared <= 0.0F) {
      continue;
    }
    const std::vector<float> y = codec.prepare(r).frame_query;
    const float variance = lane_sum(error.size(), [&](size_t j) { return error[j] * y[j] * y[j]; });
    sum += static_cast<double>(variance / squared);
    ++count;
  }
  return count == 0 ? 0.0F : static_cast<float>(sum / static_cast<double>(count));
}

void IvfGeometry::offset(size_t list, float* to) const {
  const size_t d = dim();
  if (!by_residual()) {
    std::fill_n(to, d, 0.0F);
    return;
  }
  const float* column = table_.data() + list / block_lists * d * block_lists + list % block_lists;
  for (size_t j = 0; j < d; ++j) {
    to[j] = column[j * block_lists];
  }
}

void IvfGeometry::centroid(size_t list, float* to) const {
  offset(list, to);
  for (size_t j = 0; j < dim(); ++j) {
    to[j] += centre_[j];
  }
}

CodecQuery IvfGeometry::framed_offset(size_t list) const {
  std::vector<float> difference(dim());
  offset(list, difference.data());
  return CodecAccess::framed_offset(*codec_, difference.data());
}

void IvfGeometry::block_products(const float* centred, size_t n, size_t block, float* products,
                                 size_t stride) const {
  if (!by_residual()) {
    for (size_t i = 0; i < n; ++i) {
      std::fill_n(products + i * stride, block_lists, 0.0F);
    }
    return;
  }
  const float* first = table_.data() + block * dim() * block_lists;
  simd::active_kernels().matrix_vectors(first, block_lists, dim(), centred, dim(), n, products,
                                        stride);
}

bool IvfGeometry::split(const float* x, const int64_t* lists, size_t n, float* residuals,
                        float* additive) const {
  const size_t d = dim();
  std::vector<float> mu(d);
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    centroid(static_cast<size_t>(lists[i]), mu.data());
    double squared = 0.0;
    double centroid_product = 0.0;
    for (size_t j = 0; j < d; ++j) {
      const float r = x[i * d + j] - mu[j];
      residuals[i * d + j] = r;
      squared += static_cast<double>(r) * static_cast<double>(r);
      centroid_product += static_cast<double>(mu[j]) * static_cast<double>(r);
    }
    finite &= std::isfinite(squared);  // no square of a float is beyond double
    additive[i] = static_cast<float>(metric_ == Metric::l2 ? squared : -centroid_product);
  }
  return finite;
}

void IvfGeometry::restore(const int64_t* lists, size_t n, float* x) const {
  const size_t d = dim();
  std::vector<float> mu(d);
  for (size_t i = 0; i < n; ++i) {
    centroid(static_cast<size_t>(lists[i]), mu.data());
    for (size_t j = 0; j < d; ++j) {
      x[i * d + j] += mu[j];
    }
  }
}

// ---- ids -----------------------------------------------------------------------------------

namespace {

bool fits_in_32_bits(int64_t id) {
  return id >= 0 && id <= static_cast<int64_t>(std::numeric_limits<uint32_t>::max());
}

}  // namespace

void IdArray::widen() {
  if (!is_wide()) {
    wide_.own().assign(narrow_.own().begin(), narrow_.own().end());
    narrow_ = {};
  }
}

void IdArray::append(const int64_t* ids, size_t n) {
  if (n == 0) {
    return;
  }
  if (!is_wide() && std::all_of(ids, ids + n, fits_in_32_bits)) {
    std::transform(ids, ids + n, std::back_inserter(narrow_.own()),
                   [](int64_t id) { return static_cast<uint32_t>(id); });
    return;
  }
  widen();
  wide_.own().insert(wide_.own().end(), ids, ids + n);
}

void IdArray::set(size_t i, int64_t id) {
  if (!is_wide() && !fits_in_32_bits(id)) {
    widen();
  }
  if (is_wide()) {
    wide_.own()[i] = id;
  } else {
    narrow_.own()[i] = static_cast<uint32_t>(id);
  }
}

void IdArray::reserve(size_t n) {
  if (is_wide()) {
    wide_.own().reserve(n);
  } else {
    narrow_.own().reserve(n);
  }
}

void IdArray::truncate(size_t n) {
  if (is_wide()) {
    wide_.resize(n);  // n = 0 makes the array narrow again
  } else {
    narrow_.resize(n);
  }
}

// ---- lists ---------------------------------------------------------------------------------

namespace {

/// What a list's centroid adds to the additive terms of its codes.
class CentroidTerms {
 public:
  CentroidTerms(const IvfGeometry& geometry, size_t list)
      : geometry_(geometry), layout_(geometry.codec().layout()) {
    if (!geometry.by_residual()) {
      return;
    }
    framed_ = geometry.framed_offset(list);
    whole_ = CodecAccess::refine_view(geometry.codec(), framed_, 0);
    first_ = CodecAccess::refine_view(geometry.codec(), framed_, 1);
  }

  /// Of the refine: weight * <G(mu_c - g), decoded code>.
  float whole(const uint8_t* code) const {
    if (!geometry_.by_residual()) {
      return 0.0F;
    }
    const CodeFactors factors = read_code_factors(layout_, code);
    const Products products = multiply(whole_, code);
    return geometry_.weight() * (factors.alpha * products.levels + factors.beta * products.signs);
  }
  /// Of the scan: weight * alpha_1 * <G(mu_c - g), a_1>.
  float first(const uint8_t* code) const {
    if (!geometry_.by_residual()) {
      return 0.0F;
    }
    const Products products = multiply(first_, code);
    const float product = layout_.levels == 0 ? products.signs : products.levels;
    return geometry_.weight() * read_code_factors(layout_, code).alpha1 * product;
  }
  /// The additive term of the code from the refine's: whatever has whole(code) added to it makes
  /// `term` again. The one that was folded does, and rounding leaves it next to the difference.
  float unfolded(float term, const uint8_t* code) const {
    const float added = whole(code);
    const float middle = term - added;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const float own :
         {middle, std::nextafter(middle, infinity), std::nextafter(middle, -infinity)}) {
      if (own + added == term) {
        return own;
      }
    }
    return middle;
  }

 private:
  struct Products {
    float levels = 0.0F;
    float signs = 0.0F;
  };

  const IvfGeometry& geometry_;
  const CodeLayout& layout_;
  CodecQuery framed_;
  simd::RefineView whole_{};
  simd::RefineView first_{};

  Products multiply(const simd::RefineView& view, const uint8_t* code) const {
    Products products;
    simd::active_kernels().refine(view, code, code + layout_.plane_bytes, &products.levels,
                                  &products.signs);
    return products;
  }
};

float additive_of(const CodeLayout& layout, const uint8_t* code) {
  return read_code_factors(layout, code).additive;
}

void set_additive(const CodeLayout& layout, float additive, uint8_t* code) {
  std::memcpy(code + layout.scan_factor_offset() + sizeof(uint16_t), &additive, sizeof(additive));
}

}  // namespace

InvertedFile::InvertedFile(std::shared_ptr<const IvfGeometry> geometry)
    : geometry_(std::move(geometry)) {
  List empty;
  empty.codes = CodeStore(geometry_->codec().layout());
  lists_.assign(geometry_->lists(), empty);
}

size_t InvertedFile::total() const {
  return std::accumulate(lists_.begin(), lists_.end(), size_t{0},
                         [](size_t sum, const List& list) { return sum + list.codes.size(); });
}

size_t InvertedFile::memory_bytes() const {
  return std::accumulate(lists_.begin(), lists_.end(), lists_.size() * sizeof(List),
                         [](size_t sum, const List& list) {
                           return sum + list.codes.memory_bytes() + list.ids.memory_bytes() +
                                  list.refine_terms.memory_bytes();
                         });
}

size_t InvertedFile::append_unfolded(size_t list, size_t n, const int64_t* ids,
                                     const uint8_t* codes) {
  require_own();
  List& l = lists_[list];
  const size_t first = l.codes.size();
  try {
    l.codes.append(codes, n);
    l.ids.append(ids, n);
    l.refine_terms.resize(first + n);
  } catch (...) {
    truncate(list, first);
    throw;
  }
  return first;
}

size_t InvertedFile::append(size_t list, size_t n, const int64_t* ids, const uint8_t* codes) {
  const size_t first = append_unfolded(list, n, ids, codes);
  fold(list, first, first + n);
  return first;
}

void InvertedFile::append_folded(size_t list, size_t n, const int64_t* ids, const uint8_t* codes,
                                 const float* terms) {
  const size_t first = append_unfolded(list, n, ids, codes);
  std::copy_n(terms, n, lists_[list].refine_terms.own().data() + first);
}

void InvertedFile::assign(size_t list, size_t offset, int64_t id, const uint8_t* code) {
  require_own();
  List& l = lists_[list];
  l.codes.assign(offset, code);
  l.ids.set(offset, id);
  fold(list, offset, offset + 1);
}

void InvertedFile::fold(size_t list, size_t first, size_t last) {
  List& l = lists_[list];
  const CodeLayout& layout = l.codes.layout();
  const CentroidTerms terms(*geometry_, list);
  std::vector<uint8_t> code(layout.code_bytes());
  for (size_t i = first; i < last; ++i) {
    l.codes.pack(i, 1, code.data());
    const float refine_term = additive_of(layout, code.data()) + terms.whole(code.data());
    l.refine_terms.own()[i] = refine_term;
    // From what pack() will find, so that codes put in again fold to the same numbers.
    const float own = terms.unfolded(refine_term, code.data());
    l.codes.set_additive(i, own + terms.first(code.data()));
  }
}

void InvertedFile::pack(size_t list, size_t first, size_t n, uint8_t* codes) const {
  const List& l = lists_[list];
  const CodeLayout& layout = l.codes.layout();
  l.codes.pack(first, n, codes);
  const CentroidTerms terms(*geometry_, list);
  for (size_t i = 0; i < n; ++i) {
    uint8_t* code = codes + i * layout.code_bytes();
    set_additive(layout, terms.unfolded(l.refine_terms[first + i], code), code);
  }
}

void InvertedFile::copy_within(size_t list, size_t from, size_t to) {
  require_own();
  List& l = lists_[list];
  l.codes.copy_within(from, to);  // folded as it is: the list's centroid is the same
  l.ids.set(to, l.ids[from]);
  l.refine_terms.own()[to] = l.refine_terms[from];
}

void InvertedFile::truncate(size_t list, size_t n) {
  require_own();
  List& l = lists_[list];
  l.codes.truncate(std::min(n, l.codes.size()));
  l.ids.truncate(std::min(n, l.ids.size()));
  l.refine_terms.resize(std::min(n, l.refine_terms.size()));
}

void InvertedFile::reserve(size_t list, size_t n) {
  require_own();
  List& l = lists_[list];
  l.codes.reserve(n);
  l.ids.reserve(n);
  l.refine_terms.own().reserve(n);
}

void InvertedFile::require_own() const {
  require(!read_only_, "inverted lists", "some that can be written", "a read-only view of a file");
}

void InvertedFile::adopt(std::vector<ListParts> parts, std::shared_ptr<const void> owner) {
  require(parts.size() == lists_.size(), "lists to adopt", lists_.size(), parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    ListParts& part = parts[i];
    List& list = lists_[i];
    list.codes = std::move(part.codes);
    const size_t size = list.codes.size();
    list.refine_terms.set_view(part.refine_terms, size);
    list.ids = {};
    if (part.wide_ids != nullptr) {
      list.ids.set_view(part.wide_ids, size);
    } else {
      list.ids.set_view(part.narrow_ids, size);
    }
  }
  owner_ = std::move(owner);
  read_only_ = true;
}

void InvertedFile::renumber(const std::function<int64_t(int64_t)>& to) {
  require_own();
  for (List& list : lists_) {
    for (size_t i = 0; i < list.ids.size(); ++i) {
      list.ids.set(i, to(list.ids[i]));
    }
  }
}

void InvertedFile::clear() {
  for (size_t list = 0; list < lists_.size(); ++list) {
    truncate(list, 0);
  }
}

}  // namespace rotorquant
