import dataclasses

import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.grid_mesh import grid_mesh


def surfaces(prediction, **options):
    extrinsics = np.tile(np.eye(4), (len(prediction.depth), 1, 1))
    extrinsics[:, :3] = prediction.extrinsics[:, :3]
    keep = np.ones(prediction.depth.shape, bool)
    return grid_mesh(prediction, keep, prediction.intrinsics.astype(float), extrinsics, ExportOptions(**options))


def faces(parts):
    return sum(len(part.triangles) for part in parts)


def test_every_vertex_has_a_triangle(prediction):
    for part in surfaces(prediction):
        np.testing.assert_array_equal(np.unique(part.triangles), np.arange(len(part.vertices)))


@pytest.mark.parametrize(("most", "stride"), [(1102, 1), (1101, 2), (252, 2), (251, 3), (108, 3), (20, 7)])
def test_more_triangles_than_allowed_make_the_grid_coarser_and_it_is_said(prediction, caplog, most, stride):
    fields = ("depth", "extrinsics", "intrinsics", "processed_images")
    one = dataclasses.replace(prediction, **{name: getattr(prediction, name)[1:] for name in fields})
    (part,) = surfaces(one, mesh_max_faces=most)
    rows, columns = ((n - 1) // stride for n in (20, 30))
    assert len(part.triangles) == 2 * rows * columns <= most
    where = part.uv * [30, 20] - 0.5
    assert (np.round(np.ptp(where[part.triangles], axis=1)) == stride).all()
    assert part.texture.shape == (20, 30, 3)
    message = (
        f"the mesh takes one row and column of pixels in {stride} and has {2 * rows * columns} triangles, because mesh_max_faces is {most}"
    )
    assert [record.getMessage() for record in caplog.records] == ([message] if stride > 1 else [])


def test_what_overlaps_does_not_count_as_triangles(prediction):
    """Twelve copies of one view have no more triangles than it has, and need not be coarser."""
    fields = ("depth", "extrinsics", "intrinsics", "processed_images")
    many = dataclasses.replace(prediction, **{name: np.repeat(getattr(prediction, name)[1:], 12, axis=0) for name in fields})
    parts = surfaces(many, mesh_max_faces=1200)
    assert [(part.name, len(part.triangles)) for part in parts] == [("view_0", 1102)]


def test_no_bound_however_small_is_passed(prediction):
    for most in (1, 2, 3, 7, 40, 333, 1000):
        assert faces(surfaces(prediction, mesh_max_faces=most)) <= most
