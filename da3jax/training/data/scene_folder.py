"""A scene on disk.

| where                          | what                                                                                                |
|--------------------------------|-----------------------------------------------------------------------------------------------------|
| `images/`                      | the views in the order of their names, which is to be the same by letters and by numbers            |
| `truth.npz`                    | `depth`, `sky`, `extrinsics`, `intrinsics` of all views, as `da3jax scenes` writes it; or else      |
| `depth/NAME.png`, .npy or .npz | depth of `images/NAME.*` along z: 16-bit steps, or metres as the only array or as `depth`           |
| `cameras.npz`                  | `extrinsics` (V, 3 or 4, 4) world-to-camera and `intrinsics` (V, 3, 3) of all views; or else        |
| `sparse/0`                     | a COLMAP model; images that it does not have are left out                                           |

Depth that is 0, negative, NaN or infinite is unknown. Images are read as their files store them, whatever their EXIF says, for that is
what depth and cameras are of. A scene that is not labelled is `images/` alone, which are turned upright: all is unknown, but a field of
view that stands in for the true one.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import zipfile
import zlib

import numpy as np
from PIL import Image

from da3jax.inputs import check_extrinsics, check_intrinsics, list_images, read_image
from da3jax.inputs.colmap import read_colmap
from da3jax.inputs.stored import stored_pixels
from da3jax.training.data.view import View

TRUTH = ("depth", "sky", "extrinsics", "intrinsics")
"""Arrays of `truth.npz` that are read."""

_DEPTH_ENDINGS = (".png", ".npy", ".npz")

ASSUMED_FOV = 60.0
"""Degrees along the longer side, of images without a camera: losses that unproject them do so with the teacher's depth, too."""


@dataclasses.dataclass(frozen=True)
class SceneFolder:
    """The images of a scene that have a camera; of V images."""

    path: pathlib.Path
    images: tuple[pathlib.Path, ...]
    extrinsics: np.ndarray | None
    """(V, 3, 4) float64 world-to-camera. None, as intrinsics: not labelled."""
    intrinsics: np.ndarray | None
    """(V, 3, 3) float64 pixels."""
    sizes: tuple[tuple[int, int], ...] | None
    """(height, width) that the intrinsics are for, where that is said."""


def lacks(path: pathlib.Path, labelled: bool = True) -> str | None:
    """What keeps a folder from being a scene, judged by the names of its files only; None if nothing does."""
    if not (path / "images").is_dir():
        return "images"
    if not labelled or (path / "truth.npz").exists():
        return None
    if not (path / "depth").is_dir():
        return "truth.npz or depth"
    if not (path / "cameras.npz").exists() and not (path / "sparse" / "0").is_dir():
        return "cameras.npz or sparse/0"
    return None


@functools.lru_cache(maxsize=4096)
def open_scene(path: pathlib.Path, labelled: bool = True) -> SceneFolder:
    """The images and cameras of a scene.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: what is in it cannot be cameras, or not of these images.
    """
    if (what := lacks(path, labelled)) is not None:
        raise FileNotFoundError(f"it has no {what}")
    images = list_images(path / "images")
    if not labelled:
        return SceneFolder(path, tuple(images), None, None, None)
    arrays = next((path / name for name in ("truth.npz", "cameras.npz") if (path / name).exists()), None)
    sizes = None
    if arrays is not None:
        cameras = _load_npz(arrays, ("extrinsics", "intrinsics"))
        for one, other in zip(images, sorted(images), strict=True):
            if one != other:
                raise ValueError(
                    f"{arrays.name} has the order of the images' names, which is one by numbers and another by letters ({one.name} or "
                    f"{other.name} first); name them so that both are one, like 0002.png and 0010.png"
                )
        extrinsics, intrinsics = cameras["extrinsics"], cameras["intrinsics"]
    else:
        model = read_colmap(path / "sparse" / "0")
        images = [image for image in images if image.name in model]
        if not images:
            raise ValueError(f"none of its images is in the COLMAP model, whose first is {next(iter(model), 'missing, for it is empty')}")
        views = [model[image.name] for image in images]
        extrinsics, intrinsics = [view.extrinsics for view in views], [view.pinhole_intrinsics() for view in views]
        sizes = tuple((view.lens.height, view.lens.width) for view in views)
    names = [image.name for image in images]
    extrinsics, intrinsics = check_extrinsics(extrinsics, names), check_intrinsics(intrinsics, names)
    for name, matrix in zip(names, intrinsics, strict=True):
        if matrix[0, 1]:
            raise ValueError(
                f"intrinsics of {name} have a skew of {matrix[0, 1]:g} at [0, 1]; it should be 0, as of any camera we train on"
            )
    return SceneFolder(path, tuple(images), extrinsics.astype(np.float64), intrinsics, sizes)


def read_views(scene: SceneFolder, chosen: list[int], depth_scale: float) -> list[View]:
    """Some views of a scene, at their own size.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: depth of another shape than its image, or without a single valid value; sky that is no mask; intrinsics of another
            size than the image's.
    """
    if scene.extrinsics is None:
        return [_unlabelled(read_image(scene.images[index], f"images/{scene.images[index].name}")) for index in chosen]
    views = []
    truth = _load_npz(scene.path / "truth.npz", TRUTH) if (scene.path / "truth.npz").exists() else None
    for index in chosen:
        image = stored_pixels(scene.images[index], f"images/{scene.images[index].name}")
        if truth is None:
            name, depth = _read_depth(scene.path / "depth", scene.images[index].stem, depth_scale)
            sky = np.full(np.shape(depth), np.nan, np.float32)
        else:
            shapes = [truth[name].shape for name in ("depth", "sky")]
            if any(len(shape) != 3 or shape[0] != len(scene.images) for shape in shapes):
                raise ValueError(
                    f"truth.npz has depth of shape {shapes[0]} and sky of shape {shapes[1]}; there are {len(scene.images)} images, so both "
                    f"are ({len(scene.images)}, height, width)"
                )
            name, depth, sky = f"depth {index} of truth.npz", truth["depth"][index], truth["sky"][index].astype(np.float32)
            if np.nanmax(sky, initial=0) > 1 or np.nanmin(sky, initial=0) < 0:
                low, high = np.nanmin(sky), np.nanmax(sky)
                raise ValueError(
                    f"sky {index} of truth.npz has values from {low:g} to {high:g}; it is bool, or from 0 to 1 and NaN where unknown"
                )
        size = image.shape[:2]
        if depth.shape != size or sky.shape != size:
            raise ValueError(
                f"{name} is {_by(depth.shape)}; its image {scene.images[index].name} is {_by(size)} (H × W), and so should it be"
            )
        if scene.sizes is not None and scene.sizes[index] != size:
            raise ValueError(
                f"{scene.images[index].name} is {_by(size)}; its COLMAP camera is for images of {_by(scene.sizes[index])} (H × W)"
            )
        x, y = scene.intrinsics[index][:2, 2]
        if scene.sizes is None and not (0 <= x <= size[1] and 0 <= y <= size[0]):
            raise ValueError(
                f"intrinsics of {scene.images[index].name} have their principal point at ({x:g}, {y:g}), outside of the image, which is "
                f"{_by(size)} (H × W) and cropped around it; they are in pixels of that very image, not of another size of it"
            )
        with np.errstate(over="ignore"):  # beyond float32 it is infinite
            depth = depth.astype(np.float32)
        known = np.isfinite(depth) & (depth > 0)
        if not known.any() and not np.all(sky > 0.5):
            raise ValueError(f"{name} has no valid value: all are zero, negative, NaN or infinite")
        depth = np.where(known, depth, 0)
        views.append(View(image, depth, sky, scene.extrinsics[index], scene.intrinsics[index]))
    return views


def _unlabelled(image: np.ndarray) -> View:
    height, width = image.shape[:2]
    focal = max(height, width) / 2 / np.tan(np.radians(ASSUMED_FOV) / 2)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    nothing = np.full((height, width), np.nan, np.float32)
    return View(image, np.zeros_like(nothing), nothing, np.full((3, 4), np.nan), intrinsics)


def _read_depth(folder: pathlib.Path, stem: str, depth_scale: float) -> tuple[str, np.ndarray]:
    """The name of a depth map, and its metres."""
    path = next((folder / (stem + ending) for ending in _DEPTH_ENDINGS if (folder / (stem + ending)).exists()), None)
    if path is None:
        raise FileNotFoundError(f"depth/{stem} is missing, with any of the endings {', '.join(_DEPTH_ENDINGS)}")
    name = f"depth/{path.name}"
    if path.suffix == ".png":
        try:
            with Image.open(path) as image:
                depth = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(f"{name} cannot be read as an image; it may be cut off or damaged ({error})") from error
        if depth.ndim != 2 or depth.dtype not in (np.uint16, np.int32):
            raise ValueError(f"{name} has pixels of mode {image.mode}; depth is 16-bit grey")
        return name, depth * np.float64(depth_scale)
    if path.suffix == ".npz":
        return name, _load_npz(path, None)["depth"]
    try:
        depth = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise OSError(f"{name} cannot be read; it may be cut off or damaged ({error})") from error
    return name, _numbers(depth, name)


def _load_npz(path: pathlib.Path, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """Arrays of a file by name; with None the one called `depth`, or else the only one, as `depth`."""
    try:
        with path.open("rb") as stream, np.load(stream) as file:  # by itself, np.load leaves a broken file open
            if names is None:
                only = ["depth"] if "depth" in file.files else file.files
                found = {"depth": file[only[0]]} if len(only) == 1 else {}
            else:
                found = {name: file[name] for name in names if name in file.files}
            there = ", ".join(file.files)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(f"{path.name} cannot be read; it may be cut off or damaged ({error})") from error
    if missing := [name for name in names or ("depth",) if name not in found]:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}; it has {there or 'nothing'}")
    return {name: _numbers(array, f"{name} of {path.name}") for name, array in found.items()}


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError(f"{name} is of type {getattr(array, 'dtype', type(array).__name__)}; it should be real numbers")
    return array


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
