import numpy as np
import pytest
import trimesh

from da3jax.outputs.tsdf import BLOCK, TRUNCATION, Volume, block_keys

INTRINSICS = np.array([[60.0, 0.4, 21], [0, 64, 14], [0, 0, 1]])
HEIGHT, WIDTH = 30, 40
WHOLE = np.ones((HEIGHT - 1, WIDTH - 1), bool)
GREY = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def rays():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns + 0.5, rows + 0.5, np.ones((HEIGHT, WIDTH))], axis=-1) @ np.linalg.inv(INTRINSICS).T


def of_plane(normal, offset):
    """Depth and points (H W, 3) of the plane normal · X = offset, seen from the origin."""
    depth = offset / (rays() @ normal)
    return depth, (rays() * depth[..., None]).reshape(-1, 3)


def volume(points, side, origin=(0.1, 0.2, 4.0)):
    origin = np.array(origin)
    return Volume.empty(block_keys([points], origin, side), origin, side)


def test_blocks_hold_every_voxel_within_the_truncation_and_none_without_need():
    points = np.random.default_rng(0).normal(0, 40, (50, 3))
    found = volume(points, 0.5)
    assert (np.diff(found.keys) > 0).all()
    places = found.places(np.arange(len(found.keys) * BLOCK**3)).reshape(-1, BLOCK**3, 3)
    np.testing.assert_allclose((places - found.origin) / 0.5, np.round((places - found.origin) / 0.5), atol=1e-9)
    known = {tuple(place) for place in np.round((places.reshape(-1, 3) - found.origin) / 0.5).astype(int).tolist()}
    assert len(known) == len(found.keys) * BLOCK**3
    reach = np.stack(np.meshgrid(*[np.arange(-TRUNCATION, TRUNCATION + 1)] * 3), axis=-1).reshape(-1, 3)
    for point in np.round((points - found.origin) / 0.5).astype(int):
        assert {tuple(place) for place in (point + reach).tolist()} <= known
    assert len(found.keys) <= 8 * len(points)
    assert len(volume(found.origin[None] + 3.5 * 0.5, 0.5).keys) == 8


def test_points_beyond_reach_have_no_block():
    points = np.array([[0.0, 0, 5], [1e9, 0, 0], [0, -1e9, 0], [0, 0, 1e300]])
    np.testing.assert_array_equal(volume(points, 0.1).keys, volume(points[:1], 0.1).keys)


@pytest.mark.parametrize("normal", [(0.0, 0, 1), (0.2, -0.3, 1), (0.1, 4.0, 1)])
def test_a_plane_comes_back_exactly_however_slantingly_it_is_seen(normal):
    normal = np.array(normal)
    depth, points = of_plane(normal, 4.0)
    depth = np.where(depth > 0, depth, 0)
    whole = (depth[1:, 1:] > 0) & (depth[:-1, 1:] > 0) & (depth[1:, :-1] > 0) & (depth[:-1, :-1] > 0)
    points = points[(depth.ravel() > 0) & (depth.ravel() < 12)]
    found = volume(points, 0.1)
    found.integrate(depth, whole, GREY, INTRINSICS, np.eye(4))
    vertices, triangles, colours = found.surface()
    assert len(triangles) > 300
    np.testing.assert_allclose(vertices @ normal, 4.0, atol=2e-5)
    projected = vertices @ INTRINSICS.T
    pixels = projected[:, :2] / projected[:, 2:]
    assert (pixels > 0.4).all()
    assert (pixels < [WIDTH - 0.4, HEIGHT - 0.4]).all()
    np.testing.assert_array_equal(colours, 100)
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    assert (np.sum(np.cross(b - a, c - a) * normal, axis=-1) <= 1e-12).all()  # fronts to the camera


def test_the_surface_is_one_across_blocks():
    """The picture of the surface has no hole: the border of the mesh is one loop."""
    depth, points = of_plane(np.array([0.2, -0.3, 1]), 4.0)
    found = volume(points, 0.1)
    assert len(found.keys) > 8
    found.integrate(depth, WHOLE, GREY, INTRINSICS, np.eye(4))
    vertices, triangles, _ = found.surface()
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    assert mesh.is_winding_consistent
    assert (mesh.body_count, mesh.euler_number) == (1, 1)


def test_views_are_averaged_by_the_square_of_their_resolution():
    """One camera is twice as far away as the other and sees the wall nearer by 0.05: it has a fourth of the weight."""
    depth, points = of_plane(np.array([0.0, 0, 1]), 4.0)
    found = volume(points, 0.1)
    found.integrate(depth, WHOLE, GREY, INTRINSICS, np.eye(4))
    back = np.eye(4)
    back[2, 3] = 4
    found.integrate(2 * depth - 0.05, WHOLE, GREY + 50, INTRINSICS, back)
    vertices, _, colours = found.surface()
    both = (np.abs(vertices[:, :2]) < 0.7).all(axis=1)
    np.testing.assert_allclose(vertices[both, 2], 4 - 0.05 / 5, atol=1e-3)
    np.testing.assert_allclose(colours[both], 110, atol=1)


def test_what_is_far_behind_a_surface_is_not_touched_by_it():
    depth, points = of_plane(np.array([0.0, 0, 1]), 4.0)
    found = volume(points + np.array([0, 0, 2.0]), 0.1)
    found.integrate(depth, WHOLE, GREY, INTRINSICS, np.eye(4))
    assert not found.sums.any()


def test_what_is_far_before_a_surface_is_seen_free_and_without_colour():
    depth, points = of_plane(np.array([0.0, 0, 1]), 4.0)
    found = volume(points - np.array([0, 0, 2.0]), 0.1)
    found.integrate(depth, WHOLE, GREY, INTRINSICS, np.eye(4))
    seen = found.sums[found.sums[..., 0] > 0]
    assert len(seen) > 1000
    np.testing.assert_allclose(seen[:, 1], seen[:, 0])
    assert not seen[:, 2:].any()
    assert [len(part) for part in found.surface()] == [0, 0, 0]


def test_cells_that_are_not_whole_say_nothing():
    depth, points = of_plane(np.array([0.0, 0, 1]), 4.0)
    whole = WHOLE.copy()
    whole[:, 15:25] = False
    found = volume(points, 0.1)
    found.integrate(depth, whole, GREY, INTRINSICS, np.eye(4))
    vertices, _, _ = found.surface()
    projected = vertices @ INTRINSICS.T
    u = projected[:, 0] / projected[:, 2]
    assert not ((u > 15.6) & (u < 25.4)).any()
    assert (u < 15).any()
    assert (u > 26).any()


def test_a_camera_that_looks_away_adds_nothing():
    depth, points = of_plane(np.array([0.0, 0, 1]), 4.0)
    found = volume(points, 0.1)
    found.integrate(depth, WHOLE, GREY, INTRINSICS, np.diag([-1.0, 1, -1, 1]))
    assert not found.sums.any()
