"""Inverses of rigid transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import compose_rigid, invert_rigid, relative_rounding, rotation_defect, to_homogeneous, transform_points


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


@pytest.mark.parametrize("rows", [3, 4])
def test_the_last_of_a_chain_acts_first(rows):
    a, b, c = transforms(3, 5)
    found = compose_rigid(*np.float32([a, b, c])[..., :rows, :])
    np.testing.assert_allclose(found, (a @ b @ c)[..., :3, :], atol=2e-6)
    np.testing.assert_array_equal(compose_rigid(np.float32(a)), np.float32(a)[..., :3, :])


def test_a_transform_composed_with_its_inverse_does_nothing():
    transform = np.float32(transforms(4))
    np.testing.assert_allclose(compose_rigid(transform, invert_rigid(transform)), np.broadcast_to(np.eye(3, 4), (4, 3, 4)), atol=2e-6)


@pytest.mark.parametrize("rest", [(), (6,), (2, 3)])
def test_one_transform_moves_all_points_behind_its_leading_axes(rest):
    transform, points = transforms(4), np.random.default_rng(1).standard_normal((4, *rest, 3))
    moved = transform_points(np.float32(transform), np.float32(points))
    assert moved.shape == points.shape
    for i in range(4):
        np.testing.assert_allclose(moved[i], points[i] @ transform[i, :3, :3].T + transform[i, :3, 3], atol=2e-6)


def test_an_axis_of_length_one_counts_for_all():
    points = np.float32(np.random.default_rng(1).standard_normal((1, 6, 3)))
    transform = np.float32(transforms(4))
    np.testing.assert_allclose(transform_points(transform, points)[2], transform_points(transform[2], points[0]), atol=1e-6)
    np.testing.assert_allclose(
        transform_points(transform[:1], points.repeat(4, 0))[3], transform_points(transform[0], points[0]), atol=1e-6
    )


@pytest.mark.parametrize("rows", [3, 4])
def test_homogeneous_matrices_end_in_0_0_0_1(rows):
    np.testing.assert_array_equal(to_homogeneous(np.float32(transforms(2, 3, rows=rows))), np.float32(transforms(2, 3)))


def test_the_defect_of_a_rotation_is_that_of_its_products():
    rotation = transforms(2, 3)[..., :3, :3]
    assert rotation_defect(rotation).max() < 1e-14
    np.testing.assert_allclose(rotation_defect(1.05 * rotation), np.full((2, 3), 1.05**2 - 1))
    for off in (np.nan, np.inf):
        assert not np.isfinite(rotation_defect(np.full((3, 3), 0.5) + np.diag([off, 0, 0])))


def test_rounding_is_told_by_the_type_and_by_rotations_that_are_not_quite_ones():
    exact = transforms(50)
    places = np.array([30.0, 20, 5])
    for rounded, expected in (
        (exact, 16 * np.finfo(np.float64).eps),
        (exact.astype(np.float32), 16 * np.finfo(np.float32).eps),
        (exact.astype(np.float32).astype(np.float64), 5e-7),
        (np.round(exact, 4), 5e-4),
    ):
        found = relative_rounding(rounded)
        assert expected / 3 < found < 3 * expected
        # Cameras in one place, which rounded rotations leave in many, are as far apart as that at most.
        turned = rounded[..., :3, :3].astype(np.float64)
        turn = turned @ turned[0].T
        apart = -turned @ places + turn @ turned[0] @ places
        assert np.abs(apart).max() <= found * np.abs(turned @ places).max()
    assert relative_rounding(np.where(np.arange(50)[:, None, None] == 3, np.nan, exact)) == relative_rounding(np.delete(exact, 3, axis=0))
    assert relative_rounding(np.eye(4, dtype=int)[None]) == 16 * np.finfo(np.float64).eps
