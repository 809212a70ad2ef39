// SPDX-License-Identifier: MIT
// Random additions, removals, updates, searches, copies and files against a model that is a plain
// map of vectors.
#include <faiss/IndexIDMap.h>
#include <faiss/impl/IDSelector.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "faiss_ext/IndexIVFRotorQuant.h"
#include "faiss_ext/clone_index.h"
#include "faiss_ext/index_factory.h"
#include "faiss_ext/index_io.h"
#include "faiss_ext/index_parameters.h"
#include "ivf_test_data.h"

namespace rotorquant {
namespace {

constexpr size_t d = 8;
constexpr size_t most_vectors = 600;
constexpr int operations = 100000;

/// What a form of index calls the same operations.
class Form {
 public:
  virtual ~Form() = default;
  virtual std::unique_ptr<faiss::Index> make() const = 0;
  /// Flat indexes number their vectors, and again after a removal.
  virtual bool renumbers() const { return false; }
  virtual void add(faiss::Index& index, const Ids& ids, const Floats& x) const {
    index.add_with_ids(static_cast<int64_t>(ids.size()), x.data(), ids.data());
  }
  virtual void update(faiss::Index& index, int64_t id, const Floats& x) const {
    index.remove_ids(faiss::IDSelectorArray(1, &id));
    index.add_with_ids(1, x.data(), &id);
  }
};

class Flat final : public Form {
 public:
  std::unique_ptr<faiss::Index> make() const override { return index_factory(d, "RQ8"); }
  bool renumbers() const override { return true; }
  void add(faiss::Index& index, const Ids& /*ids*/, const Floats& x) const override {
    rotorquant::add(index, x);
  }
};

class Mapped final : public Form {
 public:
  explicit Mapped(std::string description) : description_(std::move(description)) {}
  std::unique_ptr<faiss::Index> make() const override {
    auto index = index_factory(d, description_);
    if (faiss::IndexIVF* ivf = try_extract_index_ivf(index.get())) {
      ivf->nprobe = ivf->nlist;
    }
    return index;
  }

 private:
  std::string description_;
};

class Ivf final : public Form {
 public:
  explicit Ivf(faiss::DirectMap::Type type) : type_(type) {}
  std::unique_ptr<faiss::Index> make() const override {
    auto index = make_ivf(d, "IVF16,RQ8");
    index->nprobe = 16;
    index->set_direct_map_type(type_);
    return index;
  }
  void update(faiss::Index& index, int64_t id, const Floats& x) const override {
    auto& ivf = dynamic_cast<IndexIVFRotorQuant&>(index);
    if (type_ == faiss::DirectMap::NoMap) {
      Form::update(index, id, x);
    } else {
      ivf.update_vectors(1, &id, x.data());
    }
  }

 private:
  faiss::DirectMap::Type type_;
};

class Model {
 public:
  Model(const Form& form, uint64_t seed) : form_(form), rng_(seed), index_(form.make()) {
    train(*index_, vectors(400, d, 7));
  }

  void step() {
    switch (rng_.below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return add();
      case 4:
      case 5:
      case 6:
        return remove();
      case 7:
      case 8:
        return update();
      case 9:
        return rng_.below(40) == 0 ? check_everything() : search_one();
      case 10:
        return rng_.below(100) == 0 ? reload() : search_one();
      default:
        return search_one();
    }
  }

  /// The index holds the model's vectors, all of them and no other.
  void check_everything() {
    ASSERT_EQ(static_cast<size_t>(index_->ntotal), rows_.size());
    const Answer answer = search(*index_, random_row(), rows_.size() + 3);
    std::set<int64_t> found(answer.labels.begin(), answer.labels.end());
    ASSERT_EQ(found.erase(-1), 1U);
    std::set<int64_t> expected;
    for (const auto& [id, row] : rows_) {
      expected.insert(id);
    }
    ASSERT_EQ(found, expected);
  }

 private:
  const Form& form_;
  Rng rng_;
  std::unique_ptr<faiss::Index> index_;
  std::map<int64_t, Floats> rows_;
  int64_t next_id_ = 0;

  Floats random_row() {
    Floats row(d);
    for (float& v : row) {
      v = static_cast<float>(rng_.gaussian());
    }
    return row;
  }
  int64_t some_id() {
    auto place = rows_.lower_bound(
        static_cast<int64_t>(rng_.below(static_cast<uint64_t>(rows_.rbegin()->first + 1))));
    return place->first;
  }

  void add() {
    const size_t count = std::min(rng_.below(6) + 1, most_vectors - rows_.size());
    Ids ids;
    Floats x;
    for (size_t i = 0; i < count; ++i) {
      const Floats row = random_row();
      x.insert(x.end(), row.begin(), row.end());
      next_id_ = form_.renumbers() ? static_cast<int64_t>(rows_.size())
                                   : next_id_ + 1 + static_cast<int64_t>(rng_.below(5));
      ids.push_back(next_id_);
      rows_[next_id_] = row;
    }
    form_.add(*index_, ids, x);
  }

  void remove() {
    if (rows_.empty()) {
      return;
    }
    Ids doomed;
    for (size_t i = rng_.below(6) + 1; i > 0; --i) {
      doomed.push_back(some_id());
    }
    std::sort(doomed.begin(), doomed.end());
    doomed.erase(std::unique(doomed.begin(), doomed.end()), doomed.end());
    ASSERT_EQ(index_->remove_ids(faiss::IDSelectorArray(doomed.size(), doomed.data())),
              doomed.size());
    for (const int64_t id : doomed) {
      rows_.erase(id);
    }
    if (form_.renumbers()) {
      std::map<int64_t, Floats> moved;
      for (auto& [id, row] : rows_) {
        moved.emplace(static_cast<int64_t>(moved.size()), std::move(row));
      }
      rows_ = std::move(moved);
    }
  }

  void update() {
    if (rows_.empty() || form_.renumbers()) {
      return;
    }
    const int64_t id = some_id();
    const Floats row = random_row();
    form_.update(*index_, id, row);
    rows_[id] = row;
  }

  /// A stored vector is its own nearest neighbour: eight bits tell so few from each other.
  void search_one() {
    if (rows_.empty()) {
      return;
    }
    const int64_t id = some_id();
    const Answer answer = search(*index_, rows_[id], 3);
    ASSERT_EQ(answer.labels[0], id);
    for (const int64_t label : answer.labels) {
      ASSERT_TRUE(label == -1 ? rows_.size() < 3 : rows_.count(label) == 1);
    }
  }

  void reload() {
    index_ = rng_.below(2) == 0 ? clone_index(index_.get())
                                : deserialize_index(serialize_index(index_.get()));
  }
};

void run(const Form& form, uint64_t seed, int steps) {
  Model model(form, seed);
  for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
    model.step();
  }
  if (!testing::Test::HasFatalFailure()) {
    model.check_everything();
  }
}

TEST(RandomOperations, Flat) {
  run(Flat(), 1, operations / 4);
}

TEST(RandomOperations, Ivf) {
  run(Ivf(faiss::DirectMap::NoMap), 2, operations / 8);
  run(Ivf(faiss::DirectMap::Hashtable), 3, operations / 8);
}

TEST(RandomOperations, IdMap2) {
  run(Mapped("IDMap2,RQ8"), 4, operations / 4);
}

TEST(RandomOperations, IdMap2OverIvf) {
  run(Mapped("IDMap2,IVF16,RQ8"), 5, operations / 8);
  run(Mapped("IDMap,IVF16,RQ8"), 6, operations / 8);
}

}  // namespace
}  // namespace rotorquant
