// SPDX-License-Identifier: MIT
// rotorquant.gpu: resources, the way to devices and back, and the GPU indexes. Only built with CUDA
// (or, for tests, its emulation).
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bind.h"
#include "cuda_arrays.h"
#include "faiss_ext/gpu/GpuIndexIVFRotorQuant.h"
#include "faiss_ext/gpu/GpuIndexRotorQuant.h"
#include "faiss_ext/gpu/gpu_clone.h"
#include "handle.h"
#include "search_options.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

template <class Gpu>
const GpuResources& resources_of(const TypedHandle<Gpu>& handle) {
  return static_cast<const Gpu&>(handle.unlocked()).resources;  // set once, when it is made
}

template <class Gpu>
void train(TypedHandle<Gpu>& handle, nb::handle x) {
  const AnyRows rows = any_rows(x, handle.d(), resources_of(handle), "x");
  handle.write([&](faiss::Index& index) { index.train(static_cast<int64_t>(rows.n), rows.data); });
}

template <class Gpu>
void add(TypedHandle<Gpu>& handle, nb::handle x) {
  const AnyRows rows = any_rows(x, handle.d(), resources_of(handle), "x");
  handle.write([&](faiss::Index& index) { index.add(static_cast<int64_t>(rows.n), rows.data); });
}

template <class Gpu>
void add_with_ids(TypedHandle<Gpu>& handle, nb::handle x, nb::handle ids) {
  const AnyRows rows = any_rows(x, handle.d(), resources_of(handle), "x");
  const Ids numbers = ids_vector(ids, static_cast<Py_ssize_t>(rows.n), "ids");
  handle.write([&](faiss::Index& index) {
    index.add_with_ids(static_cast<int64_t>(rows.n), rows.data, numbers.data);
  });
}

/// An array that the caller gives for results, n x k on the device.
CudaArray result_array(nb::handle out, const char* typestr, size_t n, size_t k,
                       const GpuResources& resources, const char* name) {
  auto array = cuda_array(out, typestr, true, resources, name);
  const std::vector<Py_ssize_t> shape{static_cast<Py_ssize_t>(n), static_cast<Py_ssize_t>(k)};
  if (!array || array->shape != shape) {
    throw nb::value_error(
        (std::string(name) + ": expected an array on the device, shape " + shape_text(shape) +
         ", received " +
         (array ? shape_text(array->shape) : std::string(nb::type_name(out.type()).c_str())))
            .c_str());
  }
  return std::move(*array);
}

template <class Gpu>
nb::object search_gpu(const TypedHandle<Gpu>& handle, nb::handle x, int64_t k,
                      const SearchOptions* params, nb::handle filter, nb::handle out) {
  const GpuResources& resources = resources_of(handle);
  const AnyRows queries = any_rows(x, handle.d(), resources, "x");
  if (k < 1) {
    throw nb::value_error(("k: expected 1 or more, received " + std::to_string(k)).c_str());
  }
  SearchOptions options = params == nullptr ? SearchOptions{} : *params;
  if (!filter.is_none()) {
    options.filters = Filters::from_python(filter);
  }
  options.filters.require_count(queries.n);
  const auto width = static_cast<size_t>(k);
  const auto run = [&](float* distances, int64_t* labels) {
    handle.read([&](const faiss::Index& index) {
      search(index, queries.n, queries.data, width, options, distances, labels);
    });
  };
  if (!out.is_none()) {
    const auto pair = nb::cast<nb::tuple>(out);
    const CudaArray distances = result_array(pair[0], "<f4", queries.n, width, resources, "out[0]");
    const CudaArray labels = result_array(pair[1], "<i8", queries.n, width, resources, "out[1]");
    run(static_cast<float*>(distances.data), static_cast<int64_t*>(labels.data));
    return nb::borrow(out);
  }
  const auto distances = new_array<float>({queries.n, width});
  const auto labels = new_array<int64_t>({queries.n, width});
  run(distances.data, labels.data);
  return nb::make_tuple(distances.array, labels.array);
}

/// What both kinds of GPU index have of their own; the rest is Index's.
template <class Gpu>
nb::class_<TypedHandle<Gpu>, IndexHandle> bind_gpu_index(nb::module_& module, const char* name,
                                                         const char* doc) {
  return nb::class_<TypedHandle<Gpu>, IndexHandle>(module, name, doc)
      .def("train", &train<Gpu>, "x"_a, nb::sig("def train(self, x: typing.Any) -> None"),
           "As Index.train; x may lie on the device.")
      .def("add", &add<Gpu>, "x"_a, nb::sig("def add(self, x: typing.Any) -> None"),
           "As Index.add; x may lie on the device.")
      .def("add_with_ids", &add_with_ids<Gpu>, "x"_a, "ids"_a,
           nb::sig("def add_with_ids(self, x: typing.Any, ids: numpy.typing.ArrayLike) -> None"),
           "As Index.add_with_ids; x may lie on the device.")
      .def("search", &search_gpu<Gpu>, "x"_a, "k"_a, nb::kw_only(), "params"_a = nb::none(),
           "filter"_a = nb::none(), "out"_a = nb::none(),
           nb::sig("def search(self, x: typing.Any, k: int, *, "
                   "params: SearchParameters | None = None, "
                   "filter: rotorquant.FilterLike | None = None, "
                   "out: tuple[typing.Any, typing.Any] | None = None) -> "
                   "tuple[typing.Any, typing.Any]"),
           "As Index.search; x may lie on the device. out: arrays on the device, (n, k) float32 "
           "and\n"
           "int64, that take the results; without it they are NumPy's.")
      .def_prop_ro(
          "memory_bytes",
          [](const TypedHandle<Gpu>& handle) {
            return handle.read_own([](const Gpu& index) { return index.memory_bytes(); });
          },
          "Bytes of device memory that the codes take, slack included.");
}

}  // namespace

void bind_gpu(nb::module_& module) {
  module.def("gpu_device_count", &gpu_device_count, "Devices there are; 0 without a driver.");
  nb::class_<GpuResources>(module, "GpuResources",
                           "One device with a stream, a memory pool and a cuBLAS handle.")
      .def(
          "__init__",
          [](GpuResources* self, int device, uintptr_t stream) {
            new (self) GpuResources(device, reinterpret_cast<void*>(stream));
          },
          "device"_a = 0, "stream"_a = 0,
          "stream: the number of a cudaStream_t of that device, which must outlive everything "
          "made\n"
          "with this (torch.cuda.Stream.cuda_stream, cupy.cuda.Stream.ptr); 0: one of its own.")
      .def_prop_ro("device", &GpuResources::device)
      .def_prop_ro("name", &GpuResources::name)
      .def("synchronize", &GpuResources::synchronize, nb::call_guard<nb::gil_scoped_release>(),
           "Returns when all work so far is done.");
  bind_gpu_index<GpuIndexRotorQuant>(module, "GpuIndexRotorQuant",
                                     "IndexRotorQuant on a device: index_cpu_to_gpu makes them.");
  bind_gpu_index<GpuIndexIVFRotorQuant>(
      module, "GpuIndexIVFRotorQuant",
      "IndexIVFRotorQuant on a device: index_cpu_to_gpu makes them.")
      .def_prop_rw(
          "nprobe",
          [](const TypedHandle<GpuIndexIVFRotorQuant>& handle) {
            return handle.read_own([](const auto& index) { return index.settings->nprobe; });
          },
          [](TypedHandle<GpuIndexIVFRotorQuant>& handle, size_t value) {
            if (value < 1) {
              throw nb::value_error("nprobe: expected 1 or more, received 0");
            }
            handle.write_own([&](auto& index) { index.settings->nprobe = value; });
          },
          "Lists that a search visits; default of SearchParameters.");
  module.def(
      "index_cpu_to_gpu",
      [](const GpuResources& resources, const IndexHandle& index) {
        return to_python(
            index.read([&](const faiss::Index& cpu) { return index_cpu_to_gpu(resources, &cpu); }));
      },
      "resources"_a, "index"_a,
      nb::sig("def index_cpu_to_gpu(resources: GpuResources, index: Index) -> Index"),
      "A copy with the rotor codes on the device.");
  module.def(
      "index_cpu_to_gpu_multiple",
      [](const std::vector<GpuResources>& resources, const IndexHandle& index, bool shards) {
        return to_python(index.read([&](const faiss::Index& cpu) {
          return index_cpu_to_gpu_multiple(resources, &cpu, shards);
        }));
      },
      "resources"_a, "index"_a, "shards"_a = true,
      nb::sig("def index_cpu_to_gpu_multiple(resources: list[GpuResources], index: Index, "
              "shards: bool = True) -> Index"),
      "A copy spread over devices: equal parts, or (shards=False) a copy on each.");
  module.def(
      "index_gpu_to_cpu",
      [](const IndexHandle& index) {
        return to_python(
            index.read([](const faiss::Index& gpu) { return index_gpu_to_cpu(&gpu); }));
      },
      "index"_a, nb::sig("def index_gpu_to_cpu(index: Index) -> Index"),
      "The way back: codes byte for byte.");
}

}  // namespace rotorquant::python
