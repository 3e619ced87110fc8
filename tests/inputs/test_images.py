"""Every kind of picture that is read, every kind that is refused, and the listing of folders."""

import pathlib
import re

import numpy as np
import pytest
from PIL import ExifTags, Image

from da3jax.inputs import list_images, read_image
from da3jax.types import LazyImage

_RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 13
_GREY = np.array([[0, 100, 255], [1, 2, 3]], np.uint8)
_GREY_RGB = np.repeat(_GREY[..., None], 3, axis=-1)

# How a camera stores an upright picture under each orientation: what its rows and columns run along.
_STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def _exif(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("orientation", _STORED)
@pytest.mark.parametrize("opened", [False, True], ids=["file", "PIL image"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_turned_upright(tmp_path, orientation, opened, name):
    path = tmp_path / name
    lossless = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(np.ascontiguousarray(_STORED[orientation](_RGB))).save(path, exif=_exif(orientation), **lossless)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(image if opened else path), _RGB)


@pytest.mark.parametrize("orientation", _STORED)
@pytest.mark.parametrize("at_least", [None, (24, 32)])
def test_a_jpeg_of_each_orientation_opens_upright(tmp_path, orientation, at_least):
    blocks = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(_STORED[orientation](blocks.repeat(16, 0).repeat(16, 1)))
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=100, subsampling="4:4:4", exif=_exif(orientation))
    expected = blocks.repeat(8 if at_least else 16, 0).repeat(8 if at_least else 16, 1)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg", at_least=at_least).astype(int), expected, atol=2)


def test_turning_in_tiles_does_not_show(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (300, 520, 3), dtype=np.uint8)
    Image.fromarray(np.ascontiguousarray(_STORED[7](picture))).save(tmp_path / "a.png", exif=_exif(7))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_exif_orientation_of_16_bit_is_turned_upright(tmp_path):
    Image.fromarray(np.rot90(_GREY).astype(np.uint16) * 257).save(tmp_path / "a.png", exif=_exif(6))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), _GREY_RGB)


def test_unknown_or_broken_orientation_leaves_the_picture_as_it_is(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(_RGB).save(path, exif=_exif(99))
    plain = read_image(path)
    Image.fromarray(_RGB).save(path, exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(read_image(path), plain)


def test_the_callers_picture_is_not_changed(tmp_path):
    Image.fromarray(_RGB).save(tmp_path / "a.png", exif=_exif(6))
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_image(image), np.rot90(_RGB, -1))
        np.testing.assert_array_equal(np.asarray(image), _RGB)
        assert image.getexif()[ExifTags.Base.Orientation] == 6


def test_str_path_pil_and_array_are_the_same_picture(tmp_path):
    Image.fromarray(_RGB).save(tmp_path / "a.png")
    for source in (str(tmp_path / "a.png"), tmp_path / "a.png", Image.fromarray(_RGB), _RGB):
        np.testing.assert_array_equal(read_image(source), _RGB)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.jpg", {"quality": 100, "subsampling": "4:4:4"}),
        ("a.jpeg", {"quality": 100, "subsampling": "4:4:4", "progressive": True}),
        ("a.JPG", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_each_kind_of_file_is_read(tmp_path, name, options):
    picture = np.random.default_rng(0).integers(0, 256, (3, 2, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    Image.fromarray(picture).save(tmp_path / name, **options)
    np.testing.assert_allclose(read_image(tmp_path / name).astype(int), picture, atol=2 if "quality" in options else 0)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(read_image(tmp_path / name), np.asarray(image))


def test_grey_palette_and_alpha_files_become_rgb(tmp_path):
    alpha = np.full((2, 3, 1), 9, np.uint8)
    palette = Image.fromarray(_RGB).quantize(6)
    palette.info["transparency"] = b"\x00\x10"
    for image, expected in (
        (Image.fromarray(_GREY), _GREY_RGB),
        (Image.fromarray(_GREY > 50), (_GREY_RGB > 50) * 255),
        (Image.fromarray(np.concatenate([_GREY[..., None], alpha], -1)), _GREY_RGB),
        (Image.fromarray(np.concatenate([_RGB, alpha], -1)), _RGB),
        (palette, np.asarray(palette.convert("RGBA"))[..., :3]),
    ):
        image.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (3, 2), (0, 255, 51, 0)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.full((2, 3, 3), (255, 0, 204)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_files_are_scaled_not_clipped(tmp_path, name):
    Image.fromarray(np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name)[0, :, 0], [0, 0, 1, 1, 128, 255])


def test_arrays_of_every_shape_and_both_types():
    for array in (_GREY, _GREY[..., None], _GREY.astype(np.uint16) * 257, _GREY.astype(">u2") * 257):
        np.testing.assert_array_equal(read_image(array), _GREY_RGB)
    np.testing.assert_array_equal(read_image(np.concatenate([_RGB, _RGB[..., :1]], -1)), _RGB)
    np.testing.assert_array_equal(read_image(_RGB.astype(np.uint16) * 257), _RGB)


def test_one_pixel_is_a_picture(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp"), [[(1, 2, 3)]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((4, 5, 3), np.float32),
            r"the image is an array of float32; an image is uint8 in 0..255 or uint16 .*np.rint\(255 \* image",
        ),
        (np.zeros((4, 5, 3), bool), "the image is an array of bool; an image is uint8"),
        (np.zeros((3, 4, 5), np.uint8), r"the image is an array of shape \(3, 4, 5\); an image is \(H, W\), \(H, W, 1\)"),
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        ([[1, 2]], "the image is of type list; an image is a path, a PIL image or a numpy array"),
        (None, "the image is of type NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        read_image(array)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_animations_are_refused_and_one_frame_of_them_is_not(tmp_path, name):
    path = tmp_path / name
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if name == "a.webp" else {}))
    with pytest.raises(ValueError, match=re.escape(str(path)) + r" holds 3 frames; pass one of them, .*image.seek\(i\) and image.copy\(\)"):
        read_image(path)
    with Image.open(path) as image:
        with pytest.raises(ValueError, match=rf"the image \(.*{name}\) holds 3 frames"):
            read_image(image)
        image.seek(1)
        np.testing.assert_array_equal(read_image(image.copy())[0, 0], (0, 0, 255))


def test_the_preview_in_a_phones_mpo_is_no_second_frame(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg")[0, 0], (254, 0, 0))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pixels_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a.tif has 32-bit pixels \(mode {mode}\), whose range is unknown; convert it to 8 or 16 bit"):
        read_image(tmp_path / "a.tif")


def test_a_mode_that_pillow_cannot_convert_is_refused():
    with pytest.raises(ValueError, match="the image has pixels of mode La, which Pillow cannot convert to RGB; convert it first"):
        read_image(Image.new("La", (3, 2)))


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.png does not exist$"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(IsADirectoryError, match=r"is a folder, not an image; da3jax.inputs.list_images gives the images in a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff"], ids=["empty", "text", "three bytes of a JPEG"])
def test_what_pillow_does_not_know_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(OSError, match=r"a.jpg (is not an image that Pillow can read|cannot be read as an image)"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        OSError, match=rf"a.{suffix} (cannot be read as an image: it may be cut off or damaged|is not an image that Pillow)"
    ):
        read_image(path)


def test_truncated_pil_image_is_refused(tmp_path):
    Image.fromarray(_RGB.repeat(20, 0)).save(tmp_path / "a.bmp")
    data = (tmp_path / "a.bmp").read_bytes()
    (tmp_path / "a.bmp").write_bytes(data[: len(data) // 2])
    with (
        Image.open(tmp_path / "a.bmp") as image,
        pytest.raises(OSError, match=r"the image \(.*a.bmp\) cannot be read as an image: it may be cut"),
    ):
        read_image(image)


@pytest.mark.skipif(not pathlib.Path("/proc/self/mem").exists(), reason="needs a file that fails to be read")
def test_failure_of_the_system_is_passed_on():
    with pytest.raises(OSError, match=r"/proc/self/mem cannot be read as an image: Input/output error"):
        read_image("/proc/self/mem")


def test_more_pixels_than_pillow_trusts_are_refused(tmp_path, monkeypatch):
    Image.new("L", (30, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(OSError, match=r"a.png is larger than Pillow trusts: .*300 pixels.*; raise PIL.Image.MAX_IMAGE_PIXELS if you do"):
        read_image(tmp_path / "a.png")


def test_pillows_warning_about_size_does_not_stop_the_reading(tmp_path, monkeypatch):
    Image.new("L", (30, 5), 7).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.warns(Image.DecompressionBombWarning):
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.full((5, 30, 3), 7))


@pytest.mark.filterwarnings("error")
def test_pillows_warning_about_size_is_a_sentence_where_warnings_are_errors(tmp_path, monkeypatch):
    Image.new("L", (30, 5)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(OSError, match=r"a.png is larger than Pillow trusts"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((64, 96), (64, 96), (64, 96)),
        ((64, 96), (32, 49), (64, 96)),
        ((64, 96), (32, 48), (32, 48)),
        ((64, 96), (9, 12), (16, 24)),
        ((64, 96), (1, 1), (8, 12)),
        ((64, 92), (1, 1), (16, 23)),  # 92 / 8 is not whole
        ((65, 96), (1, 1), (65, 96)),
        ((64, 96), (640, 960), (64, 96)),
    ],
)
def test_a_jpeg_is_reduced_to_no_less_than_is_asked_for_and_to_whole_parts(tmp_path, size, at_least, expected):
    Image.new("RGB", size[::-1], (50, 100, 200)).save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg", at_least=at_least), np.full((*expected, 3), (50, 100, 200)), atol=2)


def test_a_pixel_of_a_reduced_jpeg_is_about_the_mean_of_its_own(tmp_path):
    y, x = np.mgrid[:64, :96]
    Image.fromarray((128 + 100 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)).save(tmp_path / "a.jpg", quality=100)
    means = read_image(tmp_path / "a.jpg").astype(float).reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg", at_least=(32, 48)), means, atol=2)


def test_other_pictures_are_not_reduced(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", Image.fromarray(picture), picture, LazyImage("lazy", lambda: picture)):
        np.testing.assert_array_equal(read_image(source, at_least=(8, 8)), picture)
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", at_least=(8, 8)).shape == (64, 96, 3)


@pytest.mark.parametrize("at_least", [5, (0, 5), (5,), (5, -1)])
def test_a_size_that_is_none_is_refused(at_least):
    with pytest.raises(ValueError, match=rf"at_least is {re.escape(str(at_least))}; it is a height and a width in pixels, at least 1"):
        read_image(_RGB, at_least=at_least)


def _touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_images_are_listed_in_natural_order_without_other_files(tmp_path):
    _touch(tmp_path, "img10.png", "img2.PNG", "img1.jpeg", ".hidden.png", "notes.txt", "B3.webp", "a3.tiff", "png", "007.bmp")
    (tmp_path / "folder.png").mkdir()
    names = ["007.bmp", "a3.tiff", "B3.webp", "img1.jpeg", "img2.PNG", "img10.png"]
    assert list_images(str(tmp_path)) == [tmp_path / name for name in names]


def test_digits_of_other_scripts_are_letters(tmp_path):
    _touch(tmp_path, "m².png", "1²3.png", "m10.png", "m9.png")
    assert [path.name for path in list_images(tmp_path)] == ["1²3.png", "m9.png", "m10.png", "m².png"]


def test_extensions_may_be_chosen(tmp_path):
    _touch(tmp_path, "1.png", "2.JPG", "3.exr")
    assert [path.name for path in list_images(tmp_path, extensions=(".EXR", "jpg"))] == ["2.JPG", "3.exr"]
    assert [path.name for path in list_images(tmp_path, extensions="png")] == ["1.png"]


def test_folder_without_images_is_refused_naming_the_extensions(tmp_path):
    _touch(tmp_path, "notes.txt", ".hidden.png")
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path} has no images: no file in it ends in .jpg, .png")):
        list_images(tmp_path, ("png", "jpg"))


def test_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; it should be a folder of images"):
        list_images(tmp_path / "nowhere")
    _touch(tmp_path, "a.png")
    with pytest.raises(NotADirectoryError, match=r"a.png is a file, not a folder of images"):
        list_images(tmp_path / "a.png")
