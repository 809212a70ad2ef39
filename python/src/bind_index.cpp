// SPDX-License-Identifier: MIT
// Index and its kinds, and everything but searches and files.
#include <faiss/Index.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include "add_rows.h"
#include "arrays.h"
#include "bind.h"
#include "codec_params.h"
#include "faiss_ext/boundary.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_parameters.h"
#include "filter.h"
#include "handle.h"
#include "metric.h"
#ifdef ROTORQUANT_HAVE_GPU
#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#endif

using namespace nanobind::literals;

namespace rotorquant::python {

namespace {

/// `index` in the handle of T where that is what it is, else null and `index` untouched.
template <class T>
std::unique_ptr<IndexHandle> handle_if(std::unique_ptr<faiss::Index>& index) {
  auto* own = dynamic_cast<T*>(index.get());
  if (own == nullptr) {
    return nullptr;
  }
  index.release();  // NOLINT(bugprone-unused-return-value): own is the same object
  return std::make_unique<TypedHandle<T>>(std::unique_ptr<T>(own));
}

}  // namespace

std::unique_ptr<IndexHandle> make_handle(std::unique_ptr<faiss::Index> index) {
  for (const auto as_type : {
           handle_if<IndexRotorQuant>,
           handle_if<IndexIVFRotorQuant>,
           handle_if<IndexRotorQuantReference>,
#ifdef ROTORQUANT_HAVE_GPU
           handle_if<GpuIndexRotorQuant>,
           handle_if<GpuIndexIVFRotorQuant>,
#endif
       }) {
    if (auto handle = as_type(index)) {
      return handle;
    }
  }
  return std::make_unique<IndexHandle>(std::move(index));
}

nb::object to_python(std::unique_ptr<faiss::Index> index) {
  return nb::cast(make_handle(std::move(index)));
}

namespace {

int checked_dim(int64_t d) {
  if (d < 1 || d > std::numeric_limits<int>::max()) {
    throw nb::value_error(("d: expected 1 to 2147483647, received " + std::to_string(d)).c_str());
  }
  return static_cast<int>(d);
}

std::string describe(nb::handle self) {
  const auto& handle = nb::cast<const IndexHandle&>(self);
  const auto [spec, ntotal, trained] = handle.read([](const faiss::Index& index) {
    return std::tuple(describe_index(index), index.ntotal, index.is_trained);
  });
  return std::string("<rotorquant.") + nb::cast<std::string>(self.type().attr("__name__")) + " '" +
         spec + "' d=" + std::to_string(handle.d()) + " metric=" + metric_name(handle.metric()) +
         " ntotal=" + std::to_string(ntotal) + (trained ? ">" : " untrained>");
}

void train(IndexHandle& handle, nb::handle x) {
  const FloatRows rows = float_rows(x, handle.d(), "x");
  handle.write([&](faiss::Index& index) { index.train(static_cast<int64_t>(rows.n), rows.data); });
}

void add(IndexHandle& handle, nb::handle x, nb::handle progress) {
  const FloatRows rows = float_rows(x, handle.d(), "x");
  add_in_blocks(handle, rows.n, progress, [&](faiss::Index& index, size_t first, size_t count) {
    index.add(static_cast<int64_t>(count), rows.data + first * rows.d);
  });
}

void add_with_ids(IndexHandle& handle, nb::handle x, nb::handle ids, nb::handle progress) {
  const FloatRows rows = float_rows(x, handle.d(), "x");
  const Ids numbers = ids_vector(ids, static_cast<Py_ssize_t>(rows.n), "ids");
  add_in_blocks(handle, rows.n, progress, [&](faiss::Index& index, size_t first, size_t count) {
    index.add_with_ids(static_cast<int64_t>(count), rows.data + first * rows.d,
                       numbers.data + first);
  });
}

nb::object reconstruct(const IndexHandle& handle, int64_t key) {
  const auto out = new_array<float>({handle.d()});
  handle.read([&](const faiss::Index& index) {
    // FAISS's flat indexes read any key as a position, without a look at ntotal.
    const bool keys_are_positions = dynamic_cast<const faiss::IndexIDMap*>(&index) == nullptr &&
                                    dynamic_cast<const faiss::IndexIVF*>(&index) == nullptr;
    require_faiss(!keys_are_positions || (key >= 0 && key < index.ntotal), "key",
                  "0 to " + std::to_string(index.ntotal - 1), key);
    index.reconstruct(key, out.data);
  });
  return out.array;
}

/// An id map finds vectors by position no more than what is below it does.
const faiss::Index& below_id_map(const faiss::Index& index) {
  const auto* id_map = dynamic_cast<const faiss::IndexIDMap*>(&index);
  return id_map == nullptr ? index : *id_map->index;
}

nb::object id_map(const IndexHandle& handle) {
  std::optional<std::vector<int64_t>> ids;
  handle.read([&](const faiss::Index& index) {
    if (const auto* map = dynamic_cast<const faiss::IndexIDMap*>(&index)) {
      ids = map->id_map;
    }
  });
  return ids ? to_array(std::span<const int64_t>(*ids)) : nb::none();
}

nb::object reconstruct_n(const IndexHandle& handle, int64_t first, std::optional<int64_t> count) {
  const int64_t total = handle.read([](const faiss::Index& index) { return index.ntotal; });
  const int64_t n = count.value_or(total - first);
  if (first < 0 || n < 0 || first > total - n) {
    throw nb::value_error(("first, n: expected a range within " + std::to_string(total) +
                           " vectors, received " + std::to_string(first) + ", " + std::to_string(n))
                              .c_str());
  }
  const auto out = new_array<float>({static_cast<size_t>(n), handle.d()});
  handle.read([&](const faiss::Index& index) {
    require_faiss(first <= index.ntotal - n, "reconstruct_n", "an index that nobody shrinks",
                  index.ntotal);
    if (n > 0) {
      below_id_map(index).reconstruct_n(first, n, out.data);
    }
  });
  return out.array;
}

size_t remove_ids(IndexHandle& handle, nb::handle ids) {
  const auto filter = Filter::from_python(ids);
  return handle.write([&](faiss::Index& index) { return index.remove_ids(filter->selector()); });
}

/// Positions in `own` of ids given to `index`, which is own itself or an IndexIDMap2 above it.
std::vector<int64_t> positions_of(const faiss::Index& index, const int64_t* ids, size_t n) {
  std::vector<int64_t> positions(ids, ids + n);
  const auto* id_map = dynamic_cast<const faiss::IndexIDMap2*>(&index);
  for (int64_t& position : positions) {
    if (id_map != nullptr) {
      const auto found = id_map->rev_map.find(position);
      require_faiss(found != id_map->rev_map.end(), "ids", "ids that the index holds", position);
      position = found->second;
    } else {
      require_faiss(position >= 0 && position < index.ntotal, "ids",
                    "0 to " + std::to_string(index.ntotal - 1), position);
    }
  }
  return positions;
}

/// Re-encodes vectors of a flat index in place.
void assign_codes(IndexRotorQuant& index, const std::vector<int64_t>& positions, const float* x) {
  const size_t code_size = index.sa_code_size();
  std::vector<uint8_t> codes(positions.size() * code_size);
  index.sa_encode(static_cast<int64_t>(positions.size()), x, codes.data());
  for (size_t i = 0; i < positions.size(); ++i) {
    index.store.assign(static_cast<size_t>(positions[i]), codes.data() + i * code_size);
  }
}

void update(IndexHandle& handle, nb::handle ids, nb::handle x) {
  const FloatRows rows = float_rows(x, handle.d(), "x");
  const Ids numbers = ids_vector(ids, static_cast<Py_ssize_t>(rows.n), "ids");
  handle.write([&](faiss::Index& index) {
    if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
      if (ivf->direct_map.no()) {
        ivf->set_direct_map_type(faiss::DirectMap::Hashtable);
      }
      ivf->update_vectors(static_cast<int>(rows.n), numbers.data, rows.data);
      return;
    }
    auto* id_map = dynamic_cast<faiss::IndexIDMap2*>(&index);
    auto* own = dynamic_cast<IndexRotorQuant*>(id_map != nullptr ? id_map->index : &index);
    require_faiss(own != nullptr, "update",
                  "an inverted file or an IndexRotorQuant, alone or in an IDMap2",
                  class_name(index));
    assign_codes(*own, positions_of(index, numbers.data, rows.n), rows.data);
  });
}

void merge_from(IndexHandle& handle, IndexHandle& other, int64_t add_id) {
  if (&handle == &other) {
    throw nb::value_error("other: expected another index, received this one");
  }
  const nb::gil_scoped_release no_gil;
  const std::scoped_lock both(handle.mutex(), other.mutex());
  faiss::Index& to = handle.unlocked();
  to.check_compatible_for_merge(other.unlocked());
  to.merge_from(other.unlocked(), add_id);
}

nb::object sa_encode(const IndexHandle& handle, nb::handle x) {
  const FloatRows rows = float_rows(x, handle.d(), "x");
  const size_t width = handle.read([](const faiss::Index& index) { return index.sa_code_size(); });
  const auto codes = new_array<uint8_t>({rows.n, width});
  handle.read([&](const faiss::Index& index) {
    require_faiss(index.is_trained, "sa_encode", "a trained index", "an untrained one");
    index.sa_encode(static_cast<int64_t>(rows.n), rows.data, codes.data);
  });
  return codes.array;
}

nb::object sa_decode(const IndexHandle& handle, nb::handle codes) {
  const size_t width = handle.read([](const faiss::Index& index) { return index.sa_code_size(); });
  const ByteRows rows = byte_rows(codes, width, "codes");
  const auto x = new_array<float>({rows.n, handle.d()});
  handle.read([&](const faiss::Index& index) {
    require_faiss(index.is_trained, "sa_decode", "a trained index", "an untrained one");
    index.sa_decode(static_cast<int64_t>(rows.n), rows.data, x.data);
  });
  return x.array;
}

/// A property that reads one thing from the index.
template <class F>
auto reader(F f) {
  return [f](const IndexHandle& handle) { return handle.read(f); };
}

template <class F>
auto own_reader(F f) {
  return [f](const RotorQuantHandle& handle) { return handle.read_own(f); };
}

template <class F>
auto ivf_reader(F f) {
  return [f](const IVFHandle& handle) { return handle.read_own(f); };
}

void bind_base(nb::module_& module) {
  nb::class_<IndexHandle>(
      module, "Index",
      "Any index: one of ours, one of FAISS's, or a wrapper of both. index_factory makes them.\n\n"
      "Methods release the GIL. Threads may search together; whoever changes the index waits for\n"
      "them and has it alone.")
      .def_prop_ro("d", &IndexHandle::d, "Dimension of the vectors.")
      .def_prop_ro("ntotal", reader([](const faiss::Index& index) { return index.ntotal; }),
                   "Number of vectors.")
      .def_prop_ro("is_trained", reader([](const faiss::Index& index) { return index.is_trained; }))
      .def_prop_ro(
          "metric", [](const IndexHandle& handle) { return metric_name(handle.metric()); },
          "\"l2\" or \"inner_product\".")
      .def_prop_ro(
          "metric_type",
          [](const IndexHandle& handle) { return static_cast<int>(handle.metric()); },
          "METRIC_L2 or METRIC_INNER_PRODUCT, as FAISS has it.")
      .def_prop_ro("factory_string",
                   reader([](const faiss::Index& index) { return describe_index(index); }),
                   "What index_factory would make such an index from, or the C++ class where there "
                   "is no such string.")
      .def("__len__", reader([](const faiss::Index& index) { return index.ntotal; }))
      .def("__repr__", &describe)
      .def("train", &train, "x"_a, nb::sig("def train(self, x: numpy.typing.ArrayLike) -> None"),
           "Learns what the index needs from x (n, d). RQ codes need no training: it only finds\n"
           "their centre. The clustering of inverted files looks at ctrl-C between its\n"
           "iterations; the rest of a training takes seconds and runs to its end.")
      .def("add", &add, "x"_a, nb::kw_only(), "progress"_a = nb::none(),
           nb::sig("def add(self, x: numpy.typing.ArrayLike, *, "
                   "progress: rotorquant.Progress | None = None) -> None"),
           "Adds x (n, d); ids go on from ntotal. Works in blocks: ctrl-C stops between two of\n"
           "them and leaves what was added until then. progress: True for a bar (tqdm), or a\n"
           "callable that gets (done, n).")
      .def("add_with_ids", &add_with_ids, "x"_a, "ids"_a, nb::kw_only(), "progress"_a = nb::none(),
           nb::sig("def add_with_ids(self, x: numpy.typing.ArrayLike, "
                   "ids: numpy.typing.ArrayLike, *, progress: rotorquant.Progress | None = None) "
                   "-> None"),
           "Adds x (n, d) under ids (n); for IDMap, IDMap2 and inverted files.")
      .def("reconstruct", &reconstruct, "key"_a,
           nb::sig("def reconstruct(self, key: int) -> numpy.typing.NDArray[numpy.float32]"),
           "The decoded vector (d) of id key.")
      .def(
          "reconstruct_n", &reconstruct_n, "first"_a = 0, "n"_a = nb::none(),
          nb::sig("def reconstruct_n(self, first: int = 0, n: int | None = None) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "The decoded vectors (n, d) of ids first .. first + n - 1, by default all; of an id map\n"
          "in the order of id_map.")
      .def_prop_ro("id_map", &id_map,
                   nb::sig("def id_map(self) -> numpy.typing.NDArray[numpy.int64] | None"),
                   "The ids (ntotal) of an IDMap or IDMap2, None for other indexes.")
      .def("remove_ids", &remove_ids, "ids"_a,
           nb::sig("def remove_ids(self, ids: numpy.typing.ArrayLike) -> int"),
           "Removes the vectors that ids (an id array, mask or bitmap as in SearchParameters) "
           "names\nand returns how many there were. In a flat index later vectors move up.")
      .def("update", &update, "ids"_a, "x"_a,
           nb::sig("def update(self, ids: numpy.typing.ArrayLike, "
                   "x: numpy.typing.ArrayLike) -> None"),
           "Replaces the vectors of ids (n) by x (n, d) in place; nothing else changes.")
      .def(
          "reset", [](IndexHandle& handle) { handle.write([](faiss::Index& i) { i.reset(); }); },
          "Removes every vector; what was learned stays.")
      .def("merge_from", &merge_from, "other"_a, "add_id"_a = 0,
           "Moves the vectors of other, trained alike, behind ours; other is then empty.")
      .def(
          "clone",
          [](const IndexHandle& handle) {
            return to_python(handle.read([](const faiss::Index& i) { return clone_index(&i); }));
          },
          nb::sig("def clone(self) -> Index"), "A deep copy.")
      .def(
          "__copy__",
          [](const IndexHandle& handle) {
            return to_python(handle.read([](const faiss::Index& i) { return clone_index(&i); }));
          },
          nb::sig("def __copy__(self) -> Index"))
      .def(
          "__deepcopy__",
          [](const IndexHandle& handle, nb::handle /*memo*/) {
            return to_python(handle.read([](const faiss::Index& i) { return clone_index(&i); }));
          },
          "memo"_a, nb::sig("def __deepcopy__(self, memo: object) -> Index"))
      .def(
          "set_parameter",
          [](IndexHandle& handle, const std::string& name, double value) {
            handle.write([&](faiss::Index& index) { set_index_parameter(index, name, value); });
          },
          "name"_a, "value"_a,
          "Sets a default of later searches, through wrappers: refine_error_scale and k_factor of\n"
          "rotor codes, nprobe, efSearch, k_factor_rf and the like of FAISS's indexes.")
      .def("sa_code_size", reader([](const faiss::Index& index) { return index.sa_code_size(); }),
           "Bytes of one standalone code.")
      .def("sa_encode", &sa_encode, "x"_a,
           nb::sig("def sa_encode(self, x: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.uint8]"),
           "x (n, d) to codes (n, sa_code_size()).")
      .def("sa_decode", &sa_decode, "codes"_a,
           nb::sig("def sa_decode(self, codes: numpy.typing.ArrayLike) -> "
                   "numpy.typing.NDArray[numpy.float32]"),
           "codes (n, sa_code_size()) to vectors (n, d).");
}

void bind_rotorquant(nb::module_& module) {
  nb::class_<RotorQuantHandle, IndexHandle>(
      module, "IndexRotorQuant", "Flat index over rotor codes (docs/codec.md): RQ1 .. ORQ8mse.")
      .def(
          "__init__",
          [](RotorQuantHandle* self, int64_t d, int bits, bool learned, nb::handle metric,
             bool signs, uint64_t seed, size_t rotor_layers, int joint_rounds) {
            const CodecParams params = codec_params(checked_dim(d), bits, learned, signs, seed,
                                                    rotor_layers, joint_rounds);
            new (self)
                RotorQuantHandle(std::make_unique<IndexRotorQuant>(params, metric_type(metric)));
          },
          "d"_a, "bits"_a = 3, nb::kw_only(), "learned"_a = false, "metric"_a = "l2",
          "signs"_a = true, "seed"_a = CodecParams{}.seed, "rotor_layers"_a = 0,
          "joint_rounds"_a = CodecParams{}.joint_rounds,
          nb::sig("def __init__(self, d: int, bits: int = 3, *, learned: bool = False, "
                  "metric: rotorquant.Metric = 'l2', signs: bool = True, seed: int = 43, "
                  "rotor_layers: int = 0, joint_rounds: int = 3) -> None"),
          "bits a dimension, 1 to 8. learned: ORQ (needs train), else RQ. signs: spend the last "
          "bit\n"
          "on QJL signs (False: 'mse'). rotor_layers: 0 picks the default.")
      .def_prop_ro("bits",
                   own_reader([](const IndexRotorQuant& i) { return i.codec.params().bits; }))
      .def_prop_ro("levels",
                   own_reader([](const IndexRotorQuant& i) { return i.codec.layout().levels; }),
                   "Levels of the code: bits, less one with signs.")
      .def_prop_ro("signs",
                   own_reader([](const IndexRotorQuant& i) { return i.codec.params().signs; }))
      .def_prop_ro("learned", own_reader([](const IndexRotorQuant& i) {
                     return i.codec.params().frame == FrameKind::learned;
                   }))
      .def_prop_ro("seed",
                   own_reader([](const IndexRotorQuant& i) { return i.codec.params().seed; }))
      .def_prop_ro("code_size",
                   own_reader([](const IndexRotorQuant& i) { return i.codec.code_bytes(); }),
                   "Bytes a vector.")
      .def_prop_ro("memory_bytes",
                   own_reader([](const IndexRotorQuant& i) { return i.store.memory_bytes(); }),
                   "Bytes that the codes take in memory, slack included.")
      .def_prop_ro(
          "centre",
          [](const RotorQuantHandle& handle) {
            auto centre = handle.read_own([](const IndexRotorQuant& i) { return i.space.centre; });
            centre.resize(handle.d());  // none: the origin
            return to_array(std::span<const float>(centre));
          },
          nb::sig("def centre(self) -> numpy.typing.NDArray[numpy.float32]"),
          "What codes are relative to (d): the training mean, or zeros.")
      .def(
          "expected_distortion",
          [](const RotorQuantHandle& handle, size_t levels) {
            return handle.read_own([&](const IndexRotorQuant& i) {
              return faiss_boundary([&] { return i.codec.expected_distortion(levels); });
            });
          },
          "levels"_a = 0,
          "Mean of 1 - cos^2 between a vector and its decoding at `levels` levels (0: whole code).")
      .def_prop_rw(
          "refine_error_scale",
          own_reader([](const IndexRotorQuant& i) { return i.refine_error_scale; }),
          [](RotorQuantHandle& handle, float value) {
            handle.write_own([&](IndexRotorQuant& i) { i.refine_error_scale = value; });
          },
          "Default of SearchParameters; negative: the codec's own.")
      .def_prop_rw(
          "k_factor", own_reader([](const IndexRotorQuant& i) { return i.k_factor; }),
          [](RotorQuantHandle& handle, size_t value) {
            handle.write_own([&](IndexRotorQuant& i) { i.k_factor = value; });
          },
          "Default of SearchParameters.");

  nb::class_<IVFHandle, IndexHandle>(
      module, "IndexIVFRotorQuant",
      "Inverted file over rotor codes: IVF1024,RQ3 with any coarse quantizer. index_factory makes "
      "them.")
      .def_prop_ro("nlist", ivf_reader([](const IndexIVFRotorQuant& i) { return i.nlist; }),
                   "Number of inverted lists.")
      .def_prop_ro("code_name",
                   ivf_reader([](const IndexIVFRotorQuant& i) { return i.code_name(); }),
                   "The factory string of the codes, such as RQ3.")
      .def_prop_ro("code_size",
                   ivf_reader([](const IndexIVFRotorQuant& i) { return i.codec->code_bytes(); }),
                   "Bytes a vector, ids apart.")
      .def_prop_rw(
          "nprobe", ivf_reader([](const IndexIVFRotorQuant& i) { return i.nprobe; }),
          [](IVFHandle& handle, double value) {
            handle.write([&](faiss::Index& index) { set_index_parameter(index, "nprobe", value); });
          },
          nb::for_setter(nb::sig("def nprobe(self, value: int, /) -> None")),
          "Lists that a search visits; default of SearchParameters.")
      .def_prop_rw(
          "refine_error_scale",
          ivf_reader([](const IndexIVFRotorQuant& i) { return i.refine_error_scale; }),
          [](IVFHandle& handle, float value) {
            handle.write_own([&](IndexIVFRotorQuant& i) { i.refine_error_scale = value; });
          },
          "Default of SearchParameters; negative: the codec's own.")
      .def(
          "list_sizes",
          [](const IVFHandle& handle) {
            const std::vector<int64_t> sizes = handle.read_own([](const IndexIVFRotorQuant& i) {
              std::vector<int64_t> each;
              for (size_t list = 0; list < i.nlist; ++list) {
                each.push_back(static_cast<int64_t>(i.get_list_size(list)));
              }
              return each;
            });
            return to_array(std::span<const int64_t>(sizes));
          },
          nb::sig("def list_sizes(self) -> numpy.typing.NDArray[numpy.int64]"),
          "Vectors in each list (nlist).");

  nb::class_<ReferenceHandle, IndexHandle>(
      module, "IndexRotorQuantReference",
      "Flat index over the published algorithm's codes, for comparison: RQ1ref .. RQ8ref.");
}

}  // namespace

void bind_index(nb::module_& module) {
  bind_base(module);
  bind_rotorquant(module);
  module.attr("METRIC_INNER_PRODUCT") = static_cast<int>(faiss::METRIC_INNER_PRODUCT);
  module.attr("METRIC_L2") = static_cast<int>(faiss::METRIC_L2);
  module.def(
      "index_factory",
      [](int64_t d, const std::string& description, nb::handle metric) {
        const int dim = checked_dim(d);
        const faiss::MetricType type = metric_type(metric);
        std::unique_ptr<faiss::Index> index;
        {
          const nb::gil_scoped_release no_gil;
          index = rotorquant::index_factory(dim, description, type);
        }
        return to_python(std::move(index));
      },
      "d"_a, "description"_a, "metric"_a = "l2",
      nb::sig(
          "def index_factory(d: int, description: str, metric: rotorquant.Metric = 'l2') -> Index"),
      "An index from a factory string: RQ3, ORQ4mse, IDMap2,RQ3, PCA64,RQ4, RQ3,RFlat, HNSW32,RQ8\n"
      "and whatever FAISS knows. metric: \"l2\", \"inner_product\" (or \"ip\"), or FAISS's "
      "number.");
}

}  // namespace rotorquant::python
