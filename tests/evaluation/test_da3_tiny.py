"""The packaged network sees, and goes on seeing in every form that it can be brought into."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from benchmarks import yardstick
from da3jax import DepthAnything3, weights
from da3jax.geometry import cameras_from_rays
from da3jax.inference.export import export_forward
from da3jax.parallel import batch_sharding, fsdp_shardings, make_mesh
from da3jax.parallel.mesh import mesh_of
from da3jax.training.data import normalize_images

VIEWS = 4


@pytest.fixture(scope="module")
def tiny():
    return weights.load("da3-tiny")


@pytest.fixture(scope="module")
def kept(tiny, batches):
    """That a prediction is as good as the network in float32 on one device."""
    expected = yardstick.measure(yardstick.network(*tiny), batches, VIEWS)

    def check(predict, *, abs_rel=1e-4, auc=0.5):
        found = yardstick.measure(predict, batches, VIEWS)
        assert found["abs_rel"] == pytest.approx(expected["abs_rel"], abs=abs_rel)
        for kind in ("head", "rays"):
            assert found[f"{kind}_auc_30"] == pytest.approx(expected[f"{kind}_auc_30"], abs=auc)

    return check


def test_its_half_precision_weights_are_small(tiny):
    folder = weights.hub.resolve("da3-tiny")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    assert sum(leaf.size for leaf in jax.tree.leaves(tiny[0])) < 8e6
    assert tiny[1].process_res == 112


@pytest.mark.parametrize(
    ("conditioned", "abs_rel", "delta1", "head", "rays"),
    [(False, 0.1479, 0.8149, 33.06, 23.06), pytest.param(True, 0.1391, 0.8264, 88.47, 57.22, marks=pytest.mark.integration)],
)
def test_it_sees_as_well_as_when_it_was_packaged(tiny, batches, conditioned, abs_rel, delta1, head, rays):
    found = yardstick.measure(yardstick.network(*tiny, conditioned=conditioned), batches, VIEWS)
    assert found["abs_rel"] == pytest.approx(abs_rel, abs=0.001)
    assert found["delta1"] == pytest.approx(delta1, abs=0.003)
    assert found["head_auc_30"] == pytest.approx(head, abs=1)
    assert found["rays_auc_30"] == pytest.approx(rays, abs=1)


@pytest.mark.integration
def test_bfloat16_keeps_its_metrics(tiny, kept):
    kept(yardstick.network(*tiny, dtype="bfloat16"), abs_rel=0.001, auc=1.5)


@pytest.mark.integration
def test_devices_that_share_scenes_and_parameters_keep_its_metrics(tiny, kept):
    mesh = make_mesh(2, 2, devices=jax.devices()[:4])
    params, config = tiny
    predict = yardstick.network(jax.device_put(params, fsdp_shardings(params, mesh)), config)
    kept(lambda batch: predict(jax.device_put(batch, batch_sharding(mesh))))


@pytest.mark.integration
def test_an_exported_program_keeps_its_metrics(tiny, kept):
    params, config = tiny
    program = export_forward(config, *yardstick.SIZE, ref_view_strategy="first")
    flat = flatten_dict(params, sep="/")

    def predict(batch):
        found = program.call(flat, normalize_images(batch.images))
        rays = cameras_from_rays(found["ray"], found["ray_conf"]).extrinsics
        return {"depth": found["depth"], "head": found["extrinsics"], "rays": rays}

    kept(predict)


@pytest.mark.integration
@pytest.mark.parametrize("form", ["filled up to more views", "over devices that share views"])
def test_a_scene_is_seen_the_same(tiny, batches, form):
    images = np.round(np.asarray(batches[0].images[0, :5]) * 255).astype(np.uint8)
    model, plain = DepthAnything3(*tiny, mesh=mesh_of(2) if form.startswith("over") else None), DepthAnything3(*tiny)
    plain.bucket_views = False  # where the other's program is for six
    found, exact = model.inference(images), plain.inference(images)
    for name in ("depth", "conf", "extrinsics", "intrinsics", "ray", "ray_conf"):
        theirs = getattr(exact, name)
        atol = {"depth": 0, "extrinsics": 1e-4}.get(name, 1e-4 * np.abs(theirs).max())
        np.testing.assert_allclose(getattr(found, name), theirs, rtol=1e-4, atol=atol, err_msg=name)


def test_a_converted_folder_has_its_weights_bit_by_bit(tiny, tmp_path):
    params, config = weights.load(weights.convert("da3-tiny", tmp_path / "orbax"))
    assert config == tiny[1]
    jax.tree.map(np.testing.assert_array_equal, params, tiny[0])
