import numpy as np
import pytest

from da3jax.outputs.overlap import make_grid, without_overlap

INTRINSICS = np.array([[40.0, 0, 15], [0, 40, 10], [0, 0, 1]])
HEIGHT, WIDTH = 20, 30


def wall(x=0.0, *, back=0.0, behind=False, intrinsics=INTRINSICS, noise=1.0, keep=None, stride=1, distance=4.0):
    """What a camera at (x, 0, -back) sees of the plane z = `distance`; if it is `behind`, from the other side."""
    camera_to_world = np.eye(4)
    camera_to_world[:3, 3] = x, 0, -back
    if behind:
        camera_to_world[:3, :3] = np.diag([-1.0, 1, -1])
        camera_to_world[2, 3] = 2 * distance + back
    depth = (distance + back) * np.ones((HEIGHT, WIDTH)) * noise
    keep = np.ones((HEIGHT, WIDTH), bool) if keep is None else keep
    return make_grid(depth, keep, intrinsics, np.linalg.inv(camera_to_world), 85.0, stride)


def places(grid):
    """The middles of the grid's triangles in the world."""
    return grid.points[grid.triangles].mean(axis=1)


def coverage(grids, places):
    """By how many triangles each of some places on the wall (P, 2) is covered."""
    counts = np.zeros(len(places), int)
    for grid in grids:
        for a, b, c in grid.points[grid.triangles][..., :2]:
            shares = (places - a) @ np.linalg.inv(np.stack([b - a, c - a], axis=-1)).T
            counts += (shares.min(axis=1) >= -1e-9) & (shares.sum(axis=1) <= 1 + 1e-9)
    return counts


def test_a_place_is_left_to_the_view_that_is_nearer():
    far, near = without_overlap([wall(back=4.0), wall()])
    assert len(near.triangles) == 2 * 19 * 29
    half_width, half_height = 4 * 14.5 / 40, 4 * 9.5 / 40
    inside = (np.abs(places(far)[:, 0]) < half_width - 0.2) & (np.abs(places(far)[:, 1]) < half_height - 0.2)  # a cell of it is 0.2 wide
    assert not inside.any()
    assert len(far.triangles) > 2 * 19 * 29 / 2


def test_a_place_is_left_to_the_longer_lens_at_the_same_distance():
    wide, long = without_overlap(
        [wall(), wall(intrinsics=np.diag([2.0, 2, 1]) @ INTRINSICS - np.array([[0, 0, 15], [0, 0, 10], [0, 0, 0]]))]
    )
    assert len(long.triangles) == 2 * 19 * 29
    middle = (np.abs(places(wide)[:, 0]) < 2 * 14.5 / 40 - 0.1) & (np.abs(places(wide)[:, 1]) < 2 * 9.5 / 40 - 0.1)
    assert not middle.any()


def test_of_equal_views_the_first_keeps_all():
    first, *others = without_overlap([wall() for _ in range(4)])
    assert len(first.triangles) == 2 * 19 * 29
    assert [len(other.triangles) for other in others] == [0, 0, 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_the_border_between_two_cameras_is_half_way_whatever_the_noise_and_has_no_gap(stride):
    rng = np.random.default_rng(0)
    grids = [wall(x, noise=rng.uniform(0.995, 1.005, (HEIGHT, WIDTH)), stride=stride) for x in (-0.5, 0.5)]
    left, right = without_overlap(grids)
    assert places(left)[:, 0].max() < 0.1 * stride + 0.02
    assert places(right)[:, 0].min() > -0.1 * stride - 0.02
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 60), np.linspace(-0.7, 0.7, 20))
    assert coverage([left, right], np.stack([x.ravel(), y.ravel()], axis=-1)).min() >= 1


def test_many_views_leave_no_place_bare():
    """Some of the cameras are nearer, some see less: whatever any of them saw stays covered."""
    rng = np.random.default_rng(1)
    grids = []
    for _ in range(6):
        keep = rng.random((HEIGHT, WIDTH)) > 0.03
        noise = rng.uniform(0.99, 1.01, (HEIGHT, WIDTH))
        grids.append(wall(rng.uniform(-1, 1), back=rng.uniform(0, 1), keep=keep, noise=noise))
    thinned = without_overlap(grids)
    assert sum(len(grid.triangles) for grid in thinned) < 0.6 * sum(len(grid.triangles) for grid in grids)
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-0.7, 0.7, 29))
    spots = np.stack([x.ravel(), y.ravel()], axis=-1)
    before, after = coverage(grids, spots), coverage(thinned, spots)
    assert np.count_nonzero((before > 0) & (after == 0)) <= 0.01 * len(spots)


def test_what_a_better_view_does_not_show_stays():
    """It has no triangles there: the pixels were not kept."""
    keep = np.ones((HEIGHT, WIDTH), bool)
    keep[:, 10:20] = False
    far, _ = without_overlap([wall(back=1.0), wall(keep=keep)])
    hole = np.abs(places(far)[:, 0]) < 4 * 4.5 / 40
    grid = wall(back=1.0)
    assert np.count_nonzero(hole) == np.count_nonzero(np.abs(places(grid)[:, 0]) < 4 * 4.5 / 40)


def test_surfaces_at_other_depths_stay():
    """By 2 % they are the same place, by 4 % another."""
    for share, same in ((0.98, True), (0.96, False), (1.02, True), (1.04, False)):
        far, _ = without_overlap([wall(back=1.0), wall(noise=share)])
        assert (len(far.triangles) < 2 * 19 * 29) == same


def test_the_two_sides_of_a_thin_wall_both_stay():
    front, back = without_overlap([wall(), wall(back=-1.0, behind=True)])
    assert len(front.triangles) == len(back.triangles) == 2 * 19 * 29


def test_views_behind_one_another_do_not_see_each_other():
    """A camera in front of the wall, looking away from it, shows nothing of it."""
    away = wall(distance=-3.5, behind=True, back=0.0)
    assert len(without_overlap([wall(back=1.0), away])[0].triangles) == 2 * 19 * 29


def test_views_of_a_single_row_show_nothing():
    grid = make_grid(np.full((1, 5), 2.0), np.ones((1, 5), bool), INTRINSICS, np.eye(4), 85.0, 1)
    assert not grid.shows(np.array([[0.0, 0, 2]])).any()
    assert [len(other.triangles) for other in without_overlap([grid, grid])] == [0, 0]


def test_points_show_where_they_are_on_the_surface_in_the_picture():
    grid = wall()
    on = np.array([[0.0, 0, 4], [1.4, 0.9, 4], [0, 0, 4.1]])
    off = np.array([[0.0, 0, -4], [1.6, 0, 4], [0, -1.1, 4], [0, 0, 4.2], [0, 0, 3.8], [0, 0, 0]])
    np.testing.assert_array_equal(grid.shows(np.concatenate([on, off])), 3 * [True] + 6 * [False])


def test_a_place_at_another_camera_is_resolved_without_bound():
    grid = wall()
    np.testing.assert_array_equal(grid.resolution(np.array([[0.0, 0, 0], [0, 0, 4]])), [np.inf, 10])
