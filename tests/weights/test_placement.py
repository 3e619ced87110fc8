"""Leaves go to their devices in parts."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from da3jax.parallel import fsdp, fsdp_sharding, make_mesh
from da3jax.weights import load
from da3jax.weights.placement import place


def test_of_an_array_that_is_split_each_part_is_read_once():
    array = np.arange(48.0, dtype=np.float32).reshape(6, 8)
    seen = []
    sharding = NamedSharding(make_mesh(2, 4), PartitionSpec(None, "fsdp"))
    placed = place(array, "a/b", sharding, lambda part: seen.append(part.shape) or part)
    assert seen == [(6, 2)] * 4
    assert {shard.data.shape for shard in placed.addressable_shards} == {(6, 2)}
    np.testing.assert_array_equal(placed, array)


@pytest.mark.parametrize("form", ["released_dir", "tiny_model_dir"])
def test_both_forms_of_weights_load_into_shards(form, request, monkeypatch):
    monkeypatch.setattr(fsdp, "SMALLEST", 1)
    folder = request.getfixturevalue(form)
    whole, _ = load(folder)
    split, _ = load(folder, shardings=fsdp_sharding(make_mesh(1, 4, 2)))
    jax.tree.map(np.testing.assert_array_equal, split, whole)
    here, total = (
        sum(leaf.addressable_shards[0].data.nbytes if part else leaf.nbytes for leaf in jax.tree.leaves(split)) for part in (True, False)
    )
    assert here < 0.4 * total  # what no axis divides is whole
