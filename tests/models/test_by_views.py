"""Views in groups of any size give what they give together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.config import PATCH_SIZE
from da3jax.models import build_network, by_views, forward, layers, stack_layers
from tests.models.tiny import ANYVIEW, HEIGHT, WIDTH, images_of, params_of
from tests.quick import quick_jit

TOKENS = 1 + HEIGHT // PATCH_SIZE * (WIDTH // PATCH_SIZE)
"""Of a view."""


def test_groups_divide_the_views(monkeypatch):
    monkeypatch.setattr(by_views, "ON_CPU", 80)
    assert [by_views.views_at_a_time(views, 10) for views in (1, 4, 7, 12, 13, 100)] == [1, 4, 7, 6, 1, 5]
    assert by_views.views_at_a_time(12, 20) == 4
    assert by_views.views_at_a_time(12, 90) == 1


@pytest.mark.parametrize(
    ("stacked", "keys"),
    [
        (False, "heads_first"),
        *(pytest.param(*case, marks=pytest.mark.integration) for case in ((False, "tokens_first"), (False, "heads_together"), (True, ""))),
    ],
)
def test_groups_of_two_are_all_views_at_once(monkeypatch, stacked, keys):
    monkeypatch.setattr(layers, "tokens_first", lambda dtype: keys == "tokens_first")
    monkeypatch.setattr(layers, "heads_together", lambda: keys == "heads_together")
    params = stack_layers(params_of(ANYVIEW), ANYVIEW) if stacked else params_of(ANYVIEW)
    images = images_of(2, 4)
    mask = np.array([[True] * 4, [True, True, False, True]])
    results = []
    for limit in (8, 4):  # two scenes of four, then of two views
        monkeypatch.setattr(by_views, "ON_CPU", limit * TOKENS)
        run = quick_jit(lambda params: forward(params, images, config=ANYVIEW, view_mask=mask, outputs=("depth", "ray", "cameras", "taps")))
        results.append(jax.tree.leaves(run(params)))
    assert len(results[0]) == 11
    for together, grouped in zip(*results, strict=True):
        np.testing.assert_allclose(grouped, together, rtol=1e-4, atol=1e-5)


@pytest.mark.integration
def test_what_is_not_grouped_gives_the_same_without_a_loop(monkeypatch):
    monkeypatch.setattr(by_views, "ON_CPU", TOKENS)
    images = images_of(1, 4)

    def run(grouped):
        network = build_network(ANYVIEW, grouped=grouped)
        return lambda params: network.apply({"params": params}, images, outputs=("depth", "cameras"))

    loops = [str(jax.make_jaxpr(run(grouped))(params_of(ANYVIEW))).count("dynamic_update_slice") for grouped in (True, False)]
    assert loops[0] > loops[1] == 0
    found, expected = (quick_jit(run(grouped))(params_of(ANYVIEW)) for grouped in (False, True))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.slow
def test_gradients_pass_through_groups(monkeypatch):
    params, images = params_of(ANYVIEW), images_of(1, 4)

    def loss(params):
        output = forward(params, images, config=ANYVIEW, outputs=("depth", "cameras"))
        return jnp.mean(jnp.log(output.depth) ** 2) + jnp.mean(output.pose_enc**2)

    found = []
    for limit in (8, 2):
        monkeypatch.setattr(by_views, "ON_CPU", limit * TOKENS)
        found.append(quick_jit(jax.grad(lambda params: loss(params)))(params))
    for together, grouped in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(grouped, together, rtol=1e-3, atol=1e-4 * np.abs(together).max() + 1e-7)
