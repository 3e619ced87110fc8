import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from da3jax.config import load_config
from da3jax.models import init_params
from da3jax.models.stacking import stack_layers
from da3jax.parallel import make_mesh
from da3jax.training.optimizer import OptimizerConfig, ParameterGroup, Schedule, join, make_optimizer, split
from tests.training.tiny import MODEL

PARAMS = {
    "backbone": {"blocks_0": {"fc1": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}}, "norm": {"scale": jnp.ones(2)}},
    "head": {"fc": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.ones(2)}},
}
PLAIN = {"warmup_steps": 0, "weight_decay": 0.0, "clip_norm": None, "algorithm": "sgd", "learning_rate": 0.1}


def updates(config, gradient, params=PARAMS, steps=10):
    optimizer = make_optimizer(config, params)
    found = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)[0]
    return jax.tree.map(lambda update: Schedule.of(config, steps).rate(0) * update, found)


def ones(params=PARAMS):
    return jax.tree.map(jnp.ones_like, params)


def test_the_rate_grows_in_equal_steps_and_falls_along_a_cosine():
    rate = Schedule.of(OptimizerConfig(learning_rate=1.0, warmup_steps=4, final_rate=0.1), 12).rate
    np.testing.assert_allclose([rate(i) for i in (0, 2, 4, 8, 12, 20)], [0.25, 0.625, 1, 0.55, 0.1, 0.1], rtol=1e-6)
    short = Schedule.of(OptimizerConfig(learning_rate=1.0, warmup_steps=4), 2).rate
    np.testing.assert_allclose([short(0), short(1)], [0.25, 0.4375], rtol=1e-6)
    assert Schedule.of(OptimizerConfig(learning_rate=1.0, warmup_steps=0), 2).rate(0) == 1


def test_the_first_group_that_is_found_sets_the_rate():
    groups = (ParameterGroup("bias$", 0.5), ParameterGroup("^backbone/", 0.1))
    found = updates(OptimizerConfig(**PLAIN, groups=groups), ones())
    np.testing.assert_allclose(found["backbone"]["blocks_0"]["fc1"]["kernel"], -0.01, rtol=1e-6)
    np.testing.assert_allclose(found["backbone"]["blocks_0"]["fc1"]["bias"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(found["head"]["fc"]["kernel"], -0.1, rtol=1e-6)


def test_only_weights_of_products_decay():
    found = updates(OptimizerConfig(**PLAIN | {"weight_decay": 0.5}), jax.tree.map(jnp.zeros_like, PARAMS))
    np.testing.assert_allclose(found["head"]["fc"]["kernel"], -0.1 * 0.5 * 3, rtol=1e-6)
    assert not np.any(found["head"]["fc"]["bias"])
    assert not np.any(found["backbone"]["norm"]["scale"])


def test_gradients_are_clipped_together():
    norm = float(optax.tree.norm(ones()))
    found = updates(OptimizerConfig(**PLAIN | {"clip_norm": 1.0}), ones())
    np.testing.assert_allclose(found["head"]["fc"]["kernel"], -0.1 / norm, rtol=1e-6)


def test_the_first_step_of_adamw_is_the_rate_whatever_the_gradient():
    found = updates(OptimizerConfig(**PLAIN | {"algorithm": "adamw"}), jax.tree.map(lambda x: 7 * x, ones()))
    np.testing.assert_allclose(found["head"]["fc"]["bias"], -0.1, rtol=1e-5)


def test_muon_makes_steps_of_block_matrices_orthogonal_and_all_others_adams():
    matrix = jax.random.normal(jax.random.key(0), (4, 16))
    params = {"backbone": {"blocks_0": {"attn": {"proj": {"kernel": matrix, "bias": jnp.ones(4)}}}}, "head": {"fc": {"kernel": matrix}}}
    found = updates(OptimizerConfig(**PLAIN | {"algorithm": "muon"}), params, params)
    step = found["backbone"]["blocks_0"]["attn"]["proj"]["kernel"]
    np.testing.assert_allclose(np.linalg.svd(step, compute_uv=False), 0.1 * 0.2 * 4, rtol=0.4)  # five Newton–Schulz steps bring them near 1
    np.testing.assert_allclose(found["backbone"]["blocks_0"]["attn"]["proj"]["bias"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(found["head"]["fc"]["kernel"], -0.1 * np.sign(matrix), rtol=1e-4)


@pytest.mark.integration
def test_muon_finds_the_matrices_of_a_networks_blocks_stacked_or_not():
    model = load_config(MODEL)
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    noise = jax.tree.map(lambda leaf: np.random.default_rng(leaf.size).standard_normal(leaf.shape), shapes)

    def steps(algorithm, gradient):
        return updates(OptimizerConfig(**PLAIN | {"algorithm": algorithm}), gradient, gradient)

    with jax.enable_x64(True):  # the orthogonal step multiplies rounding
        muon, adam = steps("muon", noise), flatten_dict(steps("adamw", noise), sep="/")
        stacked = steps("muon", stack_layers(noise, model))
    different = {path for path, step in flatten_dict(muon, sep="/").items() if not np.allclose(step, adam[path])}
    assert different == {path for path in adam if "block" in path and path.endswith("kernel")}
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(stacked))
    jax.tree.map(lambda found, expected: np.testing.assert_allclose(found, expected, atol=1e-6), stacked, stack_layers(muon, model))


@pytest.mark.parametrize("axes", [(8, 1, 1), (2, 2, 2)])
def test_muons_matrices_are_dealt_out_among_the_devices_that_have_the_same(axes):
    blocks = {f"blocks_{i}": {"mlp": {"fc1": {"kernel": jax.random.normal(jax.random.key(i), (32, 64))}}} for i in range(5)}
    params, config = {"backbone": blocks}, OptimizerConfig(**PLAIN | {"algorithm": "muon"})

    def step(mesh):
        optimizer = make_optimizer(config, params, mesh)
        state = optimizer.init(params)
        program = jax.jit(optimizer.update).lower(params, state, params).compile()
        found, state = program(params, state, params)
        return found, jax.tree.map(jnp.shape, state), program.cost_analysis()["flops"]

    (expected, kept, alone), (found, again, shared) = step(None), step(make_mesh(*axes))
    jax.tree.map(lambda found, expected: np.testing.assert_allclose(found, expected, atol=1e-5), found, expected)
    assert again == kept  # a run goes on with another number of devices
    rounds = -(-5 // (axes[0] * axes[2]))
    assert shared < 1.2 * alone * rounds / 5


def test_what_is_split_is_joined_again_and_frozen_parameters_have_no_optimizer_state():
    trainable, frozen = split(PARAMS, ("^backbone/", "bias$"))
    assert jax.tree.leaves(trainable) == [trainable["head"]["fc"]["kernel"]]
    assert jax.tree.structure(join(trainable, frozen)) == jax.tree.structure(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, join(trainable, frozen), PARAMS)
    state = make_optimizer(OptimizerConfig(), trainable).init(trainable)
    assert sorted(leaf.shape for leaf in jax.tree.leaves(state)) == [(), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "optimizer.learning_rate is 0.0; it is a positive number"),
        ({"clip_norm": -1.0}, "optimizer.clip_norm is -1.0; it is a positive number"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay is -1.0; it is a number from 0 on"),
        ({"ema": 1.0}, "optimizer.ema is 1.0; it is from 0 to below 1"),
        ({"accumulate": 0}, "optimizer.accumulate is 0; it is at least 1"),
        ({"algorithm": "adam"}, "optimizer.algorithm 'adam' is unknown; .* did you mean 'adamw'"),
        ({"freeze": ("(",)}, r"the pattern '\(' is no regular expression"),
    ],
)
def test_numbers_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def test_a_group_that_would_freeze_says_where_that_is_done():
    with pytest.raises(ValueError, match=r"the rate of 'head' is 0\.0; it is a positive factor, and what stays as it is goes to freeze"):
        ParameterGroup("head", 0.0)


def test_patterns_that_are_found_nowhere_are_refused():
    with pytest.raises(ValueError, match=r"the group '.heads/' is found in no trainable parameter; paths are like backbone/blocks_0"):
        make_optimizer(OptimizerConfig(groups=(ParameterGroup("^heads/", 0.5),)), PARAMS)
    with pytest.raises(ValueError, match="freeze has 'encoder', which is found in no parameter; paths are like"):
        split(PARAMS, ("encoder",))
    with pytest.raises(ValueError, match="leaves no parameter to train"):
        split(PARAMS, ("",))


def test_adam_has_the_decays_and_the_epsilon_of_the_configuration():
    optimizer = make_optimizer(OptimizerConfig(**PLAIN | {"algorithm": "adamw", "b1": 0.5, "b2": 0.75, "epsilon": 0.1}), PARAMS)
    state, first, second = optimizer.init(PARAMS), 0.0, 0.0
    for step, gradient in enumerate((1.0, -3.0, 2.0), 1):
        found, state = jax.jit(optimizer.update)(jax.tree.map(lambda x, g=gradient: g * x, ones()), state, PARAMS)
        first, second = 0.5 * first + 0.5 * gradient, 0.75 * second + 0.25 * gradient**2
        expected = -(first / (1 - 0.5**step)) / (np.sqrt(second / (1 - 0.75**step)) + 0.1)
        np.testing.assert_allclose(found["head"]["fc"]["bias"], expected, rtol=1e-5)


def test_a_groups_rate_is_that_of_its_decay_too():
    config = OptimizerConfig(**PLAIN | {"weight_decay": 0.5}, groups=(ParameterGroup("^head/", 0.1),))
    found = updates(config, jax.tree.map(jnp.zeros_like, PARAMS))
    np.testing.assert_allclose(found["head"]["fc"]["kernel"], -0.1 * 0.1 * 0.5 * 3, rtol=1e-6)
