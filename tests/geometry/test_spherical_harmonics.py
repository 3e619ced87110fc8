"""Harmonics as splatting programs evaluate them, and the same functions in another frame."""

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import harmonic_terms, rotate_harmonics
from da3jax.geometry.spherical_harmonics import CONSTANT
from tests.quick import quick_jit

terms_of = quick_jit(harmonic_terms)
rotated = quick_jit(rotate_harmonics)


def by_the_formula(x, y, z):
    """The nine terms with the constants that the reference implementation of 3D Gaussian splatting publishes."""
    second = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
    products = (x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y)
    first = 0.4886025119029199
    return [0.28209479177387814 + 0 * x, -first * y, first * z, -first * x, *(c * p for c, p in zip(second, products, strict=True))]


def random_directions(*shape, seed=0):
    directions = np.random.default_rng(seed).standard_normal((*shape, 3))
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def random_rotations(count, seed=1):
    rotations, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, 3, 3)))
    return rotations * np.linalg.det(rotations)[:, None, None]


def test_terms_are_those_of_splatting_programs():
    directions = np.concatenate([random_directions(40), np.eye(3), -np.eye(3)])
    expected = np.stack(by_the_formula(*directions.T), axis=-1)
    np.testing.assert_allclose(terms_of(np.float32(directions)), expected, atol=1e-6)
    assert abs(CONSTANT - 0.28209479177387814) < 1e-15


def test_terms_are_orthonormal_over_the_sphere():
    nodes, weights = np.polynomial.legendre.leggauss(4)  # exact for the products, of degree 4
    angles = 2 * np.pi * (np.arange(8) + 0.5) / 8
    z, angle = (x.ravel() for x in np.meshgrid(nodes, angles, indexing="ij"))
    across = np.sqrt(1 - z**2)
    terms = np.asarray(terms_of(np.float32(np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=-1))), np.float64)
    area = np.repeat(weights, 8) * 2 * np.pi / 8
    np.testing.assert_allclose(terms.T @ (area[:, None] * terms), np.eye(9), atol=1e-5)


def test_what_is_seen_along_a_ray_is_the_same_in_the_turned_frame():
    coefficients = np.random.default_rng(2).standard_normal((5, 2, 3, 9))
    rotations, directions = random_rotations(5), random_directions(5, 50)
    turned = np.asarray(rotated(np.float32(coefficients), np.float32(rotations)), np.float64)
    before = np.stack(by_the_formula(*np.moveaxis(directions, -1, 0)), axis=-1)
    after = np.stack(by_the_formula(*np.moveaxis(directions @ rotations.swapaxes(-1, -2), -1, 0)), axis=-1)
    seen = np.einsum("nrk,nack->nacr", before, coefficients)
    np.testing.assert_allclose(np.einsum("nrk,nack->nacr", after, turned), seen, atol=1e-5)
    assert np.abs(turned - coefficients).max() > 0.5


def test_turns_follow_each_other_and_the_identity_changes_nothing():
    coefficients = np.random.default_rng(3).standard_normal((4, 9)).astype(np.float32)
    first, second = np.float32(random_rotations(4, seed=4)), np.float32(random_rotations(4, seed=5))
    twice = rotated(rotated(coefficients, first), second)
    np.testing.assert_allclose(twice, rotated(coefficients, second @ first), atol=1e-5)
    np.testing.assert_allclose(rotated(coefficients, np.tile(np.eye(3, dtype=np.float32), (4, 1, 1))), coefficients, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(twice, axis=-1), np.linalg.norm(coefficients, axis=-1), rtol=1e-5)


def test_float64_stays_float64_and_is_exact():
    with jax.enable_x64(True):
        coefficients = jnp.asarray(np.random.default_rng(6).standard_normal((2, 9)))
        rotations = jnp.asarray(random_rotations(2))
        back = rotate_harmonics(rotate_harmonics(coefficients, rotations), jnp.swapaxes(rotations, -1, -2))
        assert back.dtype == jnp.float64
        np.testing.assert_allclose(back, coefficients, atol=1e-13)
