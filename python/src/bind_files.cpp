// SPDX-License-Identifier: MIT
// Indexes to and from files and bytes; pickling.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "bind.h"
#include "faiss_ext/index_io.h"
#include "handle.h"

using namespace nanobind::literals;

namespace rotorquant::python {
namespace {

/// str, bytes or os.PathLike.
std::string path_text(nb::handle path) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), static_cast<void*>(&bytes)) == 0) {
    throw nb::python_error();
  }
  const auto owned = nb::steal<nb::bytes>(bytes);
  return {owned.c_str(), owned.size()};
}

nb::bytes serialize(const IndexHandle& handle) {
  const std::vector<uint8_t> bytes =
      handle.read([](const faiss::Index& index) { return serialize_index(&index); });
  return nb::bytes(bytes.data(), bytes.size());
}

nb::object deserialize(nb::handle data) {
  Py_buffer view;
  if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) {
    throw nb::python_error();
  }
  const std::unique_ptr<Py_buffer, decltype(&PyBuffer_Release)> held(&view, &PyBuffer_Release);
  std::unique_ptr<faiss::Index> index;
  {
    const nb::gil_scoped_release no_gil;
    index =
        deserialize_index({static_cast<const uint8_t*>(view.buf), static_cast<size_t>(view.len)});
  }
  return to_python(std::move(index));
}

}  // namespace

void bind_files(nb::module_& module) {
  module.def(
      "write_index",
      [](const IndexHandle& handle, nb::handle path, bool mappable) {
        const std::string name = path_text(path);
        const auto write = mappable ? &rotorquant::write_mappable_index
                                    : nb::overload_cast<const faiss::Index*, const std::string&>(
                                          &rotorquant::write_index);
        handle.read([&](const faiss::Index& index) { write(&index, name); });
      },
      "index"_a, "path"_a, nb::kw_only(), "mappable"_a = false,
      nb::sig("def write_index(index: Index, path: str | bytes | os.PathLike[str], *, "
              "mappable: bool = False) -> None"),
      "Writes a file of docs/format.md. An old file stays whole until the new one is on disk.\n"
      "mappable: one that read_index(mmap=True) can use in place.");
  module.def(
      "read_index",
      [](nb::handle path, bool mmap) {
        const std::string name = path_text(path);
        std::unique_ptr<faiss::Index> index;
        {
          const nb::gil_scoped_release no_gil;
          index = mmap ? rotorquant::map_index(name) : rotorquant::read_index(name);
        }
        return to_python(std::move(index));
      },
      "path"_a, nb::kw_only(), "mmap"_a = false,
      nb::sig("def read_index(path: str | bytes | os.PathLike[str], *, mmap: bool = False) -> "
              "Index"),
      "Reads a file of ours (refused unless every checksum is right) or of FAISS.\n"
      "mmap: leaves the codes of a file written with mappable=True on disk and reads them as they\n"
      "are needed; the file must not change meanwhile.");
  module.def(
      "verify_index",
      [](nb::handle path) {
        const std::string name = path_text(path);
        const nb::gil_scoped_release no_gil;
        rotorquant::verify_index(name);
      },
      "path"_a, nb::sig("def verify_index(path: str | bytes | os.PathLike[str]) -> None"),
      "Checks every byte of a file of ours; mapping checks codes no other way.");
  module.def("serialize_index", &serialize, "index"_a, "The bytes that write_index would write.");
  module.def("deserialize_index", &deserialize, "data"_a,
             nb::sig("def deserialize_index(data: bytes | bytearray | memoryview) -> Index"),
             "The index of bytes of ours or of FAISS's serialize_index.");

  auto index = nb::borrow<nb::class_<IndexHandle>>(module.attr("Index"));
  index.def(
      "__reduce__",
      [](nb::handle self) {
        return nb::make_tuple(nb::module_::import_("rotorquant._pickling").attr("restore"),
                              nb::make_tuple(serialize(nb::cast<const IndexHandle&>(self))));
      },
      nb::sig("def __reduce__(self) -> tuple[object, tuple[bytes]]"));
}

}  // namespace rotorquant::python
