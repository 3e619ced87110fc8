"""Scenes are deterministic, varied, and seen from cameras that stand in the open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import camera_to_world_from_extrinsics, rotation_angle
from da3jax.training.scenes import CameraRanges, Cameras, render, sample_cameras, sample_scene, sample_views
from da3jax.training.scenes.layout import CLEARANCE
from da3jax.training.scenes.paths import PATHS, sample_path
from da3jax.training.scenes.scene import SOLID, WALL
from da3jax.training.scenes.terrain import height
from da3jax.training.scenes.texture import PATTERNS
from tests.quick import quick_jit
from tests.training.scenes.small import HEIGHT, VIEWS, WIDTH


def centres_of(views):
    return np.asarray(camera_to_world_from_extrinsics(jnp.asarray(views.extrinsics)))[..., 3]


def test_the_same_key_gives_the_same_bits_and_another_one_another_scene(draw_all, drawn, keys):
    again = draw_all(keys)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(again), strict=True))
    images = np.asarray(drawn[1].images)
    assert min(np.abs(images[i] - images[i + 1]).mean() for i in range(len(images) - 1)) > 0.02


@pytest.mark.integration
def test_sample_views_is_the_three_in_one_and_a_scene_by_itself_is_what_it_is_in_a_batch(views, keys):
    single = jax.jit(lambda key: sample_views(key, VIEWS, HEIGHT, WIDTH))(keys[3])
    np.testing.assert_allclose(single.extrinsics, views.extrinsics[3], atol=1e-4)
    same = np.asarray(single.surface) == views.surface[3]
    assert same.mean() > 0.995
    np.testing.assert_allclose(np.asarray(single.depth)[same], views.depth[3][same], rtol=2e-3)
    assert np.median(np.abs(np.asarray(single.images) - views.images[3])) < 1e-3


def test_pictures_are_finite_and_well_exposed(views):
    images = views.images
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    brightness = images.mean(axis=(1, 2, 3, 4))
    assert 0.3 < brightness.mean() < 0.65
    assert ((brightness > 0.12) & (brightness < 0.9)).mean() > 0.95
    assert (images > 0.999).all(axis=-1).mean() < 0.1
    assert np.median(images.std(axis=(2, 3, 4))) > 0.08


@pytest.mark.slow
def test_more_samples_change_colours_at_outlines_and_nothing_else(scenes, views):
    scene = jax.tree.map(lambda x: x[1], scenes)
    cameras = Cameras(views.extrinsics[1], views.intrinsics[1])
    one, four = (quick_jit(lambda s, c, n=n: render(s, c, HEIGHT, WIDTH, samples=n))(scene, cameras) for n in (1, 2))
    assert np.array_equal(one.depth, four.depth)
    change = np.abs(np.asarray(one.images) - np.asarray(four.images)).max(axis=-1)
    assert change.max() > 0
    assert np.median(change) < 0.03


def test_cameras_are_outside_of_solids_and_walls_and_above_the_ground(scenes, views):
    centres = centres_of(views)
    s = jax.tree.map(np.asarray, scenes)
    offset = centres[:, :, None] - s.solids.centre[:, None]
    own = np.einsum("bkji,bskj->bski", s.solids.rotation, offset)
    beyond = np.linalg.norm(np.maximum(np.abs(own) - s.solids.half[:, None], 0), axis=-1)  # from the box around each solid
    assert (beyond / s.size[:, None, None]).min() > 0.5 * CLEARANCE
    ground = jax.vmap(height)(scenes.terrain, jnp.asarray(centres[..., 0]), jnp.asarray(centres[..., 1]))
    assert ((centres[..., 2] - ground) / s.size[:, None]).min() > 0.35
    room = s.room
    inside = (np.abs(centres[..., :2]) < room.half[:, None]).all(axis=-1) & (centres[..., 2] < room.height[:, None])
    assert inside[room.present].all()
    assert 10 < room.present.sum() < 40


def test_every_view_sees_something_that_is_not_too_near(scenes, views):
    size = np.asarray(scenes.size)
    assert (1 - views.sky.mean(axis=(2, 3))).min() > 0.2
    nearest = np.where(views.sky, np.inf, views.depth).min(axis=(1, 2, 3)) / size
    assert nearest.min() > 0.02
    assert (np.where(views.sky, np.inf, views.depth) < 0.1 * size[:, None, None, None]).mean(axis=(2, 3)).max() < 0.4


def test_neighbouring_views_share_what_they_see(scenes, views):
    """By where each pixel's point falls in the next view, whatever may be in front."""
    from da3jax.geometry import project, unproject

    points = unproject(jnp.asarray(views.depth), jnp.asarray(views.intrinsics), jnp.asarray(views.extrinsics))
    pixel, depth = project(points[:, :-1], jnp.asarray(views.extrinsics[:, 1:]), jnp.asarray(views.intrinsics[:, 1:]))
    inside = (depth > 0) & (pixel > 0).all(axis=-1) & (pixel[..., 0] < WIDTH) & (pixel[..., 1] < HEIGHT) & ~views.sky[:, :-1]
    share = np.asarray(inside).mean(axis=(2, 3))
    assert (share > 0.15).mean() > 0.97
    assert 0.3 < np.median(share) < 0.9


def test_scenes_differ_in_all_that_matters(scenes, views):
    s = jax.tree.map(np.asarray, scenes)
    valid = np.where(views.sky, np.nan, views.depth)
    near, far = np.nanquantile(valid, 0.02, axis=(1, 2, 3)), np.nanquantile(valid, 0.98, axis=(1, 2, 3))
    assert np.quantile(far / near, 0.1) > 2.5
    assert np.quantile(far / near, 0.9) > 12
    assert np.quantile(far, 0.9) / np.quantile(far, 0.1) > 6
    focal = views.intrinsics[:, :, 0, 0] / (WIDTH / 2)
    assert focal.max() / focal.min() > 2
    assert (focal[:, 0] != focal[:, 1]).mean() > 0.08
    angle = np.degrees(rotation_angle(jnp.asarray(views.extrinsics[:, 0, :, :3]), jnp.asarray(views.extrinsics[:, -1, :, :3])))
    assert np.quantile(angle, 0.1) < 12
    assert np.quantile(angle, 0.9) > 40
    step = np.linalg.norm(centres_of(views)[:, 0] - centres_of(views)[:, -1], axis=-1) / np.nanmedian(valid, axis=(1, 2, 3))
    assert np.quantile(step, 0.15) < 0.12
    assert np.quantile(step, 0.85) > 0.35
    shown = (views.surface >= SOLID).mean(axis=(1, 2, 3))
    assert np.quantile(shown, 0.1) < 0.12
    assert np.quantile(shown, 0.9) > 0.3
    assert set(np.unique(s.materials.pattern[:, WALL:])) == set(range(len(PATTERNS)))
    assert s.solids.half.min() < 0.02
    assert 0.2 < (s.terrain.amplitude > 0).mean() < 0.5


def test_a_guess_that_looks_at_nothing_is_far_off(views):
    """The mean depth map over scenes, each divided by its median, and the median of each scene."""
    depth = np.where(views.sky, np.nan, views.depth)
    relative = depth / np.nanmedian(depth, axis=(1, 2, 3), keepdims=True)
    guess = np.exp(np.nanmean(np.log(relative), axis=(0, 1)))
    assert np.nanmean(np.abs(guess - relative) / relative) > 0.3


@pytest.fixture(scope="module")
def pose_along(scenes, keys):
    """Camera-to-world (8, 4, 3, 4) of a camera that goes along a path in eight scenes."""
    some = jax.tree.map(lambda x: x[:8], scenes)
    draw = jax.jit(jax.vmap(lambda key, scene, path: sample_path(key, scene, 4, path, jnp.float32(0.45), jnp.radians(60.0)), (0, 0, None)))
    return lambda path: np.asarray(camera_to_world_from_extrinsics(draw(keys[:8], some, PATHS.index(path))))


def extent_of(pose, scenes):
    """How far the eight cameras get, by the size of the ring that they may stand in."""
    centre = pose[..., 3]
    return np.linalg.norm(centre - centre[:, :1], axis=-1).max(axis=1) / np.asarray(scenes.ring.outer[:8])


@pytest.mark.parametrize("path", PATHS)
def test_each_path_moves_as_its_name_says(path, pose_along, scenes):
    pose = pose_along(path)
    extent, centre, gaze = extent_of(pose, scenes), pose[..., 3], pose[..., 2]
    angle = np.degrees(np.arccos(np.clip((gaze[:, 0] * gaze[:, -1]).sum(axis=-1), -1, 1)))
    if path == "turn":
        assert extent.max() < 0.05
        assert np.median(angle) > 20
    else:
        assert extent.max() > 0.15
    if path == "orbit":
        inward = -(gaze[..., :2] * centre[..., :2]).sum(axis=-1)
        assert (inward > 0).mean() > 0.95


def test_shares_say_which_paths_there_are(scenes, keys):
    ranges = CameraRanges(shares=tuple(float(name == "turn") for name in PATHS), motion=(0.3, 0.6), zoom=0)
    some = jax.tree.map(lambda x: x[:8], scenes)
    cameras = jax.jit(jax.vmap(lambda key, scene: sample_cameras(key, scene, 4, 28, 28, ranges)))(keys[:8], some)
    assert extent_of(np.asarray(camera_to_world_from_extrinsics(cameras.extrinsics)), scenes).max() < 0.05


@pytest.mark.slow
def test_less_motion_is_more_overlap(keys):
    def extent(motion):
        ranges = CameraRanges(shares=(1, 0, 0, 0), motion=motion, overlap=0)

        def one(key):
            scene = sample_scene(key)
            pose = camera_to_world_from_extrinsics(sample_cameras(key, scene, 2, 28, 28, ranges).extrinsics)
            return jnp.linalg.norm(pose[0, :, 3] - pose[1, :, 3]) / scene.ring.outer

        return np.median(quick_jit(jax.vmap(one))(keys[:16]))

    assert extent((0.02, 0.05)) < 0.3 * extent((0.7, 1.0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shares": (1, 0, 0)}, r"shares are \(1, 0, 0\); they are 4 numbers, none negative and not all 0: orbit, walk, turn, wander"),
        ({"shares": (0, 0, 0, 0)}, "shares are"),
        ({"shares": (1, -1, 1, 1)}, "shares are"),
        ({"motion": (0.5, 0.1)}, "motion is from 0.5 to 0.1; it lies above 0 and up to 1, the lower end first"),
        ({"motion": (0, 0.1)}, "motion is from 0 to 0.1"),
        ({"fov": (40, 170)}, "fov is from 40 to 170; it lies above 5 and up to 150"),
        ({"zoom": 1.5}, "zoom is 1.5; it is a share from 0 to 1"),
        ({"overlap": -0.1}, "overlap is -0.1; it is a share from 0 to 1"),
    ],
)
def test_ranges_that_cannot_be_meant_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CameraRanges(**fields)
