import numpy as np
import pytest

from da3jax.outputs.depth_grid import grid_lines, grid_triangles

INTRINSICS = np.array([[40.0, 0.5, 11], [0, 44, 9], [0, 0, 1]])


def rays(height, width, intrinsics=INTRINSICS):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns + 0.5, rows + 0.5, np.ones((height, width))], axis=-1) @ np.linalg.inv(intrinsics).T


def plane(height, width, normal, offset=4.0):
    """The depth of the plane normal · X = offset."""
    return offset / (rays(height, width) @ normal)


def triangles(depth, *, keep=None, intrinsics=INTRINSICS, edge_threshold=85.0, stride=1):
    keep = np.ones(depth.shape, bool) if keep is None else keep
    return grid_triangles(depth, keep, intrinsics, edge_threshold, stride)


def pixels(corners, width):
    return np.stack(np.divmod(corners, width), axis=-1)  # (F, 3, row and column)


def test_every_cell_has_two_triangles_whose_corners_are_its_own():
    corners, whole = triangles(np.full((4, 5), 2.0))
    assert whole.shape == (3, 4)
    assert whole.all()
    places = pixels(corners, 5)
    assert (np.ptp(places, axis=1) == 1).all()
    cells, counts = np.unique(places.min(axis=1), axis=0, return_counts=True)
    assert (len(cells), set(counts)) == (12, {2})
    sides = places[:, 1:] - places[:, :1]
    np.testing.assert_array_equal(np.abs(np.linalg.det(sides)).round(9), 1)  # twice the area: two of them make a cell


def test_corners_run_counter_clockwise_as_the_camera_sees_them():
    rng = np.random.default_rng(0)
    depth = rng.uniform(2, 2.2, (8, 9))  # both diagonals occur
    corners, _ = triangles(depth, edge_threshold=90.0)
    a, b, c = ((rays(8, 9) * depth[..., None]).reshape(-1, 3)[corner] for corner in corners.T)
    normals = np.cross(b - a, c - a)
    assert (np.sum(normals * a, axis=-1) < 0).all()  # towards the camera, which is at the origin
    assert len({tuple(corner - corner.min()) for corner in corners}) == 4


@pytest.mark.parametrize("angle", [50.0, 80.0, 84.9, 85.1, 89.0])
def test_a_plane_is_cut_where_it_is_seen_at_more_than_the_threshold(angle):
    normal = np.array([np.sin(np.radians(angle)), 0, np.cos(np.radians(angle))])
    intrinsics = np.array([[4000.0, 0, 5], [0, 4000, 4], [0, 0, 1]])  # nearly parallel rays
    depth = 3 / (rays(8, 10, intrinsics) @ normal)
    corners, whole = triangles(depth, intrinsics=intrinsics)
    kept = angle < 85
    assert len(corners) == (126 if kept else 0)
    assert (whole == kept).all()


def test_the_angle_is_exact_for_a_camera_with_skew_and_an_unusual_centre():
    normal = np.array([0.3, -0.9, 0.35])
    depth = plane(30, 40, normal)
    keep = depth > 0  # of the others the plane lies behind the camera
    every, _ = triangles(depth, keep=keep, edge_threshold=90.0)
    a, b, c = (rays(30, 40) * depth[..., None]).reshape(-1, 3)[every].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    sight = rays(30, 40).reshape(-1, 3)[every].mean(axis=1)
    cosine = -np.sum(normals * sight, axis=-1) / np.linalg.norm(normals, axis=-1) / np.linalg.norm(sight, axis=-1)
    angles = np.degrees(np.arccos(cosine))
    for threshold in np.percentile(angles, (10, 40, 70, 95)):
        corners, _ = triangles(depth, keep=keep, edge_threshold=threshold)
        expected = every[angles < threshold]
        assert {frozenset(corner) for corner in corners} == {frozenset(corner) for corner in expected}


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_no_triangle_spans_a_step(stride):
    depth = np.full((13, 13), 2.0)
    depth[:, 5:] = 3.5
    corners, whole = triangles(depth, stride=stride)
    assert len(corners)
    assert (np.ptp(depth.ravel()[corners], axis=1) == 0).all()
    lines = grid_lines(13, stride)
    crossed = (lines[:-1] < 5) & (lines[1:] >= 5)
    np.testing.assert_array_equal(whole, np.broadcast_to(~crossed, whole.shape))


def test_a_cell_with_one_far_corner_keeps_the_triangle_of_the_other_three():
    for corner in range(4):
        depth = np.full((2, 2), 2.0)
        depth.ravel()[corner] = 5
        corners, whole = triangles(depth)
        assert [set(corner) for corner in corners.tolist()] == [{0, 1, 2, 3} - {corner}]
        assert not whole.any()


def test_a_corner_that_is_not_kept_takes_its_triangles_and_its_depth_is_not_looked_at():
    for corner in range(4):
        for value in (2.0, 0.0, -1.0, np.nan, np.inf):
            depth, keep = np.full((2, 2), 2.0), np.ones((2, 2), bool)
            depth.ravel()[corner], keep.ravel()[corner] = value, False
            corners, _ = triangles(depth, keep=keep)
            assert [set(corner) for corner in corners.tolist()] == [{0, 1, 2, 3} - {corner}]


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_coarse_cells_hold_nothing_that_fine_ones_cut(stride):
    depth = plane(23, 31, np.array([0.1, 0.2, 1.0]))
    keep = np.ones((23, 31), bool)
    keep[11, 13] = False
    corners, whole = triangles(depth, keep=keep, stride=stride)
    rows, columns = grid_lines(23, stride), grid_lines(31, stride)
    places = pixels(corners, 31)
    assert set(places[..., 0].ravel()) <= set(rows)
    assert set(places[..., 1].ravel()) <= set(columns)
    assert (np.ptp(places, axis=1) == stride).all()
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            assert whole[i, j] == keep[rows[i] : rows[i + 1] + 1, columns[j] : columns[j + 1] + 1].all()
    assert len(corners) == 2 * whole.sum()


def test_the_lines_of_a_grid_leave_equal_borders():
    assert [grid_lines(7, stride).tolist() for stride in (1, 2, 3, 4, 5, 6, 7, 8)] == [
        [0, 1, 2, 3, 4, 5, 6],
        [0, 2, 4, 6],
        [0, 3, 6],
        [1, 5],
        [0, 5],
        [0, 6],
        [3],
        [3],
    ]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_single_line_of_pixels_has_no_triangles(shape):
    corners, whole = triangles(np.ones(shape))
    assert corners.shape == (0, 3)
    assert whole.size == 0
