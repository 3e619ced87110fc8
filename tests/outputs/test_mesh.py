import dataclasses
import io
import json
import pathlib

import numpy as np
import plyfile
import pytest
import trimesh
from PIL import Image

from da3jax.outputs import export

NAN = float("nan")


def mesh(prediction, folder, **options):
    """The GLB's parts by name, moved to the world by the transforms in the file, and the PLY."""
    glb, ply = export(prediction, "mesh", folder, **options)
    loaded = trimesh.load(glb, process=False)
    to_world = np.linalg.inv(loaded.metadata["world_to_scene"])
    parts = {}
    for node in loaded.graph.nodes_geometry:
        transform, name = loaded.graph[node]
        parts[name] = loaded.geometry[name]
        parts[name].apply_transform(to_world @ transform)
    return dict(sorted(parts.items())), trimesh.load(ply, process=False)


def only_first(prediction, **changes):
    """A prediction of the first view alone."""
    fields = ("depth", "extrinsics", "intrinsics", "processed_images")
    return dataclasses.replace(prediction, **({name: getattr(prediction, name)[:1] for name in fields} | changes))


def pixels(part):
    """Rows and columns of the vertices, from where they lie in the texture: trimesh counts from its lower left corner."""
    width, height = part.visual.material.baseColorTexture.size
    u, v = part.visual.uv.T
    where = np.stack([(1 - v) * height, u * width]) - 0.5
    np.testing.assert_allclose(where, where.round(), atol=1e-5)
    return tuple(where.round().astype(int))


def glb_content(path):
    content = pathlib.Path(path).read_bytes()
    length = int.from_bytes(content[12:16], "little")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_vertices_lie_where_the_rays_through_their_pixels_meet_the_scene(scene, tmp_path):
    prediction, points = scene
    parts, ply = mesh(prediction, tmp_path)
    assert list(parts) == ["view_0", "view_1"]
    for view, part in enumerate(parts.values()):
        rows, columns = pixels(part)
        np.testing.assert_allclose(part.vertices, points[view, rows, columns], rtol=1e-4, atol=1e-5)
        in_camera = part.vertices @ prediction.extrinsics[view, :, :3].T + prediction.extrinsics[view, :, 3]
        projected = in_camera @ prediction.intrinsics[view].T
        np.testing.assert_allclose(projected[:, 2], prediction.depth[view, rows, columns], rtol=1e-4)
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], np.stack([columns, rows], axis=-1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(ply.vertices, np.concatenate([part.vertices for part in parts.values()]), atol=1e-5)


def test_triangles_face_the_camera_and_join_neighbours(prediction, tmp_path):
    parts, ply = mesh(prediction, tmp_path)
    for view, part in enumerate(parts.values()):
        centre = -prediction.extrinsics[view, :, :3].T @ prediction.extrinsics[view, :, 3]
        a, b, c = part.vertices[part.faces].transpose(1, 0, 2)
        assert (np.sum(np.cross(b - a, c - a) * (centre - a), axis=-1) > 0).all()
        assert (np.ptp(np.stack(pixels(part), axis=-1)[part.faces], axis=1) == 1).all()
    first, second = parts.values()
    np.testing.assert_array_equal(ply.faces, np.concatenate([first.faces, second.faces + len(first.vertices)]))


def test_sampling_a_texture_at_a_vertex_gives_the_colour_of_its_pixel(prediction, tmp_path):
    """Read without a library: in glTF (0, 0) is the upper left corner of the first pixel."""
    parts, ply = mesh(prediction, tmp_path)
    tree, body = glb_content(tmp_path / "mesh.glb")

    def view_of(buffer_view):
        return body[buffer_view.get("byteOffset", 0) :][: buffer_view["byteLength"]]

    colours = []
    for view, part in enumerate(tree["meshes"]):
        (primitive,) = part["primitives"]
        uv = tree["accessors"][primitive["attributes"]["TEXCOORD_0"]]
        uv = np.frombuffer(view_of(tree["bufferViews"][uv["bufferView"]]), "<f4").reshape(-1, 2)
        texture = tree["textures"][tree["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
        image = tree["images"][texture["source"]]
        assert image["mimeType"] == "image/png"
        image = np.asarray(Image.open(io.BytesIO(view_of(tree["bufferViews"][image["bufferView"]]))))
        np.testing.assert_array_equal(image, prediction.processed_images[view])
        x, y = uv.astype(float).T * [[30], [20]]
        np.testing.assert_allclose([x % 1, y % 1], 0.5, atol=1e-4)  # its middle: filtering changes nothing
        colours.append(image[y.astype(int), x.astype(int)])
        rows, columns = pixels(parts[part["name"]])
        np.testing.assert_array_equal(colours[-1], prediction.processed_images[view, rows, columns])
    np.testing.assert_array_equal(ply.visual.vertex_colors[:, :3], np.concatenate(colours))


def test_the_scene_is_turned_and_centred_as_seen_from_the_first_camera(prediction, tmp_path):
    export(prediction, "mesh", tmp_path)
    loaded = trimesh.load(tmp_path / "mesh.glb", process=False)
    transform, _ = loaded.graph["view_0"]
    np.testing.assert_allclose(transform, loaded.metadata["world_to_scene"], atol=1e-6)
    np.testing.assert_allclose(transform[:3, :3], np.diag([1.0, -1, -1]) @ prediction.extrinsics[0, :, :3], atol=1e-6)
    vertices = np.concatenate([part.vertices for part in loaded.geometry.values()]) @ transform[:3, :3].T + transform[:3, 3]
    np.testing.assert_allclose(np.median(vertices, axis=0), 0, atol=1e-5)


def test_far_from_the_worlds_origin_nothing_is_rounded_away(scene, tmp_path):
    """As with known cameras in a country's grid."""
    prediction, points = scene
    shift = np.array([4e5, 5e6, 100.0])
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ shift
    parts, ply = mesh(dataclasses.replace(prediction, extrinsics=moved), tmp_path)
    expected = np.concatenate([points[view][pixels(part)] for view, part in enumerate(parts.values())])
    np.testing.assert_allclose(ply.vertices - shift, expected, atol=1e-4)
    assert [prop.val_dtype for prop in plyfile.PlyData.read(tmp_path / "mesh.ply")["vertex"].properties[:3]] == ["f8"] * 3
    tree, _ = glb_content(tmp_path / "mesh.glb")
    (root,) = tree["scenes"][0]["nodes"]
    (below,) = tree["nodes"][root]["children"]
    origin = np.array(tree["nodes"][below]["translation"])
    stored = np.concatenate([part.vertices for part in trimesh.load(tmp_path / "mesh.glb", process=False).geometry.values()])
    np.testing.assert_allclose(stored + origin - shift, expected, atol=1e-4)


def test_the_ply_is_opened_by_another_reader(prediction, tmp_path):
    parts, _ = mesh(only_first(prediction), tmp_path)
    data = plyfile.PlyData.read(tmp_path / "mesh.ply")
    assert (data.byte_order, data.comments) == ("<", ["x right, y down, z forward; unit unknown"])
    vertex, face = data["vertex"], data["face"]
    part = parts["view_0"]
    assert [(prop.name, prop.val_dtype) for prop in vertex.properties] == [
        *((axis, "f4") for axis in "xyz"),
        *((channel, "u1") for channel in ("red", "green", "blue")),
    ]
    np.testing.assert_allclose(np.stack([vertex[axis] for axis in "xyz"], axis=-1), part.vertices, atol=1e-5)
    np.testing.assert_array_equal(np.stack(face["vertex_indices"]), part.faces)


def test_a_step_is_cut_and_an_edge_threshold_of_90_bridges_it(prediction, tmp_path):
    depth = np.full((1, 20, 30), 2, np.float32)
    depth[:, :, 12:] = 4
    step = only_first(prediction, depth=depth)
    for threshold, spanning in ((85.0, 0), (90.0, 2 * 19)):
        parts, _ = mesh(step, tmp_path, mesh_edge_threshold=threshold)
        part = parts["view_0"]
        _, columns = pixels(part)
        sides = columns[part.faces] >= 12
        assert np.count_nonzero(sides.any(axis=1) & ~sides.all(axis=1)) == spanning
        assert len(part.faces) == 2 * 19 * 28 + spanning


def test_sky_low_confidence_and_no_depth_have_no_triangles(prediction, tmp_path):
    sky, confidence = np.zeros((1, 20, 30), bool), np.full((1, 20, 30), 5, np.float32)
    sky[:, :4] = True
    confidence[:, 16:] = 1
    one = only_first(prediction, sky=sky, conf=confidence)
    one.depth[0, 10, 10:15] = NAN, np.inf, -np.inf, 0, -1
    parts, ply = mesh(one, tmp_path)
    rows, columns = pixels(parts["view_0"])
    keep = np.zeros((20, 30), bool)
    keep[4:16] = True
    keep[10, 10:15] = False
    seen = np.zeros((20, 30), bool)
    seen[rows, columns] = True
    np.testing.assert_array_equal(seen, keep)
    assert len(ply.vertices) == len(rows)
    assert np.isfinite(ply.vertices).all()


def test_one_view_without_cameras_is_a_relief(prediction, tmp_path, caplog):
    """As of a mono network: a field of view of 60° over the longer side is assumed."""
    bare = only_first(prediction, depth=np.full((1, 20, 30), 2, np.float32), extrinsics=None, intrinsics=None)
    parts, _ = mesh(bare, tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "mesh.glb: the prediction lacks cameras, or a part of them; it assumes a field of view of 60° over the longer side of the image"
    ]
    part = parts["view_0"]
    rows, columns = pixels(part)
    focal = 15 / np.tan(np.pi / 6)
    expected = 2 * np.stack([(columns - 14.5) / focal, (rows - 9.5) / focal, np.ones(600)], axis=-1)
    np.testing.assert_allclose(part.vertices, expected, atol=1e-5)
    assert len(part.faces) == 2 * 19 * 29


def test_views_put_side_by_side_keep_all_their_triangles(prediction, tmp_path):
    far = np.full((2, 20, 30), 2, np.float32)
    far[:, :, 25:] = 40  # reaches into the neighbour's frustum, which is as wide as most of the view
    parts, _ = mesh(dataclasses.replace(prediction, depth=far, extrinsics=None, intrinsics=None), tmp_path)
    assert [len(part.faces) for part in parts.values()] == [2 * 19 * 28] * 2


def test_a_mesh_with_no_triangle_is_refused_before_anything_is_written(prediction, tmp_path):
    message = (
        r"^mesh.glb would be empty: nowhere do three neighbouring pixels have a depth that is kept and no depth edge between them, with "
        r"mesh_edge_threshold 85.0 and mesh_max_faces 2000000$"
    )
    for changes in ({"depth": np.full((2, 20, 30), NAN, np.float32)}, {"sky": np.ones((2, 20, 30), bool)}):
        with pytest.raises(ValueError, match=message):
            export(dataclasses.replace(prediction, **changes), "mesh", tmp_path)
    prediction.depth[:] = np.where(np.add(*np.indices((20, 30))) % 2, 2, 4)
    with pytest.raises(ValueError, match=message):
        export(prediction, "mesh", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_views_averaged_in_a_volume_have_colours_at_their_vertices_in_both_files(prediction, tmp_path):
    prediction.processed_images[:] = np.array([10, 130, 250], np.uint8)
    parts, ply = mesh(prediction, tmp_path, mesh_method="tsdf")
    part = parts["tsdf"]
    np.testing.assert_allclose(part.vertices @ [0.1, -0.2, 1], 5, rtol=1e-4)
    np.testing.assert_allclose(ply.vertices, part.vertices, atol=1e-5)
    np.testing.assert_array_equal(ply.faces, part.faces)
    colours = np.broadcast_to([10, 130, 250, 255], (len(part.vertices), 4))
    np.testing.assert_array_equal(part.visual.vertex_attributes["color"], colours)
    np.testing.assert_array_equal(ply.visual.vertex_colors, colours)
    tree, _ = glb_content(tmp_path / "mesh.glb")
    assert tree["materials"] == [
        {
            "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
            "doubleSided": True,
            "extensions": {"KHR_materials_unlit": {}},
        }
    ]


def test_a_volume_of_nothing_is_refused(prediction, tmp_path):
    for changes in ({"depth": np.full((2, 20, 30), NAN, np.float32)}, {"sky": np.ones((2, 20, 30), bool)}):
        with pytest.raises(ValueError, match=r"^mesh.glb would be empty: no surface .* mesh_voxel_size left to the depths"):
            export(dataclasses.replace(prediction, **changes), "mesh", tmp_path, mesh_method="tsdf")
    with pytest.raises(ValueError, match=r"mesh_voxel_size 100.0; where depth is kept"):
        export(prediction, "mesh", tmp_path, mesh_method="tsdf", mesh_voxel_size=100.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["grid", "tsdf"])
def test_the_same_prediction_gives_the_same_bytes(prediction, tmp_path, method):
    first, second = (export(prediction, "mesh", tmp_path / name, mesh_method=method) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_view_without_triangles_is_left_out(prediction, tmp_path):
    prediction.depth[0] = NAN
    parts, ply = mesh(prediction, tmp_path)
    assert list(parts) == ["view_1"]
    assert len(ply.faces) == len(parts["view_1"].faces) == 2 * 19 * 29


def test_a_camera_that_cannot_be_inverted_is_named(prediction, tmp_path):
    prediction.intrinsics[1] = NAN
    with pytest.raises(ValueError, match=r"^mesh.glb cannot be made: intrinsics of view 1 are not finite or cannot be inverted$"):
        export(prediction, "mesh", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh_edge_threshold": 0.0}, "^mesh_edge_threshold is 0.0; it is an angle in degrees, above 0 and at most 90$"),
        ({"mesh_edge_threshold": 90.5}, "^mesh_edge_threshold is 90.5; it is"),
        ({"mesh_edge_threshold": NAN}, "^mesh_edge_threshold is nan; it is"),
        ({"mesh_max_faces": 0}, "^mesh_max_faces is 0; it is a whole number, at least 1$"),
        ({"mesh_voxel_size": 0.0}, "^mesh_voxel_size is 0.0; it is a positive number, or None$"),
        ({"mesh_voxel_size": 0.1}, "^mesh_voxel_size is of mesh_method 'tsdf', and mesh_method is 'grid'; change one of the two$"),
        ({"mesh_method": "tsfd"}, "^mesh_method 'tsfd' is unknown; it is one of grid, tsdf; did you mean 'tsdf'[?]$"),
    ],
)
def test_an_option_out_of_range_is_refused(prediction, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(prediction, "mesh", tmp_path, **options)
