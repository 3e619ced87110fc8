"""Gaussians of a result lie in the world of its depth and cameras, whatever that is brought to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import da3jax
from da3jax.geometry import align_poses, gaussians_from_raw, matrix_from_quaternion, normalize_poses, unproject
from da3jax.inference import program
from da3jax.inference.gaussians import official_gaussians
from da3jax.inference.plan import planned
from da3jax.inference.program import KnownCameras, Task
from da3jax.types import NetworkOutput, Views
from tests.inference.test_known_cameras import known_poses
from tests.quick import quick_jit

HEIGHT, WIDTH = 28, 42
OUTPUTS = ("depth", "cameras", "raw_gs", "points")
from_raw = quick_jit(gaussians_from_raw)
officially = quick_jit(functools.partial(gaussians_from_raw, official=True))


def said(views: int = 3, nested: bool = False) -> NetworkOutput:
    """What a network could say of a scene, each centre on the ray of its pixel."""
    rng = np.random.default_rng(5)
    shape = (1, views, HEIGHT, WIDTH)
    raw = rng.standard_normal((*shape, 37), dtype=np.float32)
    raw[..., :2] = 0
    intrinsics = np.tile(np.float32([[40, 0, 21], [0, 42, 14], [0, 0, 1]]), (1, views, 1, 1))
    return NetworkOutput(
        depth=rng.uniform(1, 5, shape).astype(np.float32),
        depth_conf=rng.uniform(1, 3, shape).astype(np.float32),
        extrinsics=known_poses(views, seed=7)[None].astype(np.float32),
        intrinsics=intrinsics,
        raw_gs=raw,
        raw_gs_conf=rng.random(shape, dtype=np.float32),
        sky=np.zeros(shape, np.float32) if nested else None,
        metric_depth=rng.uniform(100, 200, shape).astype(np.float32) if nested else None,
    )


@pytest.fixture
def result_of(monkeypatch, model, nested):
    """What `run` makes of an output that no network had to compute."""

    def result(output, known=None, **options):
        monkeypatch.setattr(program, "forward", lambda *args, **kwargs: output)
        config = (model if output.sky is None else nested).config
        task = Task(OUTPUTS, infer_gs=True, **options)
        images = np.zeros((*output.depth.shape, 3), np.float32)
        cameras = KnownCameras() if known is None else KnownCameras.of(known[None], None)
        return jax.device_get(quick_jit(lambda: program.run({}, images, cameras, None, task=task, config=config, dtype=None))())

    return result


def close(found, expected, rtol=2e-4):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("in_metres", [False, True], ids=["any-view", "nested"])
@pytest.mark.parametrize("to_input", [None, True, False], ids=["no known cameras", "in their world", "in the network's"])
def test_centres_are_where_depth_and_cameras_put_them(result_of, in_metres, to_input):
    output = said(nested=in_metres)
    options = {} if to_input is None else {"known": known_poses(3, seed=8), "align_to_input_ext_scale": to_input}
    found = result_of(output, **options)
    assert not in_metres or found.scale.scale[0] > 3
    times = (found.scale.scale[0] if in_metres else 1) * (found.alignment.similarity.scale[0] if to_input else 1)
    close(found.network.depth, times * output.depth)
    depth = found.network.depth + times * output.raw_gs[..., 36]
    expected = unproject(jnp.asarray(depth), jnp.asarray(found.network.intrinsics), jnp.asarray(found.network.extrinsics))
    close(found.gaussians.means, np.asarray(expected))
    np.testing.assert_allclose(np.asarray(found.gaussians.scales) / depth[..., None], _scales(output), rtol=1e-3)
    assert found.network.raw_gs is None
    assert found.network.raw_gs_conf is None


def _scales(output):
    """Standard deviations for a depth of 1."""
    return (1e-5 + (30 - 1e-5) / (1 + np.exp(-output.raw_gs[..., 2:5].astype(np.float64)))) * 0.1 * (1 / 40 + 1 / 42)


def test_a_view_without_a_known_camera_moves_by_the_similarity(result_of):
    output = said()
    known = known_poses(3, seed=8)
    known[1] = np.nan
    found = result_of(output, known)
    before = from_raw(output.raw_gs, output.raw_gs_conf, output.depth, output.extrinsics, output.intrinsics)
    similarity = jax.tree.map(lambda x: jnp.asarray(x[0]), found.alignment.similarity)
    close(found.gaussians.means[0, 1], similarity.apply(before.means[0, 1]))
    close(found.gaussians.scales[0, 1], similarity.scale * before.scales[0, 1])
    turned, frame = (matrix_from_quaternion(jnp.roll(x.rotations[0, 1], -1, axis=-1)) for x in (found.gaussians, before))
    close(turned, np.asarray(similarity.rotation) @ np.asarray(frame), rtol=1e-3)
    np.testing.assert_array_equal(found.gaussians.opacities, output.raw_gs_conf)


def test_independent_images_have_gaussians_in_their_camera_s_frame(result_of):
    output = said(views=1)
    found = result_of(output, independent=True)
    x, y, z = np.moveaxis(found.gaussians.means, -1, 0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    close(z, output.depth + output.raw_gs[..., 36])
    close(x, z * (columns - 21) / 40)
    close(y, z * (rows - 14) / 42)


def test_official_gaussians_stay_in_the_network_s_world(result_of):
    output = said(nested=True)
    found = result_of(output, official_gs=True)
    expected = officially(output.raw_gs, output.raw_gs_conf, output.depth, output.extrinsics, output.intrinsics)
    assert found.scale.scale[0] > 3
    jax.tree.map(lambda a, b: close(a, np.asarray(b)), found.gaussians, expected)


@pytest.mark.parametrize(("views", "apart"), [(3, 1), (3, 1e-3), (1, 1)], ids=["fitted", "clamped", "one view"])
def test_official_gaussians_take_the_scale_of_the_cameras_that_the_network_saw(result_of, views, apart):
    output, known = said(views), known_poses(views, seed=8)
    output.extrinsics[..., 3] *= apart
    found = result_of(output, known, conditioned=True, official_gs=True)
    seen = normalize_poses(jnp.asarray(known, jnp.float32))
    scale = float(align_poses(jnp.asarray(output.extrinsics[0]), seen, robust_from=99).similarity.scale)
    assert scale == 1 if views == 1 else scale > 3 if apart < 1 else 1 / 3 < scale < 0.95 or 1.05 < scale < 3
    scale = min(scale, 3)
    extrinsics = output.extrinsics * np.float32([1, 1, 1, scale])
    scales = jnp.full((1, views), scale, jnp.float32)
    expected = officially(
        output.raw_gs, output.raw_gs_conf, output.depth * np.float32(scale), extrinsics, output.intrinsics, depth_scale=scales
    )
    jax.tree.map(lambda a, b: close(a, np.asarray(b), rtol=1e-3), found.gaussians, expected)


by_official_scale = quick_jit(official_gaussians)


@pytest.mark.parametrize(("apart", "scale"), [(1, 1.5), (1e3, 1 / 3), (1e-3, 3)])
def test_the_scale_of_official_gaussians_is_that_of_real_views_and_from_a_third_to_three(apart, scale):
    output = jax.tree.map(lambda x: x[:, :, :2, :3] if x.shape[2] == HEIGHT else x, said(4))
    seen = np.float32(known_poses(4)[None])
    output.extrinsics[...] = seen
    output.extrinsics[..., 3] *= apart / 1.5
    output.extrinsics[0, 3, :, 3] *= -9
    found = by_official_scale(output, seen, np.array([[True, True, True, False]]))
    close(found.scales / (output.depth + output.raw_gs[..., 36])[..., None], scale * _scales(output), rtol=1e-3)


@pytest.fixture(scope="module")
def found(model, images, tmp_path_factory):
    """A prediction that was exported as Gaussians, and the file."""
    folder = tmp_path_factory.mktemp("gaussians")
    prediction = model.inference(images, process_res=56, outputs=["depth"], export_dir=folder, export_format="gs_ply")
    return prediction, folder / "gs_ply" / "0000.ply"


def test_exporting_gaussians_computes_them_and_the_cameras_that_place_them(found, model, images):
    prediction, path = found
    assert path.exists()
    assert prediction.extrinsics is not None
    assert prediction.ray is None
    views = da3jax.preprocess(images, process_res=56).images
    run = quick_jit(lambda p, x: da3jax.forward(p, x, config=model.config, outputs=("depth", "cameras", "raw_gs")))
    output = run(model.params, views)
    expected = from_raw(output.raw_gs, output.raw_gs_conf, output.depth, output.extrinsics, output.intrinsics)
    assert prediction.gaussians.harmonics.shape == (3, 42, 56, 3, 9)
    same = np.abs(np.sum(prediction.gaussians.rotations * np.asarray(expected.rotations[0]), axis=-1))
    np.testing.assert_allclose(same, 1, atol=1e-3)
    for name in ("means", "scales", "harmonics", "opacities"):
        close(getattr(prediction.gaussians, name), np.asarray(getattr(expected, name)[0]), rtol=1e-3)


def test_metres_reach_the_gaussians(found):
    prediction, _ = found
    metres = da3jax.to_metres(prediction, depth=2 * prediction.depth)
    np.testing.assert_allclose(metres.gaussians.means, 2 * prediction.gaussians.means, rtol=1e-5)
    np.testing.assert_allclose(metres.gaussians.scales, 2 * prediction.gaussians.scales, rtol=1e-5)
    for name in ("rotations", "harmonics", "opacities"):
        np.testing.assert_array_equal(getattr(metres.gaussians, name), getattr(prediction.gaussians, name))


def test_gaussians_are_left_out_unless_they_are_asked_for(model):
    views = Views(np.zeros((1, 1, HEIGHT, WIDTH, 3), np.float32))
    assert "raw_gs" not in planned(model.config, views)[1].outputs
    assert planned(model.config, views, outputs=["depth"], infer_gs=True)[1].outputs == ("depth", "cameras", "raw_gs")
    by_rays = planned(model.config, views, outputs=["depth"], infer_gs=True, use_ray_pose=True)[1]
    assert by_rays.outputs == ("depth", "ray", "raw_gs")


def test_a_network_without_a_head_for_gaussians_is_refused(single_view, model, images, tmp_path):
    message = (
        "^infer_gs needs a network that predicts Gaussians, and .* has no head for them; da3-giant and da3nested-giant-large have one$"
    )
    with pytest.raises(ValueError, match=message):
        single_view.inference(images, infer_gs=True)
    with pytest.raises(ValueError, match=message):
        single_view.inference(images, export_dir=tmp_path, export_format="glb-gs_ply")
    with pytest.raises(ValueError, match=r"^official_gs says which Gaussians are computed, and none are; it goes with infer_gs=True$"):
        model.inference(images, official_gs=True)
