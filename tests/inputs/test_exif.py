"""Focal lengths out of EXIF: the tags in their order, what is not believed, and that nothing but the header is read."""

import math

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from da3jax.inputs import intrinsics_from_exif, read_image

_TAG = ExifTags.Base
_SIZE = (64, 48)  # its diagonal is 80
_FILM = math.hypot(36, 24)
_SENSOR = {  # 7.2 mm wide, a lens of 10 mm: a focal length of 64 · 10 / 7.2 pixels
    _TAG.FocalLength: 10.0,
    _TAG.FocalPlaneXResolution: 4000 / 7.2,
    _TAG.FocalPlaneResolutionUnit: 4,
    _TAG.ExifImageWidth: 4000,
    _TAG.ExifImageHeight: 3000,
}


def _rational(numerator, denominator):
    return TiffImagePlugin.IFDRational(numerator, denominator)


def _image(tags, orientation=1, size=_SIZE):
    image = Image.new("RGB", size)
    exif = image.getexif()
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    exif[_TAG.Orientation] = orientation
    return image


def _save(path, tags, orientation=1, size=_SIZE):
    exif = Image.Exif()
    exif[_TAG.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = tags
    Image.new("RGB", size).save(path, exif=exif.tobytes())
    return path


def _focal(image):
    matrix = intrinsics_from_exif(image)
    return None if matrix is None else matrix[0, 0]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_35_mm_equivalent_is_by_the_diagonal(tmp_path, name):
    path = _save(tmp_path / name, {_TAG.FocalLengthIn35mmFilm: 28})
    matrix = intrinsics_from_exif(path)
    np.testing.assert_allclose(matrix, [[28 * 80 / _FILM, 0, 32], [0, 28 * 80 / _FILM, 24], [0, 0, 1]], rtol=1e-12)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(intrinsics_from_exif(str(path)), matrix)
    with Image.open(path) as image:
        np.testing.assert_array_equal(intrinsics_from_exif(image), matrix)


def test_a_lens_of_the_films_diagonal_sees_the_diagonal_at_its_own_length():
    # 43.27 mm on 36 × 24 mm: an angle of view of 2 atan(1/2) along the diagonal, in any image format.
    tags = {_TAG.FocalLengthIn35mmFilm: _FILM}
    np.testing.assert_allclose([_focal(_image(tags, size=size)) for size in [(36, 24), (4000, 3000)]], [_FILM, 5000])


def test_pil_images_in_memory_have_tags_too():
    np.testing.assert_allclose(_focal(_image({_TAG.FocalLengthIn35mmFilm: 50})), 50 * 80 / _FILM)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_the_principal_point_is_the_centre_of_the_upright_image(tmp_path, name, orientation):
    path = _save(tmp_path / name, {_TAG.FocalLengthIn35mmFilm: 28}, orientation)
    height, width = read_image(path).shape[:2]
    assert (width, height) == (_SIZE if orientation < 5 else _SIZE[::-1])
    focal = 28 * 80 / _FILM
    np.testing.assert_allclose(intrinsics_from_exif(path), [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


@pytest.mark.parametrize(("unit", "millimetres"), [(2, 25.4), (3, 10), (4, 1), (5, 0.001), (None, 25.4)])
def test_focal_length_and_the_resolution_on_the_sensor(tmp_path, unit, millimetres):
    tags = _SENSOR | {_TAG.FocalPlaneXResolution: 64 / 7.2 * millimetres, _TAG.ExifImageWidth: 64, _TAG.ExifImageHeight: 48}
    tags[_TAG.FocalPlaneResolutionUnit] = unit
    if unit is None:
        del tags[_TAG.FocalPlaneResolutionUnit]
    # Written to a file a resolution is a rational number of 32-bit parts.
    np.testing.assert_allclose(_focal(_save(tmp_path / "a.jpg", tags)), 64 * 10 / 7.2, rtol=1e-4)


def test_resolution_on_the_sensor_follows_a_resized_image_turned_or_not():
    np.testing.assert_allclose(_focal(_image(_SENSOR)), 64 * 10 / 7.2)
    np.testing.assert_allclose(_focal(_image(_SENSOR, size=(48, 64))), 64 * 10 / 7.2)  # pixels turned, tags left
    np.testing.assert_allclose(_focal(_image(_SENSOR, orientation=6)), 64 * 10 / 7.2)


def test_without_a_recorded_size_the_resolution_is_that_of_the_image():
    tags = {_TAG.FocalLength: 10.0, _TAG.FocalPlaneXResolution: 64 / 7.2, _TAG.FocalPlaneResolutionUnit: 4}
    np.testing.assert_allclose(_focal(_image(tags)), 64 * 10 / 7.2)
    np.testing.assert_allclose(_focal(_image(tags | {_TAG.ExifImageWidth: 0})), 64 * 10 / 7.2)
    np.testing.assert_allclose(_focal(_image(tags | {_TAG.ExifImageWidth: 32})), 2 * 64 * 10 / 7.2)


def test_35_mm_equivalent_comes_first_where_it_can_be_believed():
    np.testing.assert_allclose(_focal(_image(_SENSOR | {_TAG.FocalLengthIn35mmFilm: 28})), 28 * 80 / _FILM)
    for nonsense in (0, 2, 5000, -28, "wide", b"\0", (28, 28), _rational(28, 0), _rational(0, 0)):
        np.testing.assert_allclose(_focal(_image(_SENSOR | {_TAG.FocalLengthIn35mmFilm: nonsense})), 64 * 10 / 7.2)


@pytest.mark.parametrize(("diagonals", "believed"), [(0.049, False), (0.051, True), (99, True), (101, False)])
def test_lenses_are_believed_from_a_twentieth_to_a_hundred_diagonals(diagonals, believed):
    assert (_focal(_image({_TAG.FocalLengthIn35mmFilm: diagonals * _FILM})) is not None) == believed


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {_TAG.FocalLength: 10.0},
        _SENSOR | {_TAG.FocalLength: 0},
        _SENSOR | {_TAG.FocalLength: _rational(10, 0)},
        _SENSOR | {_TAG.FocalPlaneXResolution: _rational(500, 0)},
        _SENSOR | {_TAG.FocalPlaneXResolution: 1e9},
        _SENSOR | {_TAG.FocalPlaneResolutionUnit: 1},
        _SENSOR | {_TAG.FocalPlaneResolutionUnit: 77},
    ],
)
def test_without_a_usable_focal_length_there_is_none(tags):
    assert intrinsics_from_exif(_image(tags)) is None


@pytest.mark.parametrize("value", [(28, 0), (0, 0), (0, 1)])
def test_rationals_without_a_value_in_a_file_are_not_there(tmp_path, value):
    assert intrinsics_from_exif(_save(tmp_path / "a.jpg", _SENSOR | {_TAG.FocalLength: _rational(*value)})) is None


def test_arrays_plain_images_and_what_cannot_be_opened_have_none(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", _SIZE).save(tmp_path / "plain.jpg")
    for image in (np.zeros((4, 5), np.uint8), Image.new("RGB", _SIZE), tmp_path / "plain.jpg"):
        assert intrinsics_from_exif(image) is None
    for image in (tmp_path / "text.jpg", tmp_path / "missing.jpg", tmp_path):
        assert intrinsics_from_exif(image) is None


def test_the_header_is_enough(tmp_path):
    path = _save(tmp_path / "a.jpg", {_TAG.FocalLengthIn35mmFilm: 28}, size=(640, 480))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xda") + 20])
    with pytest.raises(OSError, match="cut off or damaged"):
        read_image(path)
    np.testing.assert_allclose(_focal(path), 28 * 800 / _FILM)


def test_pixels_of_a_png_are_not_decoded_in_search_of_tags(tmp_path):
    Image.new("RGB", _SIZE).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert intrinsics_from_exif(image) is None
        assert image.fp is not None  # Pillow closes it when it has read the pixels
        image.load()
        assert image.fp is None


def test_broken_exif_is_no_error(tmp_path):
    path = _save(tmp_path / "a.jpg", _SENSOR | {_TAG.FocalLengthIn35mmFilm: 28, _TAG.MakerNote: b"note"}, 6)
    with Image.open(path) as image:
        good = image.info["exif"]
    rng = np.random.default_rng(0)
    broken = [b"Exif\0\0garbage", *(good[:length] for length in range(6, len(good), 9))]
    for _ in range(100):
        data = np.frombuffer(good, np.uint8).copy()
        data[rng.integers(6, len(data), 8)] = rng.integers(0, 256, 8)
        broken.append(data.tobytes())
    focals = []
    for data in broken:
        Image.new("RGB", _SIZE).save(path, exif=data)
        focals.append(_focal(path))
    assert None in focals
    believed = [focal for focal in focals if focal is not None]
    assert believed
    assert all(0.05 * 80 <= focal <= 100 * 80 for focal in believed)


def test_the_callers_image_can_still_be_read(tmp_path):
    path = _save(tmp_path / "a.png", {_TAG.FocalLengthIn35mmFilm: 28}, 6)
    with Image.open(path) as image:
        assert intrinsics_from_exif(image) is not None
        np.testing.assert_array_equal(read_image(image), read_image(path))
