// SPDX-License-Identifier: MIT
#include "faiss_ext/inverted_lists.h"

#include "faiss_ext/boundary.h"

namespace rotorquant {

RotorQuantInvertedLists::RotorQuantInvertedLists(std::shared_ptr<const IvfGeometry> geometry)
    : InvertedLists(geometry->lists(), geometry->codec().code_bytes()), file(std::move(geometry)) {}

void RotorQuantInvertedLists::check(size_t list_no, size_t first, size_t n) const {
  require_faiss(list_no < nlist, "list", "below " + std::to_string(nlist), list_no);
  const size_t size = file.size(list_no);
  require_faiss(first <= size && n <= size - first, "list entries", size, first + n);
}

size_t RotorQuantInvertedLists::list_size(size_t list_no) const {
  check(list_no, 0, 0);
  return file.size(list_no);
}

const uint8_t* RotorQuantInvertedLists::get_codes(size_t list_no) const {
  check(list_no, 0, 0);
  const size_t n = file.size(list_no);
  auto codes = std::make_unique<uint8_t[]>(n * code_size);
  file.pack(list_no, 0, n, codes.get());
  return codes.release();
}

const idx_t* RotorQuantInvertedLists::get_ids(size_t list_no) const {
  check(list_no, 0, 0);
  const IdArray& stored = file.ids(list_no);
  auto ids = std::make_unique<idx_t[]>(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    ids[i] = stored[i];
  }
  return ids.release();
}

void RotorQuantInvertedLists::release_codes(size_t /*list_no*/, const uint8_t* codes) const {
  delete[] codes;
}

void RotorQuantInvertedLists::release_ids(size_t /*list_no*/, const idx_t* ids) const {
  delete[] ids;
}

idx_t RotorQuantInvertedLists::get_single_id(size_t list_no, size_t offset) const {
  check(list_no, offset, 1);
  return file.ids(list_no)[offset];
}

const uint8_t* RotorQuantInvertedLists::get_single_code(size_t list_no, size_t offset) const {
  check(list_no, offset, 1);
  auto code = std::make_unique<uint8_t[]>(code_size);
  file.pack(list_no, offset, 1, code.get());
  return code.release();
}

size_t RotorQuantInvertedLists::add_entries(size_t list_no, size_t n_entry, const idx_t* ids,
                                            const uint8_t* code) {
  check(list_no, 0, 0);
  return faiss_boundary([&] { return file.append(list_no, n_entry, ids, code); });
}

void RotorQuantInvertedLists::update_entries(size_t list_no, size_t offset, size_t n_entry,
                                             const idx_t* ids, const uint8_t* code) {
  check(list_no, offset, n_entry);
  faiss_boundary([&] {
    for (size_t i = 0; i < n_entry; ++i) {
      file.assign(list_no, offset + i, ids[i], code + i * code_size);
    }
  });
}

void RotorQuantInvertedLists::resize(size_t list_no, size_t new_size) {
  check(list_no, new_size, 0);
  faiss_boundary([&] { file.truncate(list_no, new_size); });
}

}  // namespace rotorquant
