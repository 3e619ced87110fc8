"""Pictures as their files store them: EXIF does not turn them."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from da3jax.inputs import read_image
from da3jax.inputs.stored import read_as_stored, stored_picture

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 13


def save(path, orientation, **options):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(RGB).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_the_stored_pixels_come_back(tmp_path, orientation, ending):
    path = save(tmp_path / f"a.{ending}", orientation, **({"lossless": True} if ending == "webp" else {}))
    picture = stored_picture(path)
    assert (picture.height, picture.width) == (2, 3)
    np.testing.assert_array_equal(read_as_stored(picture, "a"), RGB)
    assert read_image(path).shape[:2] == ((3, 2) if orientation > 4 else (2, 3))


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_behind_the_pixels_turns_nothing_either(tmp_path, orientation):
    path = save(tmp_path / "a.png", orientation)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])  # before the last chunk, IEND
    np.testing.assert_array_equal(read_as_stored(stored_picture(path), "a"), RGB)
    assert read_image(path).shape[:2] == ((2, 3) if orientation == 3 else (3, 2))


def test_broken_exif_turns_nothing(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(read_as_stored(stored_picture(tmp_path / "a.png"), "a"), RGB)


def test_a_file_that_is_no_picture_is_refused_as_everywhere(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(OSError, match=r"a.png is not an image that Pillow can read"):
        stored_picture(tmp_path / "a.png")


def test_a_file_that_has_changed_is_refused(tmp_path):
    picture = stored_picture(save(tmp_path / "a.png", 6))
    Image.fromarray(RGB[:1]).save(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"a is 3 × 1 pixels \(W × H\) now and was 3 × 2 when its camera was read"):
        read_as_stored(picture, "a")
