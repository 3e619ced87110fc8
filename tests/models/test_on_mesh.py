"""What many devices give for a scene is what one gives, and little but keys and values goes between them."""

import functools
import math
import re

import jax
import numpy as np
import pytest

from da3jax.models import forward, stack_layers
from da3jax.parallel import make_mesh
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


@pytest.mark.parametrize("strategy", ["middle", "saddle_balanced"])
def test_the_reference_view_is_chosen_among_all(strategy):
    options = {"outputs": ("cameras",), "ref_view_strategy": strategy}
    images, params = images_of(2, 6, seed=1), stack_layers(params_of(ANYVIEW), ANYVIEW)
    expected = compiled(ANYVIEW, **options)(params, images)
    assert_equal(compiled(ANYVIEW, **options, mesh=make_mesh(2, 1, 4))(params, images), expected)


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


def test_gradients():
    def poses(mesh, params):
        return (forward(params, images_of(1, 3), config=ANYVIEW, outputs=("cameras",), mesh=mesh).pose_enc ** 2).sum()

    mine, theirs = (quick_jit(jax.grad(functools.partial(poses, mesh)))(params_of(ANYVIEW)) for mesh in (make_mesh(1, 1, 8), None))
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5 * largest), mine, theirs)


def test_devices_tell_each_other_keys_and_values_and_class_tokens_and_nothing_else():
    views, tokens, width = 16, 7, 16
    program = quick_jit(functools.partial(forward, config=ANYVIEW, mesh=make_mesh(1, 1, 8))).lower(params_of(ANYVIEW), images_of(1, views))
    hlo = program.compile().as_text()
    told = re.findall(r"= (\S+) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast)\(", hlo)
    assert {kind for _, kind in told} == {"all-gather"}
    numbers = sum(math.prod(map(int, shape.split(","))) for shapes, _ in told for shape in re.findall(r"f32\[([\d,]*)\]", shapes))
    assert numbers == 2 * views * tokens * width + views * width  # one block across views; one choice of the reference


def test_scenes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"3 scenes do not divide among the 2 parts of the mesh's data × fsdp"):
        compiled(ANYVIEW, mesh=make_mesh(2, 1, 4))(params_of(ANYVIEW), images_of(3, 2))
