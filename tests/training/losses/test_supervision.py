"""Which depth a step is taught."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.models.metric import in_metres
from da3jax.training.losses import LossConfig, LossWeights, Targets, align_teacher, canonical_depth, draw_pose_conditioning, supervise
from tests.quick import quick_jit

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE = (2, 8, 6, 7)
TRUE = RNG.uniform(1, 5, SHAPE).astype(np.float32)
SPARSE = RNG.random(SHAPE) > 0.5
GIVEN = np.where(SPARSE, TRUE, np.nan)
TEACHER = (TRUE + 2) / 4
TARGETS = Targets(GIVEN, SPARSE, np.tile(np.eye(3, 4, dtype=np.float32), (2, 8, 1, 1)), np.tile(np.eye(3, dtype=np.float32), (2, 8, 1, 1)))

align = quick_jit(align_teacher)


@functools.cache
def compiled(config):
    return quick_jit(functools.partial(supervise, config=config))


def taught(*arguments, config):
    return compiled(config)(*arguments)


def test_depth_at_the_canonical_focal_length_by_hand_and_back():
    intrinsics = np.float32([[[590, 0, 3], [0, 610, 3], [0, 0, 1]], [[150, 0, 3], [0, 150, 3], [0, 0, 1]]])
    found = canonical_depth(TRUE[0, :2], intrinsics)
    np.testing.assert_allclose(found, TRUE[0, :2] * np.float32([0.5, 2]).reshape(2, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(in_metres(found, intrinsics, 300.0), TRUE[0, :2], rtol=1e-6)


def test_a_teacher_is_aligned_to_what_is_known_and_then_known_everywhere():
    depth, mask = align(TEACHER, GIVEN, SPARSE, KEY)
    np.testing.assert_allclose(depth, TRUE, rtol=1e-4)
    assert np.asarray(mask).all()


def test_aligned_depth_that_is_not_positive_or_not_finite_is_not_known():
    teacher = TEACHER.copy()
    teacher[0, 0, 0, :2] = [np.nan, 0]
    known = SPARSE.copy()
    known[0, 0, 0, :2] = False
    depth, mask = align(teacher, GIVEN, known, KEY)
    np.testing.assert_array_equal(mask[0, 0, 0], [False, False] + [True] * 5)
    np.testing.assert_allclose(np.asarray(depth)[1], TRUE[1], rtol=1e-4)


def test_a_view_that_the_teacher_does_not_fit_keeps_its_ground_truth():
    teacher = TEACHER.copy()
    teacher[1, 3] = 1
    depth, mask = align(teacher, GIVEN, SPARSE, KEY)
    np.testing.assert_array_equal(depth[1, 3], GIVEN[1, 3])
    np.testing.assert_array_equal(mask[1, 3], SPARSE[1, 3])


def test_ground_truth_is_taught_before_the_switch_and_the_teacher_from_there_on():
    config = LossConfig(teacher_from=5)
    before, after = (taught(TARGETS, TEACHER, step, KEY, config=config) for step in (4, 5))
    np.testing.assert_array_equal(before.depth, GIVEN)
    np.testing.assert_array_equal(before.mask, SPARSE)
    np.testing.assert_allclose(after.depth, TRUE, rtol=1e-4)
    assert np.asarray(after.mask).all()


def test_sky_is_not_fitted_to_and_stays_excluded():
    sky = np.zeros(SHAPE, bool)
    sky[..., 0, :] = True
    depth = np.where(sky, 1e4, GIVEN)
    targets = dataclasses.replace(TARGETS, depth=depth, mask=SPARSE | sky, sky=sky)
    found = taught(targets, TEACHER, 0, KEY, config=LossConfig(teacher_from=0))
    np.testing.assert_allclose(np.where(sky, 0, found.depth), np.where(sky, 0, TRUE), rtol=1e-4)
    np.testing.assert_array_equal(found.valid(), ~sky)


def test_views_of_which_nothing_is_known_are_taught_the_teacher_s_depth_and_sky_as_they_are():
    mask, sky = SPARSE.copy(), np.zeros(SHAPE, np.float32)
    mask[0, 1], sky[0, 1] = False, np.nan
    sky_of_teacher = RNG.uniform(size=SHAPE).astype(np.float32)
    targets = dataclasses.replace(TARGETS, mask=mask, sky=sky)
    config = LossConfig(LossWeights(ray=0, point=0, camera=0), units="relative", teacher_from=5)
    before, found = (
        quick_jit(functools.partial(supervise, config=config))(targets, TEACHER, step, KEY, sky=sky_of_teacher) for step in (4, 5)
    )
    np.testing.assert_array_equal(before.mask, mask)
    np.testing.assert_array_equal(before.sky, sky)
    np.testing.assert_array_equal(found.depth[0, 1], TEACHER[0, 1])
    np.testing.assert_array_equal(found.sky[0, 1], sky_of_teacher[0, 1])
    np.testing.assert_allclose(found.depth[1], TRUE[1], rtol=1e-4)
    np.testing.assert_array_equal(found.sky[1], 0)
    np.testing.assert_array_equal(found.mask[0, 1], sky_of_teacher[0, 1] < 0.5)
    assert np.asarray(found.mask[1]).all()


@pytest.mark.parametrize("known", ["nothing", "of the left half"])
def test_where_sky_is_not_known_the_teacher_s_is_not_taught(known):
    sky = None if known == "nothing" else np.broadcast_to(np.where(np.arange(7) < 3, 0, np.nan).astype(np.float32), SHAPE)
    sky_of_teacher = np.broadcast_to(np.arange(6)[:, None] < 2, SHAPE).astype(np.float32)
    targets, config = dataclasses.replace(TARGETS, sky=sky), LossConfig(teacher_from=5)
    before, found = (
        quick_jit(functools.partial(supervise, config=config))(targets, TEACHER, step, KEY, sky=sky_of_teacher) for step in (4, 5)
    )
    np.testing.assert_array_equal(before.mask, SPARSE)
    np.testing.assert_array_equal(found.mask, (sky_of_teacher == 0) | (sky == 0 if known != "nothing" else False))


def test_views_keep_their_ground_truth_with_the_probability_asked_for():
    views, size = 100, (2, 4)  # of each view a row is known
    depth = np.broadcast_to(np.float32([[1, 2, 3, 4]] * 2), (1, views, *size))
    mask = np.broadcast_to([[True], [False]], (1, views, *size))
    targets = Targets(depth, mask, np.zeros((1, views, 3, 4), np.float32), np.zeros((1, views, 3, 3), np.float32))
    found = taught(targets, depth, 7, KEY, config=LossConfig(teacher_from=0, ground_truth_probability=0.2))
    kept = ~np.asarray(found.mask).all(axis=(2, 3))
    assert kept.mean() == pytest.approx(0.2, abs=0.12)  # three deviations
    np.testing.assert_array_equal(np.asarray(found.mask)[kept], mask[kept])


def test_a_teacher_of_another_shape_is_refused():
    wanted = r"has shape \(2, 8, 6, 6\); it is that of the targets' depth, \(2, 8, 6, 7\)"
    with pytest.raises(ValueError, match=f"the teacher's depth {wanted}"):
        supervise(TARGETS, TEACHER[..., 1:], 0, KEY, LossConfig())
    with pytest.raises(ValueError, match=f"the teacher's sky {wanted}"):
        supervise(TARGETS, TEACHER, 0, KEY, LossConfig(), sky=TEACHER[..., 1:])


def test_a_teacher_in_another_precision_is_taken():
    with jax.enable_x64(True):
        found = taught(TARGETS, TEACHER.astype(np.float64), 0, KEY, config=LossConfig(teacher_from=0))
    assert found.depth.dtype == np.float32
    np.testing.assert_allclose(found.depth, TRUE, rtol=1e-4)


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"targets\.sky has shape"):
        supervise(dataclasses.replace(TARGETS, sky=np.zeros(3)), TEACHER, 0, KEY, LossConfig())


def test_poses_are_given_with_probability_a_fifth_by_key():
    draws = draw_pose_conditioning(KEY, LossConfig(), (4000,))
    assert float(jnp.mean(draws)) == pytest.approx(0.2, abs=0.02)
    np.testing.assert_array_equal(draws, draw_pose_conditioning(KEY, LossConfig(), (4000,)))
    one = jax.jit(functools.partial(draw_pose_conditioning, config=LossConfig(pose_probability=1)))(KEY)
    assert one.shape == ()
    assert bool(one)


def test_depth_counts_where_nobody_knows_whether_it_is_an_object():
    objects = np.broadcast_to(np.where(np.arange(7) < 3, np.nan, 0).astype(np.float32), SHAPE)
    found = dataclasses.replace(TARGETS, objects=objects).valid()
    np.testing.assert_array_equal(found, SPARSE & np.isnan(objects))


RELATIVE = {"weights": LossWeights(ray=0, point=0, camera=0), "units": "relative", "teacher_from": 0}


def unlabelled(**fields):
    mask = SPARSE.copy()
    mask[0, 1] = False
    return dataclasses.replace(TARGETS, mask=mask, **fields)


def supervised(targets, config, **more):
    return quick_jit(functools.partial(supervise, config=config))(targets, TEACHER, 0, KEY, **more)


def test_a_view_of_which_nothing_is_known_has_no_ground_truth_to_keep():
    found = supervised(unlabelled(), LossConfig(**RELATIVE, ground_truth_probability=1.0))
    np.testing.assert_array_equal(found.depth[0, 1], TEACHER[0, 1])
    assert np.asarray(found.mask[0, 1]).all()
    np.testing.assert_array_equal(found.mask[1], SPARSE[1])


def test_where_units_are_those_of_the_scene_a_view_of_which_nothing_is_known_is_taught_nothing():
    found = supervised(unlabelled(), LossConfig(teacher_from=0))
    assert not np.asarray(found.mask[0, 1]).any()


def test_a_view_of_known_sky_alone_keeps_its_sky_and_is_not_taught_the_teacher_s_depth():
    sky = np.zeros(SHAPE, np.float32)
    sky[0, 1] = 1
    found = supervised(unlabelled(sky=sky), LossConfig(**RELATIVE), sky=np.zeros(SHAPE, np.float32))
    np.testing.assert_array_equal(found.sky, sky)
    assert not np.asarray(found.valid()[0, 1]).any()
