"""Marching tetrahedra: the surface on which a function of lattice points is zero."""

from __future__ import annotations

import itertools

import numpy as np


def _tetrahedra() -> list[tuple[int, ...]]:
    """Six that fill a cube, as numbers of its corners (bits: x, y, z): one for each order in which a path from 0 to 7 takes the axes.

    Neighbouring cubes cut their common face along the same diagonal. Corners are in an order of positive volume.
    """
    found = []
    for order in itertools.permutations(range(3)):
        a, b, c, d = 0, 1 << order[0], (1 << order[0]) | (1 << order[1]), 7
        even = order in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
        found.append((a, b, c, d) if even else (a, b, d, c))
    return found


def _cases() -> list[list[tuple[tuple[int, int], ...]]]:
    """For each set of corners below zero (bits), triangles of three edges; their fronts are on the side above zero.

    Written for {0} and {0, 1}; the others follow by even permutations of the corners, and their opposites are turned.
    """
    cases: list[list[tuple[tuple[int, int], ...]]] = [[] for _ in range(16)]
    for a, b, c, d in ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)):
        cases[1 << a] = [((a, b), (a, c), (a, d))]
    for a, b, c, d in ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)):
        cases[1 << a | 1 << b] = [((a, c), (a, d), (b, d)), ((a, c), (b, d), (b, c))]
    for below in (1, 2, 4, 8, 3, 5, 9):
        cases[15 - below] = [triangle[::-1] for triangle in cases[below]]
    return cases


TETRAHEDRA, CASES = _tetrahedra(), _cases()

CORNERS = np.array([[corner >> axis & 1 for axis in range(3)] for corner in range(8)])
"""(8, 3) of a cube, in the order of their numbers."""


def march(values: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts cubes where the function changes its sign; a value of zero counts as above.

    Args:
        values: (A, 8) finite, at the corners of A cubes.
        numbers: (A, 8) int64, below 2³¹, which lattice points these are; the same point has the same number in every cube.

    Returns:
        Edges (V, 2), sorted pairs of the numbers of the lattice points between which the vertices lie, each once, in ascending order;
        and triangles (F, 3) of them.
    """
    corners = []
    for tetrahedron in TETRAHEDRA:
        value, number = values[:, tetrahedron], numbers[:, tetrahedron]
        code = (value < 0) @ np.array([1, 2, 4, 8])
        for case in range(1, 15):
            chosen = number[code == case]
            corners += [chosen[:, triangle] for triangle in CASES[case]]  # (., 3 vertices, 2 ends of an edge)
    ends = np.sort(np.concatenate([corner.reshape(-1, 2) for corner in corners]), axis=1)
    count = int(ends.max(initial=0)) + 1
    edges, vertex = np.unique(ends[:, 0] * count + ends[:, 1], return_inverse=True)
    return np.stack(np.divmod(edges, count), axis=-1), vertex.reshape(-1, 3)
