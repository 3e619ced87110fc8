"""Files opened by Pillow: HEIC with and without the extra, and warnings that stay inside."""

import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from da3jax.inputs import intrinsics_from_exif, list_images, read_image
from da3jax.inputs.image_file import opened, quiet

_BLOCKS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)


def _save_heic(path, pixels, orientation=1, turned=True):
    """`turned`: with HEIF's own `irot` and `imir`, as phones write them, beside the EXIF tag that repeats them."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    lossless = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, "HEIF", **lossless, exif=exif.tobytes() if turned else exif)


@pytest.fixture
def unregistered(monkeypatch):
    """Pillow as it is before anything has told it of HEIC."""
    Image.init()
    for name in ("ID", "OPEN"):
        kinds = getattr(Image, name)
        rest = [kind for kind in kinds if kind != "HEIF"]
        monkeypatch.setattr(Image, name, rest if isinstance(kinds, list) else {kind: kinds[kind] for kind in rest})


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_is_known_by_its_content(tmp_path, unregistered, request, name):
    pytest.importorskip("pillow_heif")
    _save_heic(tmp_path / name, _BLOCKS)
    request.getfixturevalue("unregistered")
    np.testing.assert_array_equal(read_image(tmp_path / name), _BLOCKS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(tmp_path, orientation):
    pytest.importorskip("pillow_heif")
    stored = {
        1: _BLOCKS,
        2: _BLOCKS[:, ::-1],
        3: _BLOCKS[::-1, ::-1],
        4: _BLOCKS[::-1],
        5: _BLOCKS.swapaxes(0, 1),
        6: np.rot90(_BLOCKS),
        7: _BLOCKS[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(_BLOCKS, -1),
    }[orientation]
    _save_heic(tmp_path / "a.heic", stored, orientation)
    np.testing.assert_array_equal(read_image(tmp_path / "a.heic"), _BLOCKS)
    focal = 50 * np.hypot(48, 64) / np.hypot(36, 24)
    np.testing.assert_allclose(intrinsics_from_exif(tmp_path / "a.heic"), [[focal, 0, 32], [0, focal, 24], [0, 0, 1]])


def test_exif_alone_does_not_turn_heic(tmp_path):
    # ISO/IEC 23008-12: what turns the picture are its properties, and a tag that contradicts them is wrong.
    pytest.importorskip("pillow_heif")
    _save_heic(tmp_path / "a.heic", _BLOCKS, 6, turned=False)
    np.testing.assert_array_equal(read_image(tmp_path / "a.heic"), _BLOCKS)


def test_heic_without_the_extra_is_refused_naming_it(tmp_path, unregistered, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    with pytest.raises(ModuleNotFoundError, match=r'a.heic is HEIC, which needs pillow-heif: pip install "da3jax\[heic\]"$'):
        read_image(tmp_path / "a.heic")
    assert intrinsics_from_exif(tmp_path / "a.heic") is None


@pytest.mark.parametrize("content", [b"\0\0\0\x1cftypheic" + bytes(100), b"not a picture", b""])
def test_what_calls_itself_heic_and_is_not_is_refused(tmp_path, content):
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.heic").write_bytes(content)
    with pytest.raises(OSError, match=r"a.heic is not an image that Pillow can read"):
        read_image(tmp_path / "a.heic")


def test_heic_files_are_listed(tmp_path):
    for name in ("IMG_2.HEIC", "IMG_1.heif", "IMG_3.jpg", "IMG_1.mov"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["IMG_1.heif", "IMG_2.HEIC", "IMG_3.jpg"]


def test_what_pillow_remarks_on_a_file_is_not_let_through(tmp_path):
    Image.fromarray(_BLOCKS).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    no_frames = b"acTL" + bytes(8)  # an animation of none, behind the 33 bytes of the header
    chunk = (8).to_bytes(4) + no_frames + zlib.crc32(no_frames).to_bytes(4)
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    with pytest.warns(UserWarning, match="Invalid APNG"), Image.open(tmp_path / "a.png"):
        pass
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), _BLOCKS)  # a warning would be an error here


def test_filters_are_restored_when_the_last_thread_has_left():
    before = warnings.filters[:]
    inside, leave = threading.Event(), threading.Event()

    def other():
        with quiet():
            inside.set()
            leave.wait(10)

    with quiet():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    warnings.warn("hushed while the other thread reads", UserWarning, stacklevel=1)
    leave.set()
    thread.join()
    assert warnings.filters == before
    with pytest.raises(UserWarning, match="let through"):
        warnings.warn("let through", UserWarning, stacklevel=1)


def test_what_the_caller_raises_while_a_file_is_open_passes_unchanged(tmp_path):
    Image.fromarray(_BLOCKS).save(tmp_path / "a.png")
    with pytest.raises(KeyError, match="mine"), opened(tmp_path / "a.png", "a"):
        raise KeyError("mine")
