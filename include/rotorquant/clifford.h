// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "rotorquant/random.h"

namespace rotorquant {

/// The Clifford algebra Cl(3,0): e1, e2, e3 square to +1 and anticommute. Everything here is a
/// value type without shared state: use from any number of threads, one Rng a thread.

/// Number of basis blades, in the order [1, e1, e2, e3, e12, e13, e23, e123].
inline constexpr size_t blade_count = 8;

/// Grade of each basis blade, in the same order: 0 scalar, 1 vector, 2 bivector, 3 trivector.
inline constexpr std::array<int, blade_count> blade_grade{0, 1, 1, 1, 2, 2, 2, 3};

/// A general element of Cl(3,0). T is float for data, double where algebra is checked.
template <class T>
struct BasicMultivector {
  std::array<T, blade_count> c{};  ///< coefficients in basis order

  T& operator[](size_t blade) { return c[blade]; }
  const T& operator[](size_t blade) const { return c[blade]; }
  bool operator==(const BasicMultivector&) const = default;
};

using Multivector = BasicMultivector<float>;
using MultivectorD = BasicMultivector<double>;

/// The geometric product a b. 64 multiply-adds. Defined for float and double.
template <class T>
BasicMultivector<T> geometric_product(const BasicMultivector<T>& a, const BasicMultivector<T>& b);

/// The reverse ~a: the order of the factors in each blade is turned round, so that grades 2 and 3
/// change sign.
template <class T>
BasicMultivector<T> reverse(const BasicMultivector<T>& a);

/// The part of grade k (0..3); every other coefficient is 0.
template <class T>
BasicMultivector<T> grade(const BasicMultivector<T>& a, int k);

/// sqrt of the scalar part of a ~a, which is the Euclidean norm of the coefficients.
template <class T>
double norm(const BasicMultivector<T>& a);

/// The even element s + b12 e12 + b13 e13 + b23 e23, of unit norm unless built by hand. It acts on
/// vectors by the sandwich R v ~R, a rotation of R^3.
struct Rotor {
  double s = 1.0;
  double b12 = 0.0;
  double b13 = 0.0;
  double b23 = 0.0;

  /// Uniform on the unit 3-sphere, hence a Haar-uniform rotation of R^3: four Gaussians,
  /// normalised. Bit-exact on every machine (no libm).
  static Rotor random(Rng& rng);

  /// Uniform among the rotors of the plane e12 alone (b13 = b23 = 0): turns (e1, e2), leaves e3.
  /// Bit-exact on every machine.
  static Rotor random_planar(Rng& rng);

  /// exp(B) = cos|B| + sin|B| B/|B| of the bivector B = b12 e12 + b13 e13 + b23 e23. The sandwich
  /// of exp(-B t/2), |B| = 1, turns by t radians in the sense of B (e12: from e1 towards e2).
  static Rotor exp(double b12, double b13, double b23);

  /// Turns by `angle` radians about `axis` (any length but 0), counter-clockwise seen from its tip.
  /// Throws Error when the axis has no direction.
  static Rotor from_axis_angle(const std::array<double, 3>& axis, double angle);

  /// Turns by `angle` radians from e1 towards e2.
  static Rotor planar(double angle);

  bool operator==(const Rotor&) const = default;
};

/// R2 * R1 acts as R1 first, then R2.
Rotor operator*(const Rotor& second, const Rotor& first);

/// ~R, the inverse of a unit rotor.
Rotor reverse(const Rotor& rotor);

double norm(const Rotor& rotor);

template <class T = double>
BasicMultivector<T> to_multivector(const Rotor& rotor);

/// R v ~R for a vector v = (e1, e2, e3) parts; |R| = 1.
std::array<double, 3> sandwich(const Rotor& rotor, const std::array<double, 3>& v);

/// R m ~R; |R| = 1. Grades do not mix. By two geometric products (128 multiply-adds): the
/// definition, not the fast way.
template <class T>
BasicMultivector<T> sandwich(const Rotor& rotor, const BasicMultivector<T>& m);

/// The 3 x 3 matrix M, row-major, with M v = R v ~R; |R| = 1. Its transpose belongs to ~R.
/// 9 multiply-adds a vector instead of 128. Bit-exact on every machine.
std::array<float, 9> rotation_matrix(const Rotor& rotor);

/// Number of triples that d coordinates fill: ceil(d / 3).
constexpr size_t triple_count(size_t d) {
  return (d + 2) / 3;
}

/// Cuts x (d floats) into triple_count(d) vectors of grade 1; the last is padded with zeros.
std::vector<Multivector> embed(const float* x, size_t d);

/// Reads the grade-1 parts back into x (d floats, written); m holds triple_count(d) elements, else
/// Error. Other grades and the padding are dropped.
void extract(const std::vector<Multivector>& m, float* x, size_t d);

}  // namespace rotorquant
