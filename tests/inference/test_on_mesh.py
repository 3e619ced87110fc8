"""`DepthAnything3` on many devices gives what it gives on one."""

import jax
import numpy as np
import pytest

import da3jax
from da3jax.parallel import fsdp

SIZE = 28
FIELDS = ("depth", "conf", "ray", "ray_conf", "extrinsics", "intrinsics", "points", "sky")


@pytest.fixture(scope="module")
def mesh():
    return da3jax.make_mesh(1, view=-1)


@pytest.fixture(scope="module")
def on_mesh(model, mesh):
    return da3jax.DepthAnything3(model.params, model.config, mesh=mesh)


def assert_same(found, expected, tolerance=1e-5):
    compared = [name for name in FIELDS if getattr(expected, name) is not None]
    assert "depth" in compared
    for name in compared:
        mine, theirs = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max(), err_msg=name)


def cameras_of(count):
    """Side by side, as far as they are known."""
    extrinsics = np.tile(np.eye(4)[:3], (count, 1, 1))
    extrinsics[:, 0, 3] = -0.3 * np.arange(count)
    return list(extrinsics)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        pytest.param({}, 1e-5, id="plain"),
        # Rays that nothing was learned from hardly determine a camera.
        pytest.param({"use_ray_pose": True, "outputs": ["depth"]}, 5e-3, id="ray pose", marks=pytest.mark.integration),
        pytest.param({"extrinsics": cameras_of(3), "outputs": ["depth"]}, 1e-4, id="known cameras", marks=pytest.mark.integration),
    ],
)
def test_views_of_a_scene(model, on_mesh, images, options, tolerance):
    expected, found = (each.inference(images, process_res=SIZE, **options) for each in (model, on_mesh))
    assert_same(found, expected, tolerance)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


@pytest.mark.integration
def test_independent_images(model, on_mesh, images):
    many = [images[i % 3] for i in range(10)]
    expected, found = (each.inference(many, process_res=SIZE, independent=True, outputs=["depth"]) for each in (model, on_mesh))
    assert_same(found, expected)


@pytest.mark.integration
def test_metres_of_a_nested_network(nested, mesh, images):
    on_mesh = da3jax.DepthAnything3(nested.params, nested.config, mesh=mesh)
    expected, found = (each.inference(images, process_res=SIZE, outputs=["depth"]) for each in (nested, on_mesh))
    assert found.is_metric
    np.testing.assert_allclose(found.scale_factor, expected.scale_factor, rtol=1e-5)
    assert_same(found, expected)


@pytest.mark.integration
def test_what_was_compiled_ahead_is_not_compiled_again(released_dir, mesh, images, compiled):
    model = da3jax.DepthAnything3.from_pretrained(released_dir, mesh=mesh)
    model.compile(3, 42, 56, outputs=("depth",))
    assert len(compiled()) == 1
    found = model.inference(images, process_res=56, outputs=("depth",))
    assert compiled() == []
    assert found.depth.shape == (3, 42, 56)
    leaf = jax.tree.leaves(model.params)[0]
    assert leaf.sharding.is_fully_replicated
    assert len(leaf.devices()) == 8


def test_a_mesh_that_shares_scenes_is_refused(released_dir):
    with pytest.raises(ValueError, match=r"the mesh .*'data': 8.* shares scenes, .* shared along `view`: make_mesh\(1, view=8\)"):
        da3jax.DepthAnything3.from_pretrained(released_dir, mesh=da3jax.make_mesh())


def test_devices_are_a_mesh_in_short(released_dir):
    model = da3jax.DepthAnything3.from_pretrained(released_dir, devices=4)
    assert dict(model.mesh.shape) == {"data": 1, "fsdp": 1, "view": 4}
    assert da3jax.DepthAnything3.from_pretrained(released_dir, devices=jax.devices()[6:]).mesh.devices.ravel().tolist() == jax.devices()[6:]
    with pytest.raises(ValueError, match="mesh and devices both say which devices share the views; give one of the two"):
        da3jax.DepthAnything3.from_pretrained(released_dir, devices=4, mesh=model.mesh)
    with pytest.raises(ValueError, match=r"devices is 9; there are 8 \(cpu\), so it is from 1 to 8"):
        da3jax.DepthAnything3.from_pretrained(released_dir, devices=9)


@pytest.mark.integration
def test_split_parameters_stay_split_for_a_scene_and_for_independent_images(model, images, monkeypatch):
    monkeypatch.setattr(fsdp, "SMALLEST", 1)
    split = da3jax.DepthAnything3(model.params, model.config, mesh=da3jax.make_mesh(1, fsdp=4, view=2))
    leaf = split.params["backbone"]["blocks_0"]["attn"]["qkv"]["kernel"]
    assert leaf.addressable_shards[0].data.size * 4 == leaf.size
    for independent in (False, True):
        options = {"process_res": SIZE, "independent": independent, "outputs": ["depth"]}
        assert_same(split.inference(images, **options), model.inference(images, **options))


def test_what_several_processes_cannot_do_is_refused(on_mesh, images, released_dir, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"as_numpy=False leaves results on the devices, where other processes' cannot be read; leave it out"
    ):
        on_mesh.inference(images, as_numpy=False)
    with pytest.raises(
        ValueError, match=r"the mesh has 8, 0 devices of processes 0 to 1; it has as many of each: make_mesh\(1, view=8\) has"
    ):
        da3jax.DepthAnything3.from_pretrained(released_dir, devices=8)
