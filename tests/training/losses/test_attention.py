"""Where patches look, and what it costs to look elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses
from tests.training.losses.test_correspondence import find_patches, truth, wall

RNG = np.random.default_rng(0)

attention_loss = jax.jit(losses.attention_loss, static_argnames="heads")


def looks(shape=(1, 2, 9, 3, 4)):
    return tuple(jnp.asarray(RNG.standard_normal(shape), jnp.float32) for _ in range(2))


def test_by_hand():
    given = truth(*wall(shift=5))
    q, k = looks()
    patches, seen = (np.asarray(x) for x in find_patches(given))
    expected, count = 0.0, 0
    for view, other in ((0, 1), (1, 0)):
        for i in range(8):
            row, column = divmod(i, 4)
            if not seen[0, view, other, row, column]:
                continue
            of_heads = [np.exp(np.asarray(k[0, :, :, head] @ q[0, view, 1 + i, head]) / 2) for head in range(2)]  # D = 4
            found = [np.log(weights / weights.sum())[other, 1:] for weights in of_heads]
            expected -= np.mean([patches[0, view, other, row, column].ravel() @ logs for logs in found])
            count += 1
    assert float(attention_loss(q, k, given, heads=2)) == pytest.approx(expected / count, rel=1e-5)


def test_products_are_summed_in_float32_whatever_the_network_computes_in():
    given = truth(*wall(shift=5))
    half = tuple((8 * x).astype(jnp.bfloat16) for x in looks())
    expected = attention_loss(*(x.astype(jnp.float32) for x in half), given, heads=3)
    assert float(attention_loss(*half, given, heads=3)) == pytest.approx(float(expected), rel=1e-6)


def test_heads_that_are_not_taught_look_where_they_like():
    given = truth(*wall())
    (q, k), (other, _) = looks(), looks()
    free = q.at[..., 1:, :].set(other[..., 1:, :])
    assert attention_loss(free, k, given) == attention_loss(q, k, given)
    assert attention_loss(free, k, given, heads=3) != attention_loss(q, k, given, heads=3)


def test_a_patch_that_two_views_see_is_looked_for_in_both():
    given = truth(*wall(shift=1e-3, views=3))
    place = jnp.concatenate([jnp.zeros((1, 8)), 30 * jnp.eye(8)])  # a patch knows its place, and looks for it in all three views
    same = jnp.broadcast_to(place[:, None], (1, 3, 9, 1, 8))
    patches, seen = find_patches(given)
    assert np.asarray(seen).sum(axis=2).min() == 2
    right = float(jnp.sum(jnp.einsum("bijhwhw->bijhw", patches))) / (3 * 2 * 8)
    spread = 900 / np.sqrt(8) + np.log(3)
    assert float(attention_loss(same, same, given)) == pytest.approx(spread - 900 / np.sqrt(8) * right, rel=1e-4)


def test_gradients(assert_gradients):
    depth, extrinsics, intrinsics = wall(shift=5)
    with jax.enable_x64(True):
        given = truth(*(jnp.asarray(x, jnp.float64) for x in (depth, extrinsics, intrinsics)))
    assert_gradients(lambda q, k: attention_loss(q, k, given), *(RNG.standard_normal((1, 2, 9, 2, 4)) for _ in range(2)))


def test_where_nothing_is_to_be_found_there_is_no_loss_and_no_gradient():
    depth, extrinsics, intrinsics = wall()
    for given in (truth(np.full_like(depth, np.nan), extrinsics, intrinsics), truth(depth, extrinsics * np.float32(np.nan), intrinsics)):
        value, gradients = jax.value_and_grad(attention_loss, (0, 1))(*looks(), given)
        assert value == 0
        assert not any(np.asarray(gradient).any() for gradient in gradients)


def test_queries_of_other_patches_or_too_few_heads_are_refused():
    message = r"queries have shape \(1, 2, {}\); for these targets it is \(scenes, 2, 9, {} or more heads, channels\)"
    with pytest.raises(ValueError, match=message.format("7, 3, 4", 1)):
        attention_loss(*looks((1, 2, 7, 3, 4)), truth(*wall()))
    with pytest.raises(ValueError, match=message.format("9, 3, 4", 4)):
        attention_loss(*looks(), truth(*wall()), heads=4)
