// SPDX-License-Identifier: MIT
#include "vectors_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>

#include "errors.h"
#include "rotorquant/error.h"

namespace rotorquant::tools {
namespace {

constexpr size_t most_columns = size_t{1} << 20;

/// A file open for reading, with its size.
class InputFile {
 public:
  explicit InputFile(const std::string& path) : path_(path), stream_(path, std::ios::binary) {
    std::error_code error;
    size_ = static_cast<size_t>(std::filesystem::file_size(path, error));
    if (!stream_ || error) {
      throw_error(path, "a readable file", error ? error.message() : std::strerror(errno));
    }
  }

  size_t size() const { return size_; }
  void read(void* to, size_t bytes) {
    stream_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    const auto got = static_cast<size_t>(stream_.gcount());
    require(got == bytes, path_, std::to_string(bytes) + " more bytes", got);
  }

 private:
  std::string path_;
  std::ifstream stream_;
  size_t size_ = 0;
};

template <class Component>
Vectors read_vecs(const std::string& path, size_t rows) {
  InputFile file(path);
  int32_t d = 0;
  file.read(&d, sizeof(d));
  require(d >= 1 && static_cast<size_t>(d) <= most_columns, path + ": dimension",
          "1 to " + std::to_string(most_columns), d);
  Vectors vectors;
  vectors.d = static_cast<size_t>(d);
  const size_t row_bytes = sizeof(int32_t) + vectors.d * sizeof(Component);
  require(file.size() % row_bytes == 0, path,
          "whole rows of " + std::to_string(row_bytes) + " bytes",
          std::to_string(file.size()) + " bytes");
  const size_t stored = file.size() / row_bytes;
  vectors.n = rows == 0 ? stored : std::min(rows, stored);
  vectors.values.resize(vectors.n * vectors.d);
  std::vector<Component> row(vectors.d);
  for (size_t i = 0; i < vectors.n; ++i) {
    if (i > 0) {
      int32_t again = 0;
      file.read(&again, sizeof(again));
      require(again == d, path + ": dimension of row " + std::to_string(i), d, again);
    }
    file.read(row.data(), row.size() * sizeof(Component));
    std::copy(row.begin(), row.end(),
              vectors.values.begin() + static_cast<ptrdiff_t>(i * vectors.d));
  }
  return vectors;
}

/// The text after 'key': in the dictionary that heads a .npy file, up to the end of the value.
std::string_view npy_value(std::string_view header, const std::string& key) {
  const size_t at = header.find("'" + key + "':");
  if (at == std::string_view::npos) {
    return {};
  }
  header.remove_prefix(at + key.size() + 3);
  header.remove_prefix(std::min(header.size(), header.find_first_not_of(' ')));
  const bool tuple = header.starts_with('(');
  const size_t end = header.find_first_of(tuple ? ")" : ",}");
  return header.substr(0, end == std::string_view::npos ? end : end + (tuple ? 1 : 0));
}

/// "(n, d)" as two numbers; false for any other shape.
bool parse_shape(std::string_view text, size_t& n, size_t& d) {
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') {
    return false;
  }
  const char* last = text.data() + text.size() - 1;
  const auto [comma, error_n] = std::from_chars(text.data() + 1, last, n);
  if (error_n != std::errc() || comma == last || *comma != ',') {
    return false;
  }
  const char* second = comma + 1;
  while (second != last && *second == ' ') {
    ++second;
  }
  const auto [end, error_d] = std::from_chars(second, last, d);
  return error_d == std::errc() && end == last;
}

std::string read_npy_header(InputFile& file, const std::string& path) {
  constexpr std::string_view magic = "\x93NUMPY";
  char start[8];
  file.read(start, sizeof(start));
  require(std::string_view(start, magic.size()) == magic, path, "a .npy file", "another format");
  size_t length = 0;
  if (start[6] == 1) {
    uint16_t length16 = 0;
    file.read(&length16, sizeof(length16));
    length = length16;
  } else {
    uint32_t length32 = 0;
    file.read(&length32, sizeof(length32));
    length = length32;
  }
  require(length <= file.size(), path + ": header", "at most the file's size", length);
  std::string header(length, '\0');
  file.read(header.data(), length);
  return header;
}

Vectors read_npy(const std::string& path, size_t rows) {
  InputFile file(path);
  const std::string header = read_npy_header(file, path);
  const std::string_view type = npy_value(header, "descr");
  require(type == "'<f4'", path + ": type", "'<f4' (float32)", type);
  const std::string_view order = npy_value(header, "fortran_order");
  require(order == "False", path + ": fortran_order", "False", order);
  Vectors vectors;
  const std::string_view shape = npy_value(header, "shape");
  require(parse_shape(shape, vectors.n, vectors.d) && vectors.n >= 1 && vectors.d >= 1 &&
              vectors.d <= most_columns,
          path + ": shape", "(rows, columns)", shape);
  require(vectors.n <= file.size() / (vectors.d * sizeof(float)), path + ": shape",
          "no more than the file holds", shape);
  vectors.n = rows == 0 ? vectors.n : std::min(rows, vectors.n);
  vectors.values.resize(vectors.n * vectors.d);
  file.read(vectors.values.data(), vectors.values.size() * sizeof(float));
  return vectors;
}

}  // namespace

Vectors read_vectors(const std::string& path, size_t rows) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending != ".fvecs" && ending != ".bvecs" && ending != ".npy") {
    throw BadArgument(path + ": expected a name that ends in .fvecs, .bvecs or .npy");
  }
  Vectors vectors = ending == ".npy"     ? read_npy(path, rows)
                    : ending == ".fvecs" ? read_vecs<float>(path, rows)
                                         : read_vecs<uint8_t>(path, rows);
  require_finite(vectors.values.data(), vectors.n, vectors.d, path);
  return vectors;
}

void write_ivecs(const std::string& path, const int64_t* ids, size_t n, size_t k) {
  std::ofstream out(path, std::ios::binary);
  std::vector<int32_t> row(k + 1, static_cast<int32_t>(k));
  for (size_t i = 0; i < n && out; ++i) {
    for (size_t j = 0; j < k; ++j) {
      const int64_t id = ids[i * k + j];
      require(id >= -1 && id <= std::numeric_limits<int32_t>::max(), path + ": id",
              "a number of 32 bits", id);
      row[j + 1] = static_cast<int32_t>(id);
    }
    out.write(reinterpret_cast<const char*>(row.data()),
              static_cast<std::streamsize>(row.size() * sizeof(int32_t)));
  }
  out.close();
  require(!out.fail(), path, "a file that can be written", "a write error");
}

}  // namespace rotorquant::tools
