"""The network gives what the official one gave for tiny configurations (tests/golden/make.py recorded it)."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
import pytest

from convert.verify import errors, our_outputs
from da3jax import weights
from da3jax.models import Network, init_params, stack_layers
from da3jax.models.reference_view import select_reference_view
from tests.golden.cases import CASES, CONFIGS, thin

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
BAR = 2e-5
ALL = [(name, case) for name in CASES for case in CASES[name]]


@functools.cache
def recorded(name):
    return np.load(GOLDEN / f"{name}.npz")


@functools.cache
def tiny(name):
    params, config = weights.load(GOLDEN / name)
    assert config == CONFIGS[name]
    return params


@pytest.mark.parametrize("stacked", [False, True], ids=["looped", "scanned"])
@pytest.mark.parametrize(("name", "case"), ALL)
def test_outputs_are_the_official_ones(name, case, stacked):
    config = CONFIGS[name]
    params = stack_layers(tiny(name), config) if stacked else tiny(name)
    ours = our_outputs(params, config, CASES[name][case], stacked=stacked)
    official = {key.removeprefix(f"{case}/"): recorded(name)[key] for key in recorded(name) if key.startswith(f"{case}/")}
    if stacked:
        official.pop("camera_tokens", None)
        ours.pop("camera_tokens", None)
    assert ours.keys() == official.keys()
    worst = {key: errors(key, thin(key, ours[key]), official[key])[0] for key in ours}
    assert max(worst.values()) < BAR, worst


@pytest.mark.integration
def test_the_recorded_reference_is_not_the_first_view():
    config, case = CONFIGS["anyview"], CASES["anyview"]["five views"]
    features = Network(config, dtype="float32").apply({"params": tiny("anyview")}, **case.inputs(), outputs=(), export_feat_layers=(0,))
    assert features.depth is None
    _, state = Network(config, dtype="float32").apply(
        {"params": tiny("anyview")},
        **case.inputs(),
        outputs=("cameras",),
        capture_intermediates=lambda module, _: module.name == "blocks_0",
    )
    class_tokens = state["intermediates"]["backbone"]["blocks_0"]["__call__"][0][0][:, :, 0]
    assert int(select_reference_view(class_tokens, "saddle_balanced")[0]) != 0


def test_unstacked_layers_are_the_stacked_ones():
    from da3jax.models import unstack_layers

    for name, config in CONFIGS.items():
        back = unstack_layers(stack_layers(tiny(name), config), config)
        assert jax.tree.structure(back) == jax.tree.structure(tiny(name))
        jax.tree.map(np.testing.assert_array_equal, back, tiny(name))


def test_errors_see_what_is_no_number_and_an_array_of_zeros():
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert errors("sky", np.float32([0, np.nan, 1]), ones) == (np.inf, np.inf)
    assert errors("sky", zeros, zeros) == (0, 0)
    assert errors("depth", np.float32([1, 1, 1.5]), ones)[0] == pytest.approx(0.5)
    assert errors("sky", np.float32([1e-3, 0, 0]), zeros)[0] > 1


def test_features_from_inside_a_scan_are_refused_where_they_would_be_lost():
    config, params = CONFIGS["single_view"], tiny("single_view")
    deep = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, depth=6, taps=(0, 3, 4, 5)))
    images = np.zeros((1, 1, 14, 14, 3), np.float32)
    shapes = jax.eval_shape(lambda: stack_layers(init_params(deep, jax.random.key(0)), deep))
    with pytest.raises(ValueError, match=r"features of blocks \[2\] lie inside a scan"):
        jax.eval_shape(lambda p: Network(deep, stacked=True).apply({"params": p}, images, export_feat_layers=(2,)), shapes)
    assert stack_layers(stack_layers(params, config), config).keys() == params.keys()
    with pytest.raises(ValueError, match="the parameters have the entries params; a network's are backbone, head"):
        stack_layers({"params": params}, config)
