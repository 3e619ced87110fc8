"""Other conventions, to and from ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry

SIDE = np.float32([[0, 0, -1, 5], [0, 1, 0, 6], [1, 0, 0, 7]])  # world-to-camera: looks along the world's x


def poses(*leading):
    rng = np.random.default_rng(0)
    rotation = geometry.rotation_from_axis_angle(np.float32(rng.standard_normal((*leading, 3))))
    return np.concatenate([rotation, rng.standard_normal((*leading, 3, 1)).astype(np.float32)], axis=-1)


def test_camera_to_world_has_the_centre_in_its_last_column_and_the_viewing_direction_in_its_third():
    pose = geometry.camera_to_world_from_extrinsics(SIDE)
    np.testing.assert_array_equal(pose[:, 3], [-7, -6, 5])
    np.testing.assert_array_equal(pose[:, 2], [1, 0, 0])


def test_opengl_looks_along_minus_z_with_y_up():
    ours, theirs = geometry.camera_to_world_from_extrinsics(SIDE), geometry.opengl_from_extrinsics(SIDE)
    np.testing.assert_array_equal(theirs[:, 3], ours[:, 3])
    np.testing.assert_array_equal(theirs[:, 0], ours[:, 0])
    np.testing.assert_array_equal(theirs[:, 1:3], -ours[:, 1:3])


def test_colmap_s_quaternion_has_its_scalar_first():
    quaternion, translation = geometry.colmap_from_extrinsics(SIDE)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion, [half, 0, -half, 0], atol=1e-6)
    np.testing.assert_array_equal(translation, [5, 6, 7])


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_all_of_them_come_back(leading, rows):
    extrinsics = poses(*leading)
    full = geometry.to_homogeneous(jnp.asarray(extrinsics))[..., :rows, :]
    fill = lambda x: geometry.to_homogeneous(x)[..., :rows, :]  # noqa: E731
    there_and_back = [
        geometry.extrinsics_from_camera_to_world(fill(geometry.camera_to_world_from_extrinsics(full))),
        geometry.extrinsics_from_opengl(fill(geometry.opengl_from_extrinsics(full))),
        geometry.extrinsics_from_colmap(*geometry.colmap_from_extrinsics(full)),
    ]
    for back in there_and_back:
        assert back.shape == (*leading, 3, 4)
        np.testing.assert_allclose(back, extrinsics, atol=1e-6)


def test_float64_stays_float64_and_numpy_is_taken():
    with jax.enable_x64(True):
        assert geometry.extrinsics_from_opengl(jnp.float64(SIDE)).dtype == jnp.float64
    assert geometry.extrinsics_from_opengl(np.float64(SIDE)).dtype == np.float64
    assert geometry.extrinsics_from_opengl(SIDE).dtype == jnp.float32
    far = 500_000.123
    for quaternion in ([1, 0, 0, 0], np.float32([1, 0, 0, 0])):
        assert geometry.extrinsics_from_colmap(quaternion, [far, 2, 3])[0, 3] == far
    whole = np.array([[1, 0, 0, 3_000_000_000], [0, 1, 0, 2], [0, 0, 1, 1]])
    assert geometry.camera_to_world_from_extrinsics(whole)[0, 3] == -3e9
    assert geometry.extrinsics_from_opengl(jnp.asarray(np.float64(SIDE))).dtype == jnp.float32
    for low in (np.float16(SIDE), jnp.asarray(SIDE, jnp.bfloat16), SIDE.astype(np.int16)):
        assert geometry.extrinsics_from_opengl(low).dtype == jnp.float32


def test_of_map_coordinates_in_float64_the_baselines_stay():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3, 3)))[0]
    rotation *= np.linalg.det(rotation)[:, None, None]
    pose = np.concatenate([rotation, 4e6 + np.arange(9.0).reshape(3, 3, 1)], axis=-1)
    for there, back in (
        (geometry.opengl_from_extrinsics, geometry.extrinsics_from_opengl),
        (geometry.camera_to_world_from_extrinsics, geometry.extrinsics_from_camera_to_world),
        (geometry.colmap_from_extrinsics, lambda found: geometry.extrinsics_from_colmap(*found)),
    ):
        np.testing.assert_allclose(back(there(pose)), pose, rtol=0, atol=1e-6)
    np.testing.assert_allclose(geometry.extrinsics_from_opengl(pose.tolist()), geometry.extrinsics_from_opengl(pose), rtol=0)


def test_float64_that_a_jitted_function_holds_is_taken():
    pose = np.float64(SIDE)
    found = jax.jit(lambda: geometry.extrinsics_from_opengl(pose))()
    np.testing.assert_allclose(found, geometry.extrinsics_from_opengl(pose), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [geometry.camera_to_world_from_extrinsics, geometry.opengl_from_extrinsics, geometry.colmap_from_extrinsics, geometry.invert_rigid],
)
def test_a_rotation_alone_is_no_pose(function):
    with pytest.raises(ValueError, match=r"a rigid transform has the shape \(3, 3\); it is \(..., 3, 4\) or \(..., 4, 4\)"):
        function(np.eye(3))
