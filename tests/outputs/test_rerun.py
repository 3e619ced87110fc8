import dataclasses
import io
import sys

import numpy as np
import pytest
from PIL import Image

from da3jax.outputs import export


@pytest.fixture
def recording(tmp_path):
    """Writes a prediction and gives, by entity, the components that were logged as NumPy arrays."""
    pytest.importorskip("rerun")
    chunk = pytest.importorskip("rerun.chunk")

    def write(prediction, **options):
        (path,) = export(prediction, "rerun", tmp_path, **{"conf_thresh_percentile": 0, **options})
        assert path == tmp_path / "scene.rrd"
        assert [file.name for file in tmp_path.iterdir()] == ["scene.rrd"]
        found = {}
        for part in chunk.RrdReader(path).stream():
            assert part.is_static
            batch = part.to_record_batch()
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                found[part.entity_path, name] = column[0].as_py()
        return found

    return write


def test_points_and_colours_are_those_of_the_world(scene, recording):
    prediction, points = scene
    found = recording(prediction)
    np.testing.assert_allclose(found["/world/points", "Points3D:positions"], points.reshape(-1, 3), atol=1e-5)
    colours = np.array(found["/world/points", "Points3D:colors"], np.uint32)
    channels = np.stack([colours >> shift & 255 for shift in (24, 16, 8)], axis=-1)
    np.testing.assert_array_equal(channels, prediction.processed_images.reshape(-1, 3))
    assert found["/world", "ViewCoordinates:xyz"] == [[3, 2, 5]]  # right, down, forward


def test_cameras_pictures_and_depth_are_as_predicted(prediction, recording):
    prediction.depth[1, 0, :3] = np.nan, np.inf, -1
    sky = np.zeros((2, 20, 30), bool)
    sky[1, 1] = True
    found = recording(dataclasses.replace(prediction, sky=sky))
    for view in range(2):
        camera = f"/world/camera_{view}"
        matrix = np.reshape(found[camera, "Pinhole:image_from_camera"], (3, 3)).T  # column after column
        np.testing.assert_allclose(matrix, prediction.intrinsics[view], rtol=1e-6)
        assert found[camera, "Pinhole:resolution"] == [[30, 20]]
        assert found[camera, "Pinhole:camera_xyz"] == [[3, 2, 5]]
        turn = np.reshape(found[camera, "Transform3D:mat3x3"], (3, 3))  # column after column: of the inverse, the rows
        np.testing.assert_allclose(turn, prediction.extrinsics[view, :, :3], atol=1e-6)
        centre = -prediction.extrinsics[view, :, :3].T @ prediction.extrinsics[view, :, 3]
        np.testing.assert_allclose(found[camera, "Transform3D:translation"], [centre], atol=1e-6)
        picture = Image.open(io.BytesIO(bytes(found[f"{camera}/image", "EncodedImage:blob"][0])))
        assert picture.size == (30, 20)
        depth = np.frombuffer(bytes(found[f"{camera}/depth", "DepthImage:buffer"][0]), np.float32).reshape(20, 30)
        expected = np.where(sky[view], 0, prediction.depth[view])
        if view == 1:
            expected[0, :3] = 0
        np.testing.assert_array_equal(depth, expected)
        assert found[f"{camera}/depth", "DepthImage:meter"] == [1]


def test_pictures_of_several_sizes_are_not_padded(prediction, recording):
    sizes = np.array([[20, 18], [12, 30]])
    found = recording(dataclasses.replace(prediction, from_image=np.tile(np.eye(3), (2, 1, 1)), image_sizes=sizes))
    for view, (height, width) in enumerate(sizes):
        camera = f"/world/camera_{view}"
        assert found[camera, "Pinhole:resolution"] == [[width, height]]
        assert Image.open(io.BytesIO(bytes(found[f"{camera}/image", "EncodedImage:blob"][0]))).size == (width, height)
        depth = np.frombuffer(bytes(found[f"{camera}/depth", "DepthImage:buffer"][0]), np.float32).reshape(height, width)
        np.testing.assert_array_equal(depth, prediction.depth[view, :height, :width])


def test_far_from_the_origin_the_world_is_moved_and_not_rounded(prediction, recording):
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ np.array([4e5, 5e6, 100.0])
    near = np.array(recording(prediction)["/world/points", "Points3D:positions"])
    found = recording(dataclasses.replace(prediction, extrinsics=moved))
    origin = np.array(found["/world", "Transform3D:translation"][0], np.float64)
    far = np.array(found["/world/points", "Points3D:positions"])
    np.testing.assert_allclose(far + (origin - [4e5, 5e6, 100]), near, atol=1e-4)


def test_cameras_can_be_left_out(prediction, recording):
    assert {entity for entity, _ in recording(prediction, show_cameras=False)} == {"/world", "/world/points"}


def test_an_empty_recording_is_refused(prediction, tmp_path):
    pytest.importorskip("rerun")
    empty = dataclasses.replace(prediction, depth=np.zeros((2, 20, 30)))
    with pytest.raises(ValueError, match=r"^scene.rrd would be empty: no pixel .*, and cameras are not shown$"):
        export(empty, "rerun", tmp_path, show_cameras=False)
    assert list(tmp_path.iterdir()) == []


def test_rerun_switched_off_is_said(prediction, tmp_path, monkeypatch):
    pytest.importorskip("rerun")
    monkeypatch.setenv("RERUN", "off")
    with pytest.raises(OSError, match=r"^scene.rrd cannot be written: the environment variable RERUN switches Rerun off; unset it$"):
        export(prediction, "rerun", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_rerun_is_said_with_its_remedy(prediction, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ModuleNotFoundError, match=r"format 'rerun' needs the Rerun SDK: pip install \"da3jax\[rerun\]\""):
        export(prediction, "npz-rerun", tmp_path)
    assert list(tmp_path.iterdir()) == []
