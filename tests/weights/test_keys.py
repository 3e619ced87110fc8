"""The key tables are a bijection between our parameters and the released tensors, for every variant."""

import functools

import numpy as np
import pytest

from da3jax.config import PRESETS
from da3jax.weights import keys
from da3jax.weights.keys import released_tensors, shared_norm_keys
from da3jax.weights.safetensors_store import parameter_shapes


@functools.cache
def tensors_of(preset):
    return released_tensors(parameter_shapes(PRESETS[preset]), PRESETS[preset])


@pytest.mark.parametrize(
    ("preset", "count", "millions"),
    [
        ("da3-small", 437, 34.30),
        ("da3-base", 437, 135.37),
        ("da3-large", 637, 410.94),
        ("da3-giant", 971, 1355.67),
        ("da3mono-large", 406, 334.17),
        ("da3metric-large", 406, 334.17),
        ("da3nested-giant-large", 1377, 1689.85),
    ],
)
def test_each_parameter_has_one_released_tensor_and_each_tensor_one_parameter(preset, count, millions):
    tensors = tensors_of(preset).values()
    assert len({tensor.key for tensor in tensors}) == len(tensors) == count
    assert sum(np.prod(tensor.shape) for tensor in tensors) / 1e6 == pytest.approx(millions, abs=0.005)


def test_size_of_the_released_small_file_follows_from_the_table():
    """137,248,940 bytes: the header (its length, metadata and a description of each tensor), then four bytes a number."""
    offset, described = 0, []
    for tensor in sorted(tensors_of("da3-small").values()):
        end = offset + 4 * int(np.prod(tensor.shape))
        shape = ",".join(map(str, tensor.shape))
        described.append(f'"{tensor.key}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{offset},{end}]}}')
        offset = end
    shared = ",".join(f'"{key}":"{first}"' for key, first in shared_norm_keys(PRESETS["da3-small"]).items())
    header = f'{{"__metadata__":{{{shared}}},{",".join(described)}}}'
    assert 8 + (len(header) + 7) // 8 * 8 + offset == 137_248_940


@pytest.mark.parametrize(
    ("preset", "ours", "key", "shape"),
    [
        ("da3-small", "backbone/pos_embed", "model.backbone.pretrained.pos_embed", (1, 1370, 384)),
        ("da3-small", "backbone/camera_token", "model.backbone.pretrained.camera_token", (1, 2, 384)),
        ("da3-small", "backbone/patch_embed/kernel", "model.backbone.pretrained.patch_embed.proj.weight", (384, 3, 14, 14)),
        ("da3-small", "backbone/blocks_0/attn/qkv/kernel", "model.backbone.pretrained.blocks.0.attn.qkv.weight", (1152, 384)),
        ("da3-small", "backbone/blocks_4/attn/q_norm/scale", "model.backbone.pretrained.blocks.4.attn.q_norm.weight", (64,)),
        ("da3-small", "backbone/blocks_11/ls2/gamma", "model.backbone.pretrained.blocks.11.ls2.gamma", (384,)),
        ("da3-giant", "backbone/blocks_39/mlp/w12/kernel", "model.backbone.pretrained.blocks.39.mlp.w12.weight", (8192, 1536)),
        ("da3-small", "head/norm/bias", "model.head.norm.bias", (768,)),
        ("da3-small", "head/project_4/kernel", "model.head.projects.3.weight", (384, 768, 1, 1)),
        ("da3-small", "head/resize_1/kernel", "model.head.resize_layers.0.weight", (48, 48, 4, 4)),
        ("da3-small", "head/resize_4/kernel", "model.head.resize_layers.3.weight", (384, 384, 3, 3)),
        ("da3-small", "head/adapter_2/kernel", "model.head.scratch.layer2_rn.weight", (64, 96, 3, 3)),
        (
            "da3-small",
            "head/fusion_1/unit_1/conv_2/kernel",
            "model.head.scratch.refinenet1.resConfUnit1.conv2.weight",
            (64, 64, 3, 3),
        ),
        (
            "da3-small",
            "head/ray_fusion_4/unit_2/conv_1/bias",
            "model.head.scratch.refinenet4_aux.resConfUnit2.conv1.bias",
            (64,),
        ),
        ("da3-small", "head/ray_norm/scale", "model.head.scratch.output_conv2_aux.0.2.weight", (32,)),
        ("da3-small", "head/ray_level_3/output/conv_2/bias", "model.head.scratch.output_conv2_aux.3.5.bias", (7,)),
        ("da3-small", "camera_encoder/pose/fc1/kernel", "model.cam_enc.pose_branch.fc1.weight", (192, 9)),
        ("da3-small", "camera_decoder/fov/kernel", "model.cam_dec.fc_fov.0.weight", (2, 768)),
        ("da3-giant", "gaussian_head/output/conv_2/kernel", "model.gs_head.scratch.output_conv2.2.weight", (38, 32, 1, 1)),
        ("da3-giant", "gaussian_head/image_merger/conv_3/bias", "model.gs_head.images_merger.4.bias", (128,)),
        ("da3metric-large", "head/sky/conv_2/kernel", "model.head.scratch.sky_output_conv2.2.weight", (1, 32, 1, 1)),
        ("da3nested-giant-large", "anyview/backbone/cls_token", "model.da3.backbone.pretrained.cls_token", (1, 1, 1536)),
        ("da3nested-giant-large", "metric/head/sky/conv_1/bias", "model.da3_metric.head.scratch.sky_output_conv2.0.bias", (32,)),
    ],
)
def test_a_parameter_has_the_released_key_and_shape(preset, ours, key, shape):
    tensor = tensors_of(preset)[tuple(ours.split("/"))]
    assert (tensor.key, tensor.shape) == (key, shape)


@pytest.mark.parametrize(
    ("layout", "shape", "place", "ours"),
    [
        (keys.PARAMETER, (1, 5, 3), (0, 2, 1), (0, 2, 1)),
        (keys.SCALE, (6,), (4,), (4,)),
        (keys.NORM, (6,), (4,), (4,)),
        (keys.DENSE, (4, 3), (2, 1), (1, 2)),
        (keys.POINTWISE, (4, 3, 1, 1), (2, 1, 0, 0), (1, 2)),
        (keys.CONV, (5, 4, 2, 3), (4, 3, 1, 2), (1, 2, 3, 4)),
        (keys.TRANSPOSED, (4, 5, 2, 3), (3, 4, 1, 2), (1, 2, 3, 4)),
    ],
)
def test_a_layout_moves_each_number_to_its_place_and_back(layout, shape, place, ours):
    official = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    moved = layout.to_ours(official)
    assert moved[ours] == official[place]
    np.testing.assert_array_equal(layout.to_official(moved), official, strict=True)
    np.testing.assert_array_equal(layout.to_ours(layout.to_official(moved)), moved, strict=True)


def test_a_bias_keeps_its_axis_whatever_the_layer():
    tensor = tensors_of("da3-small")["head", "resize_1", "bias"]
    bias = np.arange(48, dtype=np.float32)
    np.testing.assert_array_equal(tensor.to_ours(bias), bias)
    np.testing.assert_array_equal(tensor.to_official(bias), bias)


@pytest.mark.parametrize(("preset", "head"), [("da3-small", "model.head"), ("da3nested-giant-large", "model.da3.head")])
def test_levels_one_to_three_share_the_norm_of_level_zero(preset, head):
    shared = shared_norm_keys(PRESETS[preset])
    stem = f"{head}.scratch.output_conv2_aux"
    assert len(shared) == 6
    assert shared[f"{stem}.3.2.bias"] == f"{stem}.0.2.bias"
    assert shared[f"{stem}.1.2.weight"] == f"{stem}.0.2.weight"
    stored = {tensor.key for tensor in tensors_of(preset).values()}
    assert set(shared.values()) <= stored
    assert not shared.keys() & stored


@pytest.mark.parametrize(
    "path", [("backbone", "blocks_0", "attn", "qkv", "scale"), ("backbone", "blocks_x", "norm1", "bias"), ("tail", "kernel")]
)
def test_a_parameter_that_no_row_knows_is_named(path):
    with pytest.raises(KeyError, match=f"no row of the key table matches {'/'.join(path)}"):
        released_tensors({path: np.zeros(3)}, PRESETS["da3-small"])
