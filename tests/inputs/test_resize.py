"""Resizing against values worked out by hand, and against OpenCV itself."""

import numpy as np
import pytest

from da3jax.inputs.resize import resize_area, resize_cubic


def _row(*values):
    return np.array(values, np.uint8)[None, :, None]


def _pattern(height, width):
    y, x = np.mgrid[:height, :width]
    return ((37 * x + 91 * y + x * y * y) % 256).astype(np.uint8)[..., None]


def test_area_weighs_a_pixel_by_how_much_of_it_is_covered():
    # 1.5 input pixels an output pixel: (0 + 90/2) / 1.5 and (90/2 + 255) / 1.5
    np.testing.assert_array_equal(resize_area(_row(0, 90, 255), 1, 2), _row(30, 200))


def test_area_by_two_rounds_halves_up_and_by_other_whole_steps_to_even():
    np.testing.assert_array_equal(resize_area(np.array([[0, 1, 2, 3], [0, 1, 2, 3]], np.uint8)[..., None], 1, 2), _row(1, 3))
    np.testing.assert_array_equal(resize_area(_row(0, 1, 2, 3, 1, 2), 1, 3), _row(0, 2, 2))


def test_area_keeps_an_axis_that_does_not_change():
    image = np.stack([_row(0, 90, 255)[0], _row(3, 3, 6)[0]])
    np.testing.assert_array_equal(resize_area(image, 2, 2), np.stack([_row(30, 200)[0], _row(3, 5)[0]]))


def test_area_equals_recorded_opencv_values():
    expected = [[52, 117, 166, 142], [149, 88, 130, 127], [93, 135, 112, 139]]
    np.testing.assert_array_equal(resize_area(_pattern(5, 7), 3, 4)[..., 0], expected)


def test_area_refuses_to_grow():
    with pytest.raises(ValueError, match="7 × 5 cannot be averaged to 8 × 5: only shrinking can"):
        resize_area(_pattern(5, 7), 5, 8)


def test_cubic_overshoots_at_an_edge_and_clips():
    # weights at distances 1/4, 3/4, 5/4, 7/4: 0.8789, 0.2617, -0.1055, -0.0352
    np.testing.assert_array_equal(resize_cubic(_row(0, 0, 100, 100), 1, 8), _row(0, 0, 0, 23, 77, 111, 104, 100))
    np.testing.assert_array_equal(resize_cubic(_row(0, 0, 250, 250), 1, 8), _row(0, 0, 0, 57, 193, 255, 255, 250))


def test_cubic_along_y_is_cubic_along_x_of_the_transposed_image():
    image = _pattern(9, 6)
    np.testing.assert_array_equal(resize_cubic(image.transpose(1, 0, 2), 6, 21), resize_cubic(image, 21, 6).transpose(1, 0, 2))


def test_cubic_that_grows_one_axis_and_shrinks_the_other_equals_recorded_opencv_values():
    expected = [
        [0, 49, 102, 164, 233],
        [29, 91, 149, 165, 158],
        [82, 146, 207, 164, 59],
        [163, 134, 138, 126, 92],
        [194, 90, 49, 107, 166],
        [97, 71, 111, 193, 115],
        [21, 101, 149, 234, 77],
        [78, 178, 62, 142, 130],
        [125, 232, 0, 71, 171],
    ]
    np.testing.assert_array_equal(resize_cubic(_pattern(5, 7), 9, 5)[..., 0], expected)


@pytest.mark.parametrize("resize", [resize_area, resize_cubic])
def test_same_size_changes_nothing(resize):
    np.testing.assert_array_equal(resize(_pattern(5, 7), 5, 7), _pattern(5, 7))


@pytest.mark.parametrize(("resize", "height", "width"), [(resize_area, 70, 41), (resize_cubic, 333, 90)])
def test_channels_do_not_mix_and_blocks_of_rows_do_not_show(resize, height, width):
    image = np.random.default_rng(0).integers(0, 256, (150, 60, 3), dtype=np.uint8)
    apart = [resize(image[..., channel : channel + 1], height, width) for channel in range(3)]
    np.testing.assert_array_equal(resize(image, height, width), np.concatenate(apart, axis=-1))
    constant = np.full_like(image, (7, 128, 255))
    np.testing.assert_array_equal(np.unique(resize(constant, height, width).reshape(-1, 3), axis=0), [(7, 128, 255)])


def _images(count):
    """Random sizes with noise, with black and white, and with ramps, whose pixels often fall half-way between two levels."""
    rng = np.random.default_rng(1)
    for case in range(count):
        height, width = rng.integers(1, 320, 2)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        y, x, channel = np.ogrid[:height, :width, :3]
        yield rng, case, [noise, (noise // 128) * 255, ((3 * x + y * channel) % 256).astype(np.uint8)][case % 3]


@pytest.mark.parity
def test_area_equals_opencv_bit_for_bit():
    cv2 = pytest.importorskip("cv2")
    for rng, case, image in _images(150):
        height, width = (int(rng.integers(1, side + 1)) for side in image.shape[:2])
        if case % 4 == 0:  # whole steps have a path of their own, and twos another
            steps = (2, 2) if case % 8 == 0 else rng.integers(1, 6, 2)
            image = image.repeat(steps[0], axis=0).repeat(steps[1], axis=1)[::-1]
            height, width = image.shape[0] // int(steps[0]), image.shape[1] // int(steps[1])
            image = image ^ rng.integers(0, 256, image.shape, dtype=np.uint8)
        np.testing.assert_array_equal(resize_area(image, height, width), cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


@pytest.mark.parity
def test_cubic_equals_opencv_to_one_grey_level():
    cv2 = pytest.importorskip("cv2")
    for rng, _, image in _images(150):
        height, width = (int(side) for side in rng.integers(1, 400, 2))
        ours = resize_cubic(image, height, width).astype(int)
        assert np.abs(ours - cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)).max() <= 1


def _area_in_order(image, height, width):
    """INTER_AREA in OpenCV's order, one float32 operation after the other."""

    def shrunk(lines, target):
        scale = 1 / (target / len(lines))
        result = []
        for number in range(target):
            start, end = number * scale, (number + 1) * scale
            cell, total = min(scale, len(lines) - start), None
            for place in range(int(start), min(int(np.ceil(end)), len(lines))):
                share = min(place + 1, end) - max(place, start)
                if place + 1 - start < 1 or place == int(end) or end > len(lines):
                    share = 0 if share <= 1e-3 else share
                if share:
                    term = lines[place] * np.float32(share / cell)
                    total = term if total is None else total + term
            result.append(total)
        return np.stack(result)

    columns = shrunk(image.astype(np.float32).swapaxes(0, 1), width).swapaxes(0, 1)
    return np.rint(shrunk(columns, height)).astype(np.uint8)


@pytest.mark.parametrize("levels", [(0, 256), (0, 2), (254, 256)], ids=["noise", "two dark levels", "two bright levels"])
@pytest.mark.parametrize(
    ("source", "target"), [((40, 37), (31, 30)), ((50, 90), (20, 36)), ((64, 50), (64, 17)), ((61, 60), (3, 4)), ((700, 9), (2, 8))]
)
def test_area_takes_the_pixels_that_rounding_decides_in_the_order_of_opencv(levels, source, target):
    image = np.random.default_rng(0).integers(*levels, (*source, 2), dtype=np.uint8)
    np.testing.assert_array_equal(resize_area(image, *target), _area_in_order(image, *target))


@pytest.mark.parametrize("levels", [(0, 256), (0, 2), (254, 256)])
def test_area_equals_opencv(levels):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for _ in range(30):
        source = rng.integers(2, 300, 2)
        target = rng.integers(1, source + 1)
        image = rng.integers(*levels, (*source, 3), dtype=np.uint8)
        expected = cv2.resize(image, target[::-1].tolist(), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(resize_area(image, *target.tolist()), expected)
