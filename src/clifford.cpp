// SPDX-License-Identifier: MIT
#include "rotorquant/clifford.h"

#include <bit>
#include <cmath>

#include "rotorquant/error.h"

namespace rotorquant {
namespace {

// A blade as the set of its basis vectors: bit 0 is e1, bit 1 is e2, bit 2 is e3.
constexpr std::array<unsigned, blade_count> blade_mask{0, 1, 2, 4, 3, 5, 6, 7};
constexpr std::array<size_t, blade_count> blade_of_mask{0, 1, 2, 4, 3, 5, 6, 7};

/// Sign of the product of two blades: -1 for every pair of basis vectors that has to be swapped to
/// bring the factors into ascending order (repeated ones then cancel, since e_i e_i = +1).
constexpr int product_sign(unsigned a, unsigned b) {
  int swaps = 0;
  for (unsigned rest = a >> 1U; rest != 0; rest >>= 1U) {
    swaps += std::popcount(rest & b);
  }
  return swaps % 2 == 0 ? 1 : -1;
}

struct ProductTable {
  std::array<std::array<int, blade_count>, blade_count> sign{};
  std::array<std::array<size_t, blade_count>, blade_count> blade{};
};

constexpr ProductTable make_product_table() {
  ProductTable table;
  for (size_t i = 0; i < blade_count; ++i) {
    for (size_t j = 0; j < blade_count; ++j) {
      table.sign[i][j] = product_sign(blade_mask[i], blade_mask[j]);
      table.blade[i][j] = blade_of_mask[blade_mask[i] ^ blade_mask[j]];
    }
  }
  return table;
}

constexpr ProductTable product_table = make_product_table();

/// The rotation as a double matrix. With (s, x, y, z) = (s, -b23, b13, -b12) a rotor multiplies
/// like the unit quaternion s + x i + y j + z k, whose matrix this is.
std::array<double, 9> rotation_matrix_double(const Rotor& r) {
  const double s = r.s;
  const double x = -r.b23;
  const double y = r.b13;
  const double z = -r.b12;
  return {1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - s * z),       2.0 * (x * z + s * y),
          2.0 * (x * y + s * z),       1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - s * x),
          2.0 * (x * z - s * y),       2.0 * (y * z + s * x),       1.0 - 2.0 * (x * x + y * y)};
}

}  // namespace

template <class T>
BasicMultivector<T> geometric_product(const BasicMultivector<T>& a, const BasicMultivector<T>& b) {
  BasicMultivector<T> product;
  for (size_t i = 0; i < blade_count; ++i) {
    for (size_t j = 0; j < blade_count; ++j) {
      product[product_table.blade[i][j]] += static_cast<T>(product_table.sign[i][j]) * a[i] * b[j];
    }
  }
  return product;
}

template <class T>
BasicMultivector<T> reverse(const BasicMultivector<T>& a) {
  BasicMultivector<T> reversed = a;
  for (size_t i = 0; i < blade_count; ++i) {
    if (blade_grade[i] >= 2) {
      reversed[i] = -a[i];
    }
  }
  return reversed;
}

template <class T>
BasicMultivector<T> grade(const BasicMultivector<T>& a, int k) {
  require(k >= 0 && k <= 3, "k", "a grade from 0 to 3", k);
  BasicMultivector<T> part;
  for (size_t i = 0; i < blade_count; ++i) {
    if (blade_grade[i] == k) {
      part[i] = a[i];
    }
  }
  return part;
}

template <class T>
double norm(const BasicMultivector<T>& a) {
  double sum = 0.0;
  for (const T v : a.c) {
    sum += static_cast<double>(v) * static_cast<double>(v);
  }
  return std::sqrt(sum);
}

Rotor Rotor::random(Rng& rng) {
  for (;;) {
    Rotor r;
    r.s = rng.gaussian();
    r.b12 = rng.gaussian();
    r.b13 = rng.gaussian();
    r.b23 = rng.gaussian();
    const double length = norm(r);
    if (length > 1e-6) {  // nearer to 0 the division would lose the unit norm
      return {r.s / length, r.b12 / length, r.b13 / length, r.b23 / length};
    }
  }
}

Rotor Rotor::random_planar(Rng& rng) {
  for (;;) {
    Rotor r;
    r.s = rng.gaussian();
    r.b12 = rng.gaussian();
    const double length = norm(r);
    if (length > 1e-6) {
      return {r.s / length, r.b12 / length, 0.0, 0.0};
    }
  }
}

Rotor Rotor::exp(double b12, double b13, double b23) {
  const double angle = std::sqrt(b12 * b12 + b13 * b13 + b23 * b23);
  // sin(a)/a, by its limit near 0, where the next term a^2/6 is below half an ulp of 1.
  const double ratio = angle < 1e-8 ? 1.0 : std::sin(angle) / angle;
  return {std::cos(angle), ratio * b12, ratio * b13, ratio * b23};
}

Rotor Rotor::from_axis_angle(const std::array<double, 3>& axis, double angle) {
  const double length = std::sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]);
  require(length > 0.0 && std::isfinite(length), "axis", "a vector with a direction", length);
  // The plane of the rotation is the dual of the axis: e123 n = n1 e23 - n2 e13 + n3 e12.
  const double half = 0.5 * angle / length;
  return exp(-half * axis[2], half * axis[1], -half * axis[0]);
}

Rotor Rotor::planar(double angle) {
  return exp(-0.5 * angle, 0.0, 0.0);
}

Rotor operator*(const Rotor& second, const Rotor& first) {
  const Rotor& a = second;
  const Rotor& b = first;
  return {a.s * b.s - a.b12 * b.b12 - a.b13 * b.b13 - a.b23 * b.b23,
          a.s * b.b12 + a.b12 * b.s - a.b13 * b.b23 + a.b23 * b.b13,
          a.s * b.b13 + a.b13 * b.s + a.b12 * b.b23 - a.b23 * b.b12,
          a.s * b.b23 + a.b23 * b.s - a.b12 * b.b13 + a.b13 * b.b12};
}

Rotor reverse(const Rotor& rotor) {
  return {rotor.s, -rotor.b12, -rotor.b13, -rotor.b23};
}

double norm(const Rotor& r) {
  return std::sqrt(r.s * r.s + r.b12 * r.b12 + r.b13 * r.b13 + r.b23 * r.b23);
}

template <class T>
BasicMultivector<T> to_multivector(const Rotor& rotor) {
  BasicMultivector<T> m;
  m[0] = static_cast<T>(rotor.s);
  m[4] = static_cast<T>(rotor.b12);
  m[5] = static_cast<T>(rotor.b13);
  m[6] = static_cast<T>(rotor.b23);
  return m;
}

std::array<double, 3> sandwich(const Rotor& rotor, const std::array<double, 3>& v) {
  const std::array<double, 9> m = rotation_matrix_double(rotor);
  return {m[0] * v[0] + m[1] * v[1] + m[2] * v[2], m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
          m[6] * v[0] + m[7] * v[1] + m[8] * v[2]};
}

template <class T>
BasicMultivector<T> sandwich(const Rotor& rotor, const BasicMultivector<T>& m) {
  const auto r = to_multivector<T>(rotor);
  return geometric_product(geometric_product(r, m), reverse(r));
}

std::array<float, 9> rotation_matrix(const Rotor& rotor) {
  const std::array<double, 9> exact = rotation_matrix_double(rotor);
  std::array<float, 9> rounded{};
  for (size_t i = 0; i < exact.size(); ++i) {
    rounded[i] = static_cast<float>(exact[i]);
  }
  return rounded;
}

std::vector<Multivector> embed(const float* x, size_t d) {
  std::vector<Multivector> m(triple_count(d));
  for (size_t j = 0; j < d; ++j) {
    m[j / 3][1 + j % 3] = x[j];
  }
  return m;
}

void extract(const std::vector<Multivector>& m, float* x, size_t d) {
  require(m.size() == triple_count(d), "multivectors", triple_count(d), m.size());
  for (size_t j = 0; j < d; ++j) {
    x[j] = m[j / 3][1 + j % 3];
  }
}

template MultivectorD geometric_product(const MultivectorD&, const MultivectorD&);
template Multivector geometric_product(const Multivector&, const Multivector&);
template MultivectorD reverse(const MultivectorD&);
template Multivector reverse(const Multivector&);
template MultivectorD grade(const MultivectorD&, int);
template Multivector grade(const Multivector&, int);
template double norm(const MultivectorD&);
template double norm(const Multivector&);
template MultivectorD to_multivector<double>(const Rotor&);
template Multivector to_multivector<float>(const Rotor&);
template MultivectorD sandwich(const Rotor&, const MultivectorD&);
template Multivector sandwich(const Rotor&, const Multivector&);

}  // namespace rotorquant
