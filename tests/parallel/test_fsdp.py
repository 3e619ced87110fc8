import jax
from jax.sharding import PartitionSpec

from da3jax.parallel import fsdp_shardings, make_mesh


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, "float32")


def specs(tree, mesh):
    return jax.tree.map(lambda sharding: sharding.spec, fsdp_shardings(tree, mesh))


def test_large_leaves_are_split_along_their_longest_axis_that_fits_and_others_are_whole():
    tree = {"kernel": shape(128, 512), "tall": shape(1024, 130), "odd": shape(129, 131), "bias": shape(512), "step": shape()}
    whole = PartitionSpec()
    expected = {"kernel": PartitionSpec(None, "fsdp"), "tall": PartitionSpec("fsdp"), "odd": whole, "bias": whole, "step": whole}
    assert specs(tree, make_mesh(2, 4)) == expected
    assert {sharding.spec for sharding in jax.tree.leaves(fsdp_shardings(tree, make_mesh(8, 1)))} == {whole}


def test_stacked_layers_are_never_split_among_themselves():
    stacked = {"backbone": {"segment_0": {"kernel": shape(512, 128)}}, "kernel": shape(512, 128)}
    expected = {"backbone": {"segment_0": {"kernel": PartitionSpec(None, "fsdp")}}, "kernel": PartitionSpec("fsdp")}
    assert specs(stacked, make_mesh(2, 4)) == expected
