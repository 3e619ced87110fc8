import itertools

import numpy as np
import pytest
import trimesh

from da3jax.outputs.tetrahedra import CASES, CORNERS, TETRAHEDRA, march


def cubes(size):
    """Numbers of the corners of all cubes of a lattice of size³ points."""
    numbers = np.arange(size**3).reshape(size, size, size)
    at = np.stack(np.unravel_index(np.arange((size - 1) ** 3), (size - 1,) * 3), axis=-1)[:, None] + CORNERS
    return numbers[tuple(np.moveaxis(at, -1, 0))]


def surface(value, size):
    """The zero surface of a function of the lattice, as trimesh has it."""
    lattice = np.stack(np.unravel_index(np.arange(size**3), (size,) * 3), axis=-1)
    values, numbers = value(lattice), cubes(size)
    ends, triangles = march(values[numbers], numbers)
    low, high = values[ends].T
    points = lattice[ends].astype(float)
    return trimesh.Trimesh(points[:, 0] + (low / (low - high))[:, None] * (points[:, 1] - points[:, 0]), triangles, process=False)


def test_six_tetrahedra_fill_a_cube_and_none_is_turned():
    volumes = [np.linalg.det(CORNERS[list(t[1:])] - CORNERS[t[0]]) / 6 for t in TETRAHEDRA]
    np.testing.assert_allclose(volumes, 1 / 6)
    points, inside = np.random.default_rng(0).random((500, 3)), np.zeros(500, int)
    for t in TETRAHEDRA:
        shares = points @ np.linalg.inv(CORNERS[list(t[1:])] - CORNERS[t[0]])
        inside += (shares.min(axis=1) >= 0) & (shares.sum(axis=1) <= 1)
    np.testing.assert_array_equal(inside, 1)


@pytest.mark.parametrize("case", range(16))
def test_a_tetrahedron_is_cut_between_corners_of_unlike_sign_with_fronts_to_those_above(case):
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    below = np.array([case >> i & 1 for i in range(4)], bool)
    edges = {frozenset(edge) for triangle in CASES[case] for edge in triangle}
    assert edges == {frozenset((i, j)) for i, j in itertools.combinations(range(4), 2) if below[i] != below[j]}
    for triangle in CASES[case]:
        a, b, c = (corners[list(edge)].mean(axis=0) for edge in triangle)
        normal = np.cross(b - a, c - a)
        assert np.linalg.norm(normal) > 0.1
        assert ((corners[~below] - a) @ normal > 0).all()
        assert ((corners[below] - a) @ normal < 0).all()


def test_a_plane_is_met_exactly():
    normal = np.array([0.3, -0.5, 0.8])
    found = surface(lambda x: (x - 3.2) @ normal, 8)
    np.testing.assert_allclose((found.vertices - 3.2) @ normal, 0, atol=1e-12)
    np.testing.assert_allclose(found.face_normals @ normal, np.linalg.norm(normal), atol=1e-9)


def test_a_sphere_is_closed_and_its_front_is_outside():
    found = surface(lambda x: np.linalg.norm(x - 9.3, axis=-1) - 6.1, 20)
    assert found.is_watertight
    assert found.is_winding_consistent
    assert found.euler_number == 2
    assert found.volume == pytest.approx(4 / 3 * np.pi * 6.1**3, rel=0.02)
    assert len(np.unique(found.faces)) == len(found.vertices)


def test_without_a_change_of_sign_there_is_nothing():
    for value in (1.0, -1.0, 0.0):
        ends, triangles = march(np.full((2, 8), value), np.arange(16).reshape(2, 8))
        assert (ends.shape, triangles.shape) == ((0, 2), (0, 3))
    ends, triangles = march(np.zeros((0, 8)), np.zeros((0, 8), np.int64))
    assert (ends.shape, triangles.shape) == ((0, 2), (0, 3))
