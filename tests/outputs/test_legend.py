import numpy as np
import pytest

from da3jax.outputs.colormap import table
from da3jax.outputs.legend import _ticks, label, legend

INK = (40, 40, 40)


@pytest.mark.parametrize(
    ("depth", "text"),
    [
        (1.0, "1.00"),
        (2.345, "2.35"),
        (0.0123, "0.0123"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1000"),
        (12345.6, "12346"),
        (123456.0, "1.2e5"),
        (0.00123, "1.2e-3"),
    ],
)
def test_depths_have_few_digits(depth, text):
    assert label(depth) == text


def test_marks_are_at_the_depths_whose_colour_is_beside_them():
    assert _ticks(0.1, 0.5, 3) == [(0.0, 0.5), (0.5, pytest.approx(0.3)), (1.0, pytest.approx(0.1))]
    strip = legend(300, 0.1, 0.5, True)
    column = strip[:, 7]  # inside the bar
    inside = [row for row in range(300) if (table() == column[row]).all(axis=1).any()]
    marks = [row for row in range(300) if tuple(strip[row, 18]) == INK]
    assert len(marks) == 9
    index = [int(np.abs(table().astype(int) - column[row]).sum(axis=1).argmin()) for row in marks[1:-1]]
    np.testing.assert_allclose(index, np.linspace(255, 0, 9)[1:-1], atol=1.5)
    assert abs(marks[0] - inside[0]) <= 1
    assert abs(marks[-1] - inside[-1]) <= 1


def test_letters_depend_on_values_and_unit_and_the_size_does_not():
    strips = [legend(300, *limits, metric) for limits, metric in (((0.1, 0.5), True), ((0.1, 0.5), False), ((0.2, 9e4), True))]
    assert len({strip.shape for strip in strips}) == 1
    assert len({strip.tobytes() for strip in strips}) == 3


def test_one_depth_has_one_mark_and_no_depth_none():
    assert _ticks(0.5, 0.5, 9) == [(0.5, 0.5)]
    assert _ticks(0.0, 0.0, 9) == []
    assert not (legend(300, 0, 0, True)[30:] == INK).all(axis=-1).any()


@pytest.mark.parametrize("height", [1, 14, 28, 112, 2000])
def test_any_height_has_a_legend_of_that_height(height):
    strip = legend(height, 0.1, 0.5, False)
    assert strip.shape[0] == height
    assert strip.dtype == np.uint8
