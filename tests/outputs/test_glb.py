import colorsys
import dataclasses
import json
import logging
import pathlib
import struct

import numpy as np
import pytest
import trimesh

from da3jax.outputs import export
from da3jax.outputs.glb import _choose

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
NAN = float("nan")


def glb(prediction, folder, **options):
    (path,) = export(prediction, "glb", folder, **options)
    return trimesh.load(path)


def to_scene(world_to_camera, points):
    """The frame of the file: camera 0 with y and z turned, the median at the origin."""
    world_to_scene = FLIP @ np.concatenate([world_to_camera, [[0, 0, 0, 1]]])
    world_to_scene[:3, 3] -= np.median(points @ world_to_scene[:3, :3].T + world_to_scene[:3, 3], axis=0)
    return world_to_scene


def line_colours(path):
    """The first colour of every mesh, from the bytes: the loader does not keep colours of lines."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<I", content[12:16])
    tree, body = json.loads(content[20 : 20 + length]), content[28 + length :]
    views = [
        tree["bufferViews"][tree["accessors"][mesh["primitives"][0]["attributes"]["COLOR_0"]]["bufferView"]] for mesh in tree["meshes"]
    ]
    return {mesh["name"]: tuple(body[view["byteOffset"] :][:3]) for mesh, view in zip(tree["meshes"], views, strict=True)}


def test_points_and_colours_come_back_in_their_places(scene, tmp_path):
    prediction, points = scene
    loaded = glb(prediction, tmp_path)
    world_to_scene = to_scene(prediction.extrinsics[0], points.reshape(-1, 3))
    np.testing.assert_allclose(loaded.metadata["world_to_scene"], world_to_scene, atol=1e-5)
    expected = points.reshape(-1, 3) @ world_to_scene[:3, :3].T + world_to_scene[:3, 3]
    cloud = loaded.geometry["points"]
    np.testing.assert_allclose(cloud.vertices, expected, atol=1e-5)
    np.testing.assert_array_equal(cloud.colors[:, :3], prediction.processed_images.reshape(-1, 3))
    np.testing.assert_allclose(np.median(cloud.vertices, axis=0), 0, atol=1e-6)
    for name in loaded.graph.nodes_geometry:
        np.testing.assert_array_equal(loaded.graph[name][0], np.eye(4))


def test_points_project_to_the_centres_of_their_pixels(prediction, tmp_path):
    loaded = glb(prediction, tmp_path)
    vertices = np.concatenate([loaded.geometry["points"].vertices, np.ones((1200, 1))], axis=1)
    world = vertices @ np.linalg.inv(loaded.metadata["world_to_scene"]).T
    rows, columns = np.mgrid[:20, :30]
    for view in range(2):
        projected = world[view * 600 :][:600] @ (prediction.intrinsics[view] @ prediction.extrinsics[view]).T
        pixels = projected[:, :2] / projected[:, 2:]
        np.testing.assert_allclose(pixels, np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2), atol=1e-3)


def test_frusta_join_each_centre_with_the_corners_of_its_image(scene, tmp_path):
    prediction, points = scene
    loaded = glb(prediction, tmp_path)
    world_to_scene = to_scene(prediction.extrinsics[0], points.reshape(-1, 3))
    low, high = np.percentile(loaded.geometry["points"].vertices, (5, 95), axis=0)
    size = 0.03 * np.linalg.norm(high - low)
    for view in range(2):
        camera_to_world = np.linalg.inv(np.concatenate([prediction.extrinsics[view], [[0, 0, 0, 1]]]))
        (fx, _, cx), (_, fy, cy), _ = prediction.intrinsics[view]
        corners = [((x - cx) / fx * size, (y - cy) / fy * size, size, 1) for x, y in ((0, 0), (30, 0), (30, 20), (0, 20))]
        a, b, c, d, e = np.array([(0, 0, 0, 1), *corners]) @ camera_to_world.T @ world_to_scene[:3].T
        expected = {frozenset(map(tuple, np.round(line, 4))) for line in ((a, b), (a, c), (a, d), (a, e), (b, c), (c, d), (d, e), (e, b))}
        lines = np.asarray(loaded.geometry[f"camera_{view}"].vertices).reshape(-1, 2, 3)
        assert {frozenset(map(tuple, np.round(line, 4))) for line in lines} == expected


def test_each_camera_has_a_hue_of_its_own(prediction, tmp_path):
    (path,) = export(prediction, "glb", tmp_path)
    hues = [tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.85, 0.95)) for hue in (0.25, 0.75)]
    colours = line_colours(path)
    assert [colours["camera_0"], colours["camera_1"]] == hues


def test_cameras_can_be_left_out(prediction, tmp_path):
    assert list(glb(prediction, tmp_path, show_cameras=False).geometry) == ["points"]


def test_extrinsics_of_four_rows_give_the_same_file(prediction, tmp_path):
    rows = np.broadcast_to(np.array([0, 0, 0, 1], np.float32), (2, 1, 4))
    square = dataclasses.replace(prediction, extrinsics=np.concatenate([prediction.extrinsics, rows], axis=1))
    (first,), (second,) = export(prediction, "glb", tmp_path / "a"), export(square, "glb", tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_the_scene_does_not_depend_on_where_the_world_begins(prediction, tmp_path):
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ np.array([4e5, 5e6, 100.0])
    expected = glb(prediction, tmp_path / "a").geometry["points"].vertices
    vertices = glb(dataclasses.replace(prediction, extrinsics=moved), tmp_path / "b").geometry["points"].vertices
    np.testing.assert_allclose(vertices, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("confidence", "percentile", "kept"),
    [
        (np.arange(600) / 100 + 1, 40.0, 360),  # the percentile asked for
        (np.arange(600) / 100 + 1, 75.0, 150),
        (np.arange(600) / 100 + 1, 99.0, 60),  # never more than the 90th
        (np.where(np.arange(600) < 330, 1.0, 1.2), 40.0, 270),  # at least 1.05, though the percentile is 1
        (np.linspace(1, 1.04, 600), 40.0, 60),  # nothing reaches 1.05: the best tenth
        (np.ones(600), 40.0, 600),
    ],
)
def test_confidence_decides_as_in_the_official_export(prediction, tmp_path, confidence, percentile, kept):
    shuffled = np.random.default_rng(0).permutation(600)
    confidence = np.broadcast_to(confidence[shuffled].reshape(20, 30), (2, 20, 30)).astype(np.float32)
    loaded = glb(dataclasses.replace(prediction, conf=confidence), tmp_path, conf_thresh_percentile=percentile)
    threshold = min(max(np.float32(1.05), np.percentile(confidence, percentile)), np.percentile(confidence, 90))
    expected = prediction.processed_images[confidence >= threshold]
    assert len(expected) == 2 * kept
    np.testing.assert_array_equal(loaded.geometry["points"].colors[:, :3], expected)


def test_sky_is_removed_and_has_no_part_in_the_percentiles(prediction, tmp_path):
    sky = np.zeros((2, 20, 30), bool)
    sky[:, :10] = True
    confidence = np.full((2, 20, 30), 1000, np.float32)
    confidence[:, 10:] = (np.arange(300) / 100 + 2).reshape(10, 30)
    loaded = glb(dataclasses.replace(prediction, conf=confidence, sky=sky), tmp_path, conf_thresh_percentile=50)
    expected = prediction.processed_images[:, 15:].reshape(-1, 3)
    np.testing.assert_array_equal(loaded.geometry["points"].colors[:, :3], expected)


def test_depth_and_confidence_that_are_no_numbers_are_skipped(prediction, tmp_path):
    prediction.depth[0, 0, :5] = NAN, np.inf, -np.inf, 0, -1
    confidence = np.full((2, 20, 30), 3, np.float32)
    confidence[1, 0, :2] = NAN, np.inf
    loaded = glb(dataclasses.replace(prediction, conf=confidence), tmp_path)
    keep = np.ones((2, 20, 30), bool)
    keep[0, 0, :5] = keep[1, 0, :2] = False
    np.testing.assert_array_equal(loaded.geometry["points"].colors[:, :3], prediction.processed_images[keep])
    assert np.isfinite(loaded.geometry["points"].vertices).all()


def test_at_most_so_many_points_are_kept_chosen_by_seed(scene, tmp_path):
    prediction, _ = scene
    every = glb(prediction, tmp_path)
    whole = {tuple(colour) for colour in every.geometry["points"].colors}
    chosen = {}
    for seed in (0, 1):
        loaded = glb(prediction, tmp_path, num_max_points=500, seed=seed)
        points = loaded.geometry["points"]
        assert len(points.vertices) == 500
        chosen[seed] = {tuple(colour) for colour in points.colors}
        assert chosen[seed] <= whole
        np.testing.assert_allclose(np.median(points.vertices, axis=0), 0, atol=1e-6)
    assert chosen[0] != chosen[1]
    assert len(glb(prediction, tmp_path, num_max_points=1).geometry["points"].vertices) == 1


def test_every_pixel_has_the_same_chance():
    keep = np.random.default_rng(0).random((3, 4, 6)) > np.array([0.2, 0.5, 0.9])[:, None, None]
    counts, rounds, most = np.zeros((3, 24)), 3000, 7
    for seed in range(rounds):
        chosen = list(_choose(keep, most, seed))
        assert sum(map(len, chosen)) == most
        for view, pixels in enumerate(chosen):
            assert len(np.unique(pixels)) == len(pixels)
            counts[view, pixels] += 1
    counts = counts.reshape(keep.shape)
    assert (counts[~keep] == 0).all()
    chance = most / keep.sum()
    deviation = np.sqrt(rounds * chance * (1 - chance))
    assert np.abs(counts[keep] - rounds * chance).max() < 4 * deviation


def test_without_cameras_a_field_of_view_is_assumed_and_views_stand_side_by_side(prediction, tmp_path, caplog):
    depth = np.full((3, 20, 30), 2, np.float32)
    images = np.zeros((3, 20, 30, 3), np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None, None]
    bare = dataclasses.replace(prediction, depth=depth, processed_images=images, extrinsics=None, intrinsics=None)
    with caplog.at_level(logging.WARNING):
        loaded = glb(bare, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "scene.glb: the prediction lacks cameras, or a part of them; it assumes a field of view of 60° over the longer side of the image "
        "and views side by side along x"
    ]
    points = loaded.geometry["points"]
    width = 2 * 2 * np.tan(np.pi / 6)
    for view in range(3):
        vertices = points.vertices[points.colors[:, 0] == view]
        np.testing.assert_allclose(np.ptp(vertices, axis=0), [width * 29 / 30, width * 19 / 30, 0], atol=1e-5)
        np.testing.assert_allclose(vertices.mean(axis=0), [1.1 * width * (view - 1), 0, 0], atol=1e-5)
    assert set(loaded.geometry) == {"points", "camera_0", "camera_1", "camera_2"}


def test_one_view_with_intrinsics_alone_uses_them_and_assumes_nothing(prediction, tmp_path, caplog):
    only = {name: getattr(prediction, name)[:1] for name in ("depth", "intrinsics", "processed_images")}
    loaded = glb(dataclasses.replace(prediction, **only, extrinsics=None), tmp_path)
    assert not caplog.records
    vertices = loaded.geometry["points"].vertices - np.array(loaded.metadata["world_to_scene"])[:3, 3]
    x, y = (29.5 - 11) / 25, (19.5 - 13) / 27
    np.testing.assert_allclose(vertices[-1], prediction.depth[0, -1, -1] * np.array([x, -y, -1]), atol=1e-5)


def test_without_any_point_the_cameras_alone_are_drawn(prediction, tmp_path, caplog):
    empty = dataclasses.replace(prediction, sky=np.ones((2, 20, 30), bool), conf=np.ones((2, 20, 30), np.float32))
    with caplog.at_level(logging.WARNING):
        loaded = glb(empty, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "scene.glb has cameras only: no pixel outside the sky has a positive finite depth"
    ]
    assert set(loaded.geometry) == {"camera_0", "camera_1"}
    centre = -prediction.extrinsics[1, :, :3].T @ prediction.extrinsics[1, :, 3]
    expected = FLIP[:3, :3] @ (prediction.extrinsics[0, :, :3] @ centre + prediction.extrinsics[0, :, 3])
    assert np.abs(loaded.geometry["camera_1"].vertices - expected).max() < 0.05
    glb(dataclasses.replace(empty, depth=np.full((2, 20, 30), NAN), extrinsics=None, intrinsics=None), tmp_path)


def test_a_scene_with_nothing_in_it_is_refused(prediction, tmp_path):
    empty = dataclasses.replace(prediction, depth=np.full((2, 20, 30), NAN))
    message = "^scene.glb would be empty: no pixel outside the sky has a positive finite depth, and cameras are not shown$"
    with pytest.raises(ValueError, match=message):
        export(empty, "glb", tmp_path, show_cameras=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["extrinsics", "intrinsics"])
@pytest.mark.parametrize("value", [NAN, 0.0])
def test_a_camera_that_cannot_be_inverted_is_named(prediction, tmp_path, name, value):
    getattr(prediction, name)[1] = value
    with pytest.raises(ValueError, match=f"^scene.glb cannot be made: {name} of view 1 are not finite or cannot be inverted$"):
        export(prediction, "glb", tmp_path)
