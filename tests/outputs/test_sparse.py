"""A model and the pictures beside it are of one export, whatever happens."""

import dataclasses
import errno

import numpy as np
import pytest

from da3jax.outputs import export
from tests.outputs.rendered import render


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dark(images):
    """Other pictures of the same names and sizes, as those of another video are."""
    return [dataclasses.replace(image, read=lambda image=image: image.read() // 2) for image in images]


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("damaged"), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("earlier", [True, False])
def test_an_export_that_fails_at_a_picture_leaves_what_was_there(tmp_path, name, failure, earlier):
    scene = render()
    if earlier:
        export(scene.prediction, name, tmp_path, images=scene.images)
    before = files_below(tmp_path)
    extrinsics = scene.prediction.extrinsics * [1, 1, 1, 2]  # the scene at twice its scale
    moved = dataclasses.replace(scene.prediction, depth=2 * scene.prediction.depth, extrinsics=extrinsics.astype(np.float32))

    def fail():
        raise failure

    images = dark(scene.images)
    with pytest.raises(type(failure)):
        export(moved, name, tmp_path, images=[*images[:3], dataclasses.replace(images[3], read=fail)])
    assert files_below(tmp_path) == before

    export(moved, name, tmp_path, images=images)
    after = files_below(tmp_path)
    if earlier:
        assert after.keys() == before.keys()
        assert {path.name for path in before if after[path] == before[path]} <= {"cameras.bin"}


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
def test_a_model_that_cannot_be_written_keeps_the_pictures_as_they_were(tmp_path, monkeypatch, name):
    scene = render()
    export(scene.prediction, name, tmp_path, images=scene.images)
    before = files_below(tmp_path)
    write_bytes = type(tmp_path).write_bytes

    def full(path, content):
        if path.suffix == ".bin" or (path.suffix == ".json" and b"fl_x" in content):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot be written into the folder .*: No space left on device$"):
        export(scene.prediction, name, tmp_path, images=dark(scene.images))
    assert files_below(tmp_path) == before


def test_one_picture_is_in_memory_at_a_time(tmp_path):
    scene, seen = render(), []

    def read(image):
        seen.append(sum(path.is_file() for path in tmp_path.rglob("*.tmp.*")))
        return image.read()

    images = [dataclasses.replace(image, read=lambda image=image: read(image)) for image in scene.images]
    export(scene.prediction, "colmap", tmp_path, images=images)
    np.testing.assert_array_equal(seen, [0, 1, 2, 3])
