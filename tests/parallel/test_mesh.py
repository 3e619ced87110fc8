import jax
import pytest
from jax.sharding import PartitionSpec

from da3jax.parallel import batch_sharding, fsdp_shardings, make_mesh


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, "float32")


def test_what_is_left_goes_to_the_axis_with_minus_one():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "view": 1}
    assert dict(make_mesh(2, -1).shape) == {"data": 2, "fsdp": 4, "view": 1}
    assert dict(make_mesh(2, view=-1).shape) == {"data": 2, "fsdp": 1, "view": 4}
    assert dict(make_mesh(1, 1, devices=jax.devices()[:1]).shape) == {"data": 1, "fsdp": 1, "view": 1}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ((3, -1), "a mesh of data 3 × fsdp -1 × view 1 does not fit 8 devices; their product is 8"),
        ((2, 2), "data 2 × fsdp 2 × view 1 does not fit 8 devices"),
        ((0, 8), "data 0 × fsdp 8 × view 1 cannot be made; all are positive numbers of devices, or one is -1"),
        ((-1, -1), "cannot be made"),
    ],
)
def test_devices_that_do_not_split_that_way_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(*axes)


def test_scenes_are_split_over_all_devices():
    assert batch_sharding(make_mesh(2, 4)).shard_shape((16, 3)) == (2, 3)


def test_large_leaves_are_split_along_their_longest_axis_that_fits_and_others_are_whole():
    tree = {"kernel": shape(128, 512), "tall": shape(1024, 130), "odd": shape(129, 131), "bias": shape(512), "step": shape()}
    found = jax.tree.map(lambda sharding: sharding.spec, fsdp_shardings(tree, make_mesh(2, 4)))
    whole = PartitionSpec()
    expected = {"kernel": PartitionSpec(None, "fsdp"), "tall": PartitionSpec("fsdp"), "odd": whole, "bias": whole, "step": whole}
    assert found == expected
    assert {sharding.spec for sharding in jax.tree.leaves(fsdp_shardings(tree, make_mesh(8, 1)))} == {whole}
