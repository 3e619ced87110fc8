"""Operations of programs, beside a count by hand."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from da3jax.models import forward
from da3jax.parallel import make_mesh
from da3jax.planner.flops import count_flops
from tests.models.tiny import ANYVIEW, images_of, params_of

SQUARE = jnp.ones((4, 4))
PRODUCT = 2 * 4 * 4 * 4


def flops_of(function, *arguments, platform="cpu"):
    return count_flops(jax.make_jaxpr(function)(*arguments), platform)


def test_products_and_convolutions():
    assert flops_of(lambda x, y: jnp.einsum("bik,bkj->bij", x, y), jnp.ones((5, 2, 3)), jnp.ones((5, 3, 4))) == 5 * 2 * 2 * 3 * 4
    convolve = functools.partial(lax.conv_general_dilated, window_strides=(2, 2), padding=((1, 1), (1, 1)))
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    assert flops_of(functools.partial(convolve, **layout), jnp.ones((2, 8, 6, 3)), jnp.ones((3, 3, 3, 7))) == 2 * (2 * 4 * 3 * 7) * 27
    grouped = functools.partial(convolve, **layout, feature_group_count=2)
    assert flops_of(grouped, jnp.ones((2, 8, 6, 4)), jnp.ones((3, 3, 2, 6))) == 2 * (2 * 4 * 3 * 6) * 18


def test_a_loop_counts_as_often_as_it_turns():
    def turns(x):
        inner = lax.fori_loop(0, 3, lambda _, y: y @ x, x)
        return lax.map(lambda y: jax.jit(jnp.matmul)(y, inner), jnp.ones((5, 4, 4)))

    assert flops_of(turns, SQUARE) == (3 + 5) * PRODUCT


def test_of_choices_the_larger_and_of_platforms_the_own():
    assert flops_of(lambda x: lax.cond(x[0, 0] > 0, lambda x: x, lambda x: x @ x @ x, x), SQUARE) == 2 * PRODUCT

    def by_platform(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: x @ x @ x @ x)

    assert [flops_of(by_platform, SQUARE, platform=platform) for platform in ("cpu", "tpu")] == [PRODUCT, 3 * PRODUCT]


def test_gradients_and_what_devices_share_count():
    assert flops_of(jax.grad(lambda x: jax.checkpoint(lambda y: jnp.sin(y @ SQUARE))(x).sum()), SQUARE) == 3 * PRODUCT
    shared = jax.shard_map(lambda x: x @ SQUARE, mesh=make_mesh(), in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
    assert flops_of(shared, jnp.ones((32, 4))) == 8 * PRODUCT


def test_a_loop_until_a_condition_holds_is_refused_where_it_has_products():
    assert flops_of(lambda x: lax.while_loop(lambda y: (y < 9).all(), lambda y: y + 1, x), SQUARE) == 0
    with pytest.raises(ValueError, match="products in a loop that turns until a condition holds; how many cannot be counted"):
        flops_of(lambda x: lax.while_loop(lambda y: (y < 9).all(), lambda y: y @ y, x), SQUARE)


def test_a_network_counts_as_by_hand():
    views, side, width = 2, 42, ANYVIEW.backbone.width  # two views need no reference, and the position embedding has this size
    tokens = (side // 14) ** 2 + 1
    embedding = views * (tokens - 1) * (14 * 14 * 3) * width
    layers = 4 * views * tokens * width * width * (3 + 1 + 4 + 4)  # queries, keys and values; what they come to; the MLP's two
    attention = 3 * views * 2 * tokens * tokens * width + 2 * (views * tokens) ** 2 * width  # the last block is across views
    decoder = views * (2 * (2 * width) ** 2 + 2 * width * 9 + 3 * 3)  # and the inverse of a pose
    program = functools.partial(forward, config=ANYVIEW, outputs=("cameras",))
    counted = flops_of(program, params_of(ANYVIEW), images_of(1, views, height=side, width=side))
    assert counted == 2 * (embedding + layers + attention + decoder)
