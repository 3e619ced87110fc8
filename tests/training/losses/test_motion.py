"""Where cameras stand, in units of how far they move."""

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


PATH = np.float32([[0, 0, 0], [0.3, 0, 0.4], [1.5, 0, 0]])  # a motion of (0.5 + 1.5) / 2 = 1
EVERYONE = np.ones((1, 3), bool)


def test_motion_loss_by_hand():
    pose_enc, ray = scene(PATH)
    assert float(motion_loss(pose_enc, ray, pose_enc, EVERYONE)) == 0
    aside, astray = pose_enc.copy(), ray.copy()
    aside[0, 1, 1] += 0.3  # a third of it in the mean over coordinates, of one of three views, and half of it is of the head
    assert float(motion_loss(aside, ray, pose_enc, EVERYONE)) == pytest.approx(0.3 / 3 / 3 / 2)
    astray[0, 0, :, :, 4] += 0.6
    assert float(motion_loss(aside, astray, pose_enc, EVERYONE)) == pytest.approx((0.3 + 0.6) / 3 / 3 / 2)
    first_two = np.array([[True, True, False]])  # a motion of 0.5
    assert float(motion_loss(aside, astray, pose_enc, first_two)) == pytest.approx((0.3 + 0.6) / 3 / 2 / 2 / 0.5)


def test_a_path_and_its_error_may_have_any_size():
    found = [float(motion_loss(*scene(size * 1.1 * PATH), scene(size * PATH)[0], EVERYONE)) for size in (1, 0.1)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_cameras_that_only_turn_count_as_if_they_moved_a_little():
    still, _ = scene(np.zeros((3, 3)))
    off = scene(np.full((3, 3), 0.01))
    assert float(motion_loss(*off, still, EVERYONE)) == pytest.approx(0.01 / LEAST)


def test_directions_fields_of_view_and_turns_do_not_matter():
    pose_enc, ray = scene(PATH)
    other, others = pose_enc.copy(), ray.copy()
    other[..., 3:], others[..., :3] = 7, 7
    assert float(motion_loss(other, others, pose_enc, EVERYONE)) == 0


def test_gradients_are_numerical_differences(assert_gradients):
    pose_enc, target = RNG.standard_normal((2, 2, 3, 9))
    ray, mask = RNG.standard_normal((2, 3, 2, 2, 6)), np.arange(6).reshape(2, 3) != 4
    assert_gradients(lambda p, r: losses.motion_loss(p, r, jnp.asarray(target), mask), pose_enc, ray)


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    pose_enc, target = RNG.standard_normal((2, 2, 3, 9))
    ray, mask = RNG.standard_normal((2, 3, 2, 2, 6)).astype(np.float32), np.arange(6).reshape(2, 3) != 4
    assert_nothing_leaks(lambda p, t, m: losses.motion_loss(p, ray, t, m), pose_enc, target, mask)
    assert_nothing_leaks(lambda r, t, m: losses.motion_loss(pose_enc.astype(np.float32), r, t, m), ray, target, mask)
