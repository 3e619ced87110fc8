"""JAX's transformations of the whole network, on one of four blocks: two blocks cannot feed the four taps that the heads need."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import DictKey, SequenceKey

from da3jax.models import forward
from tests.models.tiny import ANYVIEW, compiled, images_of, params_of
from tests.quick import quick_jit

OUTPUTS = ("depth", "cameras")
PERMUTATION = [2, 0, 3, 1]


@pytest.fixture(scope="module")
def params():
    return params_of(ANYVIEW)


def run(params, images):
    """Four views of a scene and more: depth and pose."""
    output = forward(params, images, config=ANYVIEW, outputs=OUTPUTS)
    return {"depth": output.depth, "pose_enc": output.pose_enc}


quick_run = quick_jit(run)


@pytest.fixture(scope="module")
def scenes():
    return images_of(8, 1, 4)


@pytest.fixture(scope="module")
def one_by_one(params, scenes):
    results = [quick_run(params, scene) for scene in scenes]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def assert_near(found, expected, tolerance=2e-5):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def test_scenes_differ(one_by_one):
    """So that the comparisons below say something."""
    for leaf in one_by_one.values():
        assert np.abs(leaf - leaf[:1])[1:].max(axis=tuple(range(1, leaf.ndim))).min() > 0.05


@pytest.mark.integration
def test_jit_is_eager(params, scenes, one_by_one):
    assert_near(run(params, scenes[0]), jax.tree.map(lambda leaf: leaf[0], one_by_one))


def test_a_batch_is_its_scenes(params, scenes, one_by_one):
    expected = jax.tree.map(lambda leaf: leaf[:2, 0], one_by_one)
    assert_near(quick_run(params, scenes[:2, 0]), expected)


def test_vmap_over_scenes_is_a_loop(params, scenes, one_by_one):
    mapped = quick_jit(jax.vmap(run, in_axes=(None, 0)))(params, scenes[:2])
    assert_near(mapped, jax.tree.map(lambda leaf: leaf[:2], one_by_one))


def test_scan_over_scenes_is_a_loop(params, scenes, one_by_one):
    scanned = quick_jit(lambda params, scenes: jax.lax.scan(lambda _, scene: (None, run(params, scene)), None, scenes)[1])
    assert_near(scanned(params, scenes[:3]), jax.tree.map(lambda leaf: leaf[:3], one_by_one))


def test_pmap_over_eight_devices_is_a_loop(params, scenes, one_by_one):
    found = jax.pmap(run, in_axes=(None, 0))(params, scenes)
    assert len(found["depth"].sharding.device_set) == 8
    assert_near(found, one_by_one)


def at(tree, path):
    for key in path:
        tree = tree[key.idx if isinstance(key, SequenceKey) else key.key]
    return np.asarray(tree)


def parameter(path):
    return (SequenceKey(0), *(DictKey(key) for key in path.split("/")))


STEPS = {
    parameter("backbone/blocks_0/attn/qkv/kernel"): 0.3,
    parameter("backbone/blocks_3/mlp/fc1/bias"): 1.0,
    parameter("backbone/camera_token"): 1.0,
    parameter("backbone/pos_embed"): 0.3,
    parameter("head/project_2/kernel"): 0.3,
    parameter("head/output/conv_2/bias"): 1.0,
    parameter("camera_decoder/translation/kernel"): 1.0,
    (SequenceKey(1),): 1.0,
}
"""How far to go along the gradient of a parameter, or of the images."""


@pytest.mark.slow
def test_gradients_are_slopes(params, scenes):
    """Along the gradient of some parameters in every part, and of the images, against central differences."""
    rng = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, dtype=np.float32), jax.eval_shape(run, params, scenes[0]))

    def loss(params, images):
        found = run(params, images)
        return jnp.mean(weights["depth"] * jnp.log(found["depth"])) + jnp.mean(weights["pose_enc"] * found["pose_enc"])

    graded = quick_jit(jax.value_and_grad(loss, argnums=(0, 1)))
    _, (by_params, by_images) = graded(params, scenes[0])

    def slope(direction, step=1e-2):
        """Of the loss along `direction`, which is like (params, images)."""
        point = (params, scenes[0])
        ends = [jax.tree.map(lambda p, d, move=move: p + move * d, point, direction) for move in (step, -step)]
        return (graded(*ends[0])[0] - graded(*ends[1])[0]) / (2 * step)

    for path, size in STEPS.items():
        gradient = at((by_params, by_images), path)
        unit = gradient / np.linalg.norm(gradient)  # the steepest direction, so that rounding counts least
        direction = jax.tree_util.tree_map_with_path(
            lambda place, leaf, path=path, unit=unit, size=size: size * unit if place == path else np.zeros_like(leaf), (params, scenes[0])
        )
        assert slope(direction) == pytest.approx(size * np.linalg.norm(gradient), rel=0.02), path


def test_permuting_the_views_permutes_the_result(params):
    """The reference moves along with its view."""
    images = images_of(1, 4, seed=3)
    by_place = compiled(ANYVIEW, outputs=("cameras",), ref_view_strategy="first")
    straight, permuted = quick_run(params, images), quick_run(params, images[:, PERMUTATION])
    assert_near(permuted, jax.tree.map(lambda leaf: leaf[:, PERMUTATION], straight))
    assert np.abs(straight["pose_enc"] - by_place(params, images).pose_enc).max() > 0.01  # the reference is not the first


def test_strategies_by_place_do_not_follow_the_view(params):
    images = images_of(1, 4)
    first, middle = (compiled(ANYVIEW, outputs=("cameras",), ref_view_strategy=name) for name in ("first", "middle"))
    by_first, by_middle = first(params, images).pose_enc, middle(params, images).pose_enc
    assert np.abs(by_first - by_middle).max() > 0.01
    order = [2, 0, 1, 3]  # the middle of four views, to the front
    np.testing.assert_allclose(first(params, images[:, order]).pose_enc, by_middle[:, order], atol=2e-5)
