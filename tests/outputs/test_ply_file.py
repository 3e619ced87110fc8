import io

import numpy as np
from plyfile import PlyData

from da3jax.outputs.ply_file import encode_ply, ply_header

POINTS = np.array([[0.0, 0, 1], [1, 0, 2], [0, 1, 3], [1, 1, 4]])
COLOURS = np.arange(12, dtype=np.uint8).reshape(4, 3)


def read(content: bytes) -> PlyData:
    return PlyData.read(io.BytesIO(content))


def test_points_read_back_with_their_colours():
    found = read(encode_ply(POINTS, COLOURS, is_metric=True))
    assert [element.name for element in found] == ["vertex"]
    assert found.comments == ["x right, y down, z forward; metres"]
    vertices = found["vertex"]
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=-1), POINTS.astype(np.float32))
    np.testing.assert_array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1), COLOURS)


def test_triangles_read_back_between_the_points():
    found = read(encode_ply(POINTS, COLOURS, np.array([[0, 1, 2], [2, 1, 3]]), is_metric=False))
    assert np.stack(found["face"]["vertex_indices"]).tolist() == [[0, 1, 2], [2, 1, 3]]
    assert len(found["vertex"]["x"]) == 4


def test_far_from_the_origin_points_are_double():
    far = POINTS + np.array([4e5, 5e6, 0])
    vertices = read(encode_ply(far, COLOURS, is_metric=True))["vertex"]
    np.testing.assert_array_equal(np.stack([vertices[axis] for axis in "xyz"], axis=-1), far)


def test_no_points_are_a_file_too():
    assert len(read(encode_ply(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), is_metric=False))["vertex"]["x"]) == 0


def test_a_header_names_what_follows():
    assert ply_header(5, {"x": "float", "id": "uchar"}).decode() == (
        "ply\nformat binary_little_endian 1.0\nelement vertex 5\nproperty float x\nproperty uchar id\nend_header\n"
    )
