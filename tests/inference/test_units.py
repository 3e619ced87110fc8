"""What a prediction says of its units and its world agrees with itself, whatever was asked for."""

import jax
import numpy as np
import pytest

import da3jax
from da3jax.geometry import Alignment, Similarity, project
from da3jax.inference.prediction import to_prediction
from da3jax.inference.program import KnownCameras, Result, Task, _aligned
from da3jax.types import NetworkOutput, Views
from tests.inference.test_known_cameras import known_intrinsics, known_poses

SIZE = 56
KNOWN_EXTRINSICS = {
    "none": lambda: None,
    "all": lambda: known_poses(3),
    "some": lambda: [None, *known_poses(3)[1:]],
    "one": lambda: [None, known_poses(3)[1], None],
}
KNOWN_INTRINSICS = {"none": lambda: None, "all": lambda: known_intrinsics(3), "some": lambda: [known_intrinsics(3)[0], None, None]}
OUTPUTS = {"everything": None, "no cameras": ["depth", "ray", "points"], "no rays": ["depth", "cameras", "points"]}
ROWS = [
    pytest.param("model", "all", "some", True, "everything", False, marks=pytest.mark.integration),
    ("model", "none", "some", True, "no cameras", False),
    pytest.param("nested", "all", "none", True, "no cameras", False, marks=pytest.mark.integration),
    pytest.param("nested", "some", "some", False, "everything", False, marks=pytest.mark.integration),
    ("nested", "one", "all", True, "no rays", False),
]


aligned = jax.jit(_aligned, static_argnums=3)


def centres(extrinsics):
    return -np.einsum("nij,ni->nj", extrinsics[:, :, :3], extrinsics[:, :, 3])


@pytest.mark.parametrize(("kind", "extrinsics", "intrinsics", "to_input", "outputs", "by_rays"), ROWS)
def test_depth_cameras_rays_points_and_scales_agree(request, images, kind, extrinsics, intrinsics, to_input, outputs, by_rays):
    network = request.getfixturevalue(kind)
    known = KNOWN_EXTRINSICS[extrinsics](), KNOWN_INTRINSICS[intrinsics]()
    found = network.inference(
        images,
        extrinsics=known[0],
        intrinsics=known[1],
        align_to_input_ext_scale=to_input,
        outputs=OUTPUTS[outputs],
        use_ray_pose=by_rays,
        process_res=SIZE,
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    given = {view: pose for view, pose in enumerate([] if known[0] is None else known[0]) if pose is not None}

    factor = 1 if found.scale_factor is None else found.scale_factor
    assert (found.scale_factor is None) == (kind == "model")
    aligned = to_input and bool(given) and bool(found.alignment.scale_determined)
    assert found.is_metric == (kind == "nested" and not aligned)
    in_network = found.depth / factor / (found.alignment.similarity.scale if aligned else 1)
    cameras = None if not found.conditioned else known
    plain = network.inference(
        images,
        **({} if cameras is None else {"extrinsics": known[0], "intrinsics": known[1], "align_to_input_ext_scale": False}),
        use_ray_pose=by_rays,
        process_res=SIZE,
    )
    ground = found.conf > 1.0001 if kind == "nested" else np.full(found.conf.shape, True)
    np.testing.assert_allclose(in_network[ground], (plain.depth / (plain.scale_factor if kind == "nested" else 1))[ground], rtol=1e-3)

    if found.alignment is not None:
        to_known = found.alignment.similarity
        if to_input:
            np.testing.assert_array_equal(found.extrinsics[list(given)], np.float32(list(given.values())))
        else:
            moved = np.asarray(to_known.apply(centres(found.extrinsics)))[list(given)]
            np.testing.assert_allclose(moved, centres(np.float32(list(given.values()))), atol=1e-3 * max(1, float(to_known.scale)))
    if found.points is not None and found.extrinsics is not None and (found.ray is None or any(x is not None for x in known)):
        _, depth = project(found.points, found.extrinsics, found.intrinsics)
        np.testing.assert_allclose(depth, found.depth, rtol=1e-3, atol=1e-3 * np.abs(found.points).max())

    metres = da3jax.to_metres(found, depth=3 * found.depth) if found.extrinsics is not None else found
    if metres is not found:
        np.testing.assert_allclose(metres.depth, 3 * found.depth, rtol=1e-5)
        np.testing.assert_allclose(metres.scale_factor, 3 * factor, rtol=1e-5)
        assert metres.is_metric
        jax.tree.map(np.testing.assert_array_equal, metres.alignment, found.alignment)


def test_cameras_whose_rays_are_no_rays_do_not_count_in_the_alignment():
    poses = known_poses(4)
    predicted = np.float32(poses)
    predicted[:, :, 3] *= 2
    predicted[1] = np.eye(3, 4)  # what a solver gives where there is no camera
    known = KnownCameras.of(poses[None], None)
    output = NetworkOutput(depth=np.ones((1, 4, 2, 2), np.float32), extrinsics=predicted[None])
    _, alignment = aligned(output, known, np.array([[True, False, True, True]]), True)
    np.testing.assert_allclose(alignment.similarity.scale, 0.5, rtol=1e-4)
    np.testing.assert_array_equal(alignment.inliers[0], [True, False, True, True])


def test_the_residual_of_the_alignment_is_in_the_units_of_the_known_cameras():
    poses = known_poses(4)
    predicted = np.float32(poses)
    predicted[:, :, 3] = 5 * predicted[:, :, 3] + np.random.default_rng(1).uniform(-1, 1, (4, 3))
    output = NetworkOutput(depth=np.ones((1, 4, 2, 2), np.float32), extrinsics=predicted[None])
    _, alignment = aligned(output, KnownCameras.of(poses[None], None), np.full((1, 4), True), True)
    apart = np.asarray(alignment.similarity.apply(centres(predicted)[None]))[0] - centres(poses)
    np.testing.assert_allclose(alignment.residual, np.sqrt(np.mean(np.sum(apart**2, axis=-1))), rtol=1e-3)
    assert alignment.residual > 0.05


@pytest.mark.parametrize("determined", [True, False])
def test_a_turn_between_the_worlds_that_is_not_determined_is_said(determined, caplog):
    known = KnownCameras.of(known_poses(2)[None], None)
    flags = np.array([determined]), np.array([True])
    alignment = Alignment(Similarity.identity((1,)), *flags, np.full((1, 2), True), np.zeros(1, np.float32))
    result = Result(NetworkOutput(depth=np.ones((1, 2, 2, 2), np.float32)), alignment=alignment)
    found = to_prediction(jax.device_get(result), Views(None), known, Task(("depth",)), None)
    assert found.alignment.rotation_determined == determined
    assert ("the turn between their worlds is not determined" in caplog.text) == (not determined)


@pytest.mark.parametrize("noise", [0, 1e-16, 1e-12, 1e-7])
@pytest.mark.parametrize("centre", [(0, 0, 0), (1, 2, 3), (5e5, 5.5e6, 100)])
def test_cameras_that_only_turn_have_no_baseline_whatever_rounding_says(noise, centre):
    poses = known_poses(3)
    poses[..., 3] = -np.einsum("nij,j->ni", poses[..., :3], np.array(centre, float))
    poses[..., 3] += noise * np.random.default_rng(0).standard_normal((3, 3))
    assert not KnownCameras.of(poses[None], None).has_baseline


def test_cameras_a_hundred_thousandth_apart_have_a_baseline():
    poses = known_poses(3)
    poses[..., 3] *= 1e-5
    assert KnownCameras.of(poses[None], None).has_baseline


def test_small_baselines_in_map_coordinates_stay_and_what_float32_cannot_hold_is_said(caplog):
    poses = np.tile(np.eye(3, 4), (8, 1, 1))
    poses[..., 3] = -np.array([5e5, 5.5e6, 100.0])
    poses[..., 0, 3] -= 0.12 * np.arange(8)
    relative = KnownCameras.of(poses[None], None).relative
    np.testing.assert_allclose(relative[0, :, 0, 3], -0.12 * np.arange(8), atol=1e-6)
    assert "subtract an origin" in caplog.text
    caplog.clear()
    poses[..., 3] += np.array([5e5, 5.5e6, 0])
    assert KnownCameras.of(poses[None], None).has_baseline
    assert not caplog.records
