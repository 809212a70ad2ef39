// SPDX-License-Identifier: MIT
#include "dataset.h"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "rotorquant/error.h"

extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace rotorquant::tools {
namespace {

// ---- HDF5 ----------------------------------------------------------------------------------

/// An HDF5 identifier, closed at the end of its scope.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);

  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) {
      closer_(id_);
    }
  }

  bool valid() const { return id_ >= 0; }
  hid_t get() const { return id_; }

 private:
  hid_t id_;
  Closer closer_;
};

/// HDF5 prints its error stack to stderr unless told not to; our exceptions say what went wrong.
class SilencedHdf5 {
 public:
  SilencedHdf5() {
    H5Eget_auto2(H5E_DEFAULT, &printer_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  SilencedHdf5(const SilencedHdf5&) = delete;
  SilencedHdf5& operator=(const SilencedHdf5&) = delete;
  ~SilencedHdf5() { H5Eset_auto2(H5E_DEFAULT, printer_, data_); }

 private:
  H5E_auto2_t printer_ = nullptr;
  void* data_ = nullptr;
};

/// The innermost description on HDF5's error stack: the cause rather than the call that met it.
std::string hdf5_reason() {
  std::string reason = "an HDF5 error";
  const auto keep = [](unsigned /*n*/, const H5E_error2_t* error, void* out) -> herr_t {
    if (error->desc != nullptr && *error->desc != '\0') {
      *static_cast<std::string*>(out) = error->desc;
    }
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep, &reason);
  // Failed reads come with a time and a dozen addresses behind the cause.
  return reason.substr(0, std::min(reason.find(": time = "), reason.find('\n')));
}

const char* class_name(H5T_class_t type) {
  switch (type) {
    case H5T_INTEGER:
      return "integers";
    case H5T_FLOAT:
      return "floats";
    case H5T_STRING:
      return "strings";
    case H5T_COMPOUND:
      return "records";
    case H5T_ENUM:
      return "enumerated values";
    default:
      return "values of another type";
  }
}

constexpr size_t most_columns = size_t{1} << 20;
/// Values a stored byte can stand for: more than deflate reaches (1,032 bytes).
constexpr size_t most_expansion = 4096;

/// A two-dimensional numeric data set of a file.
struct Table {
  std::string label;  // for messages: "file: data set"
  Handle handle;
  H5T_class_t type;
  size_t rows;
  size_t columns;
};

std::string label_of(const std::string& path, const char* name) {
  return path + ": " + name;
}

Handle open_file(const std::string& path) {
  std::error_code ignored;
  const auto type = std::filesystem::status(path, ignored).type();
  if (type == std::filesystem::file_type::not_found) {
    throw_error(path, "an HDF5 file", "no such file");
  }
  require(type != std::filesystem::file_type::directory, path, "an HDF5 file", "a folder");
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file.valid()) {
    throw_error(path, "an HDF5 file", hdf5_reason());
  }
  return file;
}

bool has_table(const Handle& file, const char* name) {
  return H5Lexists(file.get(), name, H5P_DEFAULT) > 0;
}

Table open_table(const Handle& file, const std::string& path, const char* name) {
  const std::string label = label_of(path, name);
  if (!has_table(file, name)) {
    throw_error(label, "a data set", "nothing of that name");
  }
  Handle handle(H5Dopen2(file.get(), name, H5P_DEFAULT), H5Dclose);
  if (!handle.valid()) {
    throw_error(label, "a data set", hdf5_reason());
  }
  const Handle space(H5Dget_space(handle.get()), H5Sclose);
  const int dims = space.valid() ? H5Sget_simple_extent_ndims(space.get()) : -1;
  require(dims == 2, label, "2 dimensions", dims);
  std::array<hsize_t, 2> extent{};
  H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr);
  require(extent[0] >= 1 && extent[1] >= 1, label, "at least one row and one column",
          std::to_string(extent[0]) + " x " + std::to_string(extent[1]));

  require(extent[1] <= most_columns, label, "at most " + std::to_string(most_columns) + " columns",
          extent[1]);

  const Handle type(H5Dget_type(handle.get()), H5Tclose);
  const H5T_class_t kind = type.valid() ? H5Tget_class(type.get()) : H5T_NO_CLASS;
  require(kind == H5T_INTEGER || kind == H5T_FLOAT, label, "integers or floats", class_name(kind));
  // A damaged header may declare any extent: what is stored bounds what is allocated.
  const hsize_t stored = H5Dget_storage_size(handle.get());
  require(extent[0] / most_expansion <= stored / extent[1], label,
          "an extent that its stored " + std::to_string(stored) + " bytes can fill",
          std::to_string(extent[0]) + " x " + std::to_string(extent[1]));
  return {label, std::move(handle), kind, extent[0], extent[1]};
}

/// The first `rows` rows, converted by HDF5 to T (of which `memory_type` is the name).
template <class T>
std::vector<T> read_rows(const Table& table, size_t rows, hid_t memory_type) {
  std::vector<T> values(rows * table.columns);
  const std::array<hsize_t, 2> start{0, 0};
  const std::array<hsize_t, 2> count{rows, table.columns};
  const Handle from(H5Dget_space(table.handle.get()), H5Sclose);
  const Handle to(H5Screate_simple(2, count.data(), nullptr), H5Sclose);
  const bool ok = from.valid() && to.valid() &&
                  H5Sselect_hyperslab(from.get(), H5S_SELECT_SET, start.data(), nullptr,
                                      count.data(), nullptr) >= 0 &&
                  H5Dread(table.handle.get(), memory_type, to.get(), from.get(), H5P_DEFAULT,
                          values.data()) >= 0;
  if (!ok) {
    throw_error(table.label, "readable data", hdf5_reason());
  }
  return values;
}

std::vector<float> read_floats(const Table& table, size_t rows) {
  std::vector<float> values = read_rows<float>(table, rows, H5T_NATIVE_FLOAT);
  require_finite(values.data(), rows, table.columns, table.label);
  return values;
}

/// A string attribute of the file's root, of fixed or variable length. Empty when it is missing or
/// not a string.
std::string read_string_attribute(const Handle& file, const char* name) {
  if (H5Aexists(file.get(), name) <= 0) {
    return {};
  }
  const Handle attribute(H5Aopen(file.get(), name, H5P_DEFAULT), H5Aclose);
  const Handle type(attribute.valid() ? H5Aget_type(attribute.get()) : -1, H5Tclose);
  const Handle space(attribute.valid() ? H5Aget_space(attribute.get()) : -1, H5Sclose);
  if (!type.valid() || !space.valid() || H5Tget_class(type.get()) != H5T_STRING ||
      H5Sget_simple_extent_npoints(space.get()) != 1) {
    return {};
  }
  if (H5Tis_variable_str(type.get()) > 0) {
    const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory.get(), H5T_VARIABLE);
    H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
    char* text = nullptr;
    if (H5Aread(attribute.get(), memory.get(), static_cast<void*>(&text)) < 0 || text == nullptr) {
      return {};
    }
    std::string value(text);
    H5free_memory(text);
    return value;
  }
  std::string value(H5Tget_size(type.get()), '\0');
  if (H5Aread(attribute.get(), type.get(), value.data()) < 0) {
    return {};
  }
  value.resize(std::min(value.size(), value.find('\0')));
  value.erase(value.find_last_not_of(' ') + 1);  // Fortran pads with spaces
  return value;
}

/// Everything about an open file but the numbers.
struct OpenDataset {
  Handle file;
  Table train;
  Table test;
  Distance distance;
};

OpenDataset open_dataset(const std::string& path) {
  Handle file = open_file(path);
  Table train = open_table(file, path, "train");
  Table test = open_table(file, path, "test");
  require(test.columns == train.columns, test.label,
          "as many columns as train has, " + std::to_string(train.columns), test.columns);
  const Distance distance =
      parse_distance(read_string_attribute(file, "distance"), path + ": attribute distance");
  return {std::move(file), std::move(train), std::move(test), distance};
}

size_t first_of(size_t wanted, size_t available) {
  return wanted == 0 ? available : std::min(wanted, available);
}

void read_truth(const OpenDataset& open, const std::string& path, Dataset& dataset) {
  if (!has_table(open.file, "neighbors")) {
    return;
  }
  const Table table = open_table(open.file, path, "neighbors");
  require(table.type == H5T_INTEGER, table.label, "integers", class_name(table.type));
  require(table.rows == open.test.rows, table.label,
          "as many rows as test has, " + std::to_string(open.test.rows), table.rows);
  dataset.truth_k = std::min(table.columns, dataset.n);
  const auto ids = read_rows<int64_t>(table, dataset.query_count, H5T_NATIVE_INT64);
  dataset.truth.reserve(dataset.query_count * dataset.truth_k);
  for (size_t q = 0; q < dataset.query_count; ++q) {
    for (size_t j = 0; j < dataset.truth_k; ++j) {
      const int64_t id = ids[q * table.columns + j];
      require(id >= 0 && static_cast<size_t>(id) < dataset.n, table.label,
              "rows of train, 0 to " + std::to_string(dataset.n - 1), id);
      dataset.truth.push_back(id);
    }
  }
}

// ---- exact search --------------------------------------------------------------------------

struct Candidate {
  double score;  // smaller is nearer
  int64_t id;
  friend bool operator<(const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : a.id < b.id;
  }
};

/// The `capacity` smallest candidates met so far: a heap with the worst of them on top.
class Shortlist {
 public:
  explicit Shortlist(size_t capacity) : capacity_(capacity) { heap_.reserve(capacity); }

  void offer(float score, int64_t id) {
    if (heap_.size() == capacity_) {
      if (!(score < static_cast<float>(heap_.front().score))) {
        return;
      }
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
    }
    heap_.push_back({static_cast<double>(score), id});
    std::push_heap(heap_.begin(), heap_.end());
  }

  std::vector<Candidate>& items() { return heap_; }

 private:
  size_t capacity_;
  std::vector<Candidate> heap_;
};

double exact_score(const float* q, const float* x, size_t d, Metric metric) {
  double sum = 0.0;
  if (metric == Metric::l2) {
    for (size_t j = 0; j < d; ++j) {
      const double difference = static_cast<double>(q[j]) - static_cast<double>(x[j]);
      sum += difference * difference;
    }
    return sum;
  }
  for (size_t j = 0; j < d; ++j) {
    sum -= static_cast<double>(q[j]) * static_cast<double>(x[j]);
  }
  return sum;
}

/// products (queries x rows) = queries (queries x d) base^T (rows x d), all row-major.
void multiply(const float* queries, size_t query_count, const float* base, size_t rows, size_t d,
              float* products) {
  const int m = static_cast<int>(rows);
  const int n = static_cast<int>(query_count);
  const int depth = static_cast<int>(d);
  const float one = 1.0F;
  const float zero = 0.0F;
  sgemm_("T", "N", &m, &n, &depth, &one, base, &depth, queries, &depth, &zero, products, &m);
}

/// What is added to -<q, x> so that scores order as distances do.
std::vector<float> half_square_norms(const float* base, size_t n, size_t d, Metric metric) {
  std::vector<float> norms(n, 0.0F);
  if (metric == Metric::inner_product) {
    return norms;
  }
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < n; ++i) {
    double sum = 0.0;
    for (size_t j = 0; j < d; ++j) {
      const auto value = static_cast<double>(base[i * d + j]);
      sum += value * value;
    }
    norms[i] = static_cast<float>(0.5 * sum);
  }
  return norms;
}

void rank_exactly(std::vector<Candidate>& candidates, const float* query, const float* base,
                  size_t d, Metric metric) {
  for (Candidate& c : candidates) {
    c.score = exact_score(query, base + static_cast<size_t>(c.id) * d, d, metric);
  }
  std::sort(candidates.begin(), candidates.end());
}

}  // namespace

std::string_view to_string(Distance distance) {
  switch (distance) {
    case Distance::euclidean:
      return "euclidean";
    case Distance::angular:
      return "angular";
    case Distance::ip:
      break;
  }
  return "ip";
}

Distance parse_distance(std::string_view word, std::string_view argument) {
  if (word == "euclidean" || word == "l2") {
    return Distance::euclidean;
  }
  if (word == "angular" || word == "cosine") {
    return Distance::angular;
  }
  if (word == "ip" || word == "dot" || word == "inner_product") {
    return Distance::ip;
  }
  throw_error(argument, "euclidean (l2), angular (cosine) or ip (dot)",
              word.empty() ? std::string_view("nothing") : word);
}

Metric search_metric(Distance distance) {
  return distance == Distance::euclidean ? Metric::l2 : Metric::inner_product;
}

DatasetShape read_shape(const std::string& path) {
  const SilencedHdf5 silenced;
  const OpenDataset open = open_dataset(path);
  return {std::filesystem::path(path).stem().string(), open.distance, open.train.rows,
          open.train.columns, open.test.rows};
}

Dataset read_dataset(const std::string& path, size_t rows, size_t queries, Parts parts) {
  const SilencedHdf5 silenced;
  const OpenDataset open = open_dataset(path);
  Dataset dataset;
  dataset.name = std::filesystem::path(path).stem().string();
  dataset.distance = open.distance;
  dataset.n = first_of(rows, open.train.rows);
  dataset.d = open.train.columns;
  dataset.query_count = first_of(queries, open.test.rows);
  dataset.queries = read_floats(open.test, dataset.query_count);
  if (parts == Parts::everything) {
    dataset.base = read_floats(open.train, dataset.n);
  }
  if (dataset.n == open.train.rows) {
    read_truth(open, path, dataset);
  }
  if (open.distance == Distance::angular) {
    normalise_rows(dataset.queries.data(), dataset.query_count, dataset.d);
    normalise_rows(dataset.base.data(), dataset.base.size() / dataset.d, dataset.d);
  }
  return dataset;
}

bool ensure_truth(Dataset& dataset, size_t k) {
  const size_t wanted = std::min(k, dataset.n);
  if (dataset.truth_k >= wanted) {
    return false;
  }
  dataset.truth = exact_neighbours(dataset.base.data(), dataset.n, dataset.queries.data(),
                                   dataset.query_count, dataset.d, dataset.metric(), wanted);
  dataset.truth_k = wanted;
  return true;
}

Dataset load_dataset(const std::string& path, size_t rows, size_t queries, size_t k) {
  Dataset dataset = read_dataset(path, rows, queries);
  ensure_truth(dataset, k);
  return dataset;
}

std::vector<int64_t> exact_neighbours(const float* base, size_t n, const float* queries,
                                      size_t query_count, size_t d, Metric metric, size_t k) {
  constexpr size_t query_block = 256;
  constexpr size_t base_block = 4096;
  k = std::min(k, n);
  // The matrix product errs in its last digits: places to spare keep a true neighbour that it
  // ranks a little too low.
  const size_t shortlisted = std::min(n, k + k / 8 + 32);
  const std::vector<float> norms = half_square_norms(base, n, d, metric);
  std::vector<float> products(query_block * base_block);
  std::vector<int64_t> ids(query_count * k);

  for (size_t first = 0; first < query_count; first += query_block) {
    const size_t block = std::min(query_block, query_count - first);
    std::vector<Shortlist> best(block, Shortlist(shortlisted));
    for (size_t start = 0; start < n; start += base_block) {
      const size_t rows = std::min(base_block, n - start);
      multiply(queries + first * d, block, base + start * d, rows, d, products.data());
#pragma omp parallel for schedule(static)
      for (size_t q = 0; q < block; ++q) {
        for (size_t i = 0; i < rows; ++i) {
          best[q].offer(norms[start + i] - products[q * rows + i], static_cast<int64_t>(start + i));
        }
      }
    }
#pragma omp parallel for schedule(static)
    for (size_t q = 0; q < block; ++q) {
      rank_exactly(best[q].items(), queries + (first + q) * d, base, d, metric);
      for (size_t j = 0; j < k; ++j) {
        ids[(first + q) * k + j] = best[q].items()[j].id;
      }
    }
  }
  return ids;
}

void normalise_rows(float* x, size_t n, size_t d) {
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < n; ++i) {
    float* row = x + i * d;
    double sum = 0.0;
    for (size_t j = 0; j < d; ++j) {
      sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    }
    if (sum == 0.0) {
      continue;
    }
    const double scale = 1.0 / std::sqrt(sum);
    for (size_t j = 0; j < d; ++j) {
      row[j] = static_cast<float>(static_cast<double>(row[j]) * scale);
    }
  }
}

double recall(const int64_t* truth, size_t truth_k, const int64_t* found, size_t found_k,
              size_t queries, size_t k) {
  const size_t true_k = std::min(k, truth_k);
  require(found_k >= k, "found_k", "at least k, " + std::to_string(k), found_k);
  if (queries == 0 || true_k == 0) {
    return 0.0;
  }
  size_t hits = 0;
  for (size_t q = 0; q < queries; ++q) {
    const int64_t* row = found + q * found_k;
    for (size_t j = 0; j < true_k; ++j) {
      hits += std::find(row, row + k, truth[q * truth_k + j]) != row + k ? 1 : 0;
    }
  }
  return static_cast<double>(hits) / static_cast<double>(queries * true_k);
}

}  // namespace rotorquant::tools
