"""Gaussians in the world, from raw parameters of a pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import gaussians_from_raw, harmonic_terms, matrix_from_quaternion, multiply_quaternions
from da3jax.geometry.gaussians import DEGREE_WEIGHTS
from tests.outputs.conftest import HEIGHT, WIDTH, make_scene
from tests.quick import quick_jit

placed = quick_jit(gaussians_from_raw)
officially = quick_jit(lambda *arguments: gaussians_from_raw(*arguments, official=True))


@pytest.fixture(scope="module")
def scene():
    """Depth, cameras and the world points of every pixel."""
    prediction, points = make_scene()
    return prediction.depth, prediction.extrinsics, prediction.intrinsics, points


def raw_of(seed=0):
    """(2, H, W, 37) and opacity (2, H, W): normal numbers, but offsets in pixels and depth 0."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((2, HEIGHT, WIDTH, 37), dtype=np.float32)
    raw[..., :2] = raw[..., 36] = 0
    return raw, rng.random((2, HEIGHT, WIDTH), dtype=np.float32)


def to_world(extrinsics):
    return extrinsics[:, :, :3].swapaxes(-1, -2)


def test_without_offsets_centres_are_the_points_that_pixels_see(scene):
    depth, extrinsics, intrinsics, points = scene
    raw, opacity = raw_of()
    found = placed(raw, opacity, depth, extrinsics, intrinsics)
    np.testing.assert_allclose(found.means, points, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.opacities, opacity)


def test_offsets_move_a_centre_in_pixels_and_in_depth(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    moves = np.random.default_rng(1).uniform(-0.3, 0.3, (2, HEIGHT, WIDTH, 3)).astype(np.float32)
    raw[..., :2], raw[..., 36] = 5 * moves[..., :2], moves[..., 2]
    scaled = quick_jit(lambda *arguments: gaussians_from_raw(*arguments[:-1], depth_scale=arguments[-1]))
    found = scaled(raw, opacity, depth, extrinsics, intrinsics, jnp.float32([0.5, 2]))
    camera = np.einsum("nij,nhwj->nhwi", extrinsics[:, :, :3], found.means) + extrinsics[:, None, None, :, 3]
    pixels = np.einsum("nij,nhwj->nhwi", intrinsics, camera / camera[..., 2:])[..., :2]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=-1) + raw[..., :2], atol=1e-3)
    np.testing.assert_allclose(camera[..., 2], depth + np.float32([0.5, 2])[:, None, None] * raw[..., 36], rtol=1e-4)


def test_sizes_are_shares_of_what_a_pixel_measures_at_its_depth(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    found = placed(raw, opacity, depth, extrinsics, intrinsics)
    share = 1e-5 + (30 - 1e-5) / (1 + np.exp(-raw[..., 2:5].astype(np.float64)))
    pixel = 1 / intrinsics[:, 0, 0] + 1 / intrinsics[:, 1, 1]
    np.testing.assert_allclose(found.scales, 0.1 * share * (pixel[:, None, None] * depth)[..., None], rtol=1e-5)
    raw[..., 36] = -2 * depth  # behind the camera
    assert (np.asarray(placed(raw, opacity, depth, extrinsics, intrinsics).scales) < 0).all()


def test_the_sizes_of_the_smallest_and_the_largest_gaussian_and_of_skewed_pixels(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    raw[..., 2:5] = [-40, 0, 40]
    skewed = intrinsics.copy()
    skewed[:, 0, 1] = 3
    found = placed(raw, opacity, depth, extrinsics, skewed)
    pixel = 1 / intrinsics[:, 0, 0] + 1 / intrinsics[:, 1, 1] - 3 / (intrinsics[:, 0, 0] * intrinsics[:, 1, 1])
    shares = np.float64(found.scales) / (pixel[:, None, None] * depth)[..., None]
    np.testing.assert_allclose(shares, np.broadcast_to([1e-6, 1.5, 3], shares.shape), rtol=1e-4)


def test_of_a_quaternion_and_its_negative_the_one_with_a_positive_scalar_is_given(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    assert (np.asarray(placed(raw, opacity, depth, extrinsics, intrinsics).rotations)[..., 0] >= 0).all()


def test_a_long_gaussian_lies_in_the_world_as_its_camera_turns_it(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    raw[..., 2:5] = [3, -4, -4]  # long along its own x axis
    raw[..., 5:9] = [0, 0, 0, 2]
    along_x = placed(raw, opacity, depth, extrinsics, intrinsics)
    turned = raw.copy()
    turned[..., 5:9] = [0, 0, 3, 3]  # by a quarter about z: from x to y
    along_y = placed(turned, opacity, depth, extrinsics, intrinsics)
    for found, axis in ((along_x, 0), (along_y, 1)):
        frame = np.asarray(matrix_from_quaternion(jnp.roll(found.rotations, -1, axis=-1)))
        squares = np.asarray(found.scales) ** 2
        covariance = np.einsum("nhwij,nhwj,nhwkj->nhwik", frame, squares, frame)
        in_camera = squares if axis == 0 else squares[..., [1, 0, 2]]
        expected = np.einsum("nij,nhwj,nkj->nhwik", to_world(extrinsics), in_camera, to_world(extrinsics))
        np.testing.assert_allclose(covariance, expected, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(np.linalg.norm(found.rotations, axis=-1), 1, rtol=1e-5)
        assert (np.asarray(found.rotations)[..., 0] >= 0).all()


def test_a_quaternion_of_length_zero_turns_nothing(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    raw[..., 5:9] = 0
    frames = matrix_from_quaternion(jnp.roll(placed(raw, opacity, depth, extrinsics, intrinsics).rotations, -1, axis=-1))
    np.testing.assert_allclose(frames, np.broadcast_to(to_world(extrinsics)[:, None, None], frames.shape), atol=1e-5)


def test_colours_along_a_ray_are_the_same_in_the_world_as_in_the_camera(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    found = placed(raw, opacity, depth, extrinsics, intrinsics)
    directions = np.random.default_rng(2).standard_normal((2, 7, 3))
    directions = np.float32(directions / np.linalg.norm(directions, axis=-1, keepdims=True))
    before = np.asarray(harmonic_terms(jnp.asarray(directions)))
    after = np.asarray(harmonic_terms(jnp.asarray(directions @ extrinsics[:, :, :3])))
    weighted = raw[..., 9:36].reshape(2, HEIGHT, WIDTH, 3, 9) * np.repeat([1, 0.025, 0.00625], [1, 3, 5])
    seen = np.einsum("nrk,nhwck->nhwcr", before, weighted)
    np.testing.assert_allclose(np.einsum("nrk,nhwck->nhwcr", after, found.harmonics), seen, atol=1e-5)
    np.testing.assert_array_equal(DEGREE_WEIGHTS, [1, *[0.025] * 3, *[0.00625] * 5])


def test_without_extrinsics_gaussians_are_in_the_camera_s_frame(scene):
    depth, _, intrinsics, _ = scene
    raw, opacity = raw_of()
    here = np.tile(np.eye(3, 4, dtype=np.float32), (2, 1, 1))
    bare = quick_jit(lambda raw, opacity, depth, intrinsics: gaussians_from_raw(raw, opacity, depth, None, intrinsics))
    found, expected = bare(raw, opacity, depth, intrinsics), placed(raw, opacity, depth, here, intrinsics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_the_official_reading_bends_depth_and_misreads_quaternions(scene):
    depth, extrinsics, intrinsics, points = scene
    raw, opacity = raw_of()
    found, right = officially(raw, opacity, depth, extrinsics, intrinsics), placed(raw, opacity, depth, extrinsics, intrinsics)
    centres = -np.einsum("nij,ni->nj", extrinsics[:, :, :3], extrinsics[:, :, 3])[:, None, None]
    np.testing.assert_allclose(np.linalg.norm(found.means - centres, axis=-1), depth, rtol=1e-4)
    np.testing.assert_allclose(np.cross(found.means - centres, points - centres), 0, atol=2e-4)
    jax.tree.map(np.testing.assert_array_equal, (found.scales, found.harmonics), (right.scales, right.harmonics))
    same = np.abs(np.sum(np.asarray(found.rotations) * np.asarray(right.rotations), axis=-1))
    assert np.median(same) < 0.999
    here = np.tile(np.eye(3, 4, dtype=np.float32), (2, 1, 1))
    found, right = officially(raw, opacity, depth, here, intrinsics), placed(raw, opacity, depth, here, intrinsics)
    same = np.abs(np.sum(np.asarray(found.rotations) * np.asarray(right.rotations), axis=-1))
    np.testing.assert_allclose(same, 1, atol=1e-5)


def test_scenes_and_views_are_leading_axes(scene):
    depth, extrinsics, intrinsics, _ = scene
    raw, opacity = raw_of()
    arguments = raw, opacity, depth, extrinsics, intrinsics
    found = placed(*(np.stack([x, x[::-1]]) for x in arguments))
    expected = placed(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), found, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[::-1], atol=1e-5), found, expected)


@pytest.mark.parametrize("official", [False, True])
def test_gradients_are_finite_where_everything_is_zero_too(official):
    raw = np.zeros((1, 2, 3, 37), np.float32)
    arguments = (raw, raw[..., 0], raw[..., 0], np.eye(3, 4, dtype=np.float32)[None], np.eye(3, dtype=np.float32)[None])

    def total(*arguments):
        return sum(leaf.sum() for leaf in jax.tree.leaves(gaussians_from_raw(*arguments, official=official)))

    gradients = quick_jit(jax.grad(total, argnums=range(5)))(*arguments)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_the_product_of_quaternions_is_that_of_matrices():
    first, other = np.random.default_rng(3).standard_normal((2, 6, 4)).astype(np.float32)
    product = matrix_from_quaternion(multiply_quaternions(first, other))
    expected = np.asarray(matrix_from_quaternion(first)) @ np.asarray(matrix_from_quaternion(other))
    np.testing.assert_allclose(product, expected, atol=1e-5)


def test_another_number_of_raw_parameters_is_refused(scene):
    raw, opacity = raw_of()
    with pytest.raises(ValueError, match="raw_gs has 50 numbers a pixel; a Gaussian has 37 raw parameters beside its opacity"):
        gaussians_from_raw(np.zeros((*raw.shape[:-1], 50), np.float32), opacity, *scene[:3])
