"""Where training starts from: what is loaded, what is initialised, and what of the source is left."""

import dataclasses
import json
import logging
import pathlib
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import SingleDeviceSharding

from da3jax import weights
from da3jax.config import BackboneConfig, CameraConfig, DualDPTConfig, ModelConfig
from da3jax.models import forward, init_params
from da3jax.training.starting_point import starting_params
from da3jax.weights.safetensors_store import parameter_shapes
from tests.golden.cases import CONFIGS
from tests.quick import quick_jit
from tests.weights import test_hub
from tests.weights.test_hub import server  # noqa: F401 (a fixture)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
DINOV2 = GOLDEN / "dinov2" / "mlp"
ANYVIEW = CONFIGS["anyview"]
STUDENT = ModelConfig(
    "student",
    BackboneConfig(16, 4, 2, taps=(0, 1, 2, 3), alt_start=2, qknorm_start=2, rope_start=2, pos_grid=5),
    DualDPTConfig(8, (4, 4, 8, 8)),
    CameraConfig(encoder_depth=1, encoder_heads=4),
)
KEY = jax.random.key(5)


def flat(params) -> dict:
    return traverse_util.flatten_dict(params, sep="/")


def narrowed(**changes) -> ModelConfig:
    return dataclasses.replace(ANYVIEW, head=DualDPTConfig(16, (4, 4, 8, 8)), **changes)


@pytest.fixture(scope="module")
def official():
    return flat(weights.load(GOLDEN / "anyview")[0])


@pytest.fixture(scope="module")
def random_student():
    """What the initialisers give the student."""
    return starting_params(STUDENT, None, KEY)[0]


@pytest.mark.slow
def test_from_nothing_all_is_as_init_params_makes_it(caplog):
    with caplog.at_level(logging.INFO):
        params, point = starting_params(STUDENT, None, KEY)
    expected = quick_jit(lambda key: init_params(STUDENT, key))(KEY)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), params, expected)
    assert (point.source, point.loaded, point.unused) == (None, (), ())
    assert set(point.initialised) == set(flat(params))
    assert caplog.messages == [f"training starts from nothing: all {len(flat(params))} parameters are initialised"]


def test_a_random_network_starts_near_the_reference_camera_and_unit_depth(random_student):
    images = np.random.default_rng(0).standard_normal((1, 3, 28, 42, 3), dtype=np.float32)
    output = quick_jit(partial(forward, config=STUDENT, outputs=("depth", "cameras", "taps")))(random_student, images)
    # A field of view of 0 would be a ReLU without a gradient.
    np.testing.assert_allclose(output.pose_enc, np.broadcast_to(np.float32([0, 0, 0, 0, 0, 0, 1, 1, 1]), (1, 3, 9)), atol=0.05)
    np.testing.assert_allclose(output.depth, 1, atol=0.2)
    np.testing.assert_allclose(output.depth_conf, 2, atol=0.2)
    for tap in output.taps:
        assert 0.5 < np.std(tap[..., STUDENT.backbone.width :]) < 1.5


def test_from_dinov2_what_has_no_counterpart_is_initialised_and_named_and_all_is_where_the_shardings_say(caplog, random_student):
    device = jax.devices()[3]
    with caplog.at_level(logging.INFO):
        params, point = starting_params(STUDENT, DINOV2, KEY, shardings=SingleDeviceSharding(device))
    assert {leaf.device for leaf in jax.tree.leaves(params)} == {device}
    found, random = flat(params), flat(random_student)
    assert found.keys() == random.keys() == {*point.loaded, *point.initialised}
    for path in point.initialised:
        np.testing.assert_allclose(found[path], random[path], rtol=1e-6)
    assert not any(np.array_equal(found[path], random[path]) for path in point.loaded)
    alone = [path for path in point.initialised if path.startswith("backbone/")]
    norms = [f"backbone/blocks_{i}/attn/{part}_norm/{leaf}" for i in (2, 3) for part in "qk" for leaf in ("bias", "scale")]
    assert sorted(alone) == sorted(["backbone/camera_token", *norms])
    assert all(path.startswith("backbone/") for path in point.loaded)
    assert point.unused == ("embeddings.mask_token",)
    (said,) = caplog.messages
    assert said.startswith(f"training starts from {DINOV2}: {len(point.loaded)} parameters are loaded; initialised are ")
    after = said.split("initialised are ")[1].split("; ")
    assert sorted(after[0].split(", ")) == [
        *("backbone/blocks_*/attn/k_norm", "backbone/blocks_*/attn/q_norm", "backbone/camera_token"),
        *("camera_decoder", "camera_encoder", "head"),
    ]
    assert after[1:] == ["of the source embeddings.mask_token are not used"]


def test_from_the_same_network_all_is_loaded_released_or_converted(official, tiny_model_dir):
    for folder in (GOLDEN / "anyview", tiny_model_dir):
        params, point = starting_params(ANYVIEW, folder, KEY)
        jax.tree.map(np.testing.assert_array_equal, flat(params), official)
        assert (point.initialised, point.unused) == ((), ())


@pytest.mark.integration
def test_a_head_of_other_widths_is_initialised_as_a_whole(official):
    config = narrowed()
    params, point = starting_params(config, GOLDEN / "anyview", KEY)
    head = {path for path in flat(params) if path.startswith("head/")}
    assert set(point.initialised) == head
    assert set(point.unused) == {path for path in official if path.startswith("head/")}
    for path in point.loaded:
        np.testing.assert_array_equal(flat(params)[path], official[path])
    # Some layers have the same shape there, and are initialised all the same.
    same = [path for path in head if path in official and official[path].shape == flat(params)[path].shape]
    assert "head/resize_1/kernel" in same
    assert not np.array_equal(flat(params)["head/norm/bias"], official["head/norm/bias"])


def test_a_camera_encoder_with_other_heads_is_initialised_though_its_shapes_are_the_same():
    config = dataclasses.replace(ANYVIEW, camera=CameraConfig(encoder_depth=2, encoder_heads=8))
    _, point = starting_params(config, GOLDEN / "anyview", KEY)
    assert {path.split("/")[0] for path in point.initialised} == {"camera_encoder"}


def test_what_the_network_does_not_have_is_unused(official):
    config = dataclasses.replace(ANYVIEW, gaussians=None, camera=None)
    _, point = starting_params(config, GOLDEN / "anyview", KEY)
    assert point.initialised == ()
    assert {path.split("/")[0] for path in point.unused} == {"gaussian_head", "camera_encoder", "camera_decoder"}
    assert len(point.loaded) + len(point.unused) == len(official)


@pytest.mark.parametrize(
    ("source", "changes", "sentence"),
    [
        ("anyview", {"depth": 7}, r"anyview has a backbone with width 32, depth 6, .* to be trained has width 32, depth 7, .* fits$"),
        ("anyview", {"width": 64}, r"anyview has a backbone with width 32, .* to be trained has width 64, .*: start from one that"),
        ("dinov2/mlp", {}, r"mlp has a backbone with width 16, depth 4, .*; the one to be trained has width 32, depth 6, "),
    ],
)  # fmt: skip
def test_a_backbone_that_does_not_fit_names_both(source, changes, sentence):
    config = dataclasses.replace(ANYVIEW, backbone=dataclasses.replace(ANYVIEW.backbone, **changes))
    with pytest.raises(ValueError, match=sentence):
        starting_params(config, GOLDEN / source, KEY)


@pytest.mark.parametrize("content", ["null", "5", '["model_type"]', "[" * 100_000])
def test_what_is_no_configuration_is_none_of_transformers(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is not (the config\.json of a DA3 network|JSON): "):
        starting_params(ANYVIEW, tmp_path, KEY)


@pytest.mark.integration
def test_a_narrower_head_saves_in_the_released_layout_and_opens_again(tmp_path):
    config = narrowed()
    params, _ = starting_params(config, GOLDEN / "anyview", KEY)
    folder = weights.save_pretrained(params, config, tmp_path / "tuned")
    assert json.loads((folder / "config.json").read_text())["config"]["head"] | {"__object__": None} == {
        "__object__": None,
        "dim_in": 64,
        "output_dim": 2,
        "features": 16,
        "out_channels": [4, 4, 8, 8],
    }
    again, opened = weights.load(folder)
    assert opened == config
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert starting_params(config, folder, KEY)[1].initialised == ()


FETCH = """
import sys
import jax
from da3jax.training.starting_point import starting_params
from tests.training.test_starting_point import STUDENT
_, point = starting_params(STUDENT, "facebook/dinov2-small", jax.random.key(0))
print(len(point.loaded), point.source)
"""


@pytest.mark.integration
def test_a_hub_id_of_a_dinov2_checkpoint_is_fetched(server, tmp_path, monkeypatch):  # noqa: F811
    files = {name: (DINOV2 / name).read_bytes() for name in ("config.json", "model.safetensors")}
    monkeypatch.setattr(test_hub, "FILES", files)
    server.repos = ("facebook/dinov2-small",)
    root = pathlib.Path(__file__).parents[2]
    environment = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": server.url, "NO_PROXY": "*"}
    environment |= {"PATH": str(pathlib.Path(sys.executable).parent), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shared = [path for path in parameter_shapes(STUDENT) if path[0] == "backbone"]
    assert done.stdout == f"{len(shared) - 9} facebook/dinov2-small\n"
