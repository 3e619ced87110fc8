"""Points onto points, cameras onto cameras, and what degenerate data leave open."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import Similarity, invert_rigid, rotation_angle, rotation_from_axis_angle

SLOTS = 20

_umeyama = jax.jit(geometry.umeyama, static_argnames="with_scale")
_align_poses = jax.jit(geometry.align_poses, static_argnames="tries")


def padded(x):
    """Filled up with NaN to the one number of points that is compiled here."""
    return np.concatenate([x, np.full((SLOTS - len(x), *x.shape[1:]), np.nan, x.dtype)])


def umeyama(source, target, weights=None):
    weights = np.ones(len(source), np.float32) if weights is None else weights
    found = _umeyama(padded(source), padded(target), np.nan_to_num(padded(weights)))
    return dataclasses.replace(found, inliers=found.inliers[: len(source)])


def align_poses(prediction, reference, mask=None):
    mask = np.ones(len(prediction)) if mask is None else np.float64(mask)
    found = _align_poses(padded(prediction), padded(reference), np.nan_to_num(padded(mask)) > 0, key=jax.random.key(7), tries=50)
    return dataclasses.replace(found, inliers=found.inliers[: len(prediction)])


RNG = np.random.default_rng(0)
SCALE, TRANSLATION = np.float32(1.7), np.float32([3, -2, 5])
TURN = np.asarray(rotation_from_axis_angle(np.float32([0.4, -1.2, 0.9])))
TRUE = Similarity(jnp.float32(SCALE), jnp.asarray(TURN), jnp.asarray(TRANSLATION))
CLOUD = np.float32(RNG.standard_normal((20, 3)))
LINE = np.float32(np.linspace(-1, 2, 20)[:, None] * [1, 2, -1] + [4, 0, 1])
SPOT = np.float32(np.broadcast_to([10, -3, 7], (20, 3)))


def moved(points):
    return np.array(TRUE.apply(points))


def poses(centers, seed=1):
    """World-to-camera of cameras at these places, turned at random."""
    rotation = rotation_from_axis_angle(np.float32(np.random.default_rng(seed).standard_normal(centers.shape)))
    return np.asarray(invert_rigid(jnp.concatenate([rotation, centers[..., None]], axis=-1)))


def assert_true(similarity, atol=1e-5):
    np.testing.assert_allclose(similarity.scale, SCALE, rtol=atol)
    np.testing.assert_allclose(similarity.rotation, TURN, atol=atol)
    np.testing.assert_allclose(similarity.translation, TRANSLATION, atol=5 * atol)


def assert_finite(tree):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


def test_a_known_similarity_comes_back():
    found = umeyama(CLOUD, moved(CLOUD))
    assert_true(found.similarity)
    assert found.rotation_determined
    assert found.scale_determined
    assert found.inliers.all()
    assert found.residual < 2e-6


def test_three_points_and_a_plane_are_enough_and_mirrors_are_not_taken():
    flat = CLOUD * np.float32([1, 1, 0])
    for points in (CLOUD[:3], flat):
        assert_true(umeyama(points, moved(points)).similarity, atol=3e-5)
    mirrored = umeyama(CLOUD, CLOUD * np.float32([1, 1, -1])).similarity.rotation
    assert np.linalg.det(mirrored) == pytest.approx(1, abs=1e-5)


def test_least_squares_no_neighbouring_similarity_is_better():
    target = moved(CLOUD) + np.float32(0.3 * RNG.standard_normal(CLOUD.shape))
    weights = np.float32(RNG.uniform(0, 1, 20))
    found = umeyama(CLOUD, target, weights)
    cost = jax.jit(lambda s: jnp.sqrt(jnp.sum(weights * jnp.sum((s.apply(CLOUD) - target) ** 2, -1)) / weights.sum()))
    assert float(cost(found.similarity)) == pytest.approx(float(found.residual), rel=1e-5)
    for _ in range(50):
        turn, shift, stretch = 0.02 * RNG.standard_normal(3), 0.02 * RNG.standard_normal(3), np.exp(0.02 * RNG.standard_normal())
        step = Similarity(jnp.float32(stretch), rotation_from_axis_angle(jnp.float32(turn)), jnp.float32(shift))
        assert cost(step.compose(found.similarity)) >= found.residual


def test_without_scale_the_scale_is_one():
    found = _umeyama(CLOUD, CLOUD @ TURN.T * 2, with_scale=False)
    assert found.similarity.scale == 1
    assert not found.scale_determined
    np.testing.assert_allclose(found.similarity.rotation, TURN, atol=1e-5)


def test_weights_count_and_points_of_weight_zero_may_be_nan():
    target = moved(CLOUD)
    target[:5] = np.nan
    weights = np.float32([0] * 5 + [1] * 15)
    found = umeyama(CLOUD, target, weights)
    assert_true(found.similarity)
    np.testing.assert_array_equal(found.inliers, weights > 0)


def test_repeating_a_point_is_giving_it_weight_two():
    target = moved(CLOUD) + np.float32(0.3 * RNG.standard_normal(CLOUD.shape))
    few, twice = np.arange(12), [*range(12), *range(4)]
    weighted = umeyama(CLOUD[few], target[few], np.float32([2] * 4 + [1] * 8))
    np.testing.assert_allclose(umeyama(CLOUD[twice], target[twice]).similarity.matrix(), weighted.similarity.matrix(), atol=1e-5)


@pytest.mark.parametrize("points", [LINE, LINE[[0, -1]]], ids=["line", "two points"])
def test_a_line_gives_the_scale_and_the_smallest_rotation(points):
    found = umeyama(points, moved(points))
    assert found.scale_determined
    assert not found.rotation_determined
    assert float(found.similarity.scale) == pytest.approx(SCALE, rel=1e-5)
    np.testing.assert_allclose(found.similarity.apply(points), moved(points), atol=1e-4)
    along = (points[-1] - points[0]) / np.linalg.norm(points[-1] - points[0])
    smallest = np.arccos(along @ TURN @ along)
    assert float(rotation_angle(jnp.eye(3), found.similarity.rotation)) == pytest.approx(smallest, abs=1e-4)
    turned_round = umeyama(points, -points)
    np.testing.assert_allclose(turned_round.similarity.apply(points), -points, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "target"),
    [(SPOT, moved(SPOT)), (SPOT, CLOUD), (CLOUD, SPOT), (CLOUD[:1], moved(CLOUD)[:1])],
    ids=["spots", "from a spot", "to a spot", "one point"],
)
def test_one_place_determines_neither_scale_nor_rotation(source, target):
    found = umeyama(source, target)
    assert not found.scale_determined
    assert not found.rotation_determined
    assert found.similarity.scale == 1
    np.testing.assert_allclose(found.similarity.rotation, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(found.similarity.translation, target.mean(0) - source.mean(0), atol=1e-5)


def test_points_that_move_without_each_other_determine_neither_scale_nor_rotation():
    source, target = np.float32([[1, 0, 0], [-1, 0, 0], [0, 0, 0], [0, 0, 0]]), np.float32([[0, 0, 0], [0, 0, 0], [0, 2, 0], [0, -2, 0]])
    found = umeyama(source, target)
    assert not found.scale_determined
    assert not found.rotation_determined
    np.testing.assert_allclose(found.similarity.matrix(), np.eye(3, 4), atol=1e-6)


def test_no_points_at_all_give_the_identity():
    found = umeyama(CLOUD, moved(CLOUD), np.zeros(20, np.float32))
    np.testing.assert_array_equal(found.similarity.matrix(), np.eye(3, 4))
    assert not found.scale_determined
    assert not found.rotation_determined
    assert not found.inliers.any()
    assert found.residual == 0


def test_gradients_are_finite_for_every_kind_of_input():
    def numbers(source, target, weights):
        found = geometry.umeyama(source, target, weights)
        return found.similarity.matrix().sum() + found.residual

    sources = np.stack([CLOUD, CLOUD, LINE, SPOT, CLOUD, LINE])
    targets = np.stack([moved(CLOUD), CLOUD, -LINE, moved(SPOT), SPOT, moved(LINE)])
    weights = np.ones((6, 20), np.float32)
    weights[-1] = 0
    assert_finite(jax.jit(jax.vmap(jax.grad(numbers, (0, 1, 2))))(sources, targets, weights))


@pytest.mark.integration
def test_forward_reverse_and_numerical_derivatives_agree(assert_derivatives):
    noisy = moved(CLOUD) + 0.1 * RNG.standard_normal(CLOUD.shape)
    sources, targets = np.float64([CLOUD[:5], CLOUD[:5]]), np.float64([noisy[:5], CLOUD[:5] + 1e-3])
    assert_derivatives(lambda x, y, w: geometry.umeyama(x, y, w).similarity.matrix(), sources, targets, np.ones((2, 5)))


def test_batches_are_scenes_of_their_own_and_float64_stays():
    with jax.enable_x64(True):
        sources, targets = (np.float64([[a, b, c]] * 2) for a, b, c in ((CLOUD, LINE, SPOT), (moved(CLOUD), -LINE, SPOT)))
        together = _umeyama(sources, targets)
        assert together.similarity.scale.dtype == jnp.float64
        np.testing.assert_array_equal(together.rotation_determined, [[True, False, False]] * 2)
        np.testing.assert_allclose(together.similarity.rotation[1, 0], TURN, atol=1e-6)
        np.testing.assert_allclose(together.similarity.scale, [[SCALE, 1, 1]] * 2, atol=1e-6)
        np.testing.assert_allclose(together.similarity.apply(sources)[:, 1:], targets[:, 1:], atol=1e-7)


@pytest.mark.parametrize("views", [3, 9, 10, 20])
def test_cameras_are_brought_onto_each_other(views):
    prediction = poses(CLOUD[:views])
    found = align_poses(prediction, np.asarray(TRUE.apply_to_cameras(prediction)))
    assert_true(found.similarity, atol=2e-5)
    assert found.inliers.all()
    assert found.rotation_determined
    assert found.scale_determined
    assert found.residual < 1e-5


@pytest.mark.parametrize(
    ("centers", "scale_determined"),
    [(CLOUD[:1], False), (CLOUD[:2], True), (LINE, True), (LINE[:4], True), (SPOT, False)],
    ids=["one view", "two views", "a line", "a short line", "pure rotation"],
)
def test_the_cameras_rotations_help_where_their_centres_do_not_determine_it(centers, scale_determined):
    prediction = poses(centers)
    true = TRUE if scale_determined else Similarity(jnp.float32(1), TRUE.rotation, TRUE.translation)
    reference = np.asarray(true.apply_to_cameras(prediction))
    found = align_poses(prediction, reference)
    assert found.rotation_determined
    assert found.scale_determined == scale_determined
    np.testing.assert_allclose(found.similarity.rotation, TURN, atol=2e-5)
    assert float(found.similarity.scale) == pytest.approx(float(true.scale), rel=1e-4)
    np.testing.assert_allclose(found.similarity.apply_to_cameras(prediction), reference, atol=1e-4)


def with_outliers(seed, outliers=4):
    """20 views, the last of them somewhere else; noise keeps the threshold of the official method above zero."""
    prediction = poses(CLOUD)
    rng = np.random.default_rng(seed)
    centers = moved(CLOUD) + np.float32(0.01 * rng.standard_normal((20, 3)))
    centers[20 - outliers :] += np.float32(4 * rng.standard_normal((outliers, 3)))
    reference = np.array(TRUE.apply_to_cameras(prediction))
    reference[:, :, 3:] = -reference[:, :, :3] @ centers[..., None]
    return prediction, reference


def test_outliers_are_left_out_from_ten_views_on():
    prediction, reference = with_outliers(3)
    plain = umeyama(*(np.asarray(invert_rigid(x)[..., 3]) for x in (prediction, reference)))
    robust = align_poses(prediction, reference)
    assert not robust.inliers[16:].any()
    assert robust.inliers[:16].sum() >= 8
    assert float(rotation_angle(plain.similarity.rotation, TURN)) > 0.1
    assert float(rotation_angle(robust.similarity.rotation, TURN)) < 0.02
    assert robust.residual < 0.05


def test_below_ten_views_all_count():
    prediction, reference = (x[-9:] for x in with_outliers(3))
    assert align_poses(prediction, reference).inliers.all()


def test_the_same_key_gives_the_same_alignment_and_scenes_of_a_batch_do_not_mix():
    scenes = [with_outliers(seed) for seed in (3, 4)]
    together = _align_poses(*(np.stack(x) for x in zip(*scenes, strict=True)), key=jax.random.key(7), tries=50)
    for i, scene in enumerate(scenes):
        alone = align_poses(*scene)
        np.testing.assert_array_equal(together.inliers[i], alone.inliers)
        np.testing.assert_allclose(together.similarity.matrix()[i], alone.similarity.matrix(), atol=1e-5)


@pytest.mark.parametrize("known", [0, 1, 3, 12])
def test_views_outside_the_mask_may_be_nan(known):
    prediction = poses(CLOUD)
    reference = np.array(TRUE.apply_to_cameras(prediction))
    reference[known:] = np.nan
    found = align_poses(prediction, reference, np.arange(20) < known)
    assert_finite((found.similarity, found.residual))
    assert found.rotation_determined == (known > 0)
    assert found.scale_determined == (known > 1)
    assert not found.inliers[known:].any()
    if known > 1:
        assert_true(found.similarity, atol=2e-5)


@pytest.mark.slow
def test_masked_views_at_the_end_change_nothing_where_views_are_sampled():
    prediction, reference = with_outliers(3)
    alone = geometry.align_poses(prediction, reference)
    more = [np.concatenate([x, np.full_like(x[:4], np.nan)]) for x in (prediction, reference)]
    found = geometry.align_poses(*more, np.arange(24) < 20)
    np.testing.assert_array_equal(found.inliers, [*alone.inliers, *[False] * 4])
    np.testing.assert_allclose(found.similarity.matrix(), alone.similarity.matrix(), atol=1e-5)
    np.testing.assert_allclose(found.residual, alone.residual, rtol=1e-4)


def test_gradients_of_aligned_poses_are_finite():
    cases = [poses(c[:5]) for c in (CLOUD, LINE, SPOT)]
    references = [np.array(TRUE.apply_to_cameras(c)) for c in cases]

    def numbers(prediction, reference):
        found = geometry.align_poses(prediction, reference)
        return jnp.log(found.similarity.scale) + found.similarity.rotation.sum() + found.residual

    slopes = jax.jit(jax.vmap(jax.grad(numbers, (0, 1))))(np.stack(cases), np.stack(references))
    assert_finite(slopes)


def test_no_camera_at_all_is_refused():
    with pytest.raises(ValueError, match=r"prediction has the shape \(0, 3, 4\); at least one camera is needed to align with"):
        geometry.align_poses(np.zeros((0, 3, 4)), np.zeros((0, 3, 4)))


def test_sets_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="prediction has 3 cameras and reference 4; they are the same ones"):
        geometry.align_poses(np.zeros((3, 3, 4)), np.zeros((4, 3, 4)))
    with pytest.raises(ValueError, match=r"reference has the shape \(3, 4\); cameras are \(\.\.\., N, 3, 4\) or"):
        geometry.align_poses(np.zeros((3, 3, 4)), np.zeros((3, 4)))
    for shapes in (((0, 3), (0, 3)), ((3, 3), (4, 3)), ((5, 2), (5, 2)), ((3,), (3,))):
        with pytest.raises(ValueError, match=r"points are of the shapes .* and .*; both are \(\.\.\., N, 3\), of at least one point"):
            geometry.umeyama(*map(np.zeros, shapes))


def test_whole_numbers_are_points_too():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    found = geometry.umeyama(points, 2 * points + 1)
    np.testing.assert_allclose(found.similarity.scale, 2, rtol=1e-6)
    np.testing.assert_allclose(found.similarity.translation, 1, rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("views", [3, 8])
def test_without_ransac_it_is_the_official_alignment(views):
    official = pytest.importorskip("depth_anything_3.utils.pose_align")
    prediction, reference = (x[-views:] for x in with_outliers(3))
    r, t, s = official.align_poses_umeyama(np.float64(reference), np.float64(prediction))
    found = align_poses(prediction, reference)
    np.testing.assert_allclose(found.similarity.scale, s, rtol=1e-4)
    np.testing.assert_allclose(found.similarity.rotation, r, atol=1e-4)
    np.testing.assert_allclose(found.similarity.translation, t, atol=1e-4)


def test_of_centres_that_are_a_line_but_for_a_hundredth_the_cameras_rotations_count():
    rng = np.random.default_rng(0)
    centers = LINE[:9] + np.float32(0.01 * rng.standard_normal((9, 3)))
    prediction = poses(centers)
    reference = np.array(TRUE.apply_to_cameras(prediction))
    centres = moved(LINE[:9]) + np.float32(0.01 * rng.standard_normal((9, 3)))
    reference[:, :, 3:] = -reference[:, :, :3] @ centres[..., None]
    found = align_poses(prediction, reference)
    by_centres = umeyama(centers, centres).similarity.rotation
    assert float(rotation_angle(by_centres, TURN)) > 0.1
    assert found.rotation_determined
    np.testing.assert_allclose(found.similarity.rotation, TURN, atol=1e-4)
