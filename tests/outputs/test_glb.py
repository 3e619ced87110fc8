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
from tests.outputs.pixels import check_pixels

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


def in_scene(loaded, name):
    """Vertices where a viewer shows them."""
    return trimesh.transform_points(loaded.geometry[name].vertices, loaded.graph[name][0])


def test_points_and_colours_are_stored_in_the_world_and_shown_upright(scene, tmp_path):
    prediction, points = scene
    loaded = glb(prediction, tmp_path)
    cloud = loaded.geometry["points"]
    np.testing.assert_allclose(cloud.vertices, points.reshape(-1, 3), atol=1e-5)
    np.testing.assert_array_equal(cloud.colors[:, :3], prediction.processed_images.reshape(-1, 3))
    world_to_scene = to_scene(prediction.extrinsics[0], points.reshape(-1, 3))
    np.testing.assert_allclose(loaded.metadata["world_to_scene"], world_to_scene, atol=1e-5)
    for name in ("points", "camera_0", "camera_1"):
        np.testing.assert_allclose(loaded.graph[name][0], world_to_scene, atol=1e-5)
    np.testing.assert_allclose(np.median(in_scene(loaded, "points"), axis=0), 0, atol=1e-6)


def test_points_project_to_the_centres_of_their_pixels_at_their_depth(prediction, tmp_path):
    check_pixels(glb(prediction, tmp_path).geometry["points"].vertices, prediction)


def test_frusta_join_each_centre_with_the_corners_of_its_image(prediction, tmp_path):
    loaded = glb(prediction, tmp_path)
    low, high = np.percentile(loaded.geometry["points"].vertices, (5, 95), axis=0)
    size = 0.03 * np.linalg.norm(high - low)
    for view in range(2):
        camera_to_world = np.linalg.inv(np.concatenate([prediction.extrinsics[view], [[0, 0, 0, 1]]]))
        (fx, _, cx), (_, fy, cy), _ = prediction.intrinsics[view]
        corners = [((x - cx) / fx * size, (y - cy) / fy * size, size, 1) for x, y in ((0, 0), (30, 0), (30, 20), (0, 20))]
        a, b, c, d, e = np.array([(0, 0, 0, 1), *corners]) @ camera_to_world[:3].T
        expected = {frozenset(map(tuple, np.round(line, 4))) for line in ((a, b), (a, c), (a, d), (a, e), (b, c), (c, d), (d, e), (e, b))}
        lines = np.asarray(loaded.geometry[f"camera_{view}"].vertices).reshape(-1, 2, 3)
        assert {frozenset(map(tuple, np.round(line, 4))) for line in lines} == expected


def test_a_frustum_ends_at_its_own_photograph_where_views_of_several_sizes_share_arrays(prediction, tmp_path):
    native = dataclasses.replace(prediction, from_image=np.tile(np.eye(3), (2, 1, 1)), image_sizes=np.array([[20, 30], [20, 18]]))
    whole, own = glb(prediction, tmp_path / "whole"), glb(native, tmp_path / "own")
    np.testing.assert_array_equal(own.geometry["camera_0"].vertices, whole.geometry["camera_0"].vertices)
    pose, (fx, _, cx) = np.concatenate([prediction.extrinsics[1], [[0, 0, 0, 1]]]), prediction.intrinsics[1, 0]
    x, _, z = (trimesh.transform_points(own.geometry["camera_1"].vertices, pose)).T
    assert (fx * x / z)[z > 1e-3].max() + cx == pytest.approx(18, abs=1e-2)


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


def test_a_world_that_begins_far_away_costs_no_accuracy(scene, tmp_path):
    prediction, points = scene
    begin = np.array([4e5, 5e6, 100.0])
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ begin
    here = glb(prediction, tmp_path / "a")
    there = glb(dataclasses.replace(prediction, extrinsics=moved), tmp_path / "b")
    for name in ("points", "camera_0", "camera_1"):
        np.testing.assert_allclose(in_scene(there, name), in_scene(here, name), atol=1e-5)
    to_world = np.linalg.inv(there.metadata["world_to_scene"]) @ there.graph["points"][0]
    world = trimesh.transform_points(there.geometry["points"].vertices, to_world)
    np.testing.assert_allclose(world, points.reshape(-1, 3) + begin, atol=1e-5)


def test_at_most_so_many_points_are_written(prediction, tmp_path):
    whole = {tuple(vertex) for vertex in glb(prediction, tmp_path).geometry["points"].vertices}
    for thinning in ("voxel", "random"):
        loaded = glb(prediction, tmp_path, num_max_points=500, thinning=thinning)
        assert 480 <= len(loaded.geometry["points"].vertices) <= 500
        assert {tuple(vertex) for vertex in loaded.geometry["points"].vertices} < whole
        np.testing.assert_allclose(np.median(in_scene(loaded, "points"), axis=0), 0, atol=1e-6)


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
    vertices_shown, colours = in_scene(loaded, "points"), loaded.geometry["points"].colors
    width = 2 * 2 * np.tan(np.pi / 6)
    for view in range(3):
        vertices = vertices_shown[colours[:, 0] == view]
        np.testing.assert_allclose(np.ptp(vertices, axis=0), [width * 29 / 30, width * 19 / 30, 0], atol=1e-5)
        np.testing.assert_allclose(vertices.mean(axis=0), [1.1 * width * (view - 1), 0, 0], atol=1e-5)
    assert set(loaded.geometry) == {"points", "camera_0", "camera_1", "camera_2"}


def test_one_view_with_intrinsics_alone_uses_them_and_assumes_nothing(prediction, tmp_path, caplog):
    only = {name: getattr(prediction, name)[:1] for name in ("depth", "intrinsics", "processed_images")}
    loaded = glb(dataclasses.replace(prediction, **only, extrinsics=None), tmp_path)
    assert not caplog.records
    x, y = (29.5 - 11) / 25, (19.5 - 13) / 27
    vertices = loaded.geometry["points"].vertices
    np.testing.assert_allclose(vertices[-1], prediction.depth[0, -1, -1] * np.array([x, y, 1]), atol=1e-5)


def test_without_any_point_the_cameras_alone_are_drawn(prediction, tmp_path, caplog):
    empty = dataclasses.replace(prediction, sky=np.ones((2, 20, 30), bool), conf=np.ones((2, 20, 30), np.float32))
    with caplog.at_level(logging.WARNING):
        loaded = glb(empty, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "scene.glb has cameras only: no pixel outside the sky has a positive finite depth and passes the filters"
    ]
    assert set(loaded.geometry) == {"camera_0", "camera_1"}
    centre = -prediction.extrinsics[1, :, :3].T @ prediction.extrinsics[1, :, 3]
    assert np.abs(loaded.geometry["camera_1"].vertices - centre).max() < 0.05
    np.testing.assert_allclose(in_scene(loaded, "camera_0").min(axis=0)[2], -0.03, atol=1e-6)  # camera 0 is the origin, and looks along -z
    glb(dataclasses.replace(empty, depth=np.full((2, 20, 30), NAN), extrinsics=None, intrinsics=None), tmp_path)


def test_a_scene_with_nothing_in_it_is_refused(prediction, tmp_path):
    empty = dataclasses.replace(prediction, depth=np.full((2, 20, 30), NAN))
    message = (
        "^scene.glb would be empty: no pixel outside the sky has a positive finite depth and passes the filters, and cameras are not shown$"
    )
    with pytest.raises(ValueError, match=message):
        export(empty, "glb", tmp_path, show_cameras=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["extrinsics", "intrinsics"])
@pytest.mark.parametrize("value", [NAN, 0.0])
def test_a_camera_that_cannot_be_inverted_is_named(prediction, tmp_path, name, value):
    getattr(prediction, name)[1] = value
    with pytest.raises(ValueError, match=f"^scene.glb cannot be made: {name} of view 1 are not finite or cannot be inverted$"):
        export(prediction, "glb", tmp_path)
