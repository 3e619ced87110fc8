"""What many devices give for a scene is what one gives, and little but keys and values goes between them."""

import dataclasses
import functools
import math
import re

import jax
import numpy as np
import pytest

from da3jax.config import REF_VIEW_STRATEGIES
from da3jax.models import forward, init_params, stack_layers
from da3jax.parallel import fsdp, fsdp_shardings, make_mesh, ring
from da3jax.training.step import make_forward
from tests.models.test_outputs import NESTED
from tests.models.test_view_mask import CAMERAS
from tests.models.tiny import ANYVIEW, SINGLE_VIEW, compiled, images_of, params_of
from tests.quick import quick_jit


def cameras_of(views):
    """Of one scene."""
    return {name: np.resize(x, (1, views, *x.shape[2:])) for name, x in CAMERAS.items()}


def assert_equal(found, expected, tolerance=1e-5):
    mine, theirs = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert len(theirs) > 0
    for x, y in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * np.abs(y).max())


@pytest.fixture
def in_a_ring(monkeypatch):
    """However small keys and values are."""
    monkeypatch.setattr(ring, "LARGEST_GATHERED", 0)


@pytest.fixture
def split(monkeypatch):
    """However small parameters are."""
    monkeypatch.setattr(fsdp, "SMALLEST", 1)


def on_mesh(config, mesh, **options):
    """Not kept for other tests, which may differ in more than the options."""
    return quick_jit(functools.partial(forward, config=config, mesh=mesh, **options))


@pytest.mark.parametrize(
    ("views", "posed", "outputs"),
    [
        (1, False, ("depth", "cameras")),
        (2, False, ("cameras",)),
        (3, False, ("cameras",)),
        (7, False, ("depth", "cameras")),
        (7, True, ("cameras",)),
        (16, False, ("cameras",)),
    ],
)
def test_the_views_of_a_scene_over_eight_devices(views, posed, outputs):
    images, cameras = images_of(1, views), cameras_of(views) if posed else {}
    expected = compiled(ANYVIEW, outputs=outputs)(params_of(ANYVIEW), images, **cameras)
    found = compiled(ANYVIEW, outputs=outputs, mesh=make_mesh(1, 1, 8))(params_of(ANYVIEW), images, **cameras)
    assert found.pose_enc.shape == (1, views, 9)
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("axes", "views", "posed"),
    [((1, 1, 8), 1, False), ((1, 2, 4), 2, True), ((1, 8, 1), 3, False), ((1, 1, 8), 7, True), ((1, 4, 2), 16, False)],
)
def test_the_same_in_a_ring_and_with_split_parameters(in_a_ring, split, axes, views, posed):
    images, cameras, mesh = images_of(1, views), cameras_of(views) if posed else {}, make_mesh(*axes)
    expected = compiled(ANYVIEW, outputs=("cameras",))(params_of(ANYVIEW), images, **cameras)
    params = jax.device_put(params_of(ANYVIEW), fsdp_shardings(params_of(ANYVIEW), mesh))
    assert_equal(on_mesh(ANYVIEW, mesh, outputs=("cameras",))(params, images, **cameras), expected)


@pytest.mark.parametrize("strategy", ["first", "saddle_sim_range"])
def test_the_reference_view_is_chosen_among_all_in_a_ring_and_with_split_layers(in_a_ring, split, strategy):
    options = {"outputs": ("cameras",), "ref_view_strategy": strategy}
    images, params = images_of(2, 6, seed=1), stack_layers(params_of(ANYVIEW), ANYVIEW)
    assert_equal(on_mesh(ANYVIEW, make_mesh(2, 2, 2), **options)(params, images), compiled(ANYVIEW, **options)(params, images))


@pytest.mark.parametrize("strategy", ["middle", "saddle_balanced"])
def test_the_reference_view_is_chosen_among_all(strategy):
    options = {"outputs": ("cameras",), "ref_view_strategy": strategy}
    images, params = images_of(2, 6, seed=1), stack_layers(params_of(ANYVIEW), ANYVIEW)
    expected = compiled(ANYVIEW, **options)(params, images)
    assert_equal(compiled(ANYVIEW, **options, mesh=make_mesh(2, 1, 4))(params, images), expected)


@pytest.mark.slow
@pytest.mark.parametrize("ringed", [False, True])
@pytest.mark.parametrize("strategy", [*REF_VIEW_STRATEGIES, "given poses"])
@pytest.mark.parametrize("views", [1, 2, 3, 7, 16])
def test_each_number_of_views_with_each_reference_and_with_poses(request, views, strategy, ringed):
    posed, axes = strategy == "given poses", (1, 2, 4) if ringed else (1, 1, 8)
    for fixture in ("in_a_ring", "split") if ringed else ():
        request.getfixturevalue(fixture)
    options = {"outputs": ("cameras",)} | ({} if posed else {"ref_view_strategy": strategy})
    images, cameras, mesh = images_of(1, views, seed=1), cameras_of(views) if posed else {}, make_mesh(*axes)
    expected = compiled(ANYVIEW, **options)(params_of(ANYVIEW), images, **cameras)
    params = jax.device_put(params_of(ANYVIEW), fsdp_shardings(params_of(ANYVIEW), mesh))
    assert_equal(on_mesh(ANYVIEW, mesh, **options)(params, images, **cameras), expected)


@pytest.mark.integration
def test_a_gradient_holds_split_parameters_of_one_block_at_a_time():
    mesh = make_mesh(1, 8)

    def memory(depth):
        """Of the gradient's program, and of the blocks' parameters, in bytes."""
        backbone = dataclasses.replace(ANYVIEW.backbone, width=256, depth=depth, taps=tuple(range(depth - 4, depth)))
        config = dataclasses.replace(ANYVIEW, backbone=backbone)
        shapes = jax.eval_shape(lambda key: stack_layers(init_params(config, key), config), jax.random.key(0))
        place = lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # noqa: E731
        params = jax.tree.map(place, shapes, fsdp_shardings(shapes, mesh))
        see = make_forward(config, mesh, stacked=True, remat=True, outputs=("cameras",))
        gradient = quick_jit(jax.grad(lambda params, images: (see(params, images, None, None).pose_enc ** 2).sum()))
        compiled = gradient.lower(params, jax.ShapeDtypeStruct((8, 1, 28, 42, 3), np.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes, sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes["backbone"]))

    (small, few), (large, many) = memory(6), memory(10)
    assert large - small < 0.6 * (many - few)  # an eighth of them are gradients


def test_sky_is_filled_with_the_farthest_of_all_views():
    config, images = SINGLE_VIEW, images_of(1, 3)
    expected = compiled(config)(params_of(config), images)
    assert 0.1 < (expected.sky >= 0.3).mean() < 0.9
    assert_equal(compiled(config, mesh=make_mesh(1, 1, 8))(params_of(config), images), expected)


def test_both_halves_of_a_nested_network():
    params, images = {"anyview": params_of(ANYVIEW), "metric": params_of(SINGLE_VIEW)}, images_of(1, 3)
    outputs = ("cameras", "sky", "metric_depth")
    expected = compiled(NESTED, outputs=outputs)(params, images)
    assert_equal(compiled(NESTED, outputs=outputs, mesh=make_mesh(1, 1, 8))(params, images), expected)


def poses(mesh, params):
    return (forward(params, images_of(1, 3), config=ANYVIEW, outputs=("cameras",), mesh=mesh).pose_enc ** 2).sum()


@functools.cache
def gradient_on_one_device():
    return quick_jit(jax.grad(functools.partial(poses, None)))(params_of(ANYVIEW))


def check_gradient(mesh):
    mine, theirs = quick_jit(jax.grad(functools.partial(poses, mesh)))(params_of(ANYVIEW)), gradient_on_one_device()
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5 * largest), mine, theirs)


@pytest.mark.integration
def test_gradients():
    check_gradient(make_mesh(1, 1, 8))


@pytest.mark.integration
def test_gradients_in_a_ring_and_with_split_parameters(in_a_ring, split):
    check_gradient(make_mesh(1, 2, 4))


VIEWS, TOKENS, WIDTH = 16, 7, 16


def program(devices):
    lowered = on_mesh(ANYVIEW, make_mesh(1, 1, devices, jax.devices()[:devices])).lower(params_of(ANYVIEW), images_of(1, VIEWS))
    return lowered.compile()


@functools.cache
def gathering(devices):
    return program(devices)


def told(compiled_program):
    """What devices send each other: (kind, numbers that each has then)."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast|ragged-all-to-all|send|recv"
    found = re.findall(rf"= (\S+) ({kinds})(?:-start)?\(", compiled_program.as_text())
    return [
        (kind, sum(math.prod(map(int, shape.split(","))) for shape in re.findall(r"f32\[([\d,]*)\]", shapes))) for shapes, kind in found
    ]


def test_devices_tell_each_other_keys_and_values_and_class_tokens_and_nothing_else():
    sent = told(gathering(8))
    assert {kind for kind, _ in sent} == {"all-gather"}
    assert sum(numbers for _, numbers in sent) == 2 * VIEWS * TOKENS * WIDTH + VIEWS * WIDTH  # one block across views; one choice


def test_in_a_ring_they_send_on_keys_and_values_of_one_device_at_a_time(in_a_ring):
    sent = told(program(8))
    here = VIEWS // 8 * TOKENS * WIDTH
    assert sorted(sent) == [("all-gather", VIEWS * WIDTH), *[("collective-permute", here)] * 4]  # once at the start, and in each turn


def needed(program):
    memory = program.memory_analysis()
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes


def test_the_more_devices_the_less_memory_of_each():
    output = jax.eval_shape(functools.partial(forward, config=ANYVIEW), params_of(ANYVIEW), images_of(1, VIEWS))
    of_views = images_of(1, VIEWS).nbytes + sum(4 * leaf.size for leaf in jax.tree.leaves(output))
    assert needed(gathering(2)) - needed(gathering(8)) > (1 / 2 - 1 / 8) * of_views


@pytest.mark.integration
def test_a_device_holds_its_part_of_the_parameters_and_a_block_or_two_of_those_of_others(split):
    """Beside the same with all parameters on each device."""
    deep = dataclasses.replace(ANYVIEW.backbone, width=64, depth=8, taps=(4, 5, 6, 7), alt_start=6, qknorm_start=6, rope_start=6)
    config = dataclasses.replace(ANYVIEW, backbone=deep)
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    backbone, block = (
        sum(leaf.size * 4 for leaf in jax.tree.leaves(tree)) for tree in (params["backbone"], params["backbone"]["blocks_0"])
    )
    split, whole = (
        needed(on_mesh(config, make_mesh(*axes), outputs=("cameras",)).lower(params, images_of(1, 8)).compile())
        for axes in ((1, 8, 1), (1, 1, 8))
    )
    assert whole - split > 7 / 8 * backbone - 2.5 * block


def test_scenes_that_do_not_divide_are_refused():
    with pytest.raises(
        ValueError, match=r"3 scenes do not divide among the 2 parts of the mesh's data; make_mesh\(data=1, view=8\) would do"
    ):
        compiled(ANYVIEW, mesh=make_mesh(2, 1, 4))(params_of(ANYVIEW), images_of(3, 2))
