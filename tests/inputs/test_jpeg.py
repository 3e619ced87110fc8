"""JPEG files decoded straight into an array: the pixels are Pillow's, and what is not plain is left to Pillow."""

import io
import itertools

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from da3jax.inputs import read_image
from da3jax.inputs.jpeg import decode_jpeg


def _picture(height, width):
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([3 * x + y, x * y // 16, 200 - 2 * y], axis=-1)
    return ((smooth + np.random.default_rng(0).integers(0, 40, smooth.shape)) % 256).astype(np.uint8)


def _jpeg(height, width, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(_picture(height, width)).convert(mode).save(stream, "JPEG", **options)
    return stream


def _pillows(stream):
    return np.asarray(Image.open(stream).convert("RGB"))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1", "keep RGB"])
def test_pixels_are_those_of_pillow(subsampling, progressive):
    colours = {"keep_rgb": True} if subsampling == "keep RGB" else {"subsampling": subsampling}
    for quality, size, restart in itertools.product((40, 92, 100), ((1, 1), (16, 16), (33, 47), (130, 129)), (0, 3)):
        stream = _jpeg(*size, quality=quality, progressive=progressive, restart_marker_blocks=restart, **colours)
        np.testing.assert_array_equal(decode_jpeg(Image.open(stream)), _pillows(stream))


def test_pixels_of_grey_and_of_halved_rows_are_those_of_pillow():
    stream = _jpeg(33, 47, "L")
    np.testing.assert_array_equal(decode_jpeg(Image.open(stream)), _pillows(stream))
    stream = io.BytesIO(simplejpeg.encode_jpeg(_picture(33, 47), colorsubsampling="440"))
    np.testing.assert_array_equal(decode_jpeg(Image.open(stream)), _pillows(stream))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reduced_pixels_are_those_of_pillow(factor):
    stream = _jpeg(160, 240, subsampling="4:2:0")
    image = Image.open(stream)
    image.draft(None, (240 // factor, 160 // factor))
    np.testing.assert_array_equal(decode_jpeg(Image.open(stream), factor), np.asarray(image))


def test_other_formats_and_colour_spaces_are_left_to_pillow(tmp_path):
    Image.fromarray(_picture(8, 8)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert decode_jpeg(image) is None
    (tmp_path / "a.jpg").write_bytes(_jpeg(33, 47, "CMYK").getvalue())
    with Image.open(tmp_path / "a.jpg") as image:
        assert decode_jpeg(image) is None
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), np.asarray(image.convert("RGB")))


def test_a_file_that_pillow_is_content_with_is_read_though_the_other_is_not(tmp_path):
    data = bytearray(_jpeg(64, 64, subsampling="4:4:4").getvalue())
    scan = data.index(b"\xff\xda") + 14
    data[scan + 40 : scan + 60] = bytes(20)
    (tmp_path / "a.jpg").write_bytes(data)
    assert decode_jpeg(Image.open(io.BytesIO(data))) is None
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), _pillows(io.BytesIO(data)))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, progressive):
    data = _jpeg(64, 64, progressive=progressive).getvalue()
    for length in (len(data) // 2, len(data) - 200, len(data) - 20):
        (tmp_path / "a.jpg").write_bytes(data[:length])
        with pytest.raises(OSError, match=r"a.jpg cannot be read as an image: it may be cut off or damaged \(image file is truncated"):
            read_image(tmp_path / "a.jpg")
