"""Known cameras: every form that is taken, every fault that is refused, and the sentence that says so."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.inputs import check_extrinsics, check_intrinsics

_NAMES = ["a.jpg", "b.jpg"]
_K = np.array([[500.0, 0.5, 320], [0, 510, 240], [0, 0, 1]])


def _poses(count, seed=0):
    rng = np.random.default_rng(seed)
    rotations = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    rotations *= np.linalg.det(rotations)[:, None, None]
    bottom = np.broadcast_to([0, 0, 0, 1.0], (count, 1, 4))
    return np.concatenate([np.concatenate([rotations, rng.normal(size=(count, 3, 1))], axis=2), bottom], axis=1)


def _at(array, index, value):
    array = np.array(array, float)
    array[index] = value
    return array


_POSES = _poses(2)
_POSE = _POSES[0]


@pytest.mark.parametrize(
    "given",
    [_POSES, _POSES[:, :3], list(_POSES), _POSES.tolist(), [_POSES[0], _POSES[1, :3].tolist()], tuple(_POSES)],
    ids=["4x4", "3x4", "list", "nested lists", "3x4 and 4x4 mixed", "tuple"],
)
def test_poses_come_as_their_first_three_rows(given):
    result = check_extrinsics(given, _NAMES)
    np.testing.assert_array_equal(result, _POSES[:, :3])
    assert result.dtype == np.float64


def test_float32_of_jax_and_whole_numbers_are_fine():
    result = check_extrinsics(jnp.asarray(_POSES, jnp.float32), _NAMES)
    np.testing.assert_array_equal(result, _POSES[:, :3].astype(np.float32))
    np.testing.assert_array_equal(check_intrinsics([[[2, 0, 1], [0, 3, 4], [0, 0, 1]]], ["a"]), [[[2, 0, 1], [0, 3, 4], [0, 0, 1]]])


def test_intrinsics_come_as_they_are_skew_and_off_centre_points_too():
    given = np.stack([_K, _at(_K, (0, 2), -3000)])
    result = check_intrinsics(given.astype(np.float32), _NAMES)
    np.testing.assert_array_equal(result, given)
    assert result.dtype == np.float64


def test_poses_of_single_precision_stay_so():
    pose = _POSE.astype(np.float32)
    assert check_extrinsics([None, pose], _NAMES).dtype == np.float32
    assert check_extrinsics(np.stack([pose, pose]), _NAMES).dtype == np.float32
    assert check_extrinsics([_POSE, pose], _NAMES).dtype == np.float64


def test_normalised_intrinsics_are_refused():
    normalised = np.array([[0.8, 0, 0.5], [0, 1.1, 0.5], [0, 0, 1]])
    with pytest.raises(ValueError, match=r"intrinsics of view 1 \(.*\) look normalised: focal lengths of 0.8 and 1.1, .* in pixels"):
        check_intrinsics([None, normalised], _NAMES)


def test_none_in_a_list_is_a_camera_that_is_not_known():
    result = check_extrinsics([None, _POSE], _NAMES)
    np.testing.assert_array_equal(result, [np.full((3, 4), np.nan), _POSE[:3]])
    result = check_intrinsics(np.array([_K, None], object), _NAMES)
    np.testing.assert_array_equal(result, [_K, np.full((3, 3), np.nan)])


@pytest.mark.parametrize("check", [check_extrinsics, check_intrinsics])
def test_no_camera_known_is_none(check):
    assert check(None, _NAMES) is None
    assert check([None, None], _NAMES) is None


def test_the_callers_matrices_are_not_changed():
    given = _POSES.copy()
    check_extrinsics(given, _NAMES)[...] = 0
    np.testing.assert_array_equal(given, _POSES)


def test_rounding_of_poses_and_of_products_is_let_through():
    np.testing.assert_array_equal(check_extrinsics(np.round(_POSES, 3), _NAMES), np.round(_POSES, 3)[:, :3])
    for seed in range(5):
        matrices = np.linalg.inv(np.linalg.inv(_poses(20, seed).astype(np.float16).astype(np.float32)))
        np.testing.assert_array_equal(check_extrinsics(matrices, ["a"] * 20), matrices[:, :3])
    check_intrinsics([_at(_K, (1, 0), 1e-5)], ["a"])
    check_intrinsics([_at(_K, (2, 0), 9e-6)], ["a"])
    check_extrinsics([_at(_POSE, (3, 3), 1 - 9e-6)], ["a"])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_tolerance_of_a_rotation_is_half_a_percent(sign):
    def stretched(deviation):
        return [np.diag([np.sqrt(1 + sign * deviation), 1, 1, 1])]

    check_extrinsics(stretched(4.9e-3), ["a"])
    with pytest.raises(ValueError, match=r"not rigid: .* is up to 0.0051 off the identity"):
        check_extrinsics(stretched(5.1e-3), ["a"])


def test_what_the_helpers_of_geometry_return_is_accepted():
    opengl = geometry.opengl_from_extrinsics(jnp.asarray(_POSES, jnp.float32))
    np.testing.assert_allclose(check_extrinsics(geometry.extrinsics_from_opengl(opengl), _NAMES), _POSES[:, :3], atol=1e-6)


_EXPECTED = "their shape is (2, 3, 4) or (2, 4, 4)"
_FINITE = "they should be finite float32 numbers, and a view whose camera is not known is None in a list"
_REAL = "they should be real numbers"


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (_POSES[:1], f"extrinsics have 1 entries for 2 images; {_EXPECTED}, with None in a list for no camera"),
        (_POSE, f"extrinsics have 4 entries for 2 images; {_EXPECTED}"),
        ([None], f"extrinsics have 1 entries for 2 images; {_EXPECTED}"),
        (3.0, f"extrinsics are of type float; {_EXPECTED}"),
        (_POSES[:, :2], f"extrinsics of view 0 (a.jpg) are of shape (2, 4); {_EXPECTED}"),
        ([None, _POSE[:3, :3]], f"extrinsics of view 1 (b.jpg) are of shape (3, 3); {_EXPECTED}"),
        (_POSE[:2], f"extrinsics of view 0 (a.jpg) are of shape (4,); {_EXPECTED}"),
        ([[[1, 2], [3]], _POSE], f"extrinsics of view 0 (a.jpg) are not a matrix of numbers; {_EXPECTED}"),
        (_POSES * 1j, f"extrinsics of view 0 (a.jpg) are of type complex128; {_REAL}"),
        ([_POSE, np.eye(4, dtype=bool)], f"extrinsics of view 1 (b.jpg) are of type bool; {_REAL}"),
        (np.stack([np.eye(4)] * 2).astype(str), f"extrinsics of view 0 (a.jpg) are of type <U32; {_REAL}"),
        (_POSES.astype(object), f"extrinsics of view 0 (a.jpg) are of type object; {_REAL}"),
        ([[[1, 0, 0, None]] * 3, _POSE], f"extrinsics of view 0 (a.jpg) are of type object; {_REAL}"),
        (_at(_POSES, (1, 0, 3), np.nan), f"extrinsics of view 1 (b.jpg) are nan at [0, 3]; {_FINITE}"),
        (_at(_POSES, 0, np.nan), f"extrinsics of view 0 (a.jpg) are nan at [0, 0]; {_FINITE}"),
        (_at(_POSES, (0, 1, 3), -np.inf), f"extrinsics of view 0 (a.jpg) are -inf at [1, 3]; {_FINITE}"),
        (_at(_POSES, (0, 1, 3), 1e39), f"extrinsics of view 0 (a.jpg) are 1e+39 at [1, 3]; {_FINITE}"),
        (
            [_POSE, _at(np.eye(4), (3, 1), 2)],
            "extrinsics of view 1 (b.jpg) end in a row of 0 2 0 1, which should be 0 0 0 1",
        ),
        (
            [_POSE, _at(np.eye(4), (slice(0, 3), 3), [1, 2, 3]).T],
            "extrinsics of view 1 (b.jpg) end in a row of 1 2 3 1, which should be 0 0 0 1: the matrix looks transposed",
        ),
        (
            _at(_POSES, (1, slice(0, 3)), 2.5 * _POSES[1, :3]),
            "extrinsics of view 1 (b.jpg) are scaled: their rotation part is 2.5 times a rotation; extrinsics have no scale, so their "
            "first three rows should be divided by it",
        ),
        (
            [np.diag([1, 1, 2.0, 1]), _POSE],
            "extrinsics of view 0 (a.jpg) are not rigid: R Rᵀ of their rotation part R is up to 3 off the identity; "
            "R should be a rotation to 0.005",
        ),
        ([np.zeros((3, 4)), _POSE], "extrinsics of view 0 (a.jpg) are not rigid: R Rᵀ of their rotation part R is up to 1 off"),
        (
            [_POSE, np.diag([1.0, -1, 1, 1])[:3]],
            "extrinsics of view 1 (b.jpg) are left-handed: the determinant of their rotation part is -1 and should be 1; axes are OpenCV's "
            "(x right, y down, z forward), and da3jax.geometry.extrinsics_from_opengl and its like convert others",
        ),
    ],
)
def test_poses_that_are_none_are_refused_naming_the_view(matrices, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        check_extrinsics(matrices, _NAMES)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(4), "intrinsics of view 1 (b.jpg) are of shape (4, 4); their shape is (2, 3, 3)"),
        (_K * 1j, f"intrinsics of view 1 (b.jpg) are of type complex128; {_REAL}"),
        (_at(_K, (1, 2), np.nan), f"intrinsics of view 1 (b.jpg) are nan at [1, 2]; {_FINITE}"),
        (
            _at(_K, (1, 1), 0),
            "intrinsics of view 1 (b.jpg) have focal lengths of 500 and 0 (entries [0, 0] and [1, 1]); they should be positive",
        ),
        (
            _at(_K, (0, 0), -500),
            "intrinsics of view 1 (b.jpg) have focal lengths of -500 and 510 (entries [0, 0] and [1, 1]); they should be positive",
        ),
        (_K * 2, "intrinsics of view 1 (b.jpg) end in a row of 0 0 2, which should be 0 0 1"),
        (_K.T, "intrinsics of view 1 (b.jpg) end in a row of 320 240 1, which should be 0 0 1: the matrix looks transposed"),
        (_at(_K, (1, 0), 3), "intrinsics of view 1 (b.jpg) are 3 at [1, 0], which should be 0: the skew, if any, is at [0, 1]"),
    ],
)
def test_intrinsics_that_are_none_are_refused_naming_the_view(matrix, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        check_intrinsics([_K, matrix], _NAMES)


def test_intrinsics_of_a_wrong_count_are_refused():
    with pytest.raises(ValueError, match=r"intrinsics have 3 entries for 2 images; their shape is \(2, 3, 3\), with None in a list"):
        check_intrinsics(_K, _NAMES)


def test_what_is_neither_rigid_nor_nearly_a_scaled_rotation_is_not_called_scaled():
    with pytest.raises(ValueError, match=r"are not rigid: R Rᵀ of their rotation part R is up to 5\.5 off the identity"):
        check_extrinsics([np.diag([2.5, 2.5, 2.55, 1])], ["a"])


def test_the_rounding_of_a_zero_is_a_share_of_the_focal_length():
    check_intrinsics([_at(_at(_K, (1, 1), 51_000), (1, 0), 0.5)], ["a"])
    with pytest.raises(ValueError, match=r"are 0.6 at \[1, 0\], which should be 0"):
        check_intrinsics([_at(_at(_K, (1, 1), 51_000), (1, 0), 0.6)], ["a"])


def test_pixels_of_a_tiny_image_are_not_taken_for_normalised():
    check_intrinsics([_at(_at(np.eye(3), (0, 0), 4), (1, 1), 30)], ["a"])
    check_intrinsics([_at(_at(np.eye(3), (0, 2), -2), (1, 2), 0.5)], ["a"])
