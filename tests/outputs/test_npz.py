import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import align_poses
from da3jax.outputs import export


@pytest.fixture
def full(prediction, with_gaussians):
    rng = np.random.default_rng(1)
    return dataclasses.replace(
        prediction,
        depth=rng.normal(size=prediction.depth.shape).astype(np.float32) / 3,
        conf=rng.random(prediction.depth.shape, dtype=np.float32) + 1,
        sky=rng.random(prediction.depth.shape) > 0.5,
        ray=rng.random((2, 4, 5, 6), dtype=np.float32),
        ray_conf=rng.random((2, 4, 5), dtype=np.float32),
        is_metric=True,
        scale_factor=np.float32(1.2345678),
        scale_residual=np.float32(0.1),
        conditioned=("extrinsics", "intrinsics"),
        from_image=np.tile(np.eye(3) / 3, (2, 1, 1)),
        image_sizes=np.array([[60, 90]] * 2),
        gaussians=with_gaussians.gaussians,
        alignment=align_poses(prediction.extrinsics, prediction.extrinsics),
        aux={"feat_layer_7": rng.random((2, 2, 3, 8), dtype=np.float32), "metric_depth": rng.random((2, 20, 30), dtype=np.float32)},
    )


def load(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_npz_holds_every_field_to_the_last_bit(full, tmp_path):
    (path,) = export(full, "npz", tmp_path)
    expected = {
        "image": full.processed_images,
        **{name: getattr(full, name) for name in ("depth", "conf", "extrinsics", "intrinsics", "sky", "ray", "ray_conf")},
        "is_metric": np.array(True),
        "scale_factor": np.array(np.float32(1.2345678)),
        "scale_residual": np.array(np.float32(0.1)),
        "conditioned": np.array("extrinsics,intrinsics"),
        "from_image": full.from_image,
        "image_sizes": full.image_sizes,
        **{f"gaussians_{name}": value for name, value in vars(full.gaussians).items()},
        **{f"alignment_{name}": np.asarray(getattr(full.alignment.similarity, name)) for name in ("scale", "rotation", "translation")},
        **{
            f"alignment_{name}": np.asarray(getattr(full.alignment, name))
            for name in ("rotation_determined", "scale_determined", "inliers", "residual")
        },
        **full.aux,
    }
    loaded = load(path)
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        assert loaded[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded[name], value)


def test_mini_npz_leaves_out_images_features_and_gaussians(full, tmp_path):
    (whole, mini) = export(full, "npz-mini_npz", tmp_path)
    whole, mini = load(whole), load(mini)
    assert set(whole) - set(mini) == {"image", *(name for name in whole if name.startswith(("feat_layer_", "gaussians_")))}
    for name, value in mini.items():
        np.testing.assert_array_equal(value, whole[name])


def test_what_the_prediction_lacks_is_left_out(prediction, tmp_path):
    bare = dataclasses.replace(prediction, extrinsics=None, intrinsics=None, processed_images=None)
    (path,) = export(bare, "mini_npz", tmp_path)
    loaded = load(path)
    assert set(loaded) == {"depth", "is_metric"}
    assert not loaded["is_metric"]


def test_npz_without_images_is_refused(prediction, tmp_path):
    with pytest.raises(ValueError, match=r"^export format 'npz' needs processed_images"):
        export(dataclasses.replace(prediction, processed_images=None), "mini_npz-npz", tmp_path)


def test_values_that_are_no_numbers_survive(prediction, tmp_path):
    prediction.depth[0, :2, 0] = np.nan, np.inf
    (path,) = export(prediction, "npz", tmp_path)
    np.testing.assert_array_equal(load(path)["depth"], prediction.depth)


def test_bfloat16_features_come_back_as_float32(prediction, tmp_path):
    features = jnp.linspace(0, 1, 48, dtype=jnp.bfloat16).reshape(2, 2, 3, 4)
    (path,) = export(dataclasses.replace(prediction, aux={"feat_layer_3": features}), "npz", tmp_path)
    loaded = load(path)["feat_layer_3"]
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, np.asarray(features, np.float32))


def test_points_come_out_of_depth_and_cameras_where_they_are(scene, tmp_path):
    prediction, points = scene
    (path,) = export(prediction, "npz", tmp_path)
    found = load(path)
    v, u = np.mgrid[: points.shape[1], : points.shape[2]] + 0.5
    for view, (depth, matrix, pose) in enumerate(zip(found["depth"], found["intrinsics"], found["extrinsics"], strict=True)):
        camera = depth[..., None] * (np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(matrix).T)
        np.testing.assert_allclose((camera - pose[:, 3]) @ pose[:, :3], points[view], rtol=1e-4, atol=1e-4)
