"""What leaves the device early is what nothing looks at again."""

import dataclasses

import numpy as np
import pytest

from da3jax.inference.plan import planned
from da3jax.inference.program import KnownCameras, Task, run
from da3jax.ops.target import made_for
from da3jax.types import Views
from tests.quick import quick_jit

ALL = ("depth", "ray", "cameras", "points")
EXTRINSICS = (
    np.tile(np.eye(3, 4, dtype=np.float32), (1, 3, 1, 1)) + np.float32([0, 0, 0, 1]) * np.arange(3, dtype=np.float32)[:, None, None]
)
INTRINSICS = np.tile(np.float32([[40, 0, 21], [0, 40, 14], [0, 0, 1]]), (1, 3, 1, 1))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("task", "known", "left"),
    [
        (Task(ALL), KnownCameras(), {"depth_conf", "ray_conf"}),  # points are made of the rays
        (Task(ALL[:3]), KnownCameras(), {"depth_conf", "ray", "ray_conf"}),
        (Task(("depth", "ray", "points"), use_ray_pose=True), KnownCameras(intrinsics=INTRINSICS), {"depth_conf"}),  # both by cameras
        (Task(("depth", "ray", "points")), KnownCameras(intrinsics=INTRINSICS), {"depth_conf", "ray_conf"}),  # no cameras to use
        (Task(ALL[:3], use_ray_pose=True), KnownCameras(), {"depth_conf"}),
        (Task(ALL), KnownCameras(intrinsics=INTRINSICS), {"depth_conf", "ray", "ray_conf"}),
        (Task(ALL), KnownCameras.of(EXTRINSICS, None), set()),  # everything is scaled
    ],
)
def test_results_leave_when_they_are_finished(model, task, known, left):
    images = np.random.default_rng(0).standard_normal((1, 3, 28, 42, 3), dtype=np.float32)
    results = []
    for to_host in (False, True):
        task = dataclasses.replace(task, to_host=to_host)
        program = quick_jit(lambda params, task=task: run(params, images, known, None, task=task, config=model.config, dtype="float32"))
        results.append(program(model.params))
    network = {name: value for name, value in vars(results[1].network).items() if value is not None}
    assert {name for name, value in network.items() if value.sharding.memory_kind == "pinned_host"} == left
    for name, value in network.items():
        np.testing.assert_array_equal(value, getattr(results[0].network, name))
    if "points" in task.outputs:
        np.testing.assert_array_equal(results[1].points, results[0].points)


def test_an_accelerator_sends_results_that_are_wanted_on_the_host(model):
    views = Views(np.zeros((1, 1, 28, 42, 3), np.float32))
    assert not planned(model.config, views)[1].to_host
    with made_for(type("Device", (), {"platform": "gpu"})()):
        assert [planned(model.config, views, as_numpy=wanted)[1].to_host for wanted in (True, False)] == [True, False]
