import dataclasses

import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.original_cameras import original_cameras
from da3jax.outputs.tracks import _first_of_each_surface, _seeds, find_tracks
from da3jax.types import Prediction
from tests.outputs.rendered import HEIGHT, WIDTH, pixel_centres, render, transform

K = np.array([[20.0, 0, 10], [0, 20, 8], [0, 0, 1]])


@pytest.fixture(scope="module")
def scene():
    return render()


@pytest.fixture(scope="module")
def tracks(scene):
    return tracks_of(scene.prediction)


def tracks_of(prediction, **options):
    return find_tracks(prediction, original_cameras(prediction, "it"), ExportOptions(**options))


def walls(depths, shifts, **fields):
    """Views 16 × 20 side by side along x, looking at a wall at z = 4 · depths."""
    count = len(depths)
    extrinsics = np.tile(np.eye(3, 4), (count, 1, 1))
    extrinsics[:, 0, 3] = -np.array(shifts, float)
    depth = np.tile(4 * np.array(depths, float)[:, None, None], (1, 16, 20))
    return Prediction(
        depth=depth.astype(np.float32),
        extrinsics=extrinsics,
        intrinsics=np.tile(K, (count, 1, 1)),
        processed_images=np.full((count, 16, 20, 3), 100, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None, None] * 20,
        **fields,
    )


def test_points_and_observations_are_the_truth(scene, tracks):
    assert len(tracks.points) > 1500
    assert tracks.errors.max() < 1e-4
    for view in range(4):
        here = tracks.view == view
        pixels, depth = scene.project(view, tracks.points[tracks.point[here]])
        np.testing.assert_allclose(pixels, tracks.place[here], atol=1e-4)
        np.testing.assert_allclose(depth, scene.depth(view, pixels), rtol=1e-5)  # the first surface there: nothing hides it


def test_each_point_is_seen_by_two_views_or_more_and_by_all_that_could(scene, tracks):
    lengths = np.bincount(tracks.point, minlength=len(tracks.points))
    assert lengths.min() == 2
    assert lengths.max() == 4
    seen = np.zeros((len(tracks.points), 4), bool)
    seen[tracks.point, tracks.view] = True
    for view in range(4):
        pixels, depth = scene.project(view, tracks.points)
        local = transform(scene.prediction.from_image[view], pixels)
        inside = (depth > 0) & (local > 0).all(axis=1) & (local < np.array([WIDTH, HEIGHT])).all(axis=1)
        rows, columns = np.where(inside[:, None], local, 0).astype(int)[:, ::-1].T
        kept = inside & ~scene.wrong[view, rows, columns] & ~scene.sky[view, rows, columns]
        truth = np.abs(scene.depth(view, pixels) - depth) < 1e-3
        assert not seen[~kept | ~truth, view].any()
        # What is missing lies at rims, where depth jumps within a pixel, or is steep.
        missing = kept & truth & ~seen[:, view]
        assert missing.sum() < 0.06 * (kept & truth).sum()
        steps = [transform(scene.prediction.from_image[view], pixels[missing])[:, None] + [[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1)]]
        around = np.clip(np.floor(np.concatenate(steps)), 0, [WIDTH - 1, HEIGHT - 1]).astype(int)
        depths = np.where(scene.sky | scene.wrong, 1e9, scene.prediction.depth)[view, around[..., 1], around[..., 0]]
        assert (depths.max(axis=1) > 1.02 * depths.min(axis=1)).all()


def test_what_the_card_hides_is_not_in_the_hiding_views_track(scene, tracks):
    seen = np.zeros((len(tracks.points), 4), bool)
    seen[tracks.point, tracks.view] = True
    hidden = 0
    for view in range(4):
        pixels, depth = scene.project(view, tracks.points)
        behind = (depth > 0) & (scene.surface(view, pixels) == 1) & (scene.depth(view, pixels) < 0.9 * depth)
        hidden += np.count_nonzero(behind)
        assert not seen[behind, view].any()
    assert hidden > 100


def test_colours_are_those_of_the_surface(scene, tracks):
    first = np.searchsorted(tracks.point, np.arange(len(tracks.points)))
    expected = np.zeros((len(tracks.points), 3))
    for view in range(4):
        here = tracks.view[first] == view
        expected[here] = scene.colours(view, tracks.place[first[here]])
    assert np.abs(tracks.colours - expected).max() < 8  # neighbouring pixels differ by up to so much


def test_a_surface_is_written_once_and_not_once_a_view():
    twice = tracks_of(walls([1, 1], [0, 0]))
    assert len(twice.points) == 16 * 20
    np.testing.assert_array_equal(twice.view, np.tile([0, 1], 320))
    # Shifted by a whole pixel: each view has one column that the other has not.
    beside = tracks_of(walls([1, 1, 1], [0, 0.2, 0.4]))
    assert len(beside.points) == 16 * 20  # 19 columns of the first two, and one of the last two
    assert len(np.unique(np.round(beside.points, 6), axis=0)) == 320


def test_a_pixels_centre_is_at_a_half(scene):
    alone = dataclasses.replace(walls([1], [0]), extrinsics=None)
    tracks = tracks_of(alone)
    np.testing.assert_array_equal(tracks.place, pixel_centres(16, 20))
    np.testing.assert_array_equal(tracks.view, 0)
    expected = 4 * np.concatenate([(pixel_centres(16, 20) - (10, 8)) / 20, np.ones((320, 1))], axis=1)
    np.testing.assert_allclose(tracks.points, expected, rtol=1e-12)


def test_with_several_views_a_point_that_one_sees_is_left_out():
    assert len(tracks_of(walls([1, 1], [0, 100])).points) == 0
    assert len(tracks_of(walls([1, 1], [0, 1.4 * 0.2])).points) == 16 * 19  # 1.4 pixels: the first column of one, the last of the other


@pytest.mark.parametrize(("tolerance", "agrees"), [(0.01, False), (0.03, True)])
def test_depths_agree_within_the_tolerance(tolerance, agrees):
    tracks = tracks_of(walls([1, 1.02], [0, 0]), track_tolerance=tolerance)
    assert len(tracks.points) == (320 if agrees else 0)


def test_the_point_is_the_mean_by_confidence_and_the_error_is_what_is_left():
    conf = np.full((2, 16, 20), 2.0)
    conf[1] = 6
    prediction = walls([1, 1.004], [0, 1.0], conf=conf)  # 5 pixels apart, 5 / 1.004 by the second view
    tracks = tracks_of(prediction, conf_thresh_percentile=0)
    assert len(tracks.points) > 200
    np.testing.assert_allclose(tracks.points[:, 2], 4 * (2 + 6 * 1.004) / 8, rtol=1e-6)
    cameras = original_cameras(prediction, "it")
    for view in range(2):
        here = tracks.view == view
        camera = tracks.points[tracks.point[here]] - [view, 0, 0]
        pixels = camera[:, :2] / camera[:, 2:] * 20 + (10, 8)
        np.testing.assert_allclose(cameras.intrinsics[view], K)
        tracks.errors[tracks.point[here]] -= np.linalg.norm(pixels - tracks.place[here], axis=1) / 2
    np.testing.assert_allclose(tracks.errors, 0, atol=1e-12)


def test_the_reported_error_is_the_parallax_of_the_disagreement():
    tracks = tracks_of(walls([1, 1.004], [0, 1.0]))
    # Halfway between 4 and 4.016 the shift of 5 pixels is one of 4.99; the point keeps its middle between both rays.
    assert 0.001 < tracks.errors.mean() < 0.01


def test_a_point_in_the_plane_of_another_camera_is_nothing_special():
    prediction = walls([1, 1], [0, 0.1])
    prediction.extrinsics[1, 2, 3] = -4  # the second camera stands in the wall that the first one sees
    assert len(tracks_of(prediction).points) == 0


def test_pixels_that_are_not_kept_are_neither_lifted_nor_seen():
    sky = np.zeros((2, 16, 20), bool)
    sky[1, :8] = True
    tracks = tracks_of(walls([1, 1], [0, 0], sky=sky))
    assert len(tracks.points) == 160
    assert tracks.place[:, 1].min() > 8
    prediction = walls([1, 1], [0, 0])
    prediction.depth[0, 3, 5], prediction.depth[1, 4, 6], prediction.depth[1, 5, 7] = np.nan, np.inf, 0
    assert len(tracks_of(prediction).points) == 317


@pytest.mark.parametrize("views", [1, 2])
def test_sky_that_is_not_filtered_has_its_own_depth(views):
    sky = np.ones((views, 16, 20), bool)
    tracks = tracks_of(walls([1] * views, [0] * views, sky=sky), filter_sky=False)
    assert len(tracks.points) == 320
    np.testing.assert_allclose(tracks.points[:, 2], 4)


def test_at_most_so_many_points_evenly_spread_and_by_the_seed(scene):
    fewer = tracks_of(scene.prediction, sparse_max_points=600)
    assert 300 < len(fewer.points) <= 600
    assert len(tracks_of(scene.prediction, num_max_points=50).points) <= 50
    same, other = (tracks_of(scene.prediction, sparse_max_points=600, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(fewer.points, same.points)
    assert not {tuple(point) for point in same.points} <= {tuple(point) for point in other.points}

    keep = np.ones((3, 40, 60), bool)
    keep[1, :20] = False
    (first, second, third) = _seeds(keep, 600, 0)
    assert [len(first), len(second), len(third)] == [240, 120, 240]
    assert (np.diff(first) > 0).all()
    blocks = np.histogram2d(first // 60, first % 60, bins=(4, 6), range=((0, 40), (0, 60)))[0]
    assert blocks.min() >= 8  # 10 each; by chance, one of 24 would have 4
    assert blocks.max() <= 12
    assert set(first.tolist()) != set(third.tolist())


def test_a_seed_that_was_dropped_drops_no_other():
    starts = np.array([0, 1, 2, 3])
    np.testing.assert_array_equal(_first_of_each_surface(starts, np.array([[1, 0], [2, 1]])), [True, False, True])
    np.testing.assert_array_equal(_first_of_each_surface(starts, np.zeros((2, 0), int)), [True, True, True])


def test_a_rotation_that_was_rounded_reprojects_exactly(scene):
    rounded = dataclasses.replace(scene.prediction, extrinsics=np.round(scene.prediction.extrinsics, 3))
    assert tracks_of(rounded).errors.max() < 0.5


def test_a_world_far_away_loses_nothing(scene, tracks):
    offset = np.array([4e5, 5e6, 100.0])
    moved = scene.prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ offset
    far = tracks_of(dataclasses.replace(scene.prediction, extrinsics=moved))
    assert len(far.points) == pytest.approx(len(tracks.points), abs=3)
    assert far.errors.max() < 1e-3


def test_sky_that_is_not_left_out_stands_at_its_depth():
    sky = np.zeros((1, 16, 20), bool)
    sky[0, :8] = True
    for views in (1, 2):
        prediction = walls([1] * views, [0] * views, sky=np.repeat(sky, views, axis=0))
        assert len(tracks_of(prediction).points) == 8 * 20
        tracks = tracks_of(prediction, filter_sky=False)
        assert len(tracks.points) == 16 * 20
        np.testing.assert_allclose(tracks.points[:, 2], 4, rtol=1e-12)
