"""Rotation matrices and quaternions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from da3jax import geometry

matrix_from_quaternion = jax.jit(geometry.matrix_from_quaternion)
quaternion_from_matrix = jax.jit(geometry.quaternion_from_matrix)
jacobian_of_quaternion = jax.jit(jax.vmap(jax.jacrev(geometry.quaternion_from_matrix)))


def by_axis(axis, angle):
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1), "xy": (1, 1, 0), "-xz": (-1, 0, 2), "xyz": (1, -2, 3)}
component = st.floats(-1, 1, width=32)


@given(st.tuples(component, component, component, component).filter(lambda q: np.linalg.norm(q) > 0.1))
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
def test_a_quaternion_and_its_matrix_say_the_same(quaternion):
    unit = np.float32(quaternion) / np.linalg.norm(quaternion)
    matrix = np.asarray(matrix_from_quaternion(jnp.float32(quaternion)))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-6)
    back = np.asarray(quaternion_from_matrix(matrix))
    assert back[3] >= 0
    assert abs(back @ unit) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(back) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.7, 2.0, 3.1, np.pi])
@pytest.mark.parametrize("axis", AXES)
def test_axis_and_angle_are_in_the_quaternion(axis, angle):
    matrix = by_axis(AXES[axis], angle)
    quaternion = np.asarray(quaternion_from_matrix(np.float32(matrix)))
    unit = np.array(AXES[axis]) / np.linalg.norm(AXES[axis])
    expected = np.append(unit * np.sin(angle / 2), np.cos(angle / 2))
    if angle == np.pi:  # w is 0, and both signs are right
        expected *= np.sign(quaternion @ expected)
    np.testing.assert_allclose(quaternion, expected, atol=1e-6)
    np.testing.assert_allclose(matrix_from_quaternion(quaternion), matrix, atol=1e-6)


@pytest.mark.parametrize("largest", range(4), ids="xyzw")
def test_each_component_can_be_the_largest(largest):
    expected = np.float32([0.2, -0.3, 0.25, 0.1])
    expected[largest] = 0.9
    expected /= np.linalg.norm(expected)
    matrix = matrix_from_quaternion(expected)
    np.testing.assert_allclose(quaternion_from_matrix(matrix), expected, atol=1e-6)


def test_length_does_not_count():
    quaternion = np.float32([0.1, -0.5, 0.3, 0.7])
    np.testing.assert_allclose(matrix_from_quaternion(7 * quaternion), matrix_from_quaternion(quaternion), atol=1e-6)
    np.testing.assert_allclose(matrix_from_quaternion(-quaternion), matrix_from_quaternion(quaternion), atol=1e-6)


def test_any_leading_axes():
    matrices = np.float32([[by_axis(axis, angle) for axis in AXES.values()] for angle in (0.3, 2.9)])
    together = quaternion_from_matrix(matrices)
    assert together.shape == (2, len(AXES), 4)
    for index in np.ndindex(2, len(AXES)):
        np.testing.assert_allclose(together[index], quaternion_from_matrix(matrices[index]), atol=1e-7)
    np.testing.assert_allclose(matrix_from_quaternion(together), matrices, atol=1e-6)


ANGLES = [0.0, 1e-6, 1.0, np.pi]


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_gradients_are_right_at_the_identity_and_at_half_turns(jacobian):
    """Turning on about z by t changes the quaternion by half of t."""

    def turned(t, start):
        spin = jnp.array([[jnp.cos(t), -jnp.sin(t), 0], [jnp.sin(t), jnp.cos(t), 0], [0, 0, 1]])
        return geometry.quaternion_from_matrix(spin @ start)

    speed = jax.jit(jacobian(turned))
    for angle in ANGLES:
        start = np.float32(by_axis(AXES["z"], angle))
        here = quaternion_from_matrix(start)
        np.testing.assert_allclose(speed(0.0, start), [0, 0, here[3] / 2, -here[2] / 2], atol=1e-6)


def test_gradients_are_finite_everywhere():
    matrices = np.float32([by_axis(axis, angle) for axis in AXES.values() for angle in ANGLES])
    assert np.isfinite(jacobian_of_quaternion(matrices)).all()


def test_float64_stays_float64():
    with jax.enable_x64(True):
        matrix = by_axis((1, 2, 3), 2.5)
        quaternion = quaternion_from_matrix(jnp.asarray(matrix))
        assert quaternion.dtype == jnp.float64
        np.testing.assert_allclose(matrix_from_quaternion(quaternion), matrix, atol=1e-15)
