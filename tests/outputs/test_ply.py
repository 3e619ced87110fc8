import dataclasses

import numpy as np
import pytest
import trimesh
from plyfile import PlyData

from da3jax.outputs import export
from tests.outputs.pixels import check_pixels

CHANNELS = ("red", "green", "blue")


def test_two_readers_find_the_points_in_the_world_with_their_colours(scene, tmp_path):
    prediction, expected = scene
    (path,) = export(prediction, "ply", tmp_path)
    assert path == tmp_path / "points.ply"
    vertex = PlyData.read(path)["vertex"]
    points, colours = (np.stack([vertex[name] for name in names], axis=-1) for names in ("xyz", CHANNELS))
    assert (points.dtype, colours.dtype) == (np.float32, np.uint8)
    np.testing.assert_allclose(points, expected.reshape(-1, 3), atol=2e-6)
    np.testing.assert_array_equal(colours, prediction.processed_images.reshape(-1, 3))
    cloud = trimesh.load(path)
    np.testing.assert_array_equal(cloud.vertices, points)
    np.testing.assert_array_equal(cloud.colors[:, :3], colours)


def test_points_project_to_the_centres_of_their_pixels_at_their_depth(prediction, tmp_path):
    (path,) = export(prediction, "ply", tmp_path)
    check_pixels(trimesh.load(path).vertices, prediction)


def test_the_points_are_those_of_the_glb(prediction, tmp_path):
    options = {"num_max_points": 200, "edge_threshold": 0.05}
    glb, ply = export(dataclasses.replace(prediction, conf=prediction.depth), "glb-ply", tmp_path, **options)
    np.testing.assert_array_equal(trimesh.load(ply).vertices, trimesh.load(glb).geometry["points"].vertices)


def test_far_from_the_origin_coordinates_are_double(scene, tmp_path):
    prediction, points = scene
    begin = np.array([4e5, 5e6, 100.0])
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ begin
    (path,) = export(dataclasses.replace(prediction, extrinsics=moved), "ply", tmp_path)
    vertex = PlyData.read(path)["vertex"]
    assert vertex["x"].dtype == np.float64
    np.testing.assert_allclose(np.stack([vertex[axis] for axis in "xyz"], axis=-1), points.reshape(-1, 3) + begin, atol=1e-5)
    np.testing.assert_allclose(trimesh.load(path).vertices, points.reshape(-1, 3) + begin, atol=1e-5)


@pytest.mark.parametrize(("metric", "unit"), [(True, "metres"), (False, "unit unknown")])
def test_a_comment_says_which_axes_and_unit(prediction, tmp_path, metric, unit):
    (path,) = export(dataclasses.replace(prediction, is_metric=metric), "ply", tmp_path)
    assert PlyData.read(path).comments == [f"x right, y down, z forward; {unit}"]


def test_without_cameras_and_confidence_there_are_points_too(prediction, tmp_path, caplog):
    (path,) = export(dataclasses.replace(prediction, extrinsics=None, intrinsics=None), "ply", tmp_path)
    assert caplog.records[0].getMessage().startswith("points.ply: the prediction lacks cameras, or a part of them; it assumes")
    np.testing.assert_allclose(trimesh.load(path).vertices[:, 2], prediction.depth.ravel(), rtol=1e-6)


def test_a_file_without_a_point_is_refused(prediction, tmp_path):
    empty = dataclasses.replace(prediction, depth=np.zeros_like(prediction.depth))
    message = "^points.ply would be empty: no pixel outside the sky has a positive finite depth and passes the filters$"
    with pytest.raises(ValueError, match=message):
        export(empty, "ply", tmp_path)
    assert list(tmp_path.iterdir()) == []
