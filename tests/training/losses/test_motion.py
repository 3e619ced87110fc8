"""Which way cameras went, however far."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses
from da3jax.training.losses.motion import LEAST

RNG = np.random.default_rng(0)
motion_loss = jax.jit(losses.motion_loss)


def scene(centres):
    """Pose encodings (1, S, 9) and rays (1, S, 2, 3, 6) of cameras with these centres, all looking ahead."""
    centres = np.asarray(centres, np.float32)
    pose_enc = np.concatenate([centres, np.tile(np.float32([0, 0, 0, 1, 1, 1]), (len(centres), 1))], axis=-1)
    ray = np.zeros((len(centres), 2, 3, 6), np.float32)
    ray[..., 3:] = centres[:, None, None]
    return pose_enc[None], ray[None]


PATH = np.float32([[0, 0, 0], [0.3, 0, 0.4], [1.5, 0, 0]])
NOTHING = pytest.approx(0, abs=1e-6)
EVERYONE = np.ones((1, 3), bool)


def test_motion_loss_by_hand():
    pose_enc, ray = scene(PATH)
    assert float(motion_loss(pose_enc, ray, pose_enc, EVERYONE)) == NOTHING
    back, astray = pose_enc.copy(), ray.copy()
    back[0, 1, :3] *= -1  # 2 apart, of one of two views, and half of it is of the head
    assert float(motion_loss(back, ray, pose_enc, EVERYONE)) == pytest.approx(2 / 2 / 2)
    astray[0, 2, ..., 3:] = [0, 0.7, 0]
    assert float(motion_loss(back, astray, pose_enc, EVERYONE)) == pytest.approx((2 + 2**0.5) / 2 / 2)
    first_two = np.array([[True, True, False]])
    assert float(motion_loss(back, astray, pose_enc, first_two)) == pytest.approx(2 / 2)


@pytest.mark.parametrize("size", [1, 0.1])
def test_how_far_cameras_went_does_not_matter(size):
    _, ray = scene(size * PATH)
    pose_enc, _ = scene(np.float32([[1], [2], [0.5]]) * size * PATH)
    target, _ = scene(PATH)
    assert float(motion_loss(pose_enc, ray, target, EVERYONE)) == NOTHING


def test_the_mean_of_origins_counts():
    pose_enc, ray = scene(PATH)
    ray[0, 1:, 0, :, 3:] += [0.1, 0.5, 0.2]
    ray[0, 1:, 1, :, 3:] -= [0.1, 0.5, 0.2]
    assert float(motion_loss(pose_enc, ray, pose_enc, EVERYONE)) == NOTHING


def test_of_cameras_that_only_turn_it_counts_how_far_they_are_said_to_have_gone():
    still, _ = scene(np.zeros((3, 3)))
    off = scene(np.full((3, 3), 0.01))
    assert float(motion_loss(*off, still, EVERYONE)) == pytest.approx(0.01 * 3**0.5 / LEAST)


def test_the_first_view_went_nowhere_whatever_is_said_of_it():
    pose_enc, _ = scene(PATH)
    off, astray = scene(PATH + np.float32([[1, 0, 0], [0, 0, 0], [0, 0, 0]]))
    assert float(motion_loss(off, astray, pose_enc, EVERYONE)) == NOTHING
    alone = np.array([[True, False, False]])
    assert float(motion_loss(off, astray, pose_enc, alone)) == NOTHING


def test_directions_fields_of_view_and_turns_do_not_matter():
    pose_enc, ray = scene(PATH)
    other, others = pose_enc.copy(), ray.copy()
    other[..., 3:], others[..., :3] = 7, 7
    assert float(motion_loss(other, others, pose_enc, EVERYONE)) == NOTHING


def test_gradients_are_numerical_differences(assert_gradients):
    pose_enc, target = RNG.standard_normal((2, 2, 3, 9))
    ray, mask = RNG.standard_normal((2, 3, 2, 2, 6)), np.arange(6).reshape(2, 3) != 4
    assert_gradients(lambda p, r: losses.motion_loss(p, r, jnp.asarray(target), mask), pose_enc, ray)


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    pose_enc, target = RNG.standard_normal((2, 2, 3, 9))
    ray, mask = RNG.standard_normal((2, 3, 2, 2, 6)).astype(np.float32), np.arange(6).reshape(2, 3) != 4
    assert_nothing_leaks(lambda p, t, m: losses.motion_loss(p, ray, t, m), pose_enc, target, mask)
    assert_nothing_leaks(lambda r, t, m: losses.motion_loss(pose_enc.astype(np.float32), r, t, m), ray, target, mask)
