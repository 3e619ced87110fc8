"""A scene's folder appears whole or not at all."""

import jax
import numpy as np
import pytest

from da3jax.training.scenes import files, write_scene


@pytest.fixture
def first(scenes, views):
    return jax.tree.map(lambda x: x[0], scenes), jax.tree.map(lambda x: x[0], views)


def test_pictures_are_the_rounded_images_and_the_truth_is_not_rounded(first, tmp_path):
    from PIL import Image

    written = write_scene(*first, tmp_path / "scene")
    assert all(path.is_file() for path in written)
    picture = np.asarray(Image.open(tmp_path / "scene/images/0001.png"))
    np.testing.assert_allclose(picture / 255, first[1].images[1], atol=0.5 / 255 + 1e-6)
    with np.load(tmp_path / "scene/truth.npz") as truth:
        for name in ("depth", "normals", "extrinsics", "intrinsics"):
            assert np.array_equal(truth[name], getattr(first[1], name))


def test_a_folder_that_is_there_is_refused_and_kept(first, tmp_path):
    (tmp_path / "scene").mkdir()
    with pytest.raises(FileExistsError, match="scene is there already and is not overwritten; name another folder, or remove it"):
        write_scene(*first, tmp_path / "scene")
    assert list((tmp_path / "scene").iterdir()) == []


@pytest.mark.parametrize(("error", "seen"), [(OSError(28, "No space left on device"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_nothing_half_written_stays_behind(first, tmp_path, monkeypatch, error, seen):
    def fail(arrays):
        raise error

    monkeypatch.setattr(files, "_npz", fail)
    with pytest.raises(seen) as caught:
        write_scene(*first, tmp_path / "scene")
    if seen is OSError:
        assert str(caught.value) == f"the scene scene cannot be written into the folder {tmp_path}: No space left on device"
    assert list(tmp_path.iterdir()) == []
