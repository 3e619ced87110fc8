"""The normal equations behind the refinement of cameras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import ray_refinement, rotation_from_axis_angle
from da3jax.geometry.homography import image_plane
from da3jax.geometry.ray_refinement import Camera, squared_chords
from tests.quick import quick_jit

ANGLE = 0.2


@pytest.mark.parametrize("block", [16384, 8], ids=["all rays at a time", "some rays at a time"])
def test_the_equations_are_the_derivatives_of_what_is_minimised(block, monkeypatch):
    monkeypatch.setattr(ray_refinement, "_BLOCK", block)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        camera = Camera(rotation_from_axis_angle(jnp.array([0.3, -0.8, 1.1])), jnp.array([0.1, -0.3]), jnp.array([0.2, -0.1]))
        points, weights = image_plane(4, 5).reshape(-1, 3).T, rng.uniform(0.5, 2, 20)
        exact = camera.rotation @ jnp.stack(camera.directions(points))
        noisy = exact + 0.1 * rng.standard_normal(exact.shape)
        noisy = noisy / jnp.linalg.norm(noisy, axis=0)[None]

        def loss(step, directions):
            chords = squared_chords(camera.moved(step), points, directions) / ANGLE**2
            return ANGLE**2 / 2 * jnp.sum(weights * chords / (1 + chords))

        equations = quick_jit(lambda directions: ray_refinement._equations(camera, points, directions, weights, ANGLE))
        np.testing.assert_allclose(equations(exact)[0], quick_jit(jax.hessian(loss))(jnp.zeros(7), exact), atol=1e-9)
        _, gradient, square, total, squares = equations(noisy)
        np.testing.assert_allclose(gradient, quick_jit(jax.grad(loss))(jnp.zeros(7), noisy), atol=1e-9)
        chords = squared_chords(camera, points, noisy)
        of_the_moment = weights / (1 + chords / ANGLE**2) ** 2
        across = chords - chords**2 / 4  # without what lies along the model's direction
        expected = [sum(of_the_moment * across), sum(of_the_moment), sum(of_the_moment**2)]
        np.testing.assert_allclose([square, total, squares], expected, rtol=1e-9)
