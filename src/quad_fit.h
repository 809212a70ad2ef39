// SPDX-License-Identifier: MIT
#pragma once

// k-means with 16 centroids in four dimensions, and the numbering of children: what both the
// learned trees and the generator of the Gaussian tree are fitted with.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rotorquant/codebook.h"

namespace rotorquant {

using Quad = std::array<float, 4>;
using Sixteen = std::array<Quad, fanout>;

/// Index of the nearest of 16 centroids, the first on ties.
uint8_t nearest16(const Sixteen& centroids, const Quad& x);

/// Lloyd's iteration from `start`. Every centroid is pulled towards its place in `start` with the
/// weight of `prior_samples` samples, so an empty or thin cell keeps the shape it was given.
Sixteen lloyd16(std::span<const Quad> samples, const Sixteen& start, float prior_samples,
                int iterations);

/// Mean squared distance of the samples to their nearest centroid.
double distortion16(std::span<const Quad> samples, const Sixteen& centroids);

/// Reorders samples so that those of one node are contiguous; returns the 17 bounds.
std::array<size_t, fanout + 1> partition16(std::span<Quad> samples, const Sixteen& centroids);

/// Numbers the children of 16 parents so that one table e of 16 offsets approximates all of them:
/// alternates e = mean offset with an assignment problem for each parent. children[p] are absolute,
/// parents[p] their parent; both are permuted in place; weights[p * 16 + child] counts samples.
/// Returns e; the weighted mean squared misfit in *misfit when not null.
Sixteen align_children(const Sixteen& parents, std::array<Sixteen, fanout>& children,
                       std::vector<double> weights, const Sixteen& start, double* misfit);

}  // namespace rotorquant
