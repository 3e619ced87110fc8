"""The network gives what the official one gave for tiny configurations (tests/golden/make.py recorded it)."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from convert.verify import errors, our_outputs
from da3jax import weights
from da3jax.models import Network, stack_layers
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
    class_tokens = state["intermediates"]["backbone"]["blocks_0"]["__call__"][0][:, :, 0]
    assert int(select_reference_view(class_tokens, "saddle_balanced")[0]) != 0


def test_unstacked_layers_are_the_stacked_ones():
    from da3jax.models import unstack_layers

    for name, config in CONFIGS.items():
        back = unstack_layers(stack_layers(tiny(name), config), config)
        assert jax.tree.structure(back) == jax.tree.structure(tiny(name))
        jax.tree.map(np.testing.assert_array_equal, back, tiny(name))
