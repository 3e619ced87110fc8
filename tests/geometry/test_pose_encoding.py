"""Nine numbers for a camera, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import invert_rigid, matrix_from_quaternion

HEIGHT, WIDTH = 28, 42

encode_pose = jax.jit(geometry.encode_pose, static_argnums=(2, 3))
decode_pose = jax.jit(geometry.decode_pose, static_argnums=(1, 2))


def cameras(*leading, seed=0):
    """World-to-camera (*leading, 3, 4) and intrinsics (*leading, 3, 3) with the principal point in the centre, float64."""
    rng = np.random.default_rng(seed)
    rotations, _ = np.linalg.qr(rng.standard_normal((*leading, 3, 3)))
    rotations *= np.linalg.det(rotations)[..., None, None]
    intrinsics = np.zeros((*leading, 3, 3))
    intrinsics[..., 0, 0], intrinsics[..., 1, 1] = rng.uniform(20, 80, (2, *leading))
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = WIDTH / 2, HEIGHT / 2, 1
    return np.concatenate([rotations, rng.standard_normal((*leading, 3, 1))], axis=-1), intrinsics


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_cameras_come_back(leading):
    extrinsics, intrinsics = (np.float32(x) for x in cameras(*leading))
    encoding = encode_pose(extrinsics, intrinsics, HEIGHT, WIDTH)
    assert encoding.shape == (*leading, 9)
    back = decode_pose(encoding, HEIGHT, WIDTH)
    np.testing.assert_allclose(back[0], extrinsics, atol=2e-6)
    np.testing.assert_allclose(back[1], intrinsics, rtol=2e-6)


def test_the_nine_numbers_are_camera_to_world_quaternion_and_angles():
    turn = np.float32([[0, 0, -1], [0, 1, 0], [1, 0, 0]])  # world to camera, a quarter turn about y
    extrinsics = np.concatenate([turn, turn @ -np.float32([[1], [2], [3]])], axis=1)  # the camera is at (1, 2, 3)
    intrinsics = np.float32([[WIDTH / 2, 0, 5], [0, HEIGHT / 2 / np.sqrt(3), 9], [0, 0, 1]])
    half = np.sqrt(0.5)
    expected = [1, 2, 3, 0, half, 0, half, 2 * np.pi / 3, np.pi / 2]
    np.testing.assert_allclose(encode_pose(extrinsics, intrinsics, HEIGHT, WIDTH), expected, atol=1e-6)


def test_the_last_row_of_a_pose_does_not_count():
    extrinsics, intrinsics = (np.float32(x) for x in cameras(3))
    full = np.concatenate([extrinsics, np.float32([[[0, 0, 0, 1]]] * 3)], axis=1)
    np.testing.assert_array_equal(encode_pose(full, intrinsics, HEIGHT, WIDTH), encode_pose(extrinsics, intrinsics, HEIGHT, WIDTH))


def test_a_quaternion_of_any_length_is_decoded():
    encoding = np.float32([1, 2, 3, 0.2, -0.4, 0.6, 1.4, 1, 1.2])
    extrinsics, _ = decode_pose(encoding, HEIGHT, WIDTH)
    pose = np.asarray(invert_rigid(extrinsics))
    np.testing.assert_allclose(pose[:, 3], [1, 2, 3], atol=1e-6)
    np.testing.assert_allclose(pose[:, :3], matrix_from_quaternion(encoding[3:7]), atol=1e-6)


def test_an_angle_of_zero_gives_a_long_but_finite_focal_length():
    encoding = np.float32([0, 0, 0, 0, 0, 0, 1, 0, 0])
    _, intrinsics = decode_pose(encoding, HEIGHT, WIDTH)
    np.testing.assert_allclose(intrinsics, [[WIDTH / 2 * 1e6, 0, WIDTH / 2], [0, HEIGHT / 2 * 1e6, HEIGHT / 2], [0, 0, 1]], rtol=1e-6)
    jacobian = jax.jit(jax.jacrev(lambda x: decode_pose(x, HEIGHT, WIDTH)))(encoding)
    assert all(np.isfinite(part).all() for part in jacobian)


def test_gradients_of_the_encoding_are_finite_at_the_identity():
    eye, intrinsics = np.eye(3, 4, dtype=np.float32), np.float32(cameras()[1])
    assert np.isfinite(jax.jit(jax.jacrev(lambda x: encode_pose(x, intrinsics, HEIGHT, WIDTH)))(eye)).all()


def test_float64_stays_float64():
    with jax.enable_x64(True):
        extrinsics, intrinsics = (jnp.asarray(x) for x in cameras(5))
        encoding = encode_pose(extrinsics, intrinsics, HEIGHT, WIDTH)
        back = decode_pose(encoding, HEIGHT, WIDTH)
        assert {x.dtype for x in (encoding, *back)} == {jnp.dtype("float64")}
        np.testing.assert_allclose(back[0], extrinsics, atol=1e-14)
        np.testing.assert_allclose(back[1], intrinsics, rtol=1e-13)
