"""`outputs=` and `export_feat_layers=`: what is asked for is computed, and nothing else."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from da3jax.config import NestedConfig
from da3jax.models import build_network, forward, stack_layers
from da3jax.ops.attention import attention
from tests.models.tiny import ANYVIEW, SINGLE_VIEW, compiled, images_of, params_of

NESTED = NestedConfig("nested", ANYVIEW, dataclasses.replace(SINGLE_VIEW, canonical_focal=300.0))
FIELDS = {
    "depth": {"depth", "depth_conf"},
    "ray": {"ray", "ray_conf"},
    "cameras": {"pose_enc", "extrinsics", "intrinsics"},
    "taps": {"taps"},
    "raw_gs": {"raw_gs", "raw_gs_conf"},
}


def given(output):
    return {name for name, value in vars(output).items() if value is not None}


@functools.cache
def lowered(outputs, layers=(), config=ANYVIEW):
    params = {"anyview": params_of(ANYVIEW), "metric": params_of(SINGLE_VIEW)} if config is NESTED else params_of(config)
    options = {"config": config, "outputs": outputs, "export_feat_layers": layers}
    return jax.jit(lambda params, images: forward(params, images, **options)).lower(params, images_of(1, 3))


def used(outputs, layers=(), config=ANYVIEW):
    """Parameters that the program takes in, as paths."""
    (head,) = (line for line in lowered(outputs, layers, config).as_text(debug_info=True).splitlines() if " @main(" in line)
    return {"/".join(re.findall(r"'(\w+)'", place)) for place in re.findall(r'loc\("params([^"]*)"\)', head)}


def parts(paths):
    return {path.split("/")[0] for path in paths}


@pytest.mark.parametrize(
    ("outputs", "needed"),
    [
        (("depth",), {"backbone", "head"}),
        (("ray",), {"backbone", "head"}),
        (("cameras",), {"backbone", "camera_decoder"}),
        (("taps",), {"backbone"}),
        (("raw_gs",), {"backbone", "gaussian_head"}),
        (("depth", "cameras"), {"backbone", "head", "camera_decoder"}),
        ((), set()),
    ],
)
def test_only_what_was_asked_for_is_given_and_read(outputs, needed):
    assert parts(used(outputs)) == needed
    shapes = jax.eval_shape(functools.partial(forward, config=ANYVIEW, outputs=outputs), params_of(ANYVIEW), images_of(1, 3))
    assert given(shapes) == set().union(*(FIELDS[name] for name in outputs))


def test_depth_and_rays_read_their_own_half_of_the_head():
    depth, ray = used(("depth",)), used(("ray",))
    assert not [path for path in depth if "/ray_" in path]
    only_depth = {"/".join(path.split("/")[:2]) for path in depth - ray}
    assert only_depth == {"head/neck", "head/output", *(f"head/fusion_{k}" for k in range(1, 5))}
    levels = {path.split("/")[1] for path in ray if "ray_level" in path}
    assert levels == {"ray_level_3"}  # the coarser ones are in the checkpoints, not in use


def test_the_camera_encoder_is_read_with_poses_only():
    everything = used(ANYVIEW.outputs)
    assert "camera_encoder" not in parts(everything)
    assert "backbone/camera_token" in everything


@pytest.mark.parametrize("smaller", [("depth",), ("ray",), ("cameras",), ("taps",), ("raw_gs",)])
def test_less_costs_less(smaller):
    def flops(outputs):
        return lowered(outputs).cost_analysis()["flops"]

    assert flops(smaller) < 0.75 * flops(ANYVIEW.outputs)
    assert flops(("taps",)) < flops(("cameras",)) < 1.2 * flops(("taps",))


def test_depth_is_the_same_when_all_else_is_nan():
    params = params_of(ANYVIEW)
    kept = used(("depth",))
    poisoned = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if "/".join(key.key for key in path) in kept else np.full_like(leaf, np.nan), params
    )
    assert sum(np.isnan(leaf).any() for leaf in jax.tree.leaves(poisoned)) > 40
    alone = compiled(ANYVIEW, outputs=("depth",))(poisoned, images_of(1, 3))
    full = compiled(ANYVIEW)(params, images_of(1, 3))
    np.testing.assert_allclose(alone.depth, full.depth, rtol=2e-6)
    np.testing.assert_allclose(alone.depth_conf, full.depth_conf, rtol=2e-6)


def test_the_default_is_all_but_taps_features_and_gaussians():
    output = compiled(ANYVIEW)(params_of(ANYVIEW), images_of(1, 3))
    assert given(output) == FIELDS["depth"] | FIELDS["ray"] | FIELDS["cameras"]


def test_a_single_view_network_fills_its_sky_whether_sky_is_asked_for_or_not():
    params, images = params_of(SINGLE_VIEW), images_of(1, 3)
    both, depth, sky = (compiled(SINGLE_VIEW, outputs=outputs)(params, images) for outputs in (None, ("depth",), ("sky",)))
    assert (given(both), given(depth), given(sky)) == ({"depth", "sky"}, {"depth"}, {"sky"})
    np.testing.assert_allclose(depth.depth, both.depth, rtol=2e-6)
    np.testing.assert_allclose(sky.sky, both.sky, rtol=1e-5, atol=1e-6)
    is_sky = np.asarray(both.sky) >= 0.3
    assert 10 < is_sky.sum() < is_sky.size - 10
    assert len(np.unique(both.depth[is_sky])) == 1


@pytest.mark.parametrize(
    ("outputs", "needed"),
    [
        (("depth",), {"anyview"}),
        (("metric_depth",), {"metric"}),
        (("sky",), {"metric"}),
        (("cameras", "sky"), {"anyview", "metric"}),
    ],
)
def test_a_nested_network_runs_the_half_that_is_asked_for(outputs, needed):
    assert parts(used(outputs, config=NESTED)) == needed


def test_a_nested_network_gives_what_its_halves_give():
    params = {"anyview": params_of(ANYVIEW), "metric": params_of(SINGLE_VIEW)}
    images = images_of(1, 3)
    nested = compiled(NESTED, outputs=("cameras", "sky", "metric_depth"))(params, images)
    assert given(nested) == {*FIELDS["cameras"], "sky", "metric_depth"}
    anyview, metric = compiled(ANYVIEW)(params["anyview"], images), compiled(SINGLE_VIEW, outputs=None)(params["metric"], images)
    np.testing.assert_allclose(nested.pose_enc, anyview.pose_enc, atol=2e-6)
    np.testing.assert_allclose(nested.metric_depth, metric.depth, rtol=2e-6)
    np.testing.assert_allclose(nested.sky, metric.sky, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def features_and_taps():
    return compiled(ANYVIEW, outputs=("taps",), export_feat_layers=(np.int64(0), 3))


def test_features_are_the_normed_patch_tokens_of_the_blocks(features_and_taps):
    params = params_of(ANYVIEW)
    output = features_and_taps(params, images_of(1, 3))
    assert output.features.keys() == {0, 3}
    for block, features in output.features.items():
        width = ANYVIEW.backbone.width
        assert features.shape == (1, 3, 2, 3, width)
        np.testing.assert_array_equal(features.reshape(1, 3, 6, width), output.taps[block][..., width:])
        norm = params["backbone"]["norm"]
        plain = (np.asarray(features) - norm["bias"][None, None, None, None]) / norm["scale"][None, None, None, None]
        np.testing.assert_allclose(plain.mean(axis=-1), 0, atol=1e-5)
        np.testing.assert_allclose(plain.var(axis=-1), 1, atol=1e-3)


def test_features_are_in_the_callers_order_of_views(features_and_taps):
    order = [2, 0, 1]
    images = images_of(1, 3, seed=4)
    straight, permuted = (features_and_taps(params_of(ANYVIEW), x) for x in (images, images[:, order]))
    for block in (0, 3):
        np.testing.assert_allclose(permuted.features[block], straight.features[block][:, order], atol=2e-5)


def test_features_of_stacked_parameters_are_the_same(features_and_taps):
    stacked = features_and_taps(stack_layers(params_of(ANYVIEW), ANYVIEW), images_of(1, 3))
    looped = features_and_taps(params_of(ANYVIEW), images_of(1, 3))
    for block in (0, 3):
        np.testing.assert_allclose(stacked.features[block], looped.features[block], atol=2e-6)


def test_queries_and_keys_are_those_that_attention_across_views_gets():
    given = []

    def attend(q, k, v, mask=None):
        given.append((q, k))
        return attention(q, k, v, mask)

    network = build_network(ANYVIEW, dtype="float32", cross_view_attention=attend)
    output = network.apply({"params": params_of(ANYVIEW)}, images_of(2, 1), outputs=(), attention_layers=(3,))
    (expected,) = given
    for found, tokens in zip(output.queries_keys[3], expected, strict=True):
        assert found.shape == (2, 1, 7, 2, 8)
        np.testing.assert_array_equal(found[:, 0], tokens)
    stacked = forward(stack_layers(params_of(ANYVIEW), ANYVIEW), images_of(2, 1), config=ANYVIEW, outputs=(), attention_layers=(3,))
    for found, looped in zip(stacked.queries_keys[3], output.queries_keys[3], strict=True):
        np.testing.assert_allclose(found, looped, atol=2e-6)


def test_queries_and_keys_of_a_scan_are_refused():
    network, params = build_network(ANYVIEW, dtype="float32", stacked=True), stack_layers(params_of(ANYVIEW), ANYVIEW)
    with pytest.raises(ValueError, match=r"queries and keys of blocks \[3\] lie inside a scan; unstack the layers"):
        network.apply({"params": params}, images_of(2, 1), attention_layers=(3,))


def test_blocks_after_the_last_feature_are_not_run():
    blocks = {path.split("/")[1] for path in used((), (1,)) if "/blocks_" in path}
    assert blocks == {"blocks_0", "blocks_1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": ("dept",)}, r"output of four-blocks 'dept' is unknown; it is one of depth, ray, .*; did you mean 'depth'\?"),
        ({"outputs": ("sky",)}, "output of four-blocks 'sky' is unknown"),
        ({"outputs": "depth"}, r"outputs is the string 'depth'; it is a list of names, like \['depth'\]"),
        ({"ref_view_strategy": "sadle_balanced"}, r"'sadle_balanced' is unknown; .* did you mean 'saddle_balanced'\?"),
        ({"export_feat_layers": (4,)}, "export_feat_layers has 4; blocks of four-blocks are 0 to 3"),
        ({"export_feat_layers": (-1,)}, "export_feat_layers has -1; blocks of four-blocks are 0 to 3"),
        ({"attention_layers": (2,)}, "attention_layers of four-blocks: block 2 is unknown; it is one of 3"),
        ({"export_feat_layers": ("0",)}, r"export_feat_layers is \('0',\); it is a list of blocks, such as \[2, 3\]"),
        ({"export_feat_layers": 3}, r"export_feat_layers is 3; it is a list of blocks"),
        ({"attention_layers": [True]}, r"attention_layers is \(True,\); it is a list of blocks"),
        ({"on_host": "ray"}, r"on_host is the string 'ray'; it is a list of names, like \['ray'\]"),
    ],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        forward(params_of(ANYVIEW), images_of(1, 3), config=ANYVIEW, **options)


def test_unknown_outputs_of_a_nested_network_are_refused():
    params = {"anyview": params_of(ANYVIEW), "metric": params_of(SINGLE_VIEW)}
    with pytest.raises(ValueError, match=r"output of nested 'metric' is unknown; .* did you mean 'metric_depth'\?"):
        forward(params, images_of(1, 3), config=NESTED, outputs=("metric",))


def test_what_goes_to_the_host_is_the_same_there():
    params, images, names = params_of(ANYVIEW), images_of(2, 3), ("ray", "depth_conf")
    here = compiled(ANYVIEW)(params, images)
    there = compiled(ANYVIEW, on_host=names)(params, images)
    for name, value in vars(there).items():
        if value is not None:
            assert value.sharding.memory_kind == ("pinned_host" if name in names else "device")
            np.testing.assert_array_equal(value, getattr(here, name))


def test_what_the_network_looks_at_again_stays_on_the_device():
    with pytest.raises(ValueError, match="output on the host 'depth'"):
        forward(params_of(ANYVIEW), images_of(1, 1), config=ANYVIEW, on_host=["depth"])
