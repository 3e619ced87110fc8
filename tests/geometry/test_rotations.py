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
rotation_from_axis_angle = jax.jit(geometry.rotation_from_axis_angle)
axis_angle_from_rotation = jax.jit(geometry.axis_angle_from_rotation)
rotation_between = jax.jit(geometry.rotation_between)
jacobian_of_rotation_between = jax.jit(jax.jacrev(geometry.rotation_between, (0, 1)))
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


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-5, 1.1e-4, 0.7, 2.0, 3.1, np.pi - 1e-4, np.pi])
@pytest.mark.parametrize("axis", AXES)
def test_axis_times_angle_there_and_back(axis, angle):
    vector = np.array(AXES[axis]) / np.linalg.norm(AXES[axis]) * angle
    np.testing.assert_allclose(rotation_from_axis_angle(np.float32(vector)), by_axis(AXES[axis], angle), atol=1e-6)
    back = np.asarray(axis_angle_from_rotation(np.float32(by_axis(AXES[axis], angle))))
    if angle == np.pi:  # both signs are right
        back = back * np.sign(back @ vector)
    np.testing.assert_allclose(back, vector, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-4, 0.3, 3.1])
def test_axis_times_angle_is_exact_in_float64(angle):
    with jax.enable_x64(True):
        vector = np.array([1, -2, 3]) / np.sqrt(14) * angle
        rotation = geometry.rotation_from_axis_angle(jnp.asarray(vector))
        np.testing.assert_allclose(rotation, by_axis((1, -2, 3), angle), atol=1e-15)
        np.testing.assert_allclose(geometry.axis_angle_from_rotation(rotation), vector, atol=1e-14)


def test_forward_reverse_and_numerical_derivatives_of_axis_times_angle_agree(assert_derivatives):
    vectors = np.array([[0], [1e-6], [1e-3], [1], [3]]) * [1, -2, 3] / np.sqrt(14)
    assert_derivatives(geometry.rotation_from_axis_angle, vectors)
    assert_derivatives(lambda v: geometry.axis_angle_from_rotation(geometry.rotation_from_axis_angle(v)), vectors)


def test_second_derivatives_of_axis_times_angle_are_right_at_zero():
    hessian = jax.jit(jax.hessian(lambda t: geometry.rotation_from_axis_angle(t * jnp.array([0.0, 0.0, 1.0]))))(0.0)
    np.testing.assert_allclose(hessian, np.diag([-1, -1, 0]), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.01, 1.0, 3.0, np.pi])
def test_angle_between_rotations(angle):
    start = by_axis((1, 2, 3), 2.5)
    found = geometry.rotation_angle(np.float32(start), np.float32(start @ by_axis((2, 0, -1), angle)))
    assert float(found) == pytest.approx(angle, abs=5e-7)


def test_the_angle_grows_as_it_is_turned_and_its_gradient_at_zero_is_finite():
    angle = lambda t: geometry.rotation_angle(jnp.eye(3), geometry.rotation_from_axis_angle(t * jnp.array([0.0, 0.0, 1.0])))  # noqa: E731
    slopes = jax.jit(jax.vmap(jax.grad(angle)))(jnp.array([0.3, -0.3, 3.0, 0.0]))
    np.testing.assert_allclose(slopes, [1, -1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("target", [(0, 0, 2), (0, 3, 0), (1, -1, 0.5), (0, 1e-4, -1), (0, 0, -5)])
def test_the_smallest_rotation_between_two_directions(target):
    source = np.float32([0, 0, 0.5])
    rotation = np.asarray(rotation_between(source, np.float32(target)))
    np.testing.assert_allclose(rotation @ [0, 0, 1], target / np.linalg.norm(target), atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    smallest = np.arccos(target[2] / np.linalg.norm(target))
    assert float(geometry.rotation_angle(np.eye(3, dtype=np.float32), rotation)) == pytest.approx(smallest, abs=2e-4)
    assert all(np.isfinite(slope).all() for slope in jacobian_of_rotation_between(source, np.float32(target)))


def test_no_direction_asks_for_no_rotation():
    np.testing.assert_array_equal(geometry.rotation_between(np.zeros(3, np.float32), np.float32([1, 2, 3])), np.eye(3))
