"""Similarity transforms of points and cameras."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import Similarity, invert_rigid, rotation_from_axis_angle, to_homogeneous

project = jax.jit(geometry.project)


def similarity(*leading, seed=0):
    rng = np.random.default_rng(seed)
    scale, turn, translation = rng.uniform(0.5, 2, leading), rng.standard_normal((*leading, 3)), rng.standard_normal((*leading, 3))
    return Similarity(jnp.asarray(scale, jnp.float32), rotation_from_axis_angle(jnp.float32(turn)), jnp.float32(translation))


def cameras(*leading, rows=3, seed=1):
    rng = np.random.default_rng(seed)
    rotation = rotation_from_axis_angle(np.float32(rng.standard_normal((*leading, 3))))
    extrinsics = jnp.concatenate([rotation, jnp.float32(rng.standard_normal((*leading, 3, 1)))], axis=-1)
    return to_homogeneous(extrinsics)[..., :rows, :]


def test_a_point_is_turned_scaled_and_moved():
    quarter = jnp.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    transform = Similarity(jnp.float32(2), quarter, jnp.float32([10, 20, 30]))
    np.testing.assert_allclose(transform.apply(jnp.float32([1, 2, 3])), [6, 22, 36])
    np.testing.assert_array_equal(transform.matrix(), [[0, -2, 0, 10], [2, 0, 0, 20], [0, 0, 2, 30]])


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("rest", [(), (4,), (2, 3)])
def test_the_inverse_brings_points_back_and_composition_is_one_after_the_other(leading, rest):
    a, b = similarity(*leading), similarity(*leading, seed=5)
    points = np.float32(np.random.default_rng(2).standard_normal((*leading, *rest, 3)))
    np.testing.assert_allclose(a.inverse().apply(a.apply(points)), points, atol=5e-6)
    np.testing.assert_allclose(a.compose(b).apply(points), a.apply(b.apply(points)), atol=5e-6)


def test_the_identity_leaves_points_and_cameras():
    identity = Similarity.identity((2,))
    points, extrinsics = np.float32(np.random.default_rng(2).standard_normal((2, 7, 3))), cameras(2, 7)
    np.testing.assert_allclose(identity.apply(points), points)
    np.testing.assert_allclose(identity.apply_to_cameras(extrinsics), extrinsics, atol=1e-7)


@pytest.mark.parametrize(("leading", "rows"), [((), 3), ((2,), 4)])
def test_a_moved_camera_sees_the_moved_point_in_the_same_pixel_and_scale_times_as_deep(leading, rows):
    transform, extrinsics = similarity(*leading), cameras(*leading, 3, rows=rows)
    intrinsics = jnp.broadcast_to(jnp.float32([[50, 0, 30], [0, 60, 20], [0, 0, 1]]), (*leading, 3, 3, 3))
    points = np.float32(np.random.default_rng(2).standard_normal((*leading, 3, 11, 3)))
    before, depth = project(points, extrinsics, intrinsics)
    moved = transform.apply_to_cameras(extrinsics)
    assert moved.shape == (*leading, 3, 3, 4)
    after, moved_depth = project(transform.apply(points), moved, intrinsics)
    far = np.abs(depth) > 0.2
    np.testing.assert_allclose(after[far], before[far], atol=1e-2)
    np.testing.assert_allclose(moved_depth, transform.scale[..., None, None] * depth, atol=2e-5)
    np.testing.assert_allclose(invert_rigid(moved)[..., 3], transform.apply(invert_rigid(extrinsics)[..., 3]), atol=1e-5)


def test_it_is_a_pytree_for_jit_vmap_and_grad():
    transform, points = similarity(4), np.float32(np.random.default_rng(2).standard_normal((4, 3)))
    one_by_one = jax.jit(jax.vmap(lambda t, p: t.inverse().apply(p)))(transform, points)
    np.testing.assert_allclose(one_by_one, transform.inverse().apply(points), atol=1e-6)
    slope = jax.grad(lambda t: t.apply(points).sum())(transform)
    np.testing.assert_allclose(slope.translation, np.ones((4, 3)))
    np.testing.assert_allclose(slope.scale, (transform.apply(points) - transform.translation).sum(-1) / transform.scale, rtol=1e-4)
