"""Every preset is built and run as shapes: parameter counts, names, outputs, in both forms."""

import functools
import math

import jax
import numpy as np
import pytest

from da3jax.config import PRESETS, NestedConfig
from da3jax.models import forward, init_params, stack_layers
from da3jax.models.stacking import Segment, scan_plan

MILLIONS = {
    "da3-small": 34.30,
    "da3-base": 135.37,
    "da3-large": 410.94,
    "da3-giant": 1355.67,
    "da3mono-large": 334.17,
    "da3metric-large": 334.17,
    "da3nested-giant-large": 1689.85,
    "da3-tiny": 7.68,
}
B, S, H, W = 2, 3, 56, 70
TOKENS = (H // 14) * (W // 14)


@functools.cache
def shapes(name):
    return jax.eval_shape(functools.partial(init_params, PRESETS[name]), jax.random.key(0))


def leaf(tree, path):
    for key in path.split("/"):
        tree = tree[key]
    return tree.shape


def test_all_presets_are_here():
    assert MILLIONS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_as_many_as_is_said_of_it(name):
    leaves = jax.tree.leaves(shapes(name))
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32")}
    assert round(sum(math.prod(leaf.shape) for leaf in leaves) / 1e6, 2) == MILLIONS[name]


def test_names_and_layouts_of_parameters():
    small = shapes("da3-small")
    assert leaf(small, "backbone/blocks_0/attn/qkv/kernel") == (384, 1152)
    assert leaf(small, "backbone/pos_embed") == (1, 1370, 384)
    assert leaf(small, "backbone/camera_token") == (1, 2, 384)
    assert leaf(small, "backbone/patch_embed/kernel") == (14, 14, 3, 384)
    assert leaf(small, "head/fusion_1/unit_1/conv_1/kernel") == (3, 3, 64, 64)
    assert leaf(small, "camera_decoder/translation/bias") == (3,)
    assert "q_norm" not in small["backbone"]["blocks_3"]["attn"]
    assert leaf(small, "backbone/blocks_4/attn/q_norm/scale") == (64,)
    giant = shapes("da3-giant")
    assert leaf(giant, "backbone/blocks_39/mlp/w12/kernel") == (1536, 8192)
    assert leaf(giant, "gaussian_head/output/conv_2/kernel") == (32, 38)
    assert shapes("da3mono-large").keys() == {"backbone", "head"}
    assert shapes("da3nested-giant-large").keys() == {"anyview", "metric"}


def expected_outputs(config):
    anyview = config.anyview if isinstance(config, NestedConfig) else config
    pixels, rays = (B, S, H, W), (B, S, 8 * H // 14, 8 * W // 14)
    expected = {"depth": pixels, "taps": [(B, S, TOKENS, anyview.backbone.tap_width)] * 4}
    if "ray" in config.outputs:
        expected |= {"depth_conf": pixels, "ray": (*rays, 6), "ray_conf": rays}
    if "cameras" in config.outputs:
        expected |= {"pose_enc": (B, S, 9), "extrinsics": (B, S, 3, 4), "intrinsics": (B, S, 3, 3)}
    if "raw_gs" in config.outputs:
        expected |= {"raw_gs": (*pixels, 37), "raw_gs_conf": pixels}
    if "sky" in config.outputs:
        expected["sky"] = pixels
    if "metric_depth" in config.outputs:
        expected["metric_depth"] = pixels
    return expected


@pytest.mark.parametrize("stacked", [False, True], ids=["looped", "scanned"])
@pytest.mark.parametrize("name", PRESETS)
def test_outputs_have_their_shapes(name, stacked):
    config = PRESETS[name]
    params = stack_layers(shapes(name), config) if stacked else shapes(name)
    images = jax.ShapeDtypeStruct((B, S, H, W, 3), np.float32)
    output = jax.eval_shape(functools.partial(forward, config=config, outputs=config.outputs), params, images)
    found = {key: value for key, value in vars(output).items() if value is not None}
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    assert jax.tree.map(lambda leaf: leaf.shape, found) == expected_outputs(config)


def test_the_scan_plan_of_giant():
    assert scan_plan(PRESETS["da3-giant"].backbone) == [
        Segment(0, 1, 12),  # up to the choice of the reference view
        Segment(12, 1, 1),
        Segment(13, 1, 1),  # the lone cross-view block
        *(Segment(start, 2, pairs) for start, pairs in ((14, 3), (20, 4), (28, 3), (34, 3))),
    ]


@pytest.mark.parametrize(("name", "first", "pairs"), [("da3-small", 4, 1), ("da3-base", 4, 1), ("da3-large", 8, 2)])
def test_the_other_scan_plans_are_in_view_blocks_and_four_times_pairs(name, first, pairs):
    config = PRESETS[name].backbone
    plan = scan_plan(config)
    assert plan[:-4] == [Segment(0, 1, first - 1), Segment(first - 1, 1, 1)]
    assert plan[-4:] == [Segment(first + 2 * pairs * k, 2, pairs) for k in range(4)]
    assert tuple(segment.stop - 1 for segment in plan[-4:]) == config.taps


def test_the_scan_plan_of_a_plain_backbone_ends_on_its_taps():
    assert scan_plan(PRESETS["da3mono-large"].backbone) == [Segment(0, 1, 5), Segment(5, 1, 7), Segment(12, 1, 6), Segment(18, 1, 6)]


@pytest.mark.parametrize("name", PRESETS)
def test_a_scan_plan_covers_every_block_once(name):
    config = PRESETS[name]
    for backbone in (half.backbone for half in ((config.anyview, config.metric) if isinstance(config, NestedConfig) else (config,))):
        blocks = [block for segment in scan_plan(backbone) for block in range(segment.start, segment.stop)]
        assert blocks == list(range(backbone.depth))
        for segment in scan_plan(backbone):  # what is stacked is of one kind
            for j in range(segment.period):
                kinds = {
                    (backbone.cross_view(block), block >= backbone.qknorm_start >= 0, block >= backbone.rope_start >= 0)
                    for block in range(segment.start + j, segment.stop, segment.period)
                }
                assert len(kinds) == 1
