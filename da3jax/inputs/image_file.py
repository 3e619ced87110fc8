"""An image file as Pillow opens it: a sentence for whatever Pillow raises, no warnings, HEIC with the extra."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
"""What a file of ISO/IEC 23008-12 names itself after `ftyp`."""


@contextlib.contextmanager
def opened(path: str | pathlib.Path, name: str) -> Iterator[Image.Image]:
    """The picture of a file, its header read and its pixels not yet; the file is closed behind it.

    Args:
        path: of the file.
        name: what messages call it.

    Raises:
        FileNotFoundError: the file is not there.
        ModuleNotFoundError: it is HEIC, and pillow-heif is not installed; the message says how.
        OSError: it is a folder, no image, broken, too large for `PIL.Image.MAX_IMAGE_PIXELS`, or cannot be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a folder, not an image; da3jax.inputs.list_images gives the images in a folder")
    if not path.exists():
        raise FileNotFoundError(f"{name} does not exist")
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet())
        with sentences(name):
            stream = stack.enter_context(path.open("rb"))
            try:
                image = Image.open(stream)
            except Image.UnidentifiedImageError:
                stream.seek(0)
                start = stream.read(12)
                if start[4:8] != b"ftyp" or start[8:] not in _HEIF_BRANDS:
                    raise
                _teach_pillow_heif(name)
                image = Image.open(stream)
        yield image


@contextlib.contextmanager
def sentences(name: str) -> Iterator[None]:
    """What Pillow raises on a file within becomes an OSError of one sentence."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Image.UnidentifiedImageError as error:
        raise OSError(f"{name} is not an image that Pillow can read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # the warning where warnings are errors
        raise OSError(f"{name} is larger than Pillow trusts: {error}; raise PIL.Image.MAX_IMAGE_PIXELS if you do") from error
    except Exception as error:  # a broken file makes Pillow raise almost anything, depending on the format
        reason = getattr(error, "strerror", None) or f"it may be cut off or damaged ({error or type(error).__name__})"
        raise OSError(f"{name} cannot be read as an image: {reason}") from error


_lock, _within, _filters = threading.Lock(), 0, contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets no remark of Pillow's on a file through within, but that it is very large: what is wrong enough is raised, and then said.

    The filters of warnings are the whole process's: the first thread that comes in changes them, and the last that leaves restores them.
    """
    global _within
    with _lock:
        if _within == 0:
            _filters.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", UserWarning)
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if _within == 0:
                _filters.close()


def _teach_pillow_heif(name: str) -> None:
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{name} is HEIC, which needs pillow-heif: pip install "da3jax[heic]"', name="pillow_heif") from error
    pillow_heif.register_heif_opener()
