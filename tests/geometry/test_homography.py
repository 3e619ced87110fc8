"""Homographies through four rays and through many, and the camera in one."""

import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import rotation_from_axis_angle
from da3jax.geometry.homography import decompose, homographies_of_four, homography, image_plane

TURN = np.asarray(rotation_from_axis_angle(np.float32([0.3, -0.8, 1.1])), np.float64)
MIRROR = TURN @ np.diag([1, 1, -1])
INVERSE = np.linalg.inv([[1.5, 0, 0.3], [0, 2.5, -0.4], [0, 0, 1]])
POINTS = image_plane(6, 8).reshape(-1, 3).T


def seen(matrix):
    """Unit directions (3, n) of the points."""
    return np.float32(matrix @ POINTS / np.linalg.norm(matrix @ POINTS, axis=0))


def of_norm_one(matrix):
    return matrix / np.linalg.norm(matrix, axis=(-2, -1), keepdims=True)


def test_four_rays_give_the_matrix_that_they_were_made_by_mirrored_or_not():
    matrices = np.stack([TURN @ INVERSE, MIRROR @ INVERSE])
    four = np.array([0, 7, 41, 46])
    points = np.stack([POINTS[:, four]] * 2, axis=1)
    directions = np.stack([seen(matrix)[:, four] for matrix in matrices], axis=1)
    np.testing.assert_allclose(of_norm_one(homographies_of_four(points, directions)), of_norm_one(matrices), atol=1e-5)


def test_rays_of_no_weight_do_not_count_and_those_of_little_do_not_tell_the_sign():
    directions, weights = seen(TURN @ INVERSE), np.ones(48, np.float32)
    directions[:, 10:40] *= -1
    weights[10:40] = 0.01
    directions[:, 40:] = seen(MIRROR)[:, 40:]
    weights[40:] = 0
    matrix, certainty = homography(jnp.float32(POINTS), directions, weights)
    np.testing.assert_allclose(matrix, of_norm_one(TURN @ INVERSE), atol=1e-4)
    assert certainty > 1e-3


@pytest.mark.parametrize("rotation", [TURN, MIRROR], ids=["turned", "mirrored"])
def test_a_matrix_falls_into_rotation_focal_lengths_and_principal_point_whatever_its_size(rotation):
    for size in (0.01, 1, 100):
        found, focal, principal_point = decompose(jnp.float32(size * rotation @ INVERSE))
        np.testing.assert_allclose(found, rotation, atol=1e-5)
        np.testing.assert_allclose(focal, [1.5, 2.5], rtol=1e-5)
        np.testing.assert_allclose(principal_point, [0.3, -0.4], atol=1e-5)
