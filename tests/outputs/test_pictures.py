import numpy as np
import pytest
from PIL import Image

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.pictures import picture_names, write_pictures
from da3jax.types import LazyImage


def names(*given):
    return picture_names([LazyImage(name, None) for name in given], len(given))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["/data/walk/0001.jpg", "/data/walk/0002.jpg"], ["0001.jpg", "0002.jpg"]),
        (["photos/a.png"], ["a.png"]),
        (["a.png", "b.JPG", "c.jpeg"], ["a.png", "b.JPG", "c.jpeg"]),
        (["left/1.jpg", "right/1.jpg"], ["left/1.jpg", "right/1.jpg"]),
        (["/data/left/1.jpg", "/data/right/cam/1.jpg"], ["left/1.jpg", "right/cam/1.jpg"]),
        (["rig/1.jpg", "1.jpg"], ["rig/1.jpg", "1.jpg"]),
        (["C:\\photos\\left\\1.jpg", "C:\\photos\\right\\1.jpg"], ["left/1.jpg", "right/1.jpg"]),
        (["../../x/1.jpg", "../../x/2.jpg"], ["1.jpg", "2.jpg"]),
        (["../../x/1.jpg", "y/2.jpg", "/etc/3.jpg"], ["x/1.jpg", "y/2.jpg", "etc/3.jpg"]),
        (["a/../../b.jpg", "c/./d.jpg"], ["b.jpg", "c/d.jpg"]),
        (["a.heic", "b.webp", "c", "d.tar.gz", ".jpg"], ["a.png", "b.png", "c.png", "d.tar.png", ".jpg.png"]),
        (["", "/", ".."], ["image.png", "image_2.png", "image_3.png"]),
        (["a.jpg", "a.jpg", "A.JPG", "a_2.jpg"], ["a.jpg", "a_2.jpg", "A_3.JPG", "a_2_2.jpg"]),
        (["a.png", "a.heic", "a.jpg"], ["a.png", "a_2.png", "a.jpg"]),
        (["my holiday\n1.jpg", 'q?<>:"|*.jpg', "nul\0l.jpg"], ["my_holiday_1.jpg", "q_______.jpg", "nul_l.jpg"]),
        (["\udcff.jpg", "日本.jpg"], ["_.jpg", "日本.jpg"]),
    ],
)
def test_names_are_unique_and_stay_inside(given, expected):
    assert names(*given) == expected


def test_without_pictures_names_are_numbers():
    assert picture_names(None, 2) == ["image_0000.png", "image_0001.png"]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([2 * rows, 3 * columns, 90 + rows + columns], axis=-1).astype(np.uint8)


def test_pictures_are_written_at_their_own_size_and_to_the_last_bit_as_png(tmp_path):
    given = [picture(20, 31, 1), picture(12, 9, 2)]
    images = [LazyImage(f"{index}.heic", lambda index=index: given[index]) for index in range(2)]
    paths = write_pictures(images, ["0.png", "sub/1.png"], np.array([[20, 31], [12, 9]]), tmp_path / "images", write_bytes)
    assert paths == [tmp_path / "images" / "0.png", tmp_path / "images" / "sub" / "1.png"]
    for path, expected in zip(paths, given, strict=True):
        with Image.open(path) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_keeps_whole_chroma(tmp_path, name):
    (path,) = write_pictures([LazyImage("a", lambda: smooth(40, 50))], [name], np.array([[40, 50]]), tmp_path, write_bytes)
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert [part[1:3] for part in image.layer] == [(1, 1)] * 3
        assert np.abs(np.asarray(image).astype(int) - smooth(40, 50)).max() <= 8


def test_one_picture_at_a_time_is_read(tmp_path):
    events = []

    def read(index):
        events.append((index, sorted(path.name for path in tmp_path.iterdir())))
        return picture(4, 4)

    images = [LazyImage("", lambda index=index: read(index)) for index in range(3)]
    write_pictures(images, ["0.png", "1.png", "2.png"], np.full((3, 2), 4), tmp_path, write_bytes)
    assert events == [(0, []), (1, ["0.png"]), (2, ["0.png", "1.png"])]


def test_a_picture_of_another_size_is_refused(tmp_path):
    message = (
        r"^walk/7\.png is 5 × 6 \(H × W\), and its camera in the prediction is for 6 × 5; "
        r"images are the pictures that the prediction was made from$"
    )
    with pytest.raises(ValueError, match=message):
        write_pictures([LazyImage("walk/7.png", lambda: picture(5, 6))], ["7.png"], np.array([[6, 5]]), tmp_path, write_bytes)
    assert list(tmp_path.iterdir()) == []
