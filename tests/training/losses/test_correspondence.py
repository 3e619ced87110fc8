"""Patches that show the same: where they are, and what it costs not to know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses
from da3jax.training.losses import correspondence

RNG = np.random.default_rng(0)

correspondence_loss = jax.jit(losses.correspondence_loss)
find_patches = jax.jit(correspondence.find_patches)
normalize_targets = jax.jit(losses.normalize_targets)


def wall(shift=14.0, depth=2.0, height=28, width=56, views=2):
    """A wall before cameras side by side, each of which sees it `shift` pixels further to the left; f = 28 pixels."""
    intrinsics = np.tile(np.float32([[28, 0, width / 2], [0, 28, height / 2], [0, 0, 1]]), (1, views, 1, 1))
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (1, views, 1, 1))
    extrinsics[0, :, 0, 3] = -shift * depth / 28 * np.arange(views)
    depths = np.full((1, views, height, width), depth, np.float32)
    return depths, extrinsics, intrinsics


def truth(depth, extrinsics, intrinsics, mask=None):
    return normalize_targets(depth, extrinsics, intrinsics, depth > 0 if mask is None else mask)


def test_a_shift_of_a_patch_is_a_shift_of_a_patch():
    patches, seen = find_patches(truth(*wall()))
    assert patches.shape == (1, 2, 2, 2, 4, 2, 4)
    np.testing.assert_array_equal(seen[0, 0, 1], [[False, True, True, True]] * 2)
    np.testing.assert_array_equal(seen[0, 1, 0], [[True, True, True, False]] * 2)
    assert not seen[0, 0, 0].any()
    assert not seen[0, 1, 1].any()
    # The middle of a patch is between pixels; the one after it lies half a pixel to the lower right.
    half = 0.5 / 14
    np.testing.assert_allclose(patches[0, 0, 1, 0, 2, :, 1], [(1 - half) ** 2, half * (1 - half)], atol=1e-5)
    np.testing.assert_allclose(np.sum(patches, axis=(-2, -1)), seen, atol=1e-5)


@pytest.mark.parametrize("nearer", [1, 1.85])
def test_what_is_hidden_or_unknown_is_not_to_be_found(nearer):
    depth, extrinsics, intrinsics = wall(views=3)
    depth[0, 1, :, 14:28] = nearer  # something before the second camera, where the first one's patches 2 and the third one's 0 are
    mask = depth > 0
    mask[0, 2, :14] = False
    _, seen = find_patches(truth(depth, extrinsics, intrinsics, mask))
    np.testing.assert_array_equal(seen[0, 0, 1], [[False, True, False, True]] * 2)
    np.testing.assert_array_equal(seen[0, 2, 1], [[False] * 4, [False, True, True, False]])
    np.testing.assert_array_equal(seen[0, 0, 2], [[False] * 4, [False, False, True, True]])


def test_what_a_view_has_above_or_below_its_picture_is_not_to_be_found():
    depth, extrinsics, intrinsics = wall(shift=0)
    extrinsics[0, 1, 1, 3] = -1  # the second camera sees the wall 14 pixels further up
    patches, seen = find_patches(truth(depth, extrinsics, intrinsics))
    np.testing.assert_array_equal(seen[0, 0, 1], [[False] * 4, [True] * 4])
    np.testing.assert_array_equal(seen[0, 1, 0], [[True] * 4, [False] * 4])
    assert (np.asarray(patches)[0, 0, 1, 1, :, 0].max(axis=-1) > 0.9).all()


def test_by_hand():
    # Every patch is alike: each of the 8 is as likely. A patch that is known to be itself has the softmax of 1 and seven times 0.
    flat = truth(*wall(shift=1e-3))
    assert float(correspondence_loss(jnp.ones((1, 2, 2, 4, 6)), flat)) == pytest.approx(np.log(8), rel=1e-6)
    own = jnp.broadcast_to(jnp.eye(8, 16).reshape(2, 4, 16), (1, 2, 2, 4, 16))
    patches, seen = find_patches(flat)
    right = float(np.mean(np.einsum("bijhwhw->bijhw", patches)[np.asarray(seen)]))
    expected = np.log(np.exp(2) + 7) - 2 * right
    assert float(correspondence_loss(3 * own, flat, temperature=0.5)) == pytest.approx(expected, rel=1e-5)
    free = own.at[..., 8:].set(RNG.standard_normal((1, 2, 2, 4, 8)))
    assert correspondence_loss(free, flat) == correspondence_loss(own, flat)


def test_scenes_of_a_batch_are_looked_at_each_by_itself():
    scenes, features = (wall(), wall(shift=5, depth=3.0)), RNG.standard_normal((2, 2, 2, 4, 6)).astype(np.float32)
    alone = [correspondence_loss(features[i : i + 1], truth(*scene)) for i, scene in enumerate(scenes)]
    together = truth(*map(np.concatenate, zip(*scenes, strict=True)))
    count = np.asarray(find_patches(together)[1]).sum(axis=(1, 2, 3, 4))
    assert float(correspondence_loss(features, together)) == pytest.approx(np.average(alone, weights=count), rel=1e-5)


def test_gradients(assert_gradients):
    depth, extrinsics, intrinsics = wall(shift=5)
    with jax.enable_x64(True):
        given = truth(*(jnp.asarray(x, jnp.float64) for x in (depth, extrinsics, intrinsics)))
    assert_gradients(lambda features: correspondence_loss(features, given), RNG.standard_normal((1, 2, 2, 4, 5)))


def test_where_nothing_is_to_be_found_there_is_no_loss_and_no_gradient():
    depth, extrinsics, intrinsics = wall()
    features = jnp.asarray(RNG.standard_normal((1, 2, 2, 4, 5)), jnp.float32)
    for given in (truth(np.full_like(depth, np.nan), extrinsics, intrinsics), truth(depth, extrinsics * np.float32(np.nan), intrinsics)):
        value, gradient = jax.value_and_grad(correspondence_loss)(features, given)
        assert value == 0
        assert not np.asarray(gradient).any()
    alone = truth(*(x[:, :1] for x in wall()))
    assert correspondence_loss(features[:, :1], alone) == 0
    assert np.isfinite(jax.grad(correspondence_loss)(jnp.zeros_like(features), truth(*wall()))).all()


def test_features_of_other_patches_are_refused():
    with pytest.raises(ValueError, match=r"features have shape \(1, 2, 4, 2, 5\); for these targets it is \(1, 2, 2, 4\) and channels"):
        correspondence_loss(jnp.zeros((1, 2, 4, 2, 5)), truth(*wall()))


def test_what_lies_behind_a_camera_is_not_seen_by_it():
    depth, extrinsics, intrinsics = wall(shift=1e-3)
    extrinsics[0, 1] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -4]]  # the second camera stands two units beyond the wall
    _, seen = find_patches(truth(depth, extrinsics, intrinsics))
    assert not seen[0, 0, 1].any()
