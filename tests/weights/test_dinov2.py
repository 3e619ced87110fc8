"""DINOv2 checkpoints of the transformers library: the backbone computes what it does there (tests/golden/make_dinov2.py recorded it)."""

import dataclasses
import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from da3jax.config import PRESETS, BackboneConfig, DPTConfig, ModelConfig
from da3jax.models.backbone import Backbone
from da3jax.weights import dinov2
from da3jax.weights.safetensors_store import parameter_shapes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
MLP = BackboneConfig(16, 4, 2, taps=(0, 1, 2, 3), cat_token=False, pos_grid=5)
SWIGLU = dataclasses.replace(MLP, mlp="swiglu")
CONFIGS = {"mlp": MLP, "swiglu": SWIGLU}


def shapes_of(config: BackboneConfig) -> dict:
    network = ModelConfig("tiny", config, DPTConfig(features=8, channels=(4, 4, 8, 8)))
    return {"/".join(path[1:]): shape for path, shape in parameter_shapes(network).items() if path[0] == "backbone"}


def load(folder, config: BackboneConfig = MLP):
    return dinov2.load(folder, config, shapes_of(config))


@pytest.fixture
def changed(tmp_path):
    """A copy of the recorded checkpoint whose tensors, and fields of its config.json, a function has changed."""

    def change(tensors=lambda tensors: None, **fields):
        folder = shutil.copytree(GOLDEN / "dinov2" / "mlp", tmp_path / "dinov2")
        held = load_file(folder / "model.safetensors")
        held = tensors(held) or held
        save_file(held, folder / "model.safetensors")
        content = json.loads((folder / "config.json").read_text()) | fields
        (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return folder

    return change


@pytest.mark.parametrize("name", CONFIGS)
def test_the_backbone_gives_the_features_of_dinov2(name):
    params, unused = load(GOLDEN / "dinov2" / name, CONFIGS[name])
    assert unused == ["embeddings.mask_token"]
    recorded = np.load(GOLDEN / "dinov2.npz")
    apply = jax.jit(lambda params, images: Backbone(CONFIGS[name]).apply({"params": params}, images, feature_layers=(3,)))
    found = apply(params, recorded["images"])[2][3].reshape(1, 25, 16)
    expected = recorded[name][:, 1:]
    # 1e-5 is left for the final norm, whose epsilon is 1e-6 there and 1e-5 here.
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-5


def test_queries_keys_and_values_lie_side_by_side():
    params, _ = load(GOLDEN / "dinov2" / "mlp")
    stored = load_file(GOLDEN / "dinov2" / "mlp" / "model.safetensors")
    for column, part in enumerate(("query", "key", "value")):
        kernel = params["blocks_2"]["attn"]["qkv"]["kernel"][:, 16 * column : 16 * (column + 1)]
        np.testing.assert_array_equal(kernel, stored[f"encoder.layer.2.attention.attention.{part}.weight"].T)


@pytest.mark.parametrize(
    ("preset", "keys"), [("da3-small", 222), ("da3-base", 222), ("da3-large", 438), ("da3-giant", 726), ("da3mono-large", 438)]
)
def test_the_table_covers_every_preset_and_fills_nothing_twice(preset, keys):
    config = PRESETS[preset]
    leaves = {"/".join(path[1:]): leaf.shape for path, leaf in parameter_shapes(config).items() if path[0] == "backbone"}
    shared = {leaf: dinov2._source(leaf, shape, "") for leaf, shape in leaves.items() if not dinov2.NO_COUNTERPART_THERE.fullmatch(leaf)}
    found = [key for source in shared.values() for key in source.keys]
    assert len(found) == len(set(found)) == keys
    assert shared["pos_embed"].shape == (1, 1370, config.backbone.width)
    alone = leaves.keys() - shared.keys()
    starts = config.backbone.alt_start
    assert len(alone) == (0 if starts == -1 else 1 + 4 * (config.backbone.depth - starts))


def test_a_prefix_is_taken_off_and_what_lies_beside_the_backbone_is_unused(changed):
    plain, _ = load(GOLDEN / "dinov2" / "mlp")
    head = {"classifier.weight": np.ones((3, 32), np.float32)}
    folder = changed(lambda tensors: {f"dinov2.{key}": tensor for key, tensor in tensors.items()} | head)
    params, unused = load(folder)
    jax.tree.map(np.testing.assert_array_equal, params, plain)
    assert sorted(unused) == ["classifier.weight", "dinov2.embeddings.mask_token"]


def test_every_fault_is_named_at_once(changed):
    def spoil(tensors):
        tensors["encoder.layer.9.norm1.weight"] = tensors["layernorm.weight"]
        del tensors["encoder.layer.1.mlp.fc2.bias"], tensors["encoder.layer.2.attention.attention.key.weight"]
        tensors["layernorm.bias"] = np.zeros(15, np.float32)
        tensors["layernorm.weight"] = np.zeros(16, np.int32)

    sentence = (
        r"model.safetensors does not hold the weights of a DINOv2 backbone that its config.json describes; "
        r"1 unknown to the backbone: encoder.layer.9.norm1.weight; "
        r"2 missing: encoder.layer.1.mlp.fc2.bias, encoder.layer.2.attention.attention.key.weight; "
        r"1 of another shape: layernorm.bias \(15,\) instead of \(16,\); 1 of another dtype than F32, F16, BF16: layernorm.weight I32$"
    )
    with pytest.raises(ValueError, match=sentence):
        load(changed(spoil))


def test_a_tensor_that_is_not_finite_is_named(changed):
    def spoil(tensors):
        tensors["encoder.layer.0.attention.attention.value.bias"] = np.full(16, np.nan, np.float32)

    with pytest.raises(ValueError, match=r"1 not finite \(NaN or infinite\): encoder.layer.0.attention.attention.value.bias$"):
        load(changed(spoil))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_attention_heads": 4}, "width 16, depth 4, num_heads 4, mlp mlp, pos_grid 5; the one to be trained has .* num_heads 2"),
        ({"use_swiglu_ffn": True}, "has a backbone with .* mlp swiglu, pos_grid 5; the one to be trained has .* mlp mlp, .* that fits$"),
        ({"patch_size": 16}, "patch_size is 16; a backbone of Depth Anything 3 has 14$"),
        ({"mlp_ratio": 2}, "mlp_ratio is 2; a backbone of Depth Anything 3 has 4$"),
        ({"model_type": "dinov2_with_registers"}, "model_type 'dinov2_with_registers' is unknown; it is one of dinov2"),
        ({"image_size": None}, "config.json lacks image_size, which say"),
        ({"image_size": [518, 518]}, r"config.json: image_size is \[518, 518\]; it is a whole number$"),
    ],
)  # fmt: skip
def test_another_network_is_refused_before_its_weights_are_read(changed, fields, sentence):
    folder = changed(**fields)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=sentence):
        load(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("{", "is not JSON: "), ("[" * 100_000, "is not JSON: "), ("[1]", "is not the config.json of a DINOv2 network: it is no mapping$")],
)
def test_what_is_no_configuration_is_named(changed, text, sentence):
    folder = changed()
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(folder / 'config.json'))} {sentence}"):
        load(folder)


def test_missing_weights_are_named(tmp_path):
    shutil.copy(GOLDEN / "dinov2" / "mlp" / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path / 'model.safetensors'} is missing: the weights of a DINOv2")):
        load(tmp_path)
