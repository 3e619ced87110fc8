import itertools
import sys
from unittest import mock

import numpy as np
import pytest

from da3jax.evaluation.metrics import depth_metrics, pose_auc, pose_errors


def turn(degrees: float, axis: int = 2) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.roll(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), axis + 1, (0, 1))


def pose(rotation: np.ndarray, translation: tuple[float, ...]) -> np.ndarray:
    return np.vstack([np.column_stack([rotation, translation]), [0, 0, 0, 1]])


def random_poses(views: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotations = [turn(a, 0) @ turn(b, 1) @ turn(c, 2) for a, b, c in rng.uniform(-60, 60, (views, 3))]
    return np.stack([pose(rotation, rng.normal(size=3)) for rotation in rotations])


def scene(*values: float) -> np.ndarray:
    return np.array(values).reshape(1, 1, -1)


def test_depth_errors_by_hand():
    found = depth_metrics(scene(1, 3, 4, 99), scene(1, 2, 5, 1), scene(1, 1, 1, 0), align="none")
    # 4 / 5 is 1.25 off, which is not below 1.25
    assert found == pytest.approx({"abs_rel": (0 + 0.5 + 0.2) / 3, "delta1": 1 / 3, "rmse": np.sqrt(2 / 3)})


def test_depth_is_scaled_by_the_median_of_the_whole_scene():
    depth, truth = np.array([1.0, 2, 4]).reshape(3, 1, 1), np.array([2.0, 4, 12]).reshape(3, 1, 1)
    found = depth_metrics(depth, truth, np.ones_like(truth))
    # ratios 2, 2, 3: the last view stays at 8 instead of 12
    assert found == pytest.approx({"abs_rel": 1 / 9, "delta1": 2 / 3, "rmse": np.sqrt(16 / 3)})


def test_an_empty_mask_has_no_error():
    found = depth_metrics(scene(1, 2), scene(np.nan, 0), scene(0, 0))
    assert sorted(found) == ["abs_rel", "delta1", "rmse"]
    assert np.isnan(list(found.values())).all()


def test_depth_of_zero_fails_the_share_and_depth_that_is_nan_the_means():
    found = depth_metrics(scene(0, 1, 1), scene(1, 1, 1), scene(1, 1, 1))
    assert found == pytest.approx({"abs_rel": 1 / 3, "delta1": 2 / 3, "rmse": np.sqrt(1 / 3)})
    found = depth_metrics(scene(np.nan, 1), scene(1, 1), scene(1, 1), align="none")
    assert found == pytest.approx({"abs_rel": np.nan, "delta1": 0.5, "rmse": np.nan}, nan_ok=True)


def test_pixels_without_depth_leave_the_scale_of_the_others():
    truth = np.arange(1.0, 11).reshape(1, 2, 5)
    for nothing in (0, -1, np.nan):
        depth = np.where(truth > 4, nothing, truth / 3)
        assert depth_metrics(depth, truth, truth > 0)["delta1"] == 0.4
        assert depth_metrics(np.full_like(truth, nothing), truth, truth > 0)["delta1"] == 0
    assert depth_metrics(np.where(truth > 4, 0, truth / 3), truth, truth > 0)["abs_rel"] == pytest.approx(0.6)


def test_bad_depth_is_refused():
    one = scene(1, 1)
    with pytest.raises(ValueError, match=r"align 'mediam' is unknown; .*did you mean 'median'\?"):
        depth_metrics(one, one, one, align="mediam")
    with pytest.raises(ValueError, match=r"the shapes \(1, 1, 2\), \(1, 1, 3\) and \(1, 1, 2\); all must be one \(S, H, W\)"):
        depth_metrics(one, scene(1, 1, 1), one)
    with pytest.raises(ValueError, match=r"the shapes \(1, 2\), \(1, 2\) and \(1, 2\); all must be one \(S, H, W\)"):
        depth_metrics(one[0], one[0], one[0])
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"truth is not finite and positive everywhere on the mask; leave pixels without"):
            depth_metrics(one, scene(1, bad), one)


def test_the_larger_of_the_two_angles_counts_for_every_pair_in_order():
    eye = np.eye(3)
    truth = np.stack([pose(eye, (0, 0, 0)), pose(eye, (1, 0, 0)), pose(eye, (3, 0, 0))])
    predicted = np.stack([pose(eye, (0, 0, 0)), pose(turn(10), (1, 0, 0)), pose(eye, (3, 3, 0))])
    # (0, 1) turned by 10; (0, 2) moved 45 degrees off; (1, 2) moved by (2, 3), and seen from a view turned by 10
    np.testing.assert_allclose(pose_errors(predicted, truth), [10, 45, np.degrees(np.arctan2(3, 2)) - 10], atol=1e-9)


def test_the_sign_of_a_translation_does_not_count():
    truth = np.stack([pose(np.eye(3), (0, 0, 0)), pose(np.eye(3), (1, 0, 0))])
    for x, y, expected in ((-1, 0, 0), (-1, 1, 45), (0, -2, 90)):
        predicted = np.stack([pose(np.eye(3), (0, 0, 0)), pose(np.eye(3), (x, y, 0))])
        np.testing.assert_allclose(pose_errors(predicted, truth), [expected], atol=1e-9)


@pytest.mark.parametrize("degrees", [0, 1e-6, 0.5, 90, 179, 180])
def test_rotations_are_measured_from_nothing_to_half_a_turn(degrees):
    truth = np.stack([pose(np.eye(3), (0, 0, 0))] * 2)
    predicted = np.stack([truth[0], pose(turn(degrees), (0, 0, 0))])
    np.testing.assert_allclose(pose_errors(predicted, truth), [degrees], rtol=1e-6, atol=1e-12)


def test_another_world_and_another_scale_change_nothing():
    truth, predicted, world = random_poses(5, 0), random_poses(5, 1), pose(turn(50, 1), (4, -2, 7))
    elsewhere = predicted @ world
    elsewhere[:, :3, 3] *= 3.5
    np.testing.assert_allclose(pose_errors(elsewhere[:, :3], truth @ world), pose_errors(predicted, truth), atol=1e-9)
    np.testing.assert_allclose(pose_errors(truth @ world, truth), np.zeros(10), atol=1e-9)


def test_a_world_whose_origin_is_far_away_changes_nothing():
    truth, predicted = random_poses(6, 0), random_poses(6, 1)
    expected = pose_errors(predicted, truth)
    assert expected.min() > 1
    for far in (1e3, 1e6, 1e8):
        np.testing.assert_allclose(pose_errors(predicted, truth @ pose(np.eye(3), (far, 0, 0))), expected, atol=1e-7 * far)


def test_of_float32_numbers_in_float64_only_what_they_hold_counts():
    truth = np.float32([pose(turn(a), (0, 0, 0)) @ pose(turn(70, 0), (100, 20, 3)) for a in (0, 20, 40)]).astype(np.float64)
    predicted = np.stack([pose(turn(a), (x, 1, 0)) for a, x in ((0, 0), (20, 5), (43, -3))])
    np.testing.assert_allclose(pose_errors(predicted, truth), [0, 3, 3], atol=1e-4)


def test_of_coincident_true_cameras_only_the_rotation_counts():
    truth = np.float32([pose(turn(a), (0, 0, 0)) @ pose(turn(70, 0), (100, 20, 3)) for a in (0, 20, 40)])
    predicted = np.stack([pose(turn(a), (x, 1, 0)) for a, x in ((0, 0), (20, 5), (43, -3))])
    np.testing.assert_allclose(pose_errors(predicted, truth), [0, 3, 3], atol=1e-4)


def test_predicted_cameras_in_one_place_are_90_degrees_off():
    truth = np.stack([pose(np.eye(3), (0, 0, 0)), pose(np.eye(3), (1, 0, 0))])
    np.testing.assert_allclose(pose_errors(truth[[0, 0]], truth), [90])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 3])
def test_a_predicted_pose_that_is_not_finite_spoils_its_pairs_and_counts_as_wrong(bad, column):
    truth = random_poses(3, 0)
    predicted = truth.copy()
    predicted[2, 0, column] = bad
    found = pose_errors(predicted, truth)
    np.testing.assert_allclose(found, [0, np.nan, np.nan], atol=1e-9)
    assert pose_auc(found, (3,)) == pytest.approx({3: 100 / 3})


def test_bad_poses_are_refused():
    good = random_poses(3, 0)
    with pytest.raises(ValueError, match=r"predicted has the shape \(3, 3\); world-to-camera poses are \(S, 3, 4\) or \(S, 4, 4\)"):
        pose_errors(good[..., 0, :3], good)
    with pytest.raises(ValueError, match=r"truth has the shape \(3, 3, 3\); world-to-camera"):
        pose_errors(good, good[:, :3, :3])
    with pytest.raises(ValueError, match=r"predicted has 2 views and truth 3; both must have the same views"):
        pose_errors(good[:2], good)
    with pytest.raises(ValueError, match=r"give at least two views, not 1"):
        pose_errors(good[:1], good[:1])
    with pytest.raises(ValueError, match=r"truth has a pose that is not finite; leave that view out"):
        pose_errors(good, np.where(good == good[1, 0, 3], np.nan, good))


def test_truth_without_a_rotation_is_refused_and_a_predicted_one_spoils_its_own_pairs_alone():
    truth = random_poses(4, 0)
    stretched = truth * np.where(np.arange(4) == 2, 1.05, 1)[:, None, None]
    with pytest.raises(ValueError, match=r"truth has no rotation in view 2, R Rᵀ is off by 0\.1; of a similarity, divide the rows"):
        pose_errors(truth, stretched)
    found = pose_errors(stretched, truth)
    with_it = np.array([2 in pair for pair in itertools.combinations(range(4), 2)])
    assert (found[with_it] > 1).all()
    np.testing.assert_allclose(found[~with_it], 0, atol=1e-6)
    pose_errors(truth, np.round(truth, 2))  # rounded is not wrong


def test_the_area_is_the_mean_of_the_cumulative_histogram():
    # bins of one degree: 2 of 5 below 1, 3 below 2, and the last bin takes its upper end
    errors = np.array([0, 0.9, 1, 3, 40])
    assert pose_auc(errors, (1, 3)) == pytest.approx({1: 60, 3: 100 * (2 / 5 + 3 / 5 + 4 / 5) / 3})
    assert list(pose_auc(errors)) == [3, 5, 15, 30]
    assert pose_auc(np.zeros(4), (30,)) == {30: 100}
    assert pose_auc(np.full(4, 31.0), (30,)) == {30: 0}


def test_bad_errors_and_thresholds_are_refused():
    for bad in (np.zeros(0), np.zeros((2, 2))):
        with pytest.raises(ValueError, match=r"errors has the shape \(.*\); it must be \(P,\) with at least one pair"):
            pose_auc(bad)
    for k in (0, -3, 2.5):
        with pytest.raises(ValueError, match=rf"the threshold {k} is not a positive whole number of degrees"):
            pose_auc(np.zeros(1), (3, k))


@pytest.fixture
def official(monkeypatch):
    """The official benchmark's functions; the part for meshes imports Open3D, which those for poses do not use."""
    pytest.importorskip("depth_anything_3")
    if "open3d" not in sys.modules:
        monkeypatch.setitem(sys.modules, "open3d", mock.MagicMock())
    return pytest.importorskip("depth_anything_3.bench.utils")


@pytest.mark.parity
@pytest.mark.parametrize("noise", [0.01, 0.1, 1])
def test_it_is_the_official_area(official, noise):
    import torch

    truth = random_poses(12, 0)
    rng = np.random.default_rng(1)
    predicted = np.stack(
        [E @ pose(turn(noise * a, 0), noise * t) for E, a, t in zip(truth, 30 * rng.normal(size=12), rng.normal(size=(12, 3)), strict=True)]
    )
    expected = official.compute_pose(torch.from_numpy(predicted), torch.from_numpy(truth))
    found = pose_auc(pose_errors(predicted, truth))
    assert found == pytest.approx({k: 100 * expected[f"auc{k:02}"] for k in (3, 5, 15, 30)}, abs=1e-9)


def test_what_is_no_rotation_and_half_a_turn_off_is_wrong_and_not_unknown():
    truth = np.stack([pose(np.eye(3), (0, 0, 0))] * 2)
    predicted = np.stack([truth[0], pose(1.5 * turn(180), (0, 0, 0))])
    np.testing.assert_allclose(pose_errors(predicted, truth), [180])
