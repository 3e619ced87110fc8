"""The nearest rotation and its derivatives."""

import jax
import numpy as np
import pytest

from da3jax.geometry import procrustes, rotation_from_axis_angle

project = jax.jit(procrustes.project_to_rotation)
jacobian = jax.jit(jax.vmap(jax.jacrev(procrustes.project_to_rotation)))

RNG = np.random.default_rng(0)
TURN = np.asarray(rotation_from_axis_angle(np.float32([0.3, -0.8, 1.1])), np.float64)
OTHER = np.asarray(rotation_from_axis_angle(np.float32([-1.3, 0.2, 0.4])), np.float64)
MATRICES = {
    "identity": np.eye(3),
    "rotation": TURN,
    "two equal": TURN @ np.diag([2, 2, 0.5]),
    "two equal and small": OTHER @ np.diag([3, 0.4, 0.4]) @ TURN,
    "a plane": OTHER @ np.diag([3, 1, 0]) @ TURN,
    "mirrored": OTHER @ np.diag([3, 2, -0.5]) @ TURN,
    "any": RNG.standard_normal((3, 3)) + 2 * TURN,
    "tiny": 1e-12 * (RNG.standard_normal((3, 3)) + 2 * TURN),
}
UNDETERMINED = {
    "zero": np.zeros((3, 3)),
    "a line": np.outer([1, 2, 3], [3, -1, 2]),
    "mirrored identity": -np.eye(3),
    "a line but for rounding": TURN @ np.diag([1, 0, 0]) @ OTHER,
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_no_rotation_is_nearer(matrix):
    matrix = MATRICES[matrix]
    found = np.asarray(project(np.float32(matrix)), np.float64)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(found) == pytest.approx(1, abs=1e-6)
    tried = np.asarray(rotation_from_axis_angle(np.float32(0.3 * RNG.standard_normal((500, 3)))), np.float64) @ found
    assert (np.linalg.norm(tried - matrix, axis=(1, 2)) >= np.linalg.norm(found - matrix) * (1 - 1e-6)).all()


def test_a_rotation_stays_and_its_length_does_not_count():
    np.testing.assert_allclose(project(np.float32(TURN)), TURN, atol=1e-6)
    np.testing.assert_allclose(project(np.float32(1e-15 * TURN)), TURN, atol=1e-6)


def test_forward_reverse_and_numerical_derivatives_agree(assert_derivatives):
    matrices = np.stack([m / np.abs(m).max() for m in MATRICES.values()])
    assert_derivatives(procrustes.project_to_rotation, matrices)
    assert_derivatives(lambda m: procrustes.project_to_rotation(1e-12 * m), matrices[-1:])


def test_derivatives_can_be_derived_again(assert_derivatives):
    assert_derivatives(jax.jacfwd(procrustes.project_to_rotation), np.stack([np.eye(3), MATRICES["any"]]))


@pytest.mark.parametrize("matrix", UNDETERMINED)
def test_where_many_are_equally_near_one_comes_back_and_the_gradient_is_zero(matrix):
    matrix = np.float32(UNDETERMINED[matrix])
    found = np.asarray(project(matrix))
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(found) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(jacobian(matrix[None]), 0)
    assert float(procrustes.rotation_gap(matrix)) == pytest.approx(0, abs=1e-6)


def test_the_gap_is_the_square_of_the_spread_off_the_line():
    matrices = np.float32([np.eye(3), np.diag([4, 1, 0]), TURN @ np.diag([1, 0.5, -0.25])])
    np.testing.assert_allclose(procrustes.rotation_gap(matrices), [2, 0.25, 0.25], atol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda matrices: procrustes.rotation_gap(matrices).sum())(matrices), 0)


def test_any_leading_axes_and_vmap():
    matrices = np.float32(RNG.standard_normal((2, 3, 3, 3)))
    together = project(matrices)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(together[index], project(matrices[index]), atol=1e-6)
    np.testing.assert_allclose(jacobian(matrices[1])[2], jacobian(matrices[1, 2:])[0], atol=1e-4)
