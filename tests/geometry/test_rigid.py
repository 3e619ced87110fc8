"""Inverses of rigid transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import invert_rigid


def transforms(*leading, rows=4):
    rng = np.random.default_rng(0)
    rotations, _ = np.linalg.qr(rng.standard_normal((*leading, 3, 3)))
    rotations *= np.linalg.det(rotations)[..., None, None]
    full = np.zeros((*leading, 4, 4))
    full[..., :3, :3], full[..., :3, 3], full[..., 3, 3] = rotations, rng.standard_normal((*leading, 3)), 1
    return full[..., :rows, :]


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_it_is_the_inverse(leading, rows):
    inverse = invert_rigid(np.float32(transforms(*leading, rows=rows)))
    np.testing.assert_allclose(inverse, np.linalg.inv(transforms(*leading))[..., :3, :], atol=1e-6)


def test_a_camera_at_a_place_maps_that_place_to_zero():
    pose = np.float32([[0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5]])
    np.testing.assert_array_equal(invert_rigid(pose), [[0, 1, 0, -4], [-1, 0, 0, 3], [0, 0, 1, -5]])


def test_twice_is_nothing_in_float64():
    with jax.enable_x64(True):
        transform = jnp.asarray(transforms(4, rows=3))
        back = invert_rigid(invert_rigid(transform))
        assert back.dtype == jnp.float64
        np.testing.assert_allclose(back, transform, atol=1e-14)
