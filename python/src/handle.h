// SPDX-License-Identifier: MIT
#pragma once

#include <faiss/Index.h>
#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/IndexRotorQuant.h"
#include "faiss_ext/IndexRotorQuantReference.h"

namespace rotorquant::python {

namespace nb = nanobind;

/// What a Python Index object holds: the C++ index (never null) and the lock that keeps Python
/// threads, which run without the GIL in here, from reading while one of them writes.
class IndexHandle {
 public:
  explicit IndexHandle(std::unique_ptr<faiss::Index> index) : index_(std::move(index)) {}
  virtual ~IndexHandle() = default;
  IndexHandle(const IndexHandle&) = delete;
  IndexHandle& operator=(const IndexHandle&) = delete;

  /// Runs f(index) without the GIL, together with other readers.
  template <class F>
  decltype(auto) read(F&& f) const {
    const nb::gil_scoped_release no_gil;
    const std::shared_lock lock(mutex_);
    return std::forward<F>(f)(std::as_const(*index_));
  }
  /// Runs f(index) without the GIL and alone.
  template <class F>
  decltype(auto) write(F&& f) {
    const nb::gil_scoped_release no_gil;
    const std::unique_lock lock(mutex_);
    return std::forward<F>(f)(*index_);
  }

  /// Dimension and metric do not change once an index is made: they are read without the lock.
  size_t d() const { return static_cast<size_t>(index_->d); }
  faiss::MetricType metric() const { return index_->metric_type; }

  /// Whoever calls this has the lock, or knows that nobody else knows the index.
  faiss::Index& unlocked() const { return *index_; }
  std::shared_mutex& mutex() const { return mutex_; }

 private:
  std::unique_ptr<faiss::Index> index_;
  mutable std::shared_mutex mutex_;
};

/// The handle of an index of ours, so that Python sees a class of its own for it.
template <class T>
class TypedHandle final : public IndexHandle {
 public:
  explicit TypedHandle(std::unique_ptr<T> index) : IndexHandle(std::move(index)) {}

  template <class F>
  decltype(auto) read_own(F&& f) const {
    return read([&](const faiss::Index& index) -> decltype(auto) {
      return std::forward<F>(f)(static_cast<const T&>(index));
    });
  }
  template <class F>
  decltype(auto) write_own(F&& f) {
    return write([&](faiss::Index& index) -> decltype(auto) {
      return std::forward<F>(f)(static_cast<T&>(index));
    });
  }
};

using RotorQuantHandle = TypedHandle<IndexRotorQuant>;
using IVFHandle = TypedHandle<IndexIVFRotorQuant>;
using ReferenceHandle = TypedHandle<IndexRotorQuantReference>;

/// The handle that fits the index's own type.
std::unique_ptr<IndexHandle> make_handle(std::unique_ptr<faiss::Index> index);

/// The index as Python sees it: Index, or the class of ours that it is.
nb::object to_python(std::unique_ptr<faiss::Index> index);

}  // namespace rotorquant::python
