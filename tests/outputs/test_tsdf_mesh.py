import dataclasses
import re

import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.tsdf_mesh import tsdf_mesh
from tests.outputs.rendered import render

NORMAL, OFFSET = np.array([0.1, -0.2, 1.0]), 5.0  # of the plane in conftest.py


def surfaces(prediction, keep=None, **options):
    extrinsics = np.tile(np.eye(4), (len(prediction.depth), 1, 1))
    extrinsics[:, :3] = prediction.extrinsics[:, :3]
    keep = np.ones(prediction.depth.shape, bool) if keep is None else keep
    return tsdf_mesh(prediction, keep, prediction.intrinsics.astype(float), extrinsics, ExportOptions(mesh_method="tsdf", **options))


def seen(prediction, vertices):
    """How many views have each vertex within the middles of their outermost pixels, plus rounding."""
    count = np.zeros(len(vertices), int)
    for K, pose in zip(prediction.intrinsics, prediction.extrinsics, strict=True):
        u, v, z = K @ (pose[:, :3] @ vertices.T + pose[:, 3:])
        count += (abs(u / z - 15) < 15) & (abs(v / z - 10) < 10)
    return count


def test_the_surface_lies_on_the_plane_where_it_was_seen(prediction):
    (surface,) = surfaces(prediction)
    assert len(surface.triangles) > 500
    np.testing.assert_allclose(surface.vertices @ NORMAL, OFFSET, rtol=1e-4)
    assert seen(prediction, surface.vertices).min() >= 1
    np.testing.assert_array_equal(np.unique(surface.triangles), np.arange(len(surface.vertices)))
    assert (surface.uv, surface.texture) == (None, None)


def test_nothing_stands_behind_the_silhouette_of_what_is_near():
    scene = render()
    (surface,) = surfaces(scene.prediction, kept_pixels(scene.prediction, ExportOptions()) & ~scene.wrong)
    error = np.full(len(surface.vertices), np.inf)  # to the nearest of the surfaces that the views see there
    for view, (K, pose) in enumerate(zip(scene.intrinsics, scene.extrinsics, strict=True)):
        camera = surface.vertices @ pose[:, :3].T + pose[:, 3]
        pixels = camera @ K.T
        true = scene.depth(view, pixels[:, :2] / pixels[:, 2:])
        error = np.fmin(error, np.abs(camera[:, 2] - true) / camera[:, 2])
    assert len(error) > 5000
    assert error.max() < 2e-3
    assert (error > 1e-4).mean() < 1e-3


def test_fronts_are_towards_the_cameras(prediction):
    (surface,) = surfaces(prediction)
    a, b, c = surface.vertices[surface.triangles].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a) @ NORMAL <= 1e-9).all()


def test_colours_are_those_of_the_pictures(prediction):
    ramp = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None] * 8, (2, 20, 30, 3))
    first = dataclasses.replace(prediction, processed_images=ramp)
    keep = np.zeros((2, 20, 30), bool)
    keep[0] = True
    (surface,) = surfaces(first, keep)
    x, _, z = prediction.extrinsics[0, :, :3] @ surface.vertices.T + prediction.extrinsics[0, :, 3:]
    expected = 8 * (25 * x / z + 11 - 0.5)
    np.testing.assert_allclose(
        surface.colours, np.broadcast_to(expected[:, None], surface.colours.shape), atol=9
    )  # nearest pixel: ± 4, twice


def test_a_voxel_size_is_kept(prediction):
    for side in (0.3, 0.5):
        (surface,) = surfaces(prediction, mesh_voxel_size=side)
        lattice = np.sort(np.linalg.norm(np.diff(surface.vertices[surface.triangles], axis=1), axis=-1), axis=None)
        assert side / 2 < np.median(lattice) < 1.8 * side


def test_no_triangle_spans_a_step(prediction):
    depth = np.full((2, 20, 30), 2, np.float32)
    depth[:, :, 12:] = 4
    keep = np.zeros((2, 20, 30), bool)
    keep[0] = True
    step = dataclasses.replace(prediction, depth=depth)
    (surface,) = surfaces(step, keep)
    z = (surface.vertices @ prediction.extrinsics[0, :, :3].T + prediction.extrinsics[0, :, 3])[:, 2]
    assert set(np.round(z, 4)) == {2, 4}
    assert (np.ptp(z[surface.triangles], axis=1) < 1e-3).all()


def test_what_is_not_kept_has_no_surface(prediction):
    keep = np.ones((2, 20, 30), bool)
    keep[1] = keep[0, :, 10:] = False
    prediction.depth[~keep] = np.nan
    (surface,) = surfaces(prediction, keep)
    x, _, z = prediction.extrinsics[0, :, :3] @ surface.vertices.T + prediction.extrinsics[0, :, 3:]
    assert (25 * x / z + 11).max() < 9.6
    assert surfaces(prediction, np.zeros_like(keep)) == []


def test_too_many_triangles_make_the_voxels_larger_and_it_is_said(prediction, caplog):
    (surface,) = surfaces(prediction, mesh_max_faces=400, mesh_voxel_size=0.1)
    assert 100 < len(surface.triangles) <= 400
    (message,) = (record.getMessage() for record in caplog.records)
    limits = "at least a quarter of a pixel, at most 16777216 voxels and mesh_max_faces = 400 triangles"
    pattern = rf"the mesh has voxels of (\S+), not 0.1: {limits}"
    assert float(re.fullmatch(pattern, message)[1]) > 0.1


def test_too_many_voxels_make_them_larger(prediction, caplog, monkeypatch):
    monkeypatch.setattr("da3jax.outputs.tsdf_mesh._MOST_VOXELS", 50_000)
    surfaces(prediction, mesh_voxel_size=0.06)
    (message,) = (record.getMessage() for record in caplog.records)
    assert "at most 50000 voxels" in message


def test_what_is_too_far_for_the_voxels_is_left_out(prediction):
    depth = np.full((2, 20, 30), 2, np.float32)
    depth[:, :, 12:] = 400
    (surface,) = surfaces(dataclasses.replace(prediction, depth=depth), mesh_voxel_size=0.1)
    distance = [np.linalg.norm(surface.vertices - np.linalg.inv(pose[:, :3]) @ -pose[:, 3], axis=-1) for pose in prediction.extrinsics]
    assert np.min(distance, axis=0).max() < 5


def test_voxels_far_smaller_than_pixels_are_larger_than_asked(prediction, caplog):
    (surface,) = surfaces(prediction, mesh_voxel_size=1e-6)
    assert len(surface.triangles) > 1000
    (message,) = (record.getMessage() for record in caplog.records)
    assert re.match(r"the mesh has voxels of 0.03\d+, not 1e-06: at least a quarter of a pixel", message)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_bound_too_small_for_a_surface_ends_with_none(prediction, most):
    assert sum(len(surface.triangles) for surface in surfaces(prediction, mesh_max_faces=most)) <= most
