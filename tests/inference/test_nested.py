"""Metres: by a metric network and a focal length, and by one beside an any-view network."""

import logging

import jax
import numpy as np
import pytest
from PIL import Image

import da3jax
from da3jax.config import NestedConfig
from da3jax.models.metric import fit_metric_scale, in_metres
from da3jax.schema import to_dict
from da3jax.weights.orbax_store import save

SIZE = 56
K = np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]])  # of the pictures of 60 × 80; the processed ones are 42 × 56


@pytest.fixture(scope="module")
def joint(model, images):
    return model.inference(images, process_res=SIZE)


@pytest.fixture(scope="module")
def alone(single_view, images):
    return single_view.inference(images, process_res=SIZE)


@pytest.fixture(scope="module")
def halves(nested, images):
    """What the two halves of the nested network say, of one scene."""
    run = jax.jit(lambda params, images: da3jax.forward(params, images, config=nested.config))
    return run(nested.params, da3jax.preprocess(images, process_res=SIZE).images)


@pytest.fixture(scope="module")
def found(nested, images):
    return nested.inference(images, process_res=SIZE)


def by_hand(halves, metres):
    """Scale, depth and confidence as the official code has them, in numpy."""
    depth, conf, sky = (np.asarray(x[0], np.float64) for x in (halves.depth, halves.depth_conf, halves.sky))
    ground = sky < 0.3
    chosen = ground & (conf >= np.median(conf[ground])) & (metres > 0.01) & (depth > 0.001)
    scale = (metres * depth)[chosen].sum() / (depth**2)[chosen].sum()
    far = min(np.quantile(scale * depth[ground], 0.99), 200)
    return scale, np.where(ground, scale * depth, far), np.where(ground, conf, 1)


def test_a_nested_network_gives_metres(found, halves, joint):
    focal = np.asarray(halves.intrinsics[0, :, [0, 1], [0, 1]], np.float64).mean(axis=0)
    metres = np.asarray(halves.metric_depth[0], np.float64) * focal[:, None, None] / 300
    scale, depth, conf = by_hand(halves, metres)
    assert found.is_metric
    assert found.scale_factor == pytest.approx(scale, rel=1e-5)
    np.testing.assert_allclose(found.depth, depth, rtol=1e-4)
    np.testing.assert_allclose(found.conf, conf, rtol=1e-5)
    np.testing.assert_allclose(found.aux["metric_depth"], metres, rtol=1e-5)
    np.testing.assert_allclose(found.extrinsics[..., 3], scale * joint.extrinsics[..., 3], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.extrinsics[..., :3], joint.extrinsics[..., :3], atol=1e-6)
    np.testing.assert_allclose(found.ray[..., 3:], scale * joint.ray[..., 3:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.ray[..., :3], joint.ray[..., :3], atol=1e-5)


def test_sky_is_told_and_put_at_the_end_of_the_rest(found, halves, alone):
    np.testing.assert_array_equal(found.sky, alone.sky)
    sky = np.asarray(halves.sky[0]) >= 0.3
    assert 0 < sky.sum() < sky.size
    assert len(np.unique(found.depth[sky])) == 1
    np.testing.assert_array_equal(found.conf[sky], 1)


def test_known_intrinsics_decide_what_a_metre_is(nested, images, found, halves):
    twice = [np.diag([2, 2, 1]) @ k for k in (K, K, K)]
    once, double = (nested.inference(images, intrinsics=k, process_res=SIZE) for k in ([K] * 3, twice))
    np.testing.assert_allclose(double.aux["metric_depth"], 2 * once.aux["metric_depth"], rtol=1e-5)
    assert double.scale_factor == pytest.approx(2 * once.scale_factor, rel=1e-4)
    np.testing.assert_allclose(once.aux["metric_depth"], np.asarray(halves.metric_depth[0]) * 49 / 300, rtol=1e-5)
    assert once.scale_factor != pytest.approx(found.scale_factor, rel=1e-3)


@pytest.mark.slow
def test_the_scale_of_known_cameras_is_not_called_metres(nested, images):
    extrinsics = np.tile(np.eye(3, 4), (3, 1, 1))
    extrinsics[:, 0, 3] = [0, 1, 3]
    given = nested.inference(images, extrinsics=extrinsics, intrinsics=[K] * 3, process_res=SIZE)
    kept = nested.inference(images, extrinsics=extrinsics, intrinsics=[K] * 3, align_to_input_ext_scale=False, process_res=SIZE)
    assert not given.is_metric
    assert kept.is_metric
    assert given.scale_factor == pytest.approx(kept.scale_factor, rel=1e-5)
    np.testing.assert_allclose(given.depth, kept.depth * given.alignment.similarity.scale, rtol=1e-4)


def test_nothing_but_sky_leaves_the_scale_and_says_so(nested, images, joint, caplog):
    params = jax.tree.map(lambda x: x, nested.params)
    last = max(name for name in params["metric"]["head"] if "sky" in name)
    params["metric"]["head"][last] = jax.tree.map(lambda x: 0 * x + (5 if x.ndim == 1 else 0), params["metric"]["head"][last])
    blind = da3jax.DepthAnything3(params, nested.config)
    found = blind.inference(images, process_res=SIZE)
    assert found.sky.all()
    assert not found.is_metric
    assert found.scale_factor == 1
    assert "the scene shows hardly anything but sky" in caplog.text
    np.testing.assert_allclose(found.depth, joint.depth, rtol=1e-5)
    np.testing.assert_allclose(found.conf, joint.conf, rtol=1e-5)
    each = blind.inference(images, independent=True, process_res=SIZE)
    assert not each.is_metric
    np.testing.assert_array_equal(each.scale_factor, 1)
    assert "images [0, 1, 2] show hardly anything but sky" in caplog.text


def test_independent_images_have_a_scale_each(nested, images):
    found = nested.inference(images, independent=True, process_res=SIZE)
    single = nested.inference(images[1:2], process_res=SIZE)
    assert found.is_metric
    assert found.scale_factor.shape == (3,)
    assert found.scale_factor[1] == pytest.approx(float(single.scale_factor), rel=1e-5)
    np.testing.assert_allclose(found.depth[1], single.depth[0], rtol=1e-4)


def test_the_same_bits_come_twice(nested, images, found):
    jax.tree.map(np.testing.assert_array_equal, nested.inference(images, process_res=SIZE), found)


def test_depth_is_in_metres_whatever_else_is_asked_for(nested, images, found):
    few = nested.inference(images, outputs=["depth"], process_res=SIZE)
    np.testing.assert_allclose(few.depth, found.depth, rtol=1e-4)
    assert few.is_metric
    assert few.ray is None


@pytest.mark.integration
def test_any_two_networks_make_a_pair_and_are_saved_as_one(model, metric, images, found, tmp_path):
    save(tmp_path / "anyview", model.params, to_dict(model.config))
    save(tmp_path / "metric", metric.params, to_dict(metric.config))
    pair = da3jax.DepthAnything3.from_pretrained(tmp_path / "anyview", metric_model=tmp_path / "metric")
    assert pair.config == NestedConfig("tiny-anyview+tiny-metric", model.config, metric.config)
    jax.tree.map(np.testing.assert_array_equal, pair.inference(images, process_res=SIZE), found)
    released = da3jax.DepthAnything3.from_pretrained(pair.save_pretrained(tmp_path / "released"))
    assert released.config.metric.head == metric.config.head
    jax.tree.map(np.testing.assert_array_equal, released.params, pair.params)


def test_what_makes_no_pair_is_refused(model, single_view, nested, tmp_path, released_dir):
    with pytest.raises(ValueError, match="tiny-single-view has none: its depth is up to a scale; da3metric-large has one"):
        da3jax.DepthAnything3.from_pretrained(released_dir, metric_model=released_dir.parent / "single_view")
    with pytest.raises(ValueError, match="anyview of a nested network needs camera"):
        da3jax.DepthAnything3.from_pretrained(released_dir.parent / "single_view", metric_model=released_dir)
    save(tmp_path / "nested", nested.params, to_dict(nested.config))
    with pytest.raises(ValueError, match="tiny-nested has a metric half already"):
        da3jax.DepthAnything3.from_pretrained(tmp_path / "nested", metric_model=released_dir)
    with pytest.raises(ValueError, match="metric_model is tiny-nested, a pair by itself"):
        da3jax.DepthAnything3.from_pretrained(released_dir, metric_model=tmp_path / "nested")


def test_a_metric_network_gives_metres_at_a_known_focal_length(metric, images, alone):
    found = metric.inference(images, intrinsics=[K, K, np.diag([3.0, 3, 1]) @ K], process_res=SIZE)
    assert found.is_metric
    np.testing.assert_allclose(found.scale_factor, [49 / 300, 49 / 300, 147 / 300], rtol=1e-5)
    np.testing.assert_allclose(found.depth, alone.depth * found.scale_factor[:, None, None], rtol=1e-5)
    np.testing.assert_allclose(found.points[..., 2], found.depth, rtol=1e-6)
    each = metric.inference(images, intrinsics=[K] * 3, independent=True, process_res=SIZE)
    np.testing.assert_allclose(each.scale_factor, 49 / 300, rtol=1e-5)


def test_a_metric_network_takes_the_focal_length_of_a_photograph(metric, single_view, images, tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 30}  # FocalLengthIn35mmFilm
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png", exif=exif)
    files = sorted(tmp_path.glob("*.png"))
    focal = 30 * 100 / np.hypot(36, 24) * 56 / 80  # the pictures' diagonal is 100 pixels
    found = metric.inference(files, process_res=SIZE)
    assert found.is_metric
    np.testing.assert_allclose(found.intrinsics[:, 0, 0], focal, rtol=1e-5)
    np.testing.assert_allclose(found.scale_factor, focal / 300, rtol=1e-5)
    given = metric.inference(files, intrinsics=[K, None, None], process_res=SIZE)
    np.testing.assert_allclose(given.scale_factor, np.array([49, focal, focal]) / 300, rtol=1e-5)
    assert single_view.inference(files, process_res=SIZE).is_metric is False


def test_without_every_focal_length_a_metric_network_gives_no_metres_and_says_so(metric, images, alone, caplog):
    caplog.set_level(logging.WARNING, "da3jax")
    found = metric.inference(images, intrinsics=[K, None, K], process_res=SIZE)
    assert not found.is_metric
    assert found.intrinsics is None
    assert "views [1] have no known focal length" in caplog.text
    np.testing.assert_allclose(found.depth, alone.depth, rtol=1e-5)
    caplog.clear()
    assert not metric.inference(images, process_res=SIZE).is_metric
    assert "views [0, 1, 2] have no known focal length" in caplog.text


def test_the_fit_looks_at_confident_ground_alone_and_each_scene_has_its_own():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (2, 3, 8, 8)).astype(np.float32)
    truth = np.float32([0.5, 7])
    metres = truth[:, None, None, None] * depth
    conf = rng.uniform(2, 3, depth.shape).astype(np.float32)
    sky = np.zeros_like(depth)
    sky[:, 0], metres[:, 0] = 1, 1e4
    conf[:, 1, :4], metres[:, 1, :4] = 1, 1e4  # less than half of the ground
    fit = fit_metric_scale(depth, conf, metres, sky)
    np.testing.assert_allclose(fit.scale, truth, rtol=1e-5)
    np.testing.assert_allclose(fit.residual, 0, atol=1e-5)
    assert fit.determined.all()
    nothing = fit_metric_scale(depth, conf, metres, np.ones_like(sky))
    np.testing.assert_array_equal(nothing.scale, 1)
    assert not nothing.determined.any()
    gradient = jax.grad(lambda depth: fit_metric_scale(depth, conf, metres, np.ones_like(sky)).scale.sum())(depth)
    np.testing.assert_array_equal(gradient, 0)
    exact = fit_metric_scale(depth, conf, 2 * depth, 0 * sky)
    np.testing.assert_allclose(exact.scale, 2, rtol=1e-6)
    ones = np.ones_like(depth)
    for name in ("scale", "residual"):  # the root has no slope at 0
        slope = jax.grad(lambda x, name=name: getattr(fit_metric_scale(x, conf, ones, 0 * sky), name).sum())
        assert np.isfinite(slope(ones)).all()


@pytest.mark.integration
def test_metres_follow_the_mean_of_both_focal_lengths():
    matrices = np.stack([np.diag([300.0, 600, 1]), np.diag([30.0, 30, 1])]).astype(np.float32)
    depth = np.ones((2, 1, 1), np.float32)
    np.testing.assert_allclose(in_metres(depth, matrices, 300.0)[:, 0, 0], [1.5, 0.1])
