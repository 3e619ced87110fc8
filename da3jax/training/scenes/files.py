"""A scene as ordinary photographs with ground truth: PNG, npz and COLMAP's text model."""

from __future__ import annotations

import io
import pathlib
import secrets
import shutil

import jax
import numpy as np

from da3jax.training.scenes.cameras import Cameras
from da3jax.training.scenes.colmap import colmap_text
from da3jax.training.scenes.render import RenderedViews
from da3jax.training.scenes.scene import Scene


def write_scene(scene: Scene, views: RenderedViews, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes one scene's views into a new folder, which appears whole or not at all.

    | file                                     | what it holds                                                                         |
    |------------------------------------------|---------------------------------------------------------------------------------------|
    | `images/0000.png`, ...                   | the views                                                                             |
    | `truth.npz`                              | every field of `RenderedViews` but the images                                         |
    | `sparse/0/{cameras,images,points3D}.txt` | COLMAP: PINHOLE cameras, world-to-camera poses, exact points and who sees them |

    Returns:
        The files, in this order.

    Raises:
        FileExistsError: the folder is there; nothing in it is touched.
        OSError: it cannot be written; nothing of it stays behind.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already and is not overwritten; name another folder, or remove it")
    views = jax.tree.map(np.asarray, views)
    pictures = np.round(255 * views.images).astype(np.uint8)
    model = colmap_text(scene, Cameras(views.extrinsics, views.intrinsics), views.depth, pictures)
    truth = {name: value for name, value in vars(views).items() if name != "images"}

    temp = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        (temp / "images").mkdir(parents=True)
        (temp / "sparse" / "0").mkdir(parents=True)
        for name, content in {
            **{f"images/{view:04d}.png": _png(picture) for view, picture in enumerate(pictures)},
            "truth.npz": _npz(truth),
            **{f"sparse/0/{name}.txt": text.encode() for name, text in model.items()},
        }.items():
            (temp / name).write_bytes(content)
        written = [path.relative_to(temp) for path in _files(temp)]
        temp.rename(folder)
    except OSError as error:
        raise OSError(f"the scene {folder.name} cannot be written into the folder {folder.parent}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)  # nothing is there after the rename
    return [folder / path for path in written]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    names = ("cameras", "images", "points3D")
    return [*sorted((folder / "images").iterdir()), folder / "truth.npz", *(folder / "sparse" / "0" / f"{name}.txt" for name in names)]


def _png(picture: np.ndarray) -> bytes:
    # Encoded in memory: where the disk is full, Pillow writes a file cut short without a word.
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "png")
    return encoded.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    encoded = io.BytesIO()
    np.savez_compressed(encoded, **arrays)
    return encoded.getvalue()
