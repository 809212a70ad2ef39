// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/invlists/InvertedLists.h>

#include <memory>

#include "faiss_ext/compat.h"
#include "rotorquant/ivf.h"

namespace rotorquant {

/// The core's inverted file behind FAISS's interface: entries come and go as canonical codes
/// (CodeLayout in codec.h), whatever their order in memory is.
///
/// get_codes, get_single_code and get_ids make copies, which release_codes and release_ids free;
/// they show the lists as they were then. resize() only shrinks. FAISS's threading rules hold:
/// concurrent reads, and writes to different lists.
struct RotorQuantInvertedLists : faiss::InvertedLists {
  InvertedFile file;

  explicit RotorQuantInvertedLists(std::shared_ptr<const IvfGeometry> geometry);

  size_t list_size(size_t list_no) const override;
  const uint8_t* get_codes(size_t list_no) const override;
  const idx_t* get_ids(size_t list_no) const override;
  void release_codes(size_t list_no, const uint8_t* codes) const override;
  void release_ids(size_t list_no, const idx_t* ids) const override;
  idx_t get_single_id(size_t list_no, size_t offset) const override;
  const uint8_t* get_single_code(size_t list_no, size_t offset) const override;

  size_t add_entries(size_t list_no, size_t n_entry, const idx_t* ids,
                     const uint8_t* code) override;
  void update_entries(size_t list_no, size_t offset, size_t n_entry, const idx_t* ids,
                      const uint8_t* code) override;
  void resize(size_t list_no, size_t new_size) override;

 private:
  void check(size_t list_no, size_t first, size_t n) const;
};

}  // namespace rotorquant
