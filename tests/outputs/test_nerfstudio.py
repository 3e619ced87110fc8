import dataclasses
import json
import logging

import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

from da3jax.outputs import export
from da3jax.outputs.manifest import record
from tests.outputs.rendered import SIZES, render


@pytest.fixture(scope="module")
def scene():
    return render()


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    paths = export(scene.prediction, "nerfstudio-colmap", folder, images=scene.images)
    names = ["sparse_pc.ply", "transforms.json", *(f"images/{view:04d}.{'png' if view % 2 else 'jpg'}" for view in range(4))]
    assert [str(path.relative_to(folder / "nerfstudio")) for path in paths[:6]] == names
    return folder / "nerfstudio"


def see(frame, points):
    """Pixels and distances along the line of sight, as OpenGL looks: x right, y up, along −z; image rows count down."""
    pose = np.array(frame["transform_matrix"])
    assert pose.shape == (4, 4)
    np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])
    eye = np.linalg.solve(pose, np.concatenate([points, np.ones((len(points), 1))], axis=1).T)
    u = frame["cx"] + frame["fl_x"] * eye[0] / -eye[2]
    v = frame["cy"] - frame["fl_y"] * eye[1] / -eye[2]
    return np.stack([u, v], axis=-1), -eye[2]


def test_frames_see_the_truth_where_their_pictures_show_it(scene, folder):
    model = json.loads((folder / "transforms.json").read_text())
    assert model["camera_model"] == "OPENCV"
    assert [model[name] for name in ("k1", "k2", "p1", "p2")] == [0, 0, 0, 0]
    for view, frame in enumerate(model["frames"]):
        assert [frame["h"], frame["w"]] == SIZES[view].tolist()
        with Image.open(folder / frame["file_path"]) as picture:
            assert picture.size == (frame["w"], frame["h"])
        rows, columns = np.mgrid[20:80:7, 20:110:7] + 0.5
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2)
        pixels = pixels[scene.surface(view, pixels) >= 0]
        assert len(pixels) > 50
        seen, distance = see(frame, scene.points(view, pixels))
        np.testing.assert_allclose(seen, pixels, atol=1e-3)
        np.testing.assert_allclose(distance, scene.depth(view, pixels), rtol=1e-6)


def test_the_points_are_those_of_the_colmap_model(scene, folder):
    model = json.loads((folder / "transforms.json").read_text())
    cloud = trimesh.load(folder / model["ply_file_path"])
    colmap = pycolmap.Reconstruction(folder.parent / "colmap" / "sparse" / "0")
    points = [colmap.points3D[number] for number in sorted(colmap.points3D)]
    np.testing.assert_allclose(cloud.vertices, [point.xyz for point in points], rtol=0, atol=1e-6)  # float32
    np.testing.assert_array_equal(cloud.colors[:, :3], [point.color for point in points])
    for view, frame in enumerate(model["frames"]):
        pixels, distance = see(frame, cloud.vertices)
        inside = (distance > 0) & (pixels > 0).all(axis=1) & (pixels < SIZES[view, ::-1]).all(axis=1)
        truth = scene.depth(view, pixels[inside])
        nearest = np.abs(truth / distance[inside] - 1) < 1e-4
        hidden = truth < 0.9 * distance[inside]
        assert (nearest | hidden).all()
        assert nearest.mean() > 0.8


def test_without_points_the_cloud_is_empty_with_a_warning(scene, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        export(dataclasses.replace(scene.prediction, sky=np.ones_like(scene.sky)), "nerfstudio", tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "transforms.json has cameras only: there is no point that two views agree on"
    ]
    assert b"element vertex 0\n" in (tmp_path / "nerfstudio" / "sparse_pc.ply").read_bytes()
    assert len(json.loads((tmp_path / "nerfstudio" / "transforms.json").read_text())["frames"]) == 4


def test_a_transforms_json_of_ours_that_was_changed_since_is_not_written_over(scene, tmp_path):
    record(tmp_path, export(scene.prediction, "nerfstudio", tmp_path))
    path = tmp_path / "nerfstudio" / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"][0]["fl_x"] *= 1.01
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"^{path} was changed since da3jax wrote it; move it away, or choose another folder to exp"):
        export(scene.prediction, "nerfstudio", tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"frames": []}', "more", "per file", "[" * 100_000])
def test_a_transforms_json_of_other_origin_is_not_written_over(scene, tmp_path, content):
    export(scene.prediction, "nerfstudio", tmp_path)
    export(scene.prediction, "nerfstudio", tmp_path)  # over one of ours
    path = tmp_path / "nerfstudio" / "transforms.json"
    if content == "more":
        content = json.dumps({**json.loads(path.read_text()), "applied_transform": np.eye(3, 4).tolist()})
    elif content == "per file":
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            del frame["fl_x"]
        content = json.dumps(content)
    path.write_text(content)
    message = rf"^{path} is not one that da3jax has written; move it away, or choose another folder to export to$"
    with pytest.raises(ValueError, match=message):
        export(scene.prediction, "ply-nerfstudio", tmp_path, images=scene.images)
    assert path.read_text() == content
    assert not (tmp_path / "points.ply").exists()
    assert not (tmp_path / "nerfstudio" / "images").exists()
