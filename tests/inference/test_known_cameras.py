"""Every combination of known cameras, from `inference` to the result."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import da3jax
from da3jax.geometry import align_poses, normalize_poses, rotation_from_axis_angle, unproject
from da3jax.inference import program
from da3jax.inference.program import KnownCameras, Task
from da3jax.types import NetworkOutput

SIZE = 56  # pixels of the long side; the pictures are 60 × 80, so that the processed ones are 42 × 56


def known_poses(count: int, seed: int = 0) -> np.ndarray:
    """(count, 3, 4) float64 world-to-camera, a world of its own."""
    rng = np.random.default_rng(seed)
    rotation = np.asarray(rotation_from_axis_angle(0.3 * rng.standard_normal((count, 3))), np.float64)
    rotation, _ = np.linalg.qr(rotation)
    rotation *= np.sign(np.linalg.det(rotation))[:, None, None]
    return np.concatenate([rotation, 2 * rng.standard_normal((count, 3, 1))], axis=-1)


def known_intrinsics(count: int) -> np.ndarray:
    """(count, 3, 3) pixels of a 60 × 80 picture."""
    matrices = np.tile(np.array([[70.0, 0, 41], [0, 72, 29], [0, 0, 1]]), (count, 1, 1))
    matrices[:, 0, 0] += np.arange(count)
    return matrices


def processed(intrinsics: np.ndarray) -> np.ndarray:
    return np.diag([56 / 80, 42 / 60, 1]) @ intrinsics


def raw(model, images, **cameras):
    """The network's own output for the same views."""
    batch = da3jax.preprocess(images, process_res=SIZE)
    run = jax.jit(lambda params, images, cameras: da3jax.forward(params, images, config=model.config, **cameras))
    return jax.tree.map(lambda leaf: leaf[0], run(model.params, batch.images, cameras))


@pytest.fixture(scope="module")
def unconditioned(model, images):
    return raw(model, images)


@pytest.fixture(scope="module")
def conditioned(model, images):
    """The network's output for `known_poses(3)` and `known_intrinsics(3)`, which it sees normalised."""
    extrinsics = normalize_poses(jnp.asarray(known_poses(3), jnp.float32))[None]
    return raw(model, images, extrinsics=extrinsics, intrinsics=jnp.asarray(processed(known_intrinsics(3)), jnp.float32)[None])


def test_both_for_all_views_condition_the_network_and_the_result_is_in_their_world(model, images, conditioned):
    extrinsics, intrinsics = known_poses(3), known_intrinsics(3)
    found = model.inference(images, extrinsics=extrinsics, intrinsics=intrinsics, process_res=SIZE)
    fit = align_poses(jnp.asarray(extrinsics, jnp.float32), conditioned.extrinsics)  # to the prediction, whose errors are the noise
    assert found.conditioned == ("extrinsics", "intrinsics")
    np.testing.assert_array_equal(found.extrinsics, extrinsics.astype(np.float32))
    np.testing.assert_allclose(found.intrinsics, processed(intrinsics), rtol=1e-6)
    np.testing.assert_allclose(found.depth, conditioned.depth / fit.similarity.scale, rtol=2e-3)
    np.testing.assert_allclose(found.conf, conditioned.depth_conf, rtol=1e-5)
    np.testing.assert_allclose(found.points, unproject(found.depth, found.intrinsics, found.extrinsics), atol=1e-4)
    assert found.alignment.scale_determined
    np.testing.assert_allclose(found.alignment.similarity.scale, 1 / fit.similarity.scale, rtol=2e-3)
    assert found.is_metric is False


def test_rays_and_predicted_cameras_move_with_the_alignment(model, images, conditioned):
    found = model.inference(images, extrinsics=known_poses(3), intrinsics=known_intrinsics(3), process_res=SIZE)
    to_world = found.alignment.similarity
    np.testing.assert_allclose(found.ray[..., 3:], to_world.apply(conditioned.ray[..., 3:]), atol=1e-4 * float(to_world.scale))
    np.testing.assert_allclose(found.ray[..., :3], conditioned.ray[..., :3] @ to_world.rotation.T, atol=1e-4)


def test_without_the_input_s_scale_the_known_cameras_come_into_the_network_s_world(model, images, conditioned):
    extrinsics = known_poses(3)
    found = model.inference(images, extrinsics=extrinsics, intrinsics=known_intrinsics(3), align_to_input_ext_scale=False, process_res=SIZE)
    fit = align_poses(jnp.asarray(extrinsics, jnp.float32), conditioned.extrinsics)
    assert found.extrinsics.shape == (3, 3, 4)
    np.testing.assert_allclose(found.extrinsics, fit.similarity.apply_to_cameras(jnp.asarray(extrinsics, jnp.float32)), atol=1e-4)
    np.testing.assert_allclose(found.depth, conditioned.depth, rtol=1e-5)
    np.testing.assert_allclose(found.ray, conditioned.ray, atol=1e-5)


def test_a_world_far_away_costs_no_precision(model, images):
    extrinsics, intrinsics = known_poses(3), known_intrinsics(3)
    far = extrinsics.copy()
    far[..., 3] -= far[..., :3] @ np.array([5e5, 5.5e6, 1e2])  # the same cameras in map coordinates
    near = model.inference(images, extrinsics=extrinsics, intrinsics=intrinsics, process_res=SIZE)
    found = model.inference(images, extrinsics=far, intrinsics=intrinsics, process_res=SIZE)
    np.testing.assert_allclose(found.depth, near.depth, rtol=1e-3)


def test_intrinsics_alone_are_the_result_s_and_do_not_condition(model, images, unconditioned, caplog):
    caplog.set_level(logging.INFO, "da3jax")
    intrinsics = known_intrinsics(3)
    found = model.inference(images, intrinsics=[intrinsics[0], None, intrinsics[2]], process_res=SIZE)
    assert found.conditioned == ()
    assert "do not condition the network" in caplog.text
    np.testing.assert_allclose(found.depth, unconditioned.depth, rtol=1e-5)
    np.testing.assert_allclose(found.intrinsics[[0, 2]], processed(intrinsics)[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(found.intrinsics[1], unconditioned.intrinsics[1], rtol=1e-5)
    np.testing.assert_allclose(found.points, unproject(found.depth, found.intrinsics, found.extrinsics), atol=1e-4)
    assert found.alignment is None


def test_extrinsics_alone_condition_with_intrinsics_of_a_first_pass(model, images, unconditioned, caplog):
    caplog.set_level(logging.INFO, "da3jax")
    extrinsics = known_poses(3)
    found = model.inference(images, extrinsics=extrinsics, process_res=SIZE)
    again = raw(
        model,
        images,
        extrinsics=normalize_poses(jnp.asarray(extrinsics, jnp.float32))[None],
        intrinsics=jnp.asarray(unconditioned.intrinsics)[None],
    )
    assert found.conditioned == ("extrinsics",)
    assert "a first pass of the network gives the others" in caplog.text
    np.testing.assert_allclose(found.conf, again.depth_conf, rtol=1e-4)
    np.testing.assert_allclose(found.intrinsics, again.intrinsics, rtol=1e-4)
    np.testing.assert_array_equal(found.extrinsics, extrinsics.astype(np.float32))


def test_the_network_is_given_the_known_intrinsics_and_those_of_a_first_pass_for_the_others(monkeypatch):
    seen = []
    monkeypatch.setattr(
        program, "forward", lambda *_, **options: seen.append(options) or NetworkOutput(intrinsics=np.full((1, 3, 3, 3), 7))
    )
    intrinsics, mask = known_intrinsics(3), np.array([[True, True, False]])
    known = KnownCameras.of(known_poses(3)[None], np.where([[[False]], [[True]], [[False]]], np.nan, intrinsics)[None])
    program._network({}, np.zeros((1, 3, 42, 56, 3)), known, Task(("depth",), conditioned=True, first_pass=True), {"view_mask": mask})
    first, second = seen
    assert first["outputs"] == ("cameras",)
    assert not {"extrinsics", "intrinsics"} & set(first)
    np.testing.assert_allclose(second["intrinsics"], [[intrinsics[0], np.full((3, 3), 7), intrinsics[2]]], rtol=1e-6)
    np.testing.assert_allclose(second["extrinsics"][:, :2], normalize_poses(jnp.asarray(known.relative[:, :2])), atol=1e-5)


def test_extrinsics_of_some_views_align_and_do_not_condition(model, images, unconditioned, caplog):
    caplog.set_level(logging.INFO, "da3jax")
    extrinsics = known_poses(3)
    found = model.inference(images, extrinsics=[extrinsics[0], None, extrinsics[2]], intrinsics=known_intrinsics(3), process_res=SIZE)
    mask = jnp.array([True, False, True])
    fit = align_poses(jnp.asarray(extrinsics, jnp.float32), unconditioned.extrinsics, mask)
    assert found.conditioned == ()
    assert "extrinsics of 2 of 3 views" in caplog.text
    np.testing.assert_array_equal(found.extrinsics[[0, 2]], extrinsics[[0, 2]].astype(np.float32))
    expected = fit.similarity.inverse().apply_to_cameras(unconditioned.extrinsics)[1]
    np.testing.assert_allclose(found.extrinsics[1], expected, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(found.depth, unconditioned.depth / fit.similarity.scale, rtol=2e-3)


def test_a_single_known_camera_places_the_world_and_leaves_the_scale(model, images, caplog):
    extrinsics = known_poses(3)
    found = model.inference(images, extrinsics=[None, extrinsics[1], None], process_res=SIZE)
    alone = model.inference(images, process_res=SIZE)
    assert not found.alignment.scale_determined
    assert "determine no scale: depth keeps the network's" in caplog.text
    np.testing.assert_allclose(found.depth, alone.depth, rtol=1e-5)
    np.testing.assert_array_equal(found.extrinsics[1], extrinsics[1].astype(np.float32))
    between = lambda e: e[0, :, :3] @ e[1, :, :3].T  # noqa: E731
    np.testing.assert_allclose(between(found.extrinsics), between(alone.extrinsics), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_views_with_cameras_work(model, images, count):
    extrinsics = known_poses(count)
    found = model.inference(images[:count], extrinsics=extrinsics, intrinsics=known_intrinsics(count), process_res=SIZE)
    assert bool(found.alignment.scale_determined) == (count == 2)
    assert bool(found.alignment.rotation_determined)
    np.testing.assert_array_equal(found.extrinsics, extrinsics.astype(np.float32))
    assert np.isfinite(found.depth).all()
    assert (found.depth > 0).all()


def test_cameras_on_a_line_determine_the_scale_and_cameras_that_only_turn_do_not(model, images):
    line, turning, rounded = known_poses(3), known_poses(3), known_poses(3).astype(np.float32)
    centres = np.arange(3)[:, None] * np.array([1.0, 2, 3])
    line[..., 3] = -np.einsum("nij,nj->ni", line[..., :3], centres)
    turning[..., 3] = -np.einsum("nij,j->ni", turning[..., :3], np.array([1.0, 2, 3]))
    rounded[..., 3] = -np.einsum("nij,j->ni", rounded[..., :3], np.float32([1e3, 2e3, 3e3]))
    in_text = np.round(turning, 5)
    for extrinsics, determined in ((line, True), (turning, False), (rounded, False), (rounded.astype(np.float64), False), (in_text, False)):
        found = model.inference(images, extrinsics=extrinsics, intrinsics=known_intrinsics(3), process_res=SIZE)
        assert bool(found.alignment.scale_determined) == determined
        assert np.isfinite(found.points).all()
        np.testing.assert_array_equal(found.extrinsics, extrinsics.astype(np.float32))


@pytest.mark.slow
def test_from_ten_views_on_wrong_known_cameras_do_not_spoil_the_scale(model):
    rng = np.random.default_rng(3)
    many = [rng.integers(0, 256, (28, 28, 3), dtype=np.uint8) for _ in range(12)]
    own = model.inference(many, process_res=28)
    truth = np.asarray(own.extrinsics, np.float64)
    truth[..., 3] *= 2.5  # the network's own cameras in another unit
    known = list(truth)
    known[3] = None  # some are not known, so that the network is not conditioned and its cameras stay
    for wrong in (5, 8):
        known[wrong] = known[wrong] + np.array([[0, 0, 0, 30.0]] * 3)
    found = model.inference(many, extrinsics=known, process_res=28)
    np.testing.assert_array_equal(np.flatnonzero(~found.alignment.inliers), [3, 5, 8])
    np.testing.assert_allclose(found.alignment.similarity.scale, 2.5, rtol=1e-3)
    np.testing.assert_allclose(found.extrinsics[3], truth[3], atol=1e-3 * np.abs(truth[3]).max())


@pytest.mark.integration
def test_cameras_out_of_rays_are_aligned_likewise(model, images):
    extrinsics = known_poses(3)
    found = model.inference(images, extrinsics=extrinsics, intrinsics=known_intrinsics(3), use_ray_pose=True, process_res=SIZE)
    assert found.conditioned == ("extrinsics", "intrinsics")
    np.testing.assert_array_equal(found.extrinsics, extrinsics.astype(np.float32))
    assert found.ray_residual.shape == (3,)


def test_independent_images_take_intrinsics_each_its_own(model, images):
    intrinsics = known_intrinsics(3)
    found = model.inference(images, intrinsics=intrinsics, independent=True, process_res=SIZE)
    np.testing.assert_allclose(found.intrinsics, processed(intrinsics), rtol=1e-6)
    assert found.extrinsics is None
    directions = (found.points / found.points[..., 2:]) @ np.swapaxes(found.intrinsics[:, None], -1, -2)  # back in the image
    np.testing.assert_allclose(directions[:, 0, 0, :2], 0.5, atol=1e-3)


@pytest.mark.parametrize("outputs", [["depth"], ["depth", "cameras"]])
def test_the_scale_does_not_depend_on_what_else_was_asked_for(model, images, outputs):
    cameras = {"extrinsics": known_poses(3), "intrinsics": known_intrinsics(3)}
    few = model.inference(images, **cameras, outputs=outputs, process_res=SIZE)
    np.testing.assert_allclose(few.depth, model.inference(images, **cameras, process_res=SIZE).depth, rtol=1e-4)
    assert few.ray is None


def pose(change):
    extrinsics = known_poses(3)
    change(extrinsics)
    return {"extrinsics": extrinsics}


def nan(extrinsics):
    extrinsics[1, 0, 3] = np.nan


def mirrored(extrinsics):
    extrinsics[2, 0] *= -1


def sheared(extrinsics):
    extrinsics[0, 0, 1] += 0.2


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (pose(nan), r"extrinsics of view 1 \(image 1\) are nan at \[0, 3\]"),
        (pose(mirrored), r"extrinsics of view 2 \(image 2\) are left-handed"),
        (pose(sheared), r"extrinsics of view 0 \(image 0\) are not rigid"),
        ({"extrinsics": known_poses(2)}, "extrinsics have 2 entries for 3 images"),
        ({"intrinsics": known_intrinsics(4)}, "intrinsics have 4 entries for 3 images"),
        ({"extrinsics": known_poses(3)[:, :, :3]}, r"extrinsics of view 0 \(image 0\) are of shape \(3, 3\)"),
        (
            {"extrinsics": known_poses(3), "independent": True},
            "extrinsics place the views in one world",
        ),
    ],
)
def test_what_can_be_no_camera_is_refused_naming_the_view(model, images, cameras, message):
    with pytest.raises(ValueError, match=message):
        model.inference(images, **cameras, process_res=SIZE)


def test_a_network_without_cameras_takes_intrinsics_alone(single_view, images):
    with pytest.raises(ValueError, match=r"tiny-single-view predicts no cameras .*; it takes intrinsics"):
        single_view.inference(images, extrinsics=known_poses(3), process_res=SIZE)
    found = single_view.inference(images, intrinsics=known_intrinsics(3), process_res=SIZE)
    np.testing.assert_allclose(found.points, unproject(found.depth, found.intrinsics), rtol=1e-5)
