// SPDX-License-Identifier: MIT
#include "faiss_ext/ivf_io.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "faiss_ext/index_parts.h"

namespace rotorquant {
namespace {

constexpr size_t chunk_bytes = size_t{1} << 20;

std::span<const uint8_t> bytes_of(const void* data, size_t size) {
  return {static_cast<const uint8_t*>(data), size};
}

/// Calls use(list, first, count) for the entries of all lists, some at a time.
template <class Use>
void for_entries(const faiss::InvertedLists& lists, size_t entry_bytes, const Use& use) {
  const size_t most = std::max<size_t>(1, chunk_bytes / entry_bytes);
  for (size_t list = 0; list < lists.nlist; ++list) {
    const size_t size = lists.list_size(list);
    for (size_t first = 0; first < size; first += most) {
      use(list, first, std::min(most, size - first));
    }
  }
}

void write_codes(const IndexIVFRotorQuant& index, ByteSink& sink) {
  const InvertedFile* file = index.file();
  std::vector<uint8_t> codes;
  for_entries(*index.invlists, index.code_size, [&](size_t list, size_t first, size_t count) {
    if (file != nullptr) {
      codes.resize(count * index.code_size);
      file->pack(list, first, count, codes.data());
      sink.write(codes);
      return;
    }
    faiss::InvertedLists::ScopedCodes other(index.invlists, list);
    sink.write({other.get() + first * index.code_size, count * index.code_size});
  });
}

void write_ids(const IndexIVFRotorQuant& index, ByteSink& sink) {
  for_entries(*index.invlists, sizeof(idx_t), [&](size_t list, size_t first, size_t count) {
    faiss::InvertedLists::ScopedIds ids(index.invlists, list);
    sink.write(bytes_of(ids.get() + first, count * sizeof(idx_t)));
  });
}

std::vector<uint64_t> list_sizes(const faiss::InvertedLists& lists) {
  std::vector<uint64_t> sizes(lists.nlist);
  for (size_t list = 0; list < lists.nlist; ++list) {
    sizes[list] = lists.list_size(list);
  }
  return sizes;
}

}  // namespace

void write_ivf_fields(const IndexIVFRotorQuant& index, ByteWriter& fields) {
  fields.put<float>(index.refine_error_scale);
  fields.put<uint32_t>(static_cast<uint32_t>(index.parallel_mode));
  fields.put<uint64_t>(index.k_factor);
  fields.put<uint64_t>(index.nlist);
  fields.put<uint64_t>(index.nprobe);
  fields.put<uint64_t>(index.max_codes);
  fields.put<uint8_t>(index.by_residual ? 1 : 0);
  fields.put<uint8_t>(static_cast<uint8_t>(index.quantizer_trains_alone));
  fields.put<uint8_t>(static_cast<uint8_t>(index.direct_map.type));
  fields.put<uint8_t>(0);
  fields.put<float>(index.geometry == nullptr ? 0.0F : index.geometry->error_ratio());
  fields.put_array(index.geometry == nullptr ? std::vector<float>{} : index.geometry->centre());
}

void add_ivf_sections(const IndexIVFRotorQuant& index, const std::string& prefix, bool with_codes,
                      ContainerWriter& out) {
  ByteWriter codec;
  index.codec->write(codec);
  out.add(prefix + "codec", codec.take());
  if (index.geometry == nullptr) {
    return;
  }
  const IndexIVFRotorQuant* p = &index;
  out.add(prefix + "centroids", [p](ByteSink& sink) {
    std::vector<float> offset(static_cast<size_t>(p->d));
    for (size_t list = 0; p->geometry->by_residual() && list < p->nlist; ++list) {
      p->geometry->offset(list, offset.data());
      sink.write(bytes_of(offset.data(), offset.size() * sizeof(float)));
    }
  });
  out.add(prefix + "sizes", [p](ByteSink& sink) {
    const std::vector<uint64_t> sizes = list_sizes(*p->invlists);
    sink.write(bytes_of(sizes.data(), sizes.size() * sizeof(uint64_t)));
  });
  if (!with_codes) {
    return;
  }
  out.add(prefix + "ids", [p](ByteSink& sink) { write_ids(*p, sink); });
  out.add(prefix + "codes", [p](ByteSink& sink) { write_codes(*p, sink); });
}

IvfReader::IvfReader(const IvfHeader& header, ByteReader& fields)
    : header_(header), index_(std::make_unique<IndexIVFRotorQuant>()) {
  IndexIVFRotorQuant& index = *index_;
  index.d = static_cast<int>(header.d);
  index.metric_type = header.metric;
  index.refine_error_scale = fields.get<float>();
  require(!std::isnan(index.refine_error_scale), "node: refine_error_scale", "a number", "NaN");
  const auto parallel_mode = fields.get<uint32_t>();
  require((parallel_mode & ~1027U) == 0, "node: parallel_mode", "0 to 3, perhaps with 1024",
          parallel_mode);
  index.parallel_mode = static_cast<int>(parallel_mode);
  index.k_factor = static_cast<size_t>(fields.get<uint64_t>());
  index.nlist = static_cast<size_t>(fields.get<uint64_t>());
  constexpr size_t most_lists = size_t{1} << 31U;
  require(index.nlist >= 1 && index.nlist <= most_lists, "node: nlist", "1 to 2147483648",
          index.nlist);
  index.nprobe = static_cast<size_t>(fields.get<uint64_t>());
  index.max_codes = static_cast<size_t>(fields.get<uint64_t>());
  index.by_residual = fields.get<uint8_t>() != 0;
  const auto trains_alone = fields.get<uint8_t>();
  const auto map_type = fields.get<uint8_t>();
  require(trains_alone <= 3, "node: quantizer_trains_alone", "0 to 3",
          static_cast<int>(trains_alone));
  require(map_type <= faiss::DirectMap::Hashtable, "node: direct map", "0, 1 or 2",
          static_cast<int>(map_type));
  index.quantizer_trains_alone = static_cast<char>(trains_alone);
  map_type_ = static_cast<faiss::DirectMap::Type>(map_type);
  require(fields.get<uint8_t>() == 0, "node: reserved field", 0, "something else");
  error_ratio_ = fields.get<float>();
  centre_ = fields.get_array<float>(header.is_trained ? header.d : 0, "centre: numbers");
}

void IvfReader::read_sections(ContainerReader& in, const std::string& prefix, bool with_codes) {
  const std::vector<uint8_t> codec_bytes = in.read_section(prefix + "codec");
  ByteReader codec_reader(codec_bytes);
  index_->codec = std::make_shared<const Codec>(Codec::read(codec_reader, header_.d));
  require(codec_reader.left() == 0, "codec: bytes left over", 0, codec_reader.left());
  index_->code_size = index_->codec->code_bytes();
  if (!header_.is_trained) {
    require(header_.ntotal == 0, "vectors of an untrained index", 0, header_.ntotal);
    return;
  }
  require(index_->codec->is_trained(), "codec of a trained index", "a trained one",
          "an untrained one");
  const std::vector<uint8_t> centroid_bytes = in.read_section(prefix + "centroids");
  const size_t numbers = index_->by_residual ? index_->nlist * header_.d : 0;
  require(centroid_bytes.size() / sizeof(float) == numbers &&
              centroid_bytes.size() % sizeof(float) == 0,
          "centroids: bytes", numbers * sizeof(float), centroid_bytes.size());
  std::vector<float> centroids(numbers);
  std::copy(centroid_bytes.begin(), centroid_bytes.end(),
            reinterpret_cast<uint8_t*>(centroids.data()));
  // Before lists are made in this number, see that the file has as many.
  const uint64_t sizes_bytes = in.open(prefix + "sizes");
  require(sizes_bytes == index_->nlist * sizeof(uint64_t), "list sizes: bytes",
          index_->nlist * sizeof(uint64_t), sizes_bytes);
  std::vector<uint8_t> chunk(chunk_bytes);
  std::vector<uint8_t> all;
  for (size_t received = in.read(chunk); received != 0; received = in.read(chunk)) {
    all.insert(all.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(received));
  }
  in.close();
  sizes_.resize(index_->nlist);
  std::copy(all.begin(), all.end(), reinterpret_cast<uint8_t*>(sizes_.data()));
  const Metric metric = core_metric(header_.metric);
  const auto geometry = std::make_shared<const IvfGeometry>(
      metric, index_->codec, std::move(centre_), centroids, index_->nlist, error_ratio_);
  file_ = std::make_unique<InvertedFile>(geometry);
  check_sizes();
  file_has_codes_ = with_codes;
  if (with_codes) {
    read_lists(in, prefix);
  }
}

void IvfReader::check_sizes() const {
  uint64_t left = header_.ntotal;
  for (const uint64_t size : sizes_) {
    require(size <= left, "list sizes: sum", header_.ntotal, "more");
    left -= size;
  }
  require(left == 0, "list sizes: sum", header_.ntotal, header_.ntotal - left);
}

void IvfReader::read_lists(ContainerReader& in, const std::string& prefix) {
  const std::vector<uint8_t> id_bytes = in.read_section(prefix + "ids");
  require(id_bytes.size() / sizeof(idx_t) == header_.ntotal && id_bytes.size() % sizeof(idx_t) == 0,
          "ids: bytes", header_.ntotal * sizeof(idx_t), id_bytes.size());
  const size_t code_bytes = index_->code_size;
  const uint64_t codes_bytes = in.open(prefix + "codes");
  require(codes_bytes / code_bytes == header_.ntotal && codes_bytes % code_bytes == 0,
          "codes: bytes", header_.ntotal * code_bytes, codes_bytes);
  const size_t most = std::max<size_t>(1, chunk_bytes / code_bytes);
  std::vector<uint8_t> codes;
  std::vector<idx_t> ids;
  size_t done = 0;
  for (size_t list = 0; list < sizes_.size(); ++list) {
    const auto size = static_cast<size_t>(sizes_[list]);
    if (in.sizes_are_known()) {
      file_->reserve(list, size);
    }
    for (size_t first = 0; first < size; first += most) {
      const size_t count = std::min(most, size - first);
      codes.resize(count * code_bytes);
      const size_t received = in.read(codes);
      require(received == codes.size(), "codes: bytes", codes.size(), received);
      for (size_t i = 0; i < count; ++i) {
        require(has_finite_factors(index_->codec->layout(), codes.data() + i * code_bytes),
                "codes: factors", "finite numbers", "infinity or NaN");
      }
      ids.resize(count);
      std::copy_n(id_bytes.begin() + static_cast<std::ptrdiff_t>(done * sizeof(idx_t)),
                  count * sizeof(idx_t), reinterpret_cast<uint8_t*>(ids.data()));
      file_->append(list, count, ids.data(), codes.data());
      done += count;
    }
  }
  in.close();
}

std::unique_ptr<IndexIVFRotorQuant> IvfReader::take_quantizer(
    std::unique_ptr<faiss::Index> quantizer) {
  require(static_cast<size_t>(quantizer->d) == header_.d, "quantizer: d", header_.d, quantizer->d);
  const auto centroids = static_cast<size_t>(quantizer->ntotal);
  require(!header_.is_trained || centroids == index_->nlist, "quantizer: centroids", index_->nlist,
          centroids);
  index_->quantizer = quantizer.release();
  index_->own_fields = true;
  index_->ntotal = static_cast<idx_t>(header_.ntotal);
  index_->is_trained = header_.is_trained;
  if (!header_.is_trained) {
    index_->replace_invlists(new faiss::ArrayInvertedLists(index_->nlist, index_->code_size), true);
    return std::move(index_);
  }
  index_->set_geometry(file_->shared_geometry());
  *index_->file() = std::move(*file_);
  if (map_type_ != faiss::DirectMap::NoMap && file_has_codes_) {
    index_->set_direct_map_type(map_type_);
  }
  return std::move(index_);
}

}  // namespace rotorquant
