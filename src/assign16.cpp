// SPDX-License-Identifier: MIT
#include <array>
#include <limits>

#include "rotorquant/codebook.h"

namespace rotorquant {

// Kuhn-Munkres by successive shortest augmenting paths with potentials (Jonker and Volgenant
// 1987). Row and column 0 are sentinels, hence the 1-based indices.
std::array<uint8_t, fanout> assign16(const std::array<double, fanout * fanout>& cost) {
  constexpr size_t n = fanout;
  std::array<double, n + 1> row_potential{};
  std::array<double, n + 1> column_potential{};
  std::array<size_t, n + 1> row_of_column{};
  for (size_t row = 1; row <= n; ++row) {
    std::array<double, n + 1> slack{};
    std::array<size_t, n + 1> previous{};
    std::array<bool, n + 1> visited{};
    slack.fill(std::numeric_limits<double>::infinity());
    row_of_column[0] = row;
    size_t column = 0;
    do {
      visited[column] = true;
      const size_t current = row_of_column[column];
      double delta = std::numeric_limits<double>::infinity();
      size_t next = 0;
      for (size_t j = 1; j <= n; ++j) {
        if (visited[j]) {
          continue;
        }
        const double reduced =
            cost[(current - 1) * n + j - 1] - row_potential[current] - column_potential[j];
        if (reduced < slack[j]) {
          slack[j] = reduced;
          previous[j] = column;
        }
        if (slack[j] < delta) {
          delta = slack[j];
          next = j;
        }
      }
      for (size_t j = 0; j <= n; ++j) {
        if (visited[j]) {
          row_potential[row_of_column[j]] += delta;
          column_potential[j] -= delta;
        } else {
          slack[j] -= delta;
        }
      }
      column = next;
    } while (row_of_column[column] != 0);
    while (column != 0) {  // flip the path's edges
      row_of_column[column] = row_of_column[previous[column]];
      column = previous[column];
    }
  }
  std::array<uint8_t, n> column_of_row{};
  for (size_t j = 1; j <= n; ++j) {
    column_of_row[row_of_column[j] - 1] = static_cast<uint8_t>(j - 1);
  }
  return column_of_row;
}

}  // namespace rotorquant
