"""Normals of depth maps by angle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.training import losses

HEIGHT, WIDTH = 5, 6
INTRINSICS = np.float32([[7, 0, 2.9], [0, 6, 2.6], [0, 0, 1]])
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)
normal_loss = jax.jit(losses.normal_loss)

DEPTH, BUMPY = np.random.default_rng(0).uniform(1, 2, (2, HEIGHT, WIDTH)).astype(np.float32)


def plane(normal, distance=-2.0):
    """Depth of the plane normal · point = distance; the normal's z is negative where it faces the camera."""
    rays = np.asarray(geometry.unproject(jnp.ones((HEIGHT, WIDTH)), jnp.asarray(INTRINSICS)))
    return np.float32(distance / (rays @ np.float32(normal)))


def tilted(degrees):
    return [np.sin(np.radians(degrees)), 0, -np.cos(np.radians(degrees))]


@pytest.mark.parametrize("degrees", [1, 20, 40])
def test_planes_differ_by_their_angle_in_the_mean_normal_and_in_each_of_the_four(degrees):
    found = normal_loss(plane(tilted(degrees)), plane(tilted(0)), EVERYWHERE, INTRINSICS)
    assert float(found) == pytest.approx(5 * np.radians(degrees), rel=1e-3)


def test_scale_changes_no_normal_and_a_shift_does():
    assert float(normal_loss(3 * BUMPY, BUMPY, EVERYWHERE, INTRINSICS)) == pytest.approx(0, abs=1e-2)
    assert float(normal_loss(BUMPY + 3, BUMPY, EVERYWHERE, INTRINSICS)) > 0.1


def test_far_neighbours_count_less_in_the_mean_normal():
    # The right neighbour lies far behind a wall that faces the camera. Its two normals are long, the other two those of the wall.
    depth = np.full((3, 3), 2, np.float32)
    depth[1, 2] = 8
    intrinsics = np.float32([[2, 0, 1.5], [0, 2, 1.5], [0, 0, 1]])
    ways = np.float32([[4, 0, 6], [0, -1, 0], [-1, 0, 0], [0, 1, 0]])
    four = [np.cross(ways[i], ways[(i + 1) % 4]) for i in range(4)]
    lengths = np.linalg.norm(four, axis=1)  # 7.2, 1, 1, 7.2
    mean = sum((lengths.sum() - length) * n / length for length, n in zip(lengths, four, strict=True))
    wall = np.float32([0, 0, -1])
    angles = [np.arccos(n @ wall / np.linalg.norm(n)) for n in (mean, *four)]
    assert angles[0] < np.mean(angles[1:])
    found = normal_loss(depth, np.full((3, 3), 2, np.float32), np.ones((3, 3), bool), intrinsics)
    assert float(found) == pytest.approx(sum(angles), rel=1e-5)


def test_given_normals_towards_the_camera_replace_the_mean_where_they_are_known():
    wall = plane(tilted(0))
    given = np.broadcast_to(np.float32(tilted(30)) * 5, (HEIGHT, WIDTH, 3)).copy()
    found = normal_loss(wall, wall, EVERYWHERE, INTRINSICS, given)
    assert float(found) == pytest.approx(np.radians(30), rel=1e-3)
    given[:, :3], given[:, 3:] = 0, np.nan
    assert float(normal_loss(wall, wall, EVERYWHERE, INTRINSICS, given)) == pytest.approx(0, abs=1e-3)


def test_only_pixels_count_whose_neighbours_do():
    mask = EVERYWHERE.copy()
    mask[2, 2] = False
    depth = BUMPY.copy()
    depth[2, 2] = 1e3
    found = normal_loss(depth, BUMPY, mask, INTRINSICS)
    assert float(found) == pytest.approx(0, abs=1e-2)
    found = normal_loss(plane(tilted(20)), plane(tilted(0)), mask, INTRINSICS)  # beside the hole, normals would be other ones
    assert float(found) == pytest.approx(5 * np.radians(20), rel=1e-3)


def test_gradients_are_numerical_differences(assert_gradients):
    mask = EVERYWHERE.copy()
    mask[0, 0] = mask[2, 4] = False
    assert_gradients(lambda d: normal_loss(d, jnp.asarray(BUMPY, d.dtype), mask, jnp.asarray(INTRINSICS, d.dtype)), DEPTH)


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    mask = EVERYWHERE.copy()
    mask[0, 0] = mask[2, 4] = False
    assert_nothing_leaks(lambda d, t, m: normal_loss(d, t, m, INTRINSICS), DEPTH, BUMPY, mask)
    assert_nothing_leaks(lambda d, t, m: normal_loss(d, t, m, INTRINSICS), np.zeros_like(DEPTH), BUMPY, mask)
