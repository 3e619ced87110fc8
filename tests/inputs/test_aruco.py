"""Markers drawn at known places are found there, to a fraction of a pixel."""

import sys

import numpy as np
import pytest

from da3jax.inputs.aruco import find_markers
from tests.markers import draw_marker

FRONTAL = np.array([[40.0, 30], [100, 30], [100, 90], [40, 90]])
SLANTED = np.array([[150.3, 20.6], [219.2, 31.7], [208.4, 108.1], [141.8, 95.5]])


def grey(height=140, width=240):
    return np.full((height, width, 3), 120, np.uint8)


@pytest.fixture(autouse=True)
def opencv():
    return pytest.importorskip("cv2")


def test_corners_are_found_where_the_first_pixels_centre_is_half_a_pixel_in():
    image = grey()
    draw_marker(image, FRONTAL, 7)
    ((number, corners),) = find_markers(image)
    assert number == 7
    assert corners.dtype == np.float64
    np.testing.assert_allclose(corners, FRONTAL, atol=0.02)


def test_corners_of_a_slanted_marker_are_found_to_a_fraction_of_a_pixel():
    image = grey()
    draw_marker(image, SLANTED, 3)
    ((_, corners),) = find_markers(image)
    np.testing.assert_allclose(corners, SLANTED, atol=0.05)


@pytest.mark.parametrize("side", [30, 60])
def test_a_small_blurred_and_noisy_marker_keeps_its_size(opencv, side):
    image, quad = grey(), (SLANTED - SLANTED.mean(axis=0)) * side / 72 + 70
    draw_marker(image, quad, 3)
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    ((_, corners),) = find_markers(np.uint8(np.clip(opencv.GaussianBlur(image, (0, 0), 0.8) + noise, 0, 255)))
    sides, true = (np.linalg.norm(x - np.roll(x, 1, axis=0), axis=1).mean() for x in (corners, quad))
    assert sides == pytest.approx(true, rel=0.004)


def test_the_first_corner_is_the_printed_markers_top_left_whichever_way_it_is_turned():
    image = grey()
    draw_marker(image, np.roll(FRONTAL, 1, axis=0), 7)
    ((_, corners),) = find_markers(image)
    np.testing.assert_allclose(corners, np.roll(FRONTAL, 1, axis=0), atol=0.02)


def test_markers_come_by_number_then_from_left_to_right():
    image = grey()
    draw_marker(image, SLANTED, 3)
    draw_marker(image, FRONTAL, 7)
    assert [number for number, _ in find_markers(image)] == [3, 7]
    image = grey()
    draw_marker(image, SLANTED, 5)
    draw_marker(image, FRONTAL, 5)
    assert [(number, round(corners[0, 0])) for number, corners in find_markers(image)] == [(5, 40), (5, 150)]


def test_only_markers_of_the_dictionary_are_found():
    image = grey()
    draw_marker(image, FRONTAL, 7, "DICT_6X6_250")
    assert find_markers(image) == []
    assert [number for number, _ in find_markers(image, "DICT_6X6_250")] == [7]


def test_a_picture_without_markers_has_none():
    assert find_markers(grey()) == []


def test_the_picture_is_not_changed():
    image = grey()
    draw_marker(image, FRONTAL, 7)
    before = image.copy()
    find_markers(image)
    np.testing.assert_array_equal(image, before)


def test_an_unknown_dictionary_is_refused_with_the_closest():
    with pytest.raises(ValueError, match=r"ArUco dictionary 'DICT_4x4_50' is unknown; it is one of .*; did you mean 'DICT_4X4_50'\?"):
        find_markers(grey(), "DICT_4x4_50")


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r'finding ArUco markers needs OpenCV: pip install "da3jax\[aruco\]"'):
        find_markers(grey())
