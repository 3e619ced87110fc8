"""Images of several processes; what two processes make of them is in tests/cli/test_processes.py."""

import pathlib

import jax
import numpy as np
import pytest

from da3jax import preprocess
from da3jax.inference import own_views
from da3jax.inference.own_views import check_same_images

ARRAY = np.zeros((2, 2, 3), np.uint8)
SAME = [
    (["/here/0.jpg", "/here/1.jpg"], [pathlib.Path("/there/0.jpg"), pathlib.Path("/there/1.jpg")]),
    ([ARRAY, ARRAY], [ARRAY + 1, ARRAY + 1]),
    ([], []),
]
OTHER = [
    (["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"]),
    (["0.jpg", "1.jpg"], ["0.jpg"]),
    (["0.jpg", "1.jpg"], ["1.jpg", "0.jpg"]),
    (["0.jpg", "1.jpg", "3.jpg"], ["0.jpg", "2.jpg", "3.jpg"]),
    (["caf\udce9.jpg"], ["caf\udce8.jpg"]),
    ([ARRAY, ARRAY], [ARRAY]),
]


@pytest.fixture
def check_both(monkeypatch):
    """`check_same_images` of the second process, where the first has other images."""

    def check(first, second):
        said = []
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(own_views, "gathered_texts", lambda text: said.append(text) or [text, text])
        check_same_images(first)
        monkeypatch.setattr(own_views, "gathered_texts", lambda text: [*said, text])
        check_same_images(second)

    return check


def test_one_process_alone_has_nothing_to_compare():
    check_same_images(["0.jpg"])


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_names_in_another_place_are_the_same_images(check_both, first, second):
    check_both(first, second)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_other_images_more_fewer_or_in_another_order_are_refused(check_both, first, second):
    with pytest.raises(
        ValueError, match=f"process 0 is given {len(first)} images .*, and process 1 {len(second)} images .*; all are given the"
    ):
        check_both(first, second)


def test_what_others_have_smaller_crops_views_about_their_centres_and_cameras_follow():
    picture, matrix = (
        np.random.default_rng(0).integers(0, 256, (42, 56, 3), dtype=np.uint8),
        np.array([[50.0, 0, 30], [0, 40, 20], [0, 0, 1]]),
    )
    views = preprocess([picture] * 2, intrinsics=[matrix] * 2, process_res=56)
    found = own_views._cropped(views, 14, 42)
    np.testing.assert_array_equal(found.images, views.images[:, :, 14:28, 7:49])
    np.testing.assert_array_equal(found.processed_images, views.processed_images[:, 14:28, 7:49])
    np.testing.assert_array_equal(found.intrinsics, [[matrix - [[0, 0, 7], [0, 0, 14], [0, 0, 0]]] * 2])
    np.testing.assert_array_equal(found.from_image, [[[1, 0, -7], [0, 1, -14], [0, 0, 1]]] * 2)
