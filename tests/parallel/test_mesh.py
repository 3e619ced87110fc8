import re

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from da3jax.parallel import axes_for, batch_sharding, make_mesh, mesh_of, scenes_mesh, view_sharding


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


def test_the_refusal_names_a_mesh_that_fits():
    for axes, right in (((2, 2, 1), "make_mesh(data=2, fsdp=2, view=2)"), ((1, 1, 3), "make_mesh(data=1, fsdp=1, view=8)"),
                        ((3, -1, 1), "make_mesh(data=4, fsdp=2, view=1)"), ((3, 3, 3), "make_mesh(data=8)")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"-1 for what is left: {re.escape(right)} would do$"):
            make_mesh(*axes)


def test_fewer_scenes_than_devices_share_these_for_their_views():
    mesh = make_mesh(1, 4, 2)
    assert axes_for(mesh, 1) == (("data",), ("fsdp", "view"))
    assert axes_for(mesh, 8) == (("data", "fsdp"), ("view",))
    assert view_sharding(mesh, 1).shard_shape((1, 16, 3)) == (1, 2, 3)
    assert view_sharding(mesh, 8).shard_shape((8, 16, 3)) == (2, 8, 3)


def test_a_mesh_with_other_axes_is_refused():
    with pytest.raises(ValueError, match=r"the mesh has the axes \('x',\); da3jax.make_mesh makes one with \('data', 'fsdp', 'view'\)"):
        axes_for(jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,)), 8)


def test_the_devices_of_one_scene():
    assert dict(mesh_of(4).shape) == {"data": 1, "fsdp": 1, "view": 4}
    for devices in (jax.devices()[2:4], np.array(jax.devices()[2:4])):
        assert mesh_of(devices).devices.ravel().tolist() == jax.devices()[2:4]
    for devices in (0, 9):
        with pytest.raises(ValueError, match=rf"devices is {devices}; there are 8 \(cpu\), so it is from 1 to 8"):
            mesh_of(devices)
    assert mesh_of(np.int64(2)).size == 2
    for make in (mesh_of, lambda devices: make_mesh(devices=devices)):
        with pytest.raises(ValueError, match=r"devices is empty; it is at least one of jax.devices\(\)"):
            make([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mesh_of(2.0), r"devices is 2.0; it is how many, or a list such as jax.devices\(\)\[:2\]"),
        (lambda: mesh_of(True), "devices is True; it is how many"),
        (lambda: mesh_of(jax.devices()[0]), "it is how many, or a list"),
        (lambda: mesh_of("2"), r"devices is '2'; it is a list of devices, such as jax.devices\(\)\[:2\]"),
        (lambda: make_mesh(devices=jax.devices()[0]), "it is a list of devices, such as"),
        (lambda: make_mesh("2"), "a mesh of data 2 × fsdp 1 × view 1 cannot be made; all are whole numbers of devices"),
        (lambda: make_mesh(2.0), "a mesh of data 2.0 × .* all are whole numbers of devices"),
    ],
)
def test_what_is_no_device_and_no_number_of_them_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_device_that_shares_scenes_keeps_its_part_of_the_parameters():
    mesh = make_mesh(1, 4, 2)
    index_of = [NamedSharding(m, PartitionSpec("fsdp")).devices_indices_map((4,)) for m in (mesh, scenes_mesh(mesh))]
    assert index_of[0] == index_of[1]
    assert dict(scenes_mesh(mesh).shape) == {"data": 2, "fsdp": 4, "view": 1}
