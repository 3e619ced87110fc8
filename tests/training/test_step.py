import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from da3jax.config import load_config
from da3jax.geometry import normalize_poses
from da3jax.parallel import make_mesh
from da3jax.training.data import AugmentConfig
from da3jax.training.losses import LossConfig, LossWeights, Targets
from da3jax.training.optimizer import OptimizerConfig, make_optimizer, split
from da3jax.training.state import init_state, state_shardings
from da3jax.training.step import _conditioning, make_loss, make_train_step
from da3jax.types import NetworkOutput
from tests.models.tiny import SINGLE_VIEW
from tests.training.tiny import MODEL, params_of
from tests.training.tiny import run as config_of

SGD = {"algorithm": "sgd", "learning_rate": 0.02, "warmup_steps": 0, "weight_decay": 0.0}
ADAMW = {"learning_rate": 1e-3, "warmup_steps": 5}
OPTIMIZERS = {"sgd": SGD, "adamw": ADAMW, "muon": {**ADAMW, "algorithm": "muon"}}


def totals(run, batches):
    return np.array([run.step(batch)["total"] for batch in batches])


@pytest.fixture(scope="module")
def batches(scenes):
    return [scenes(8, seed=seed) for seed in range(20)]


@pytest.fixture(scope="module")
def one_device(make_run, batches):
    """By optimiser: losses of twenty steps, and what is left."""

    @functools.cache
    def losses(kind):
        run = make_run(config_of("unused", optimizer=OPTIMIZERS[kind], steps=20))
        return totals(run, batches), jax.device_get(run.state)

    return losses


@pytest.mark.parametrize(
    ("kind", "axes"),
    [
        pytest.param("sgd", (8, 1), marks=pytest.mark.slow, id="sgd-data"),
        pytest.param("sgd", (2, 4), marks=pytest.mark.slow, id="sgd-fsdp"),
        pytest.param("sgd", (1, 4, 2), marks=pytest.mark.integration, id="sgd-fsdp-view"),
        pytest.param("adamw", (2, 4), marks=pytest.mark.slow, id="adamw-fsdp"),
        pytest.param("muon", (2, 4), marks=pytest.mark.slow, id="muon-fsdp"),
    ],
)
def test_eight_devices_give_the_losses_of_one(one_device, make_run, batches, monkeypatch, kind, axes):
    monkeypatch.setattr("da3jax.parallel.fsdp.SMALLEST", 256)
    expected, _ = one_device(kind)
    run = make_run(config_of("unused", optimizer=OPTIMIZERS[kind], steps=20), make_mesh(*axes))
    found = totals(run, batches)
    assert np.mean(expected[-5:]) < 0.99 * np.mean(expected[:5])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if kind == "sgd" else 1e-3)
    if axes != (8, 1):
        trees = [run.state.params, *(part for part in jax.tree.leaves(run.state.opt_state, is_leaf=is_params) if is_params(part))]
        kernels = [kernel for tree in trees if isinstance(kernel := tree["backbone"]["blocks_0"]["mlp"]["fc1"]["kernel"], jax.Array)]
        assert len(kernels) == {"sgd": 1, "adamw": 3, "muon": 1}[kind]
        for kernel in kernels:
            assert kernel.sharding.spec == PartitionSpec(None, "fsdp")
            assert kernel.addressable_shards[0].data.size * 4 == kernel.size
        stacks = [leaf for leaf in jax.tree.leaves(run.state.opt_state) if leaf.ndim == 3 and leaf.shape[0] > 1]
        assert bool(stacks) == (kind == "muon")
        assert all(stack.addressable_shards[0].data.size * 4 == stack.size for stack in stacks)


def is_params(tree):
    return isinstance(tree, dict) and "backbone" in tree


@pytest.fixture(scope="module")
def five_steps(make_run, batches):
    """Losses of a run of its own, and what is left."""

    def steps(seed):
        run = make_run(config_of("unused", losses=NO_RAYS, optimizer=HEADS_ALONE, seed=seed))
        return totals(run, batches[:5]), jax.device_get(run.state)

    return functools.cache(steps)


def test_the_same_seed_gives_the_same_bits_and_another_one_others(five_steps):
    (expected, state), (found, again), (others, _) = five_steps(0), five_steps.__wrapped__(0), five_steps(1)
    assert (found == expected).all()
    jax.tree.map(np.testing.assert_array_equal, again, state)
    assert (others != expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(1, 1), (2, 4)])
def test_recomputed_values_teach_the_same(one_device, make_run, batches, monkeypatch, axes):
    monkeypatch.setattr("da3jax.parallel.fsdp.SMALLEST", 256)
    expected, _ = one_device("sgd")
    mesh = make_mesh(*axes, devices=jax.devices()[: np.prod(axes)])
    run = make_run(config_of("unused", optimizer=SGD, steps=20, remat=True), mesh)
    np.testing.assert_allclose(totals(run, batches[:4]), expected[:4], rtol=1e-5)


QUIET = {name: 0.0 for name in ("brightness", "contrast", "saturation", "hue", "per_view", "grey", "blur")}
NO_RAYS = {"weights": {"ray": 0, "point": 0}}
HEADS_ALONE = ADAMW | {"freeze": ["^backbone/"], "ema": 0.75}
PLAIN = {"losses": {"pose_probability": 0.0}, "data": {"augment": QUIET, "sources": [{"type": "procedural"}]}}


@pytest.mark.slow
def test_parts_of_a_batch_add_up_to_it(make_run, scenes):
    batch = scenes(8)
    whole, parts = (make_run(config_of("unused", optimizer=SGD | {"accumulate": count}, **PLAIN)) for count in (1, 4))
    expected, found = whole.step(batch), parts.step(batch)
    # Every scene has as many pixels that count, so that the mean of means is the mean.
    np.testing.assert_allclose(found["total"], expected["total"], rtol=1e-5)
    np.testing.assert_allclose(found["gradient_norm"], expected["gradient_norm"], rtol=1e-4)
    np.testing.assert_allclose(found["depth_conf_max"], expected["depth_conf_max"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), parts.state.params, whole.state.params)
    # Without poses nobody asks the camera encoder.
    jax.tree.map(np.testing.assert_array_equal, whole.state.params["camera_encoder"], params_of(whole.config.model)["camera_encoder"])


def test_some_scenes_are_conditioned_on_their_poses(five_steps):
    _, state = five_steps(0)
    before = params_of(config_of("unused").model)["camera_encoder"]["pose"]["fc1"]["bias"]  # which does not decay
    assert np.abs(state.params["camera_encoder"]["pose"]["fc1"]["bias"] - before).max() > 1e-4


@pytest.mark.integration
def test_a_teacher_replaces_the_truth_when_its_time_has_come(make_run, scenes):
    batch = scenes(8)
    plain = make_run(config_of("unused", losses=NO_RAYS, optimizer=HEADS_ALONE))
    teacher = jax.tree.map(np.asarray, plain.state.params)
    taught = make_run(config_of("unused", losses=NO_RAYS | {"teacher_from": 1}, optimizer=HEADS_ALONE), teacher=teacher)
    pairs = [(taught.step(batch)["depth"], plain.step(batch)["depth"]) for _ in range(2)]
    np.testing.assert_allclose(pairs[0][0], pairs[0][1], rtol=1e-5)
    assert abs(pairs[1][0] - pairs[1][1]) > 1e-3 * pairs[1][1]


def test_a_teacher_is_not_asked_before_its_time(scenes):
    asked = []

    def teach(params, images, *_):
        jax.debug.callback(lambda: asked.append(True))
        return NetworkOutput(depth=jnp.ones(images.shape[:-1]))

    losses = LossConfig(LossWeights(ray=0, point=0, camera=0, gradient=0), units="relative", teacher_from=3)
    loss = jax.jit(make_loss(SINGLE_VIEW, losses, AugmentConfig(), teach_nothing, teach))
    for step, expected in ((2, []), (3, [True])):
        jax.block_until_ready(loss({}, scenes(1), jax.random.key(0), step, {}))
        jax.effects_barrier()
        assert asked == expected


def teach_nothing(params, images, *_):
    """A student that says one of all."""
    return NetworkOutput(depth=jnp.ones(images.shape[:-1]), depth_conf=jnp.ones(images.shape[:-1]))


def test_an_unlabelled_pixel_is_taught_to_be_sky_where_the_teacher_says_so(scenes):
    batch = scenes(1)
    nothing = dataclasses.replace(batch.targets, mask=np.zeros_like(batch.targets.mask))
    said = np.where(np.arange(42) < 20, 0.35, 0.25) * np.ones((2, 1, 28, 42), np.float32)  # sky from 0.3 on

    def says(sky):
        return lambda *_: NetworkOutput(depth=jnp.ones_like(sky), sky=sky)

    weights = LossWeights(depth=0, ray=0, point=0, camera=0, gradient=0, sky=1)
    losses = LossConfig(weights, units="relative", teacher_from=0)
    agrees = jnp.asarray(said.reshape(1, 2, 28, 42) > 0.3, jnp.float32)
    for student, expected in ((agrees, 0), (1 - agrees, 1)):
        loss = jax.jit(make_loss(SINGLE_VIEW, losses, AugmentConfig(), says(student), says(jnp.asarray(said))))
        assert loss({}, dataclasses.replace(batch, targets=nothing), jax.random.key(0), 0, {})[0] == expected


@pytest.fixture
def frozen(make_run):
    return make_run(config_of("unused", losses=NO_RAYS, optimizer=HEADS_ALONE))


@pytest.fixture(scope="module")
def of_the_backbone(make_run, scenes):
    """Losses of the backbone alone, over twelve steps."""
    nothing = dict.fromkeys(("depth", "ray", "point", "camera", "gradient"), 0)
    blocks = {"correspondence_block": 2, "attention_blocks": [3]}
    losses = {"weights": nothing | {"correspondence": 1, "attention": 1}, "pose_probability": 0.0, **blocks}
    run = make_run(config_of("unused", losses=losses, optimizer={"warmup_steps": 0, "learning_rate": 3e-3}, steps=12))
    return [run.step(scenes(4)) for _ in range(12)]


@pytest.mark.integration
def test_patches_that_show_the_same_grow_alike(of_the_backbone):
    found = [step["correspondence"] for step in of_the_backbone]
    assert found[0] > 0.9 * np.log(6)
    assert found[-1] < 0.9 * found[0]


def test_frozen_parameters_stay_bit_by_bit_and_the_others_move(frozen, scenes):
    before = jax.device_get(frozen.state.params)
    for seed in range(3):
        frozen.step(scenes(8, seed=seed))
    after = jax.device_get(frozen.state.params)
    jax.tree.map(np.testing.assert_array_equal, after["backbone"], before["backbone"])
    assert np.abs(after["head"]["output"]["conv_2"]["kernel"] - before["head"]["output"]["conv_2"]["kernel"]).max() > 1e-4
    trainable, _ = split(after, ("^backbone/",))
    assert jax.tree.structure(frozen.state.average) == jax.tree.structure(trainable)
    kept = [leaf.size for leaf in jax.tree.leaves(frozen.state.opt_state)]
    assert sum(kept) == 2 * sum(leaf.size for leaf in jax.tree.leaves(trainable)) + 1  # and how many steps there were


def test_the_average_follows_the_parameters(frozen, scenes):
    before = np.asarray(frozen.state.params["camera_decoder"]["fov"]["bias"])
    frozen.step(scenes(8))
    after = np.asarray(frozen.state.params["camera_decoder"]["fov"]["bias"])
    np.testing.assert_allclose(frozen.state.average["camera_decoder"]["fov"]["bias"], 0.75 * before + 0.25 * after, rtol=1e-6)
    assert np.abs(after - before).max() > 1e-5


def test_a_batch_that_is_not_finite_changes_nothing(frozen, scenes):
    batch = scenes(8)
    frozen.step(batch)
    before = jax.device_get(frozen.state)
    images = batch.images.copy()
    images[3, 1, 5, 5, 0] = np.nan
    assert not frozen.step(dataclasses.replace(batch, images=images))["finite"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(frozen.state), before)
    assert frozen.step(batch)["finite"]


def test_patches_learn_where_to_look(of_the_backbone):
    found = [step["attention"] for step in of_the_backbone]
    assert found[0] > 0.9 * np.log(14)  # two views of a special token and six patches
    assert found[-1] < 0.9 * found[0]


def known_cameras():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((2, 3, 3, 3)))[0]
    rotation *= np.linalg.det(rotation)[..., None, None]
    extrinsics = np.concatenate([rotation, 5 * rng.standard_normal((2, 3, 3, 1))], axis=-1).astype(np.float32)
    intrinsics = np.tile(np.float32([[20, 0, 13], [0, 18, 8], [0, 0, 1]]), (2, 3, 1, 1))
    depth = np.ones((2, 3, 14, 28), np.float32)
    return Targets(depth, depth > 0, extrinsics, intrinsics)


def test_poses_are_given_as_inference_gives_them():
    given = known_cameras()
    (extrinsics, intrinsics), conditioned = _conditioning(load_config(MODEL), LossConfig(pose_probability=1), given, jax.random.key(0))
    np.testing.assert_allclose(extrinsics, normalize_poses(given.extrinsics), atol=1e-5)
    np.testing.assert_array_equal(intrinsics, given.intrinsics)
    assert np.asarray(conditioned).all()


@pytest.mark.parametrize("field", ["extrinsics", "intrinsics"])
def test_a_scene_with_a_camera_that_is_not_known_is_not_conditioned(field):
    given = known_cameras()
    getattr(given, field)[1, 2] = np.nan
    cameras, conditioned = _conditioning(load_config(MODEL), LossConfig(pose_probability=1), given, jax.random.key(0))
    np.testing.assert_array_equal(conditioned, [True, False])
    assert all(np.isfinite(x).all() for x in cameras)


def steps_of(loss, **fields):
    """The state and the step of four numbers that learn from any loss, on one device."""
    config = OptimizerConfig(algorithm="sgd", weight_decay=0.0, warmup_steps=0, clip_norm=None, **fields)
    params = {"fc": {"kernel": jnp.ones((2, 2))}}
    optimizer, mesh = make_optimizer(config, params), make_mesh(1, 1, devices=jax.devices()[:1])
    step = make_train_step(loss, optimizer, config, steps=4, mesh=mesh, shardings=state_shardings(params, optimizer, config, mesh))
    return init_state(params, optimizer, config), step


def test_gradients_of_the_parts_of_a_batch_are_averaged():
    def loss(params, batch, key, step, teacher):
        total = jnp.mean(batch) * params["fc"]["kernel"].sum()
        return total, {"total": total, "batch_max": jnp.max(batch)}

    for parts in (1, 2, 4):
        state, step = steps_of(loss, accumulate=parts)
        _, metrics = step(state, jnp.array([1.0, 2, 3, 10]), jax.random.key(0))
        assert (float(metrics["total"]), float(metrics["gradient_norm"]), float(metrics["batch_max"])) == (16, 8, 10)


def test_each_step_draws_anew():
    def loss(params, batch, key, step, teacher):
        total = jax.random.uniform(key) * params["fc"]["kernel"].sum()
        return total, {"total": total, "drawn": jax.random.uniform(key)}

    state, step = steps_of(loss)
    drawn = []
    for _ in range(2):
        state, metrics = step(state, jnp.ones(1), jax.random.key(0))
        drawn.append(float(metrics["drawn"]))
    assert drawn[0] != drawn[1]
