// SPDX-License-Identifier: MIT
#include <cstdint>
#include <random>
#include <vector>

#include "faiss_ext/index_factory.h"

int main() {
  constexpr int d = 64;
  constexpr int n = 1000;
  std::mt19937 generator(1);
  std::normal_distribution<float> gaussian;
  std::vector<float> vectors(n * d);
  for (float& v : vectors) v = gaussian(generator);

  auto index = rotorquant::index_factory(d, "RQ3", faiss::METRIC_L2);
  index->add(n, vectors.data());
  std::vector<float> distances(n);
  std::vector<std::int64_t> labels(n);
  index->search(n, vectors.data(), 1, distances.data(), labels.data());
  int self_matches = 0;
  for (int i = 0; i < n; ++i) self_matches += labels[i] == i ? 1 : 0;
  return self_matches == n ? 0 : 1;  // random vectors are far apart, beside a 3-bit code's error
}
