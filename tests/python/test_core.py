# SPDX-License-Identifier: MIT
"""The core's classes: Clifford algebra, frames, the codec, the published algorithm."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rotorquant as rq


def blade(i: int) -> rq.Multivector:
    return rq.Multivector([float(j == i) for j in range(8)])


def test_geometric_product():
    one, e1, e2, e12 = blade(0), blade(1), blade(2), blade(4)
    assert e1 * e1 == one and e1 * e2 == e12
    assert (e2 * e1).coefficients == [0, 0, 0, 0, -1, 0, 0, 0]
    assert e12.reverse() == e2 * e1 and e12.grade(2) == e12 and e12.grade(1).norm() == 0
    assert len(e1) == 8 and e1[1] == 1
    with pytest.raises(IndexError):
        e1[8]
    with pytest.raises(ValueError, match="k: expected a grade, 0 to 3, received 4"):
        e1.grade(4)


def test_rotors_turn_vectors():
    quarter = rq.Rotor.planar(math.pi / 2)
    np.testing.assert_allclose(quarter.apply([[1, 0, 0], [0, 0, 1]]), [[0, 1, 0], [0, 0, 1]], atol=1e-7)
    about_z = rq.Rotor.from_axis_angle([0, 0, 2], math.pi / 2)
    np.testing.assert_allclose(about_z.matrix(), quarter.matrix(), atol=1e-7)
    random = rq.Rotor.random(3)
    assert random == rq.Rotor.random(3) and abs(random.norm() - 1) < 1e-12
    np.testing.assert_allclose((random * random.reverse()).s, 1)
    v = np.random.default_rng(0).standard_normal((2, 5, 3))
    np.testing.assert_allclose(random.apply(v), v @ random.matrix().T.astype(float), atol=1e-5)
    m = random.sandwich(rq.Multivector([0, *v[0, 0], 0, 0, 0, 0]))
    np.testing.assert_allclose(m.coefficients[1:4], random.apply(v[0, 0]), atol=1e-6)
    with pytest.raises(rq.Error, match="axis"):
        rq.Rotor.from_axis_angle([0, 0, 0], 1)
    with pytest.raises(ValueError, match=r"v: expected shape \(..., 3\), received \(2,\)"):
        random.apply([1, 2])


@pytest.mark.parametrize("d", [1, 2, 5, 30, 128])
def test_frames_keep_inner_products(d):
    x = np.random.default_rng(d).standard_normal((200, d))
    frames = [rq.Frame.rotor_layers(d), rq.Frame.haar(d), rq.Frame.learned(x - x.mean(0))]
    for frame in frames:
        y, q = frame.apply(x), frame.apply_query(x[:5])
        assert y.shape == (200, frame.padded_dim) and frame.padded_dim % 4 == 0
        np.testing.assert_allclose(q @ y.T, x[:5] @ x.T, atol=1e-2 * math.sqrt(d))
        np.testing.assert_allclose(frame.invert(y), x, atol=1e-2)
    assert [frame.kind for frame in frames] == ["rotor_layers", "haar", "learned"]


def test_codec(base):
    x = base - base.mean(axis=0)
    codec = rq.Codec(128, 4)
    codes = codec.encode(x)
    assert codec.name == "RQ4" and codes.shape == (4000, codec.code_size)
    exact = x[:20] @ x.T
    noise = [
        np.std(codec.inner_products(x[:20], codes, levels=levels) - exact) for levels in (1, 2, 3, 0)
    ]
    assert noise == sorted(noise, reverse=True) and noise[-1] < 0.05 * np.std(exact)
    decoded = codec.decode(codes)
    assert np.mean((decoded - x) ** 2) < 0.02 * np.mean(x**2)
    with pytest.raises(rq.Error, match="levels: expected 0 .all. to 3, received 4"):
        codec.decode(codes, levels=4)
    learned = rq.Codec(128, 3, learned=True)
    with pytest.raises(rq.Error, match="trained"):
        learned.encode(x)
    learned.train(x)
    assert learned.frame.kind == "learned" and learned.expected_distortion() < 0.05


def test_published_quantizer():
    x = np.random.default_rng(0).standard_normal((3000, 48)).astype(np.float32)
    quantizer = rq.RotorQuantMSE(48, 3)
    y = quantizer.forward(x)
    error = np.mean((x - y) ** 2) / np.mean(x**2)
    assert 0.02 < error < 0.045  # Lloyd-Max at 3 bits: 0.0345
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(x)), y, rtol=1e-5, atol=1e-6)
    indices, norms = quantizer.quantize(x)
    assert indices.shape == (3000, quantizer.components) and indices.max() == 7
    np.testing.assert_allclose(norms, np.linalg.norm(x, axis=1), rtol=1e-5)
    assert quantizer.forward(x.reshape(30, 100, 48)).shape == (30, 100, 48)
    assert (np.diff(quantizer.centroids) > 0).all()
    graded = rq.RotorQuantMSE(48, grade_bits={"vector": 2, "bivector": 1})
    assert graded.components == 48 + 48
    with pytest.raises(rq.Error, match="grade_bits: expected scalar, vector.*received wedge"):
        rq.RotorQuantMSE(48, grade_bits={"wedge": 1})
    with pytest.raises(rq.Error, match="bits"):
        rq.RotorQuantMSE(48, 9)


def test_published_estimator_is_unbiased():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50, 32)).astype(np.float32)
    exact = y @ x.T
    for rotation in (rq.Rotation.rotor_blocks, rq.Rotation.haar):
        estimates = []
        for seed in range(60):
            quantizer = rq.RotorQuantProd(32, 3, seed=seed, rotation=rotation)
            estimates.append(quantizer.inner_products(y, quantizer.encode(x)))
        pooled = (np.mean(estimates, axis=0) - exact).mean(axis=1)  # one number a query
        assert abs(pooled.mean()) < 4 * pooled.std(ddof=1) / math.sqrt(len(pooled))


def test_cache():
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, 5, 16)), rng.standard_normal((2, 5, 8))
    cache = rq.RotorQuantKVCache(16, 8, 4)
    cache.append(keys, values)
    cache.append(keys[:1], values[:1])
    assert len(cache) == 15 and cache.bytes > 0
    queries = rng.standard_normal((3, 2, 16))
    scores = cache.attention_scores(queries)
    assert scores.shape == (3, 2, 15)
    exact = queries.reshape(6, 16) @ np.concatenate([keys.reshape(10, 16), keys[0]]).T
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.95
    assert np.corrcoef(cache.get_values()[:10].ravel(), values.ravel())[0, 1] > 0.98
    with pytest.raises(rq.Error, match="10.*5|5.*10"):
        cache.append(keys, values[0])
    with pytest.raises(ValueError, match=r"keys: expected shape \(..., 16\), received \(2, 8\)"):
        cache.append(np.zeros((2, 8)), np.zeros((2, 8)))
    cache.clear()
    assert len(cache) == 0


def test_simd_names():
    assert rq.simd_available()[-1] == "scalar" and rq.simd_active() in rq.simd_available()


def test_threads():
    rq.omp_set_num_threads(2)
    assert rq.omp_get_max_threads() == 2
    with pytest.raises(ValueError, match="threads: expected 1 or more, received 0"):
        rq.omp_set_num_threads(0)
