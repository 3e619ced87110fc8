"""What a path is, by names only: nothing is opened."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Literal

Kind = Literal["image", "images", "video", "colmap", "nerfstudio"]

VIDEO_EXTENSIONS = ("mp4", "avi", "mov", "mkv", "flv", "wmv", "webm", "m4v")
IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "heic", "heif")


def endings(extensions: str | Sequence[str]) -> set[str]:
    """Endings of names as they are compared, `{".jpg"}` of `"JPG"` or `[" .jpg"]`."""
    return {"." + extension.strip().lower().lstrip(".") for extension in ([extensions] if isinstance(extensions, str) else extensions)}


def kind(path: str | pathlib.Path, image_extensions: Sequence[str] = IMAGE_EXTENSIONS) -> Kind:
    """What a path is.

    | path                                             | kind         |
    |--------------------------------------------------|--------------|
    | a folder with the folders `sparse` and `images`  | `colmap`     |
    | a folder with `transforms.json`; a `.json` file  | `nerfstudio` |
    | another folder                                   | `images`     |
    | a file by its ending                             | `video`      |
    | another file by its ending                       | `image`      |

    Args:
        path: to a file or folder.
        image_extensions: endings of files that are images, in upper or lower case.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: a file of another ending.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if (path / "sparse").is_dir() and (path / "images").is_dir():
            return "colmap"
        return "nerfstudio" if (path / "transforms.json").is_file() else "images"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; it should be an image, a video, or a folder")
    if path.suffix.lower() == ".json":
        return "nerfstudio"
    if path.suffix.lower() in endings(VIDEO_EXTENSIONS):
        return "video"
    if path.suffix.lower() in endings(image_extensions):
        return "image"
    raise ValueError(
        f"{path} is neither a folder nor an image ({', '.join(image_extensions)}), a video ({', '.join(VIDEO_EXTENSIONS)}) or a "
        f"transforms.json by its ending"
    )
