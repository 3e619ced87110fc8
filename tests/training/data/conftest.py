"""Scenes on disk, small and exact: a slanted plane seen by cameras of float64, in each form a folder of scenes may have."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from da3jax.training.scenes import RenderedViews, sample_scene, write_scene
from tests.quick import quick_jit
from tests.training.data.plane import HEIGHT, VIEWS, WIDTH, plane_cameras, plane_depth


@dataclasses.dataclass(frozen=True)
class Truth:
    images: np.ndarray
    depth: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray


@pytest.fixture(scope="session")
def truth():
    extrinsics, intrinsics = plane_cameras()
    images = np.random.default_rng(0).integers(0, 256, (VIEWS, HEIGHT, WIDTH, 3), np.uint8)
    return Truth(images, plane_depth(extrinsics, intrinsics, HEIGHT, WIDTH).astype(np.float32), extrinsics, intrinsics)


@pytest.fixture(scope="session")
def forms(truth, tmp_path_factory):
    """A folder of five scenes with the same truth: truth.npz; cameras.npz with .npy, .npz and .png depth; COLMAP with .npy depth."""
    root = tmp_path_factory.mktemp("forms")
    sky = np.zeros(truth.depth.shape, bool)
    nothing = np.zeros((*truth.depth.shape, 3), np.float32)
    views = RenderedViews(truth.images / np.float32(255), truth.depth, sky, nothing, sky, truth.extrinsics, truth.intrinsics)
    written = root / "truth"
    write_scene(quick_jit(sample_scene)(jax.random.key(0)), views, written)
    for form in ("npy", "npz", "png", "colmap"):
        scene = root / form
        (scene / "depth").mkdir(parents=True)
        shutil.copytree(written / "images", scene / "images")
        if form == "colmap":
            shutil.copytree(written / "sparse", scene / "sparse")
        else:
            np.savez(scene / "cameras.npz", extrinsics=truth.extrinsics, intrinsics=truth.intrinsics)
        for view, depth in enumerate(truth.depth):
            name = scene / "depth" / f"{view:04d}"
            if form == "png":
                Image.fromarray(np.rint(depth / 0.001).astype(np.uint16)).save(name.with_suffix(".png"))
            elif form == "npz":
                np.savez(name.with_suffix(".npz"), depth=depth)
            else:
                np.save(name.with_suffix(".npy"), depth)
    return root


@pytest.fixture
def copy_of(forms, tmp_path):
    """One of the forms as the only scene `one` of a folder of its own, to be broken."""

    def copy(form: str) -> pathlib.Path:
        shutil.copytree(forms / form, tmp_path / "scenes" / "one")
        return tmp_path / "scenes" / "one"

    return copy
