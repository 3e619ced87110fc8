import io

import numpy as np
import pytest
from PIL import Image

from da3jax.outputs.image_file import encode_jpeg, encode_png


@pytest.mark.parametrize(("shape", "kind"), [((4, 6, 3), np.uint8), ((4, 6), np.uint8), ((4, 6), np.uint16)])
def test_a_png_reads_back_exact(shape, kind):
    pixels = np.random.default_rng(0).integers(np.iinfo(kind).max, size=shape, dtype=kind, endpoint=True)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_a_jpeg_has_quality_95_and_whole_chroma():
    pixels = np.kron(np.random.default_rng(0).integers(256, size=(4, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with Image.open(io.BytesIO(encode_jpeg(pixels))) as image:
        assert image.format == "JPEG"
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 4


def test_the_same_pixels_are_the_same_bytes():
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert encode_png(pixels) == encode_png(pixels.copy())
    assert encode_jpeg(pixels) == encode_jpeg(pixels.copy())
