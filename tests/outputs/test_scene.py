import dataclasses

import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.scene import make_scene


def test_points_and_cameras_are_those_of_the_world(scene):
    prediction, expected = scene
    made = make_scene(prediction, ExportOptions(conf_thresh_percentile=0), "file")
    np.testing.assert_allclose(made.points, expected.reshape(-1, 3), atol=2e-6)
    np.testing.assert_array_equal(made.colours, prediction.processed_images.reshape(-1, 3))
    np.testing.assert_array_equal(made.intrinsics, prediction.intrinsics)
    np.testing.assert_array_equal(made.extrinsics[:, :3], prediction.extrinsics[:, :3])
    np.testing.assert_allclose(made.poses @ made.extrinsics, np.tile(np.eye(4), (2, 1, 1)), atol=1e-12)
    low, high = np.percentile(made.points, (5, 95), axis=0)
    assert made.camera_size == pytest.approx(0.03 * np.linalg.norm(high - low))
    assert made.diagonal == pytest.approx(np.linalg.norm(high - low))
    assert not made.origin.any()


def test_the_origin_is_where_the_points_are_or_else_the_cameras(prediction):
    moved = prediction.extrinsics.astype(np.float64)
    moved[:, :, 3] -= moved[:, :, :3] @ [4e5, 5e6, 100.0]
    far = dataclasses.replace(prediction, extrinsics=moved)
    for depth in (prediction.depth, np.zeros_like(prediction.depth)):
        made = make_scene(dataclasses.replace(far, depth=depth), ExportOptions(), "file")
        np.testing.assert_allclose(made.origin, [4e5, 5e6, 100], atol=10)


def test_nothing_to_show_is_refused(prediction):
    empty = dataclasses.replace(prediction, depth=np.zeros_like(prediction.depth))
    assert len(make_scene(empty, ExportOptions(), "file").points) == 0
    with pytest.raises(ValueError, match=r"^file would be empty: no pixel .*, and cameras are not shown$"):
        make_scene(empty, ExportOptions(show_cameras=False), "file")
