import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from da3jax.ops.attention import attention, partial_attention
from da3jax.parallel import make_mesh, ring, ring_attention, ring_is_better
from tests.quick import quick_jit


@pytest.mark.parametrize(("axes", "over"), [((1, 2, 4), ("fsdp", "view")), ((2, 1, 4), ("view",))])
def test_what_goes_round_comes_to_the_attention_over_all(axes, over):
    """And so do gradients; of the views of two devices none counts."""
    rng = np.random.default_rng(0)
    q, k, v, weights = (rng.standard_normal((1, 24, 2, 8), dtype=np.float32) for _ in range(4))
    mask = rng.random((1, 24)) < 0.7
    mask[:, 3:9] = False
    spec = PartitionSpec(None, over)

    def around(q, k, v, mask):
        return ring_attention(lambda kv, mask: partial_attention(q, *kv, mask), (k, v), mask, over)

    in_ring = jax.shard_map(around, mesh=make_mesh(*axes), in_specs=(spec, spec, spec, PartitionSpec()), out_specs=spec, check_vma=False)
    gradients = [
        quick_jit(jax.value_and_grad(lambda *x, f=f: (weights * f(*x, mask)).sum(), argnums=(0, 1, 2)))(q, k, v)
        for f in (in_ring, attention)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), *gradients)


def test_it_is_taken_where_gathered_keys_and_values_are_large_and_more_than_two_devices_share_them():
    large = ring.LARGEST_GATHERED + 1
    assert ring_is_better(large, 3)
    assert not ring_is_better(large, 2)
    assert not ring_is_better(large - 1, 3)
    assert not ring_is_better(large, 3, cudnn=True)
    assert ring_is_better(ring.LARGEST_GATHERED_FOR_CUDNN + 1, 3, cudnn=True)
