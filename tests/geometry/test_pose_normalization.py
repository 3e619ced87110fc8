"""Known cameras at the frame and scale that the camera encoder was trained with."""

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import invert_rigid, normalize_poses, rotation_from_axis_angle, to_homogeneous


def cameras(*leading: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotation = rotation_from_axis_angle(rng.standard_normal((*leading, 3)))
    return np.concatenate([rotation, rng.standard_normal((*leading, 3, 1))], axis=-1).astype(np.float32)


def test_the_first_camera_is_the_identity_and_the_lower_median_distance_is_one():
    for views in (2, 3, 6, 7):
        found = normalize_poses(cameras(views))
        np.testing.assert_allclose(found[0], np.eye(3, 4), atol=1e-5)
        distances = np.sort(np.linalg.norm(invert_rigid(found)[..., 3], axis=-1))
        expected = 0 if views == 2 else 1  # of two distances the lower one is the first camera's own zero
        assert abs(distances[(views - 1) // 2] - expected) < 1e-5


def test_cameras_in_one_place_stay_there_and_near_ones_are_not_blown_up():
    pure_rotation = cameras(4)
    pure_rotation[..., 3] = 0
    np.testing.assert_allclose(normalize_poses(pure_rotation)[..., 3], 0, atol=1e-6)
    near = cameras(5)
    near[..., 3] *= 1e-3
    shift = np.linalg.norm(invert_rigid(normalize_poses(near))[..., 3], axis=-1).max()
    assert 0 < shift < 0.1  # divided by 0.1, not by their median


def test_the_world_frame_and_a_last_row_do_not_matter_and_scenes_are_normalised_each_by_itself():
    scenes, world = cameras(2, 5), cameras(1, seed=1)[0]
    moved = to_homogeneous(scenes) @ to_homogeneous(jnp.asarray(world))
    np.testing.assert_allclose(normalize_poses(moved), normalize_poses(scenes), atol=1e-5)
    np.testing.assert_allclose(normalize_poses(scenes)[1], normalize_poses(scenes[1]), atol=1e-6)


def test_gradients_are_finite_where_all_cameras_are_one():
    eyes = jnp.broadcast_to(jnp.eye(3, 4), (3, 3, 4))
    assert np.isfinite(jax.grad(lambda x: normalize_poses(x).sum())(eyes)).all()


def test_masked_cameras_do_not_count_in_the_median():
    known = cameras(2, 7)
    known[1, :, :, 3] *= 5
    far = np.concatenate([known, 1e3 * known[:, ::-1][:, :2]], axis=1)
    mask = np.arange(9) < np.array([[7], [4]])
    found = normalize_poses(far, mask)
    np.testing.assert_allclose(found[0, :7], normalize_poses(known[0]), atol=1e-5)
    np.testing.assert_allclose(found[1, :4], normalize_poses(known[1, :4]), atol=1e-5)
