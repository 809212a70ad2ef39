// SPDX-License-Identifier: MIT
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <string>
#include <vector>

namespace rotorquant::tools {

/// Writes small HDF5 files for tests, wrong ones included.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::string& path)
      : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;
  ~Hdf5Writer() { H5Fclose(file_); }

  /// Stores the values, converted by HDF5, as stored_type.
  Hdf5Writer& table(const char* name, const std::vector<double>& values,
                    const std::vector<hsize_t>& extent, hid_t stored_type) {
    const hid_t set = create(name, extent, stored_type);
    H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    return *this;
  }

  /// Declares a data set and writes nothing.
  Hdf5Writer& empty_table(const char* name, const std::vector<hsize_t>& extent, hid_t stored_type) {
    H5Dclose(create(name, extent, stored_type));
    return *this;
  }

  /// Stores 16-bit patterns under IEEE half precision, bit for bit.
  Hdf5Writer& half_table(const char* name, const std::vector<uint16_t>& bits,
                         const std::vector<hsize_t>& extent) {
    const hid_t half = make_half_type();
    const hid_t set = create(name, extent, half);
    H5Dwrite(set, half, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits.data());
    H5Dclose(set);
    H5Tclose(half);
    return *this;
  }

  Hdf5Writer& distance(const std::string& word) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, word.empty() ? 1 : word.size());
    write_attribute(type, word.c_str());
    return *this;
  }

  Hdf5Writer& variable_distance(const char* word) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    write_attribute(type, static_cast<const void*>(&word));
    return *this;
  }

 private:
  hid_t file_;

  hid_t create(const char* name, const std::vector<hsize_t>& extent, hid_t stored_type) {
    const hid_t space = H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr);
    const hid_t set =
        H5Dcreate2(file_, name, stored_type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(space);
    return set;
  }

  void write_attribute(hid_t type, const void* value) {
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file_, "distance", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, value);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
  }

  static hid_t make_half_type() {
    const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_size(half, 2);
    H5Tset_ebias(half, 15);
    return half;
  }
};

}  // namespace rotorquant::tools
