import json
import os
import pathlib
import shutil
import struct
import subprocess

import numpy as np
import pytest
import trimesh
from PIL import Image

from da3jax.outputs import export
from da3jax.outputs.gltf import ROOT, encode_glb, world_to_scene


def tree(content):
    (length,) = struct.unpack("<I", content[12:16])
    return json.loads(content[20 : 20 + length])


def a_scene(vertices):
    mesh = trimesh.Trimesh(vertices, [[0, 1, 2]], process=False)
    return trimesh.Scene({"mesh": mesh})


def test_the_first_camera_looks_along_minus_z_with_y_up_and_the_median_in_the_middle(scene):
    prediction, points = scene
    points = points.reshape(-1, 3)
    matrix = world_to_scene(prediction.extrinsics, points)
    shown = trimesh.transform_points(points, matrix)
    np.testing.assert_allclose(np.median(shown, axis=0), 0, atol=1e-12)
    in_camera = points @ prediction.extrinsics[0, :, :3].T.astype(np.float64)
    np.testing.assert_allclose(shown - shown[0], (in_camera - in_camera[0]) * [1, -1, -1], atol=1e-5)


def test_without_points_the_first_camera_is_the_origin(prediction):
    matrix = world_to_scene(prediction.extrinsics, np.zeros((0, 3)))
    centre = -prediction.extrinsics[0, :, :3].T @ prediction.extrinsics[0, :, 3]
    np.testing.assert_allclose(matrix @ [*centre, 1], [0, 0, 0, 1], atol=1e-6)


def test_the_rotation_is_one_even_if_the_camera_is_not_quite_rigid(prediction):
    crooked = prediction.extrinsics.copy()
    crooked[0, :, :3] *= 1.3
    crooked[0, 0, 1] += 0.01
    matrix = world_to_scene(crooked, np.zeros((0, 3)))
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_one_root_node_carries_the_transform_and_vertices_stay_in_the_world():
    vertices = np.array([[0.0, 0, 3], [1, 0, 4], [0, 2, 5]])
    matrix = np.array([[0.0, -1, 0, 7], [-1, 0, 0, 8], [0, 0, -1, 9], [0, 0, 0, 1]])
    found = tree(encode_glb(a_scene(vertices), matrix, np.zeros(3)))
    (root,) = found["scenes"][0]["nodes"]
    assert found["nodes"][root]["name"] == ROOT
    np.testing.assert_array_equal(np.reshape(found["nodes"][root]["matrix"], (4, 4)).T, matrix)
    np.testing.assert_array_equal(found["scenes"][0]["extras"]["world_to_scene"], matrix)
    position = found["accessors"][found["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert (position["min"], position["max"]) == ([0, 0, 3], [1, 2, 5])
    assert all("matrix" not in node for node in found["nodes"] if node.get("name") != ROOT)


def test_an_origin_is_a_node_below_the_root():
    vertices = np.array([[0.0, 0, 3], [1, 0, 4], [0, 2, 5]]) + np.array([4e6, 5e6, 0])
    found = tree(encode_glb(a_scene(vertices), np.eye(4), np.array([4e6, 5e6, 0])))
    (root,) = found["scenes"][0]["nodes"]
    (below,) = found["nodes"][root]["children"]
    assert found["nodes"][below]["translation"] == [4e6, 5e6, 0]
    position = found["accessors"][found["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert (position["min"], position["max"]) == ([0, 0, 3], [1, 2, 5])


def test_triangles_are_drawn_from_both_sides_in_their_own_colours():
    scene = a_scene(np.eye(3))
    image = Image.fromarray(np.zeros((2, 2, 3), np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    scene.geometry["mesh"].visual = trimesh.visual.TextureVisuals(uv=np.zeros((3, 2)), material=material)
    found = tree(encode_glb(scene, np.eye(4), np.zeros(3)))
    assert found["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "extensionsRequired" not in found
    (material,), (texture,), (sampler,) = found["materials"], found["textures"], found["samplers"]
    assert (material["doubleSided"], material["extensions"]) == (True, {"KHR_materials_unlit": {}})
    assert (texture["sampler"], sampler) == (0, {"wrapS": 33071, "wrapT": 33071})  # clamp to edge


def test_buffers_say_what_they_are_for():
    found = tree(encode_glb(a_scene(np.eye(3)), np.eye(4), np.zeros(3)))
    (primitive,) = found["meshes"][0]["primitives"]
    targets = {name: found["bufferViews"][found["accessors"][at]["bufferView"]]["target"] for name, at in primitive["attributes"].items()}
    assert targets.pop("POSITION") == 34962
    assert set(targets.values()) <= {34962}
    assert found["bufferViews"][found["accessors"][primitive["indices"]]["bufferView"]]["target"] == 34963


_VALIDATE = """
const validator = require("gltf-validator");
const options = {ignoredIssues: ["IMAGE_NPOT_DIMENSIONS"]};  // that a texture's sides are no powers of two, which old WebGL minded
validator.validateBytes(new Uint8Array(require("fs").readFileSync(0)), options).then(report => console.log(JSON.stringify(report.issues)));
"""


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("name", "options"), [("glb", {}), ("mesh", {}), ("mesh", {"mesh_method": "tsdf"})])
def test_the_khronos_validator_has_nothing_to_say(prediction, tmp_path, name, options, far):
    """Runs where node finds the npm package gltf-validator, by NODE_PATH or in a node_modules above."""
    node = shutil.which("node")
    where = pathlib.Path(__file__).parent
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], cwd=where, capture_output=True, check=False).returncode:
        pytest.skip("node does not find the package gltf-validator")
    if far:
        prediction.extrinsics[:, :, 3] += 1e5
    path, *_ = export(prediction, name, tmp_path, **options)
    ran = subprocess.run([node, "-e", _VALIDATE], input=path.read_bytes(), cwd=where, env=dict(os.environ), capture_output=True, check=True)
    issues = json.loads(ran.stdout)
    assert issues["messages"] == []
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0)
