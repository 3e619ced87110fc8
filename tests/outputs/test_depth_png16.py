import dataclasses
import json
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from da3jax.outputs import depth_png16, export
from da3jax.training.data.scene_folder import open_scene, read_views

NAN = float("nan")


@pytest.fixture
def metric(prediction):
    return dataclasses.replace(prediction, is_metric=True)


def written(prediction, folder, **options):
    """The images' values and what is said about them."""
    *images, sidecar = export(prediction, "depth_png16", folder, **options)
    return np.stack([np.asarray(Image.open(path)) for path in images]), json.loads(sidecar.read_text())


def test_metres_are_written_as_millimetres_to_half_a_step(metric, tmp_path):
    values, said = written(metric, tmp_path)
    assert values.dtype == np.uint16
    assert said == {"scale": 0.001, "unit": "metre", "no_depth": 0, "views": 2}
    assert np.abs(values * 0.001 - metric.depth).max() <= 0.0005 + 1e-6
    assert np.abs(values * 0.001 / metric.depth - 1).max() < 1.6e-4  # half a millimetre of three metres


def test_depths_that_are_whole_millimetres_come_back_exact_by_two_readers(metric, tmp_path):
    steps = np.random.default_rng(0).integers(1, 65536, (2, 20, 30))
    steps[0, 0, :2] = 1, 65535
    paths = export(dataclasses.replace(metric, depth=(steps / 1000).astype(np.float32)), "depth_png16", tmp_path)
    for view, path in enumerate(paths[:2]):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), steps[view])
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), steps[view])


def test_training_reads_the_same_depth(metric, tmp_path):
    (tmp_path / "images").mkdir()
    for view, image in enumerate(metric.processed_images):
        Image.fromarray(image).save(tmp_path / "images" / f"{view:04d}.png")
    np.savez(tmp_path / "cameras.npz", extrinsics=metric.extrinsics, intrinsics=metric.intrinsics)
    export(metric, "depth_png16", tmp_path)
    (tmp_path / "depth_png16").rename(tmp_path / "depth")
    views = read_views(open_scene(tmp_path), [0, 1], 0.001)
    np.testing.assert_allclose([view.depth for view in views], metric.depth, atol=0.0005 + 1e-6)


def test_views_of_several_sizes_have_files_of_their_own_sizes(metric, tmp_path):
    """Of `da3jax.to_native`: each lies in the upper left corner of shared arrays."""
    sizes = np.array([[20, 24], [13, 30]])
    native = dataclasses.replace(metric, from_image=np.tile(np.eye(3), (2, 1, 1)), image_sizes=sizes)
    export(native, "depth_png16-depth_vis", tmp_path, depth_vis_legend=False)
    for view, (height, width) in enumerate(sizes):
        depth = np.asarray(Image.open(tmp_path / "depth_png16" / f"{view:04d}.png"))
        np.testing.assert_array_equal(depth, np.rint(metric.depth[view, :height, :width] * 1000))
        assert np.asarray(Image.open(tmp_path / "depth_vis" / f"{view:04d}.jpg")).shape == (height, 2 * width, 3)


def test_relative_depth_uses_the_range_up_by_one_scale_for_all_views(prediction, tmp_path):
    values, said = written(prediction, tmp_path)
    assert said == {"scale": float(prediction.depth.max()) / 65535, "unit": "relative", "no_depth": 0, "views": 2}
    assert values.max() == 65535
    assert np.abs(values * said["scale"] - prediction.depth).max() <= said["scale"] * 0.5001
    for scale in (1e-30, 1e30):
        again, _ = written(dataclasses.replace(prediction, depth=prediction.depth.astype(np.float64) * scale), tmp_path)
        np.testing.assert_array_equal(again, values)


def test_each_image_says_its_scale_to_the_last_digit(prediction, tmp_path):
    _, said = written(prediction, tmp_path)
    for view in range(2):
        text = Image.open(tmp_path / "depth_png16" / f"{view:04d}.png").text
        assert float(text["depth_scale"]) == said["scale"]
        assert text["depth_unit"] == "relative"


def test_the_scale_can_be_chosen(metric, tmp_path):
    depth = np.full((2, 20, 30), 200.0, np.float32)
    values, said = written(dataclasses.replace(metric, depth=depth), tmp_path, png16_scale=1 / 256)
    assert said["scale"] == 1 / 256
    assert (values == 200 * 256).all()


def test_sky_and_what_is_no_depth_is_zero_and_does_not_set_the_scale(prediction, tmp_path):
    prediction.depth[0, 0, :5] = NAN, np.inf, -np.inf, 0, -1
    prediction.depth[1, :5] = 1000
    sky = np.zeros((2, 20, 30), bool)
    sky[1, :5] = True
    values, said = written(dataclasses.replace(prediction, sky=sky), tmp_path)
    none = sky.copy()
    none[0, 0, :5] = True
    np.testing.assert_array_equal(values == 0, none)
    assert said["scale"] == float(prediction.depth[~none].max()) / 65535
    kept, _ = written(dataclasses.replace(prediction, sky=sky), tmp_path, filter_sky=False)
    assert (kept[sky] == 65535).all()


def test_what_is_too_far_or_too_near_is_no_depth_and_the_far_is_said(metric, tmp_path, caplog):
    depth = np.full((2, 20, 30), 2.0, np.float32)
    depth[0, 0, :4] = 65.535, 65.5354, 65.536, 1e9
    depth[1, 0, :2] = 0.0004, 0.0006
    with caplog.at_level(logging.WARNING):
        values, _ = written(dataclasses.replace(metric, depth=depth), tmp_path)
    assert values[0, 0, :5].tolist() == [65535, 65535, 0, 0, 2000]
    assert values[1, 0, :3].tolist() == [0, 1, 2000]
    assert [record.getMessage() for record in caplog.records] == [
        "depth_png16: 2 pixels are beyond 65.535, the most in steps of 0.001, and are written as 0; a larger png16_scale holds them"
    ]


def test_a_scene_without_depth_is_zero(prediction, tmp_path):
    values, said = written(dataclasses.replace(prediction, depth=np.full((2, 20, 30), NAN)), tmp_path)
    assert not values.any()
    assert said["scale"] == 1


def test_an_interrupted_rerun_leaves_images_and_scale_that_belong_together(prediction, tmp_path, monkeypatch):
    export(prediction, "depth_png16", tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "depth_png16").iterdir()}
    images = [b"a new image"]

    def encode(*image, **text):
        if not images:
            raise KeyboardInterrupt
        return images.pop()

    monkeypatch.setattr(depth_png16, "encode_png", encode)
    with pytest.raises(KeyboardInterrupt):
        export(dataclasses.replace(prediction, depth=9 * prediction.depth), "depth_png16", tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "depth_png16").iterdir()} == before


def test_no_images_and_cameras_are_needed(prediction, tmp_path):
    bare = dataclasses.replace(prediction, processed_images=None, extrinsics=None, intrinsics=None)
    np.testing.assert_array_equal(written(bare, tmp_path / "a")[0], written(prediction, tmp_path / "b")[0])
