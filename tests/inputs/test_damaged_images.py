"""Image files with flipped bytes, cuts and foreign headers: each is read, or refused by a sentence that names it."""

import importlib.util
import io
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image

from da3jax.inputs import intrinsics_from_exif, read_image

_FORMATS = {
    "baseline JPEG": ("JPEG", {"quality": 90, "subsampling": "4:2:0"}),
    "progressive JPEG": ("JPEG", {"progressive": True, "subsampling": "4:4:4"}),
    "MPO": ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "TIFF with LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF with JPEG": ("TIFF", {"compression": "jpeg"}),
    "GIF": ("GIF", {}),
} | ({"HEIC": ("HEIF", {})} if importlib.util.find_spec("pillow_heif") else {})


def _whole():
    """A file of each kind, with EXIF where the format has it."""
    y, x = np.mgrid[:40, :56]
    picture = Image.fromarray(np.stack([(5 * x + y) % 256, (x * y) % 256, 6 * y], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    files = []
    for kind, options in _FORMATS.values():
        if kind == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        stream = io.BytesIO()
        picture.save(stream, kind, **options, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
        files.append(stream.getvalue())
    return files


def _damaged(rng, files):
    data = bytearray(files[rng.integers(len(files))])
    where = rng.integers(len(data)) if rng.random() < 0.5 else rng.integers(min(400, len(data)))  # headers are short, and matter
    match rng.integers(6):
        case 0 | 1:
            for place in (where, *rng.integers(len(data), size=rng.integers(4))):
                data[place] = rng.integers(256)
        case 2:
            del data[where:]
        case 3:  # a part is missing in the middle
            del data[where : where + rng.integers(1, 40)]
        case 4:
            data[where : where + rng.integers(1, 9)] = bytes([rng.choice([0, 255])]) * rng.integers(1, 9)
        case 5:
            length = rng.integers(1, 64)
            data[:length] = files[rng.integers(len(files))][:length]
    return bytes(data)


def _check(folder, monkeypatch, seed, count):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)  # a wrong size in a header is not to take seconds
    rng, files, path = np.random.default_rng(seed), _whole(), folder / "picture.jpg"
    outcomes = {"read": 0, "refused by a sentence": 0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for number in range(count):
            path.write_bytes(_damaged(rng, files))
            try:
                pixels = read_image(path, at_least=(8, 8) if number % 2 else None)
            except (OSError, ValueError) as error:
                outcomes["refused by a sentence"] += str(error).startswith(str(path))
            else:
                outcomes["read"] += pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
            intrinsics_from_exif(path)
    assert [str(warning.message) for warning in caught] == []
    assert list(folder.iterdir()) == [path]
    assert sum(outcomes.values()) == count
    assert min(outcomes.values()) > count / 10


def test_a_damaged_image_is_read_or_refused_by_a_sentence(tmp_path, monkeypatch):
    _check(tmp_path, monkeypatch, 0, 400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_thousands_of_damaged_images_are_read_or_refused_by_a_sentence(tmp_path, monkeypatch, seed):
    _check(tmp_path, monkeypatch, seed, 2000)
