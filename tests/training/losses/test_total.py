"""The sum of the losses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training.losses import (
    LOSSES,
    LossConfig,
    LossWeights,
    Targets,
    attention_loss,
    canonical_depth,
    correspondence_loss,
    global_local_loss,
    gradient_loss,
    normalize_targets,
    outputs_of,
    total_loss,
)
from da3jax.types import NetworkOutput
from tests.quick import quick_jit
from tests.training.losses.test_correspondence import wall

RNG = np.random.default_rng(0)
SHAPE = (2, 2, 14, 14)
DEPTH = RNG.uniform(1, 1.2, SHAPE).astype(np.float32)
MASK = RNG.random(SHAPE) > 0.2
EXTRINSICS = np.tile(np.eye(3, 4, dtype=np.float32), (2, 2, 1, 1))
EXTRINSICS[:, 1, 0, 3] = 0.3
INTRINSICS = np.tile(np.float32([[9, 0, 6], [0, 10, 8], [0, 0, 1]]), (2, 2, 1, 1))
SKY = RNG.random(SHAPE) > 0.9
TARGETS = Targets(DEPTH, MASK, EXTRINSICS, INTRINSICS, sky=SKY, objects=np.ones(SHAPE, bool))
SMALL = {"local_levels": (2,), "align_samples": 64, "gradient_scales": 2}
CONFIGS = {name: dataclasses.replace(config, **SMALL) for name, config in LOSSES.items()}
TERMS = ["depth", "ray", "point", "camera", "gradient", "global_local", "normal", "sky", "objects", "scale_shift_invariant"]
OURS = ["motion", "relative_depth"]


def only(term, **options):
    """A configuration with one term."""
    return LossConfig(LossWeights(**{**dict.fromkeys(TERMS + OURS, 0), term: 1}), **{**SMALL, **options})


def perfect(targets=TARGETS, units="scene"):
    """What a network would give that knows the truth, as sure as it may be of nothing, and an object mask."""
    truth = normalize_targets(targets.depth, targets.extrinsics, targets.intrinsics, targets.valid())
    depth = truth.depth if units == "scene" else canonical_depth(targets.depth, targets.intrinsics)
    return NetworkOutput(
        depth=jnp.where(depth > 0, depth, 1),
        depth_conf=jnp.ones(SHAPE),
        ray=truth.ray,
        ray_conf=jnp.ones(truth.ray.shape[:-1]),
        pose_enc=truth.pose_enc,
        sky=jnp.asarray(targets.sky, jnp.float32),
    )


def noisy(output):
    return jax.tree.map(lambda x: x + np.float32(0.1) * RNG.uniform(0.5, 1, x.shape).astype(np.float32), output)


@functools.cache
def compiled(config):
    def loss(output, objects, targets):
        return total_loss(output, targets, config, objects=objects)

    return quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def run(output, config, targets=TARGETS, objects=None):
    objects = jnp.ones(SHAPE) if objects is None else objects
    (value, logged), gradient = compiled(config)(output, objects, targets)
    return float(value), {name: float(x) for name, x in logged.items()}, gradient


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_has_no_loss_and_a_worse_one_has_more(name):
    truth = perfect(units="canonical" if name == "metric" else "scene")
    value, logged, gradient = run(truth, CONFIGS[name])
    assert value == pytest.approx(0, abs=1e-3)  # the angles of normals round worst
    worse, _, _ = run(noisy(truth), CONFIGS[name])
    assert worse > 0.01
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert all(np.isfinite(x) for x in logged.values())


def test_the_sum_is_that_of_the_weighted_terms():
    weights = LossWeights(depth=2, ray=3, point=0.5, camera=0.25, gradient=4, sky=5, objects=6, scale_shift_invariant=7)
    value, logged, _ = run(noisy(perfect()), LossConfig(weights, **SMALL), objects=jnp.full(SHAPE, 0.5))
    assert value == pytest.approx(sum(weight * logged[name] for name, weight in dataclasses.asdict(weights).items() if weight), rel=1e-5)
    assert logged["total"] == value
    assert logged["objects"] == pytest.approx(0.25)
    assert "normal" not in logged


@pytest.mark.parametrize("name", OURS)
def test_terms_beside_those_of_the_paper_look_at_what_they_are_named_after(name):
    output = noisy(perfect())
    _, logged, (gradient, _) = run(output, only(name))
    assert logged["total"] == logged[name] > 0
    changed = {field for field in ("depth", "ray", "pose_enc") if np.asarray(getattr(gradient, field)).any()}
    assert changed == ({"ray", "pose_enc"} if name == "motion" else {"depth"})
    assert run(perfect(), only(name))[0] == pytest.approx(0, abs=1e-6)


def test_the_camera_loss_is_that_of_its_weighted_parts():
    _, logged, _ = run(noisy(perfect()), only("camera", camera_translation=2.0, camera_quaternion=3.0, camera_fov=0.5))
    parts = [logged[f"camera_{part}"] for part in ("translation", "quaternion", "fov")]
    assert min(parts) > 0
    assert logged["camera"] == pytest.approx(np.dot([2, 3, 0.5], parts), rel=1e-5)


def test_confidence_is_clamped_and_logged():
    output = dataclasses.replace(noisy(perfect()), depth_conf=jnp.full(SHAPE, 8.0))
    free, logged, _ = run(output, only("depth", max_confidence=None))
    guarded, guarded_logged, _ = run(output, only("depth", max_confidence=4.0))
    assert guarded - free == pytest.approx((4 - 8) * (free + 0.2 * np.log(8)) / 8 + 0.2 * np.log(8 / 4), rel=1e-3)
    assert (logged["depth_conf_mean"], logged["depth_conf_max"], logged["depth_conf_clamped"]) == (8, 8, 0)
    assert guarded_logged["depth_conf_clamped"] == 1
    assert guarded_logged["ray_conf_max"] == pytest.approx(1.1, abs=0.01)


def test_confidence_of_rays_and_points_is_used_where_asked_for():
    output = dataclasses.replace(noisy(perfect()), ray_conf=jnp.full((2, 2, 8, 8), 2.0), depth_conf=jnp.full(SHAPE, 3.0))
    plain, sure = (run(output, only("ray", ray_confidence=use))[0] for use in (False, True))
    assert sure == pytest.approx(2 * plain - 0.2 * np.log(2), rel=1e-4)
    plain, sure = (run(output, only("point", point_confidence=use))[0] for use in (False, True))
    assert sure == pytest.approx(3 * plain - 0.2 * np.log(3), rel=1e-4)


@pytest.mark.parametrize("name", ["teacher", "mono"])
def test_scale_and_shift_of_the_prediction_do_not_matter_to_the_teacher(name):
    output = noisy(perfect())
    moved = dataclasses.replace(output, depth=5 * output.depth + 2)
    assert run(moved, CONFIGS[name])[0] == pytest.approx(run(output, CONFIGS[name])[0], rel=1e-3)


def test_depth_of_a_metric_network_is_at_the_canonical_focal_length():
    value, _, _ = run(NetworkOutput(depth=jnp.zeros(SHAPE)), only("depth", units="canonical", canonical_focal=19.0))
    valid = np.asarray(TARGETS.valid())
    assert value == pytest.approx(2 * DEPTH[valid].mean(), rel=1e-5)  # the focal length is 9.5


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_known_may_hold_anything(name):
    output = noisy(perfect())
    wanted = run(output, CONFIGS[name])
    spoiled = dataclasses.replace(TARGETS, depth=np.where(TARGETS.valid(), DEPTH, np.nan))
    found = run(output, CONFIGS[name], spoiled)
    assert found[0] == wanted[0]
    for a, b in zip(jax.tree.leaves(found[2]), jax.tree.leaves(wanted[2]), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_which_nothing_is_known_gives_zero(name):
    nan = np.float32(np.nan)
    nothing = Targets(
        np.full(SHAPE, nan),
        ~MASK,
        np.full_like(EXTRINSICS, nan),
        np.full_like(INTRINSICS, nan),
        None,
        np.full(SHAPE, nan),
        np.full(SHAPE, nan),
    )
    value, logged, gradient = run(noisy(perfect()), CONFIGS[name], nothing)
    assert value == 0
    assert logged["valid_share"] == 0
    assert all(not np.asarray(x).any() for x in jax.tree.leaves(gradient))


@pytest.mark.integration
def test_the_gradient_of_the_main_loss_is_its_numerical_difference():
    with jax.enable_x64(True):
        output = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), noisy(perfect()))
        targets = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64 if x.dtype != bool else bool), TARGETS)
        (_, _), (gradient, _) = compiled(CONFIGS["anyview"])(output, jnp.ones(SHAPE), targets)
        step = jax.tree.map(lambda x: jnp.asarray(RNG.standard_normal(x.shape)), output)
        moved = [jax.tree.map(lambda x, d, h=h: x + h * d, output, step) for h in (-1e-6, 1e-6)]
        values = [compiled(CONFIGS["anyview"])(x, jnp.ones(SHAPE), targets)[0][0] for x in moved]
        slope = sum(jnp.sum(g * d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(step), strict=True))
    assert float(values[1] - values[0]) / 2e-6 == pytest.approx(float(slope), rel=1e-5)


def test_the_loss_is_float32_and_maps_over_scenes():
    output, config = noisy(perfect()), CONFIGS["anyview"]

    def of_scene(output, targets):
        return total_loss(*jax.tree.map(lambda x: x[None], (output, targets)), config)[0]

    losses = quick_jit(jax.vmap(of_scene))(output, TARGETS)
    single = quick_jit(of_scene)
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, [single(*jax.tree.map(lambda x, i=i: x[i], (output, TARGETS))) for i in range(2)], rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "output", "targets", "sentence"),
    [
        (LossConfig(), {"ray": None}, {}, r"weights\.ray is 1\.0, and the network gives no ray; set it to 0, or ask forward for"),
        (only("camera"), {"pose_enc": None}, {}, r"weights\.camera is 1, and the network gives no pose_enc"),
        (only("sky"), {"sky": None}, {}, r"weights\.sky is 1, and the network gives no sky"),
        (only("correspondence"), {}, {}, r"weights\.correspondence is 1, and the output lacks blocks \[0\]; ask forward"),
        (only("attention", attention_blocks=(3, 5)), {"queries_keys": {5: ()}}, {}, r"blocks \[3\]; .* attention_layers=\[3, 5\]"),
        (only("sky"), {}, {"sky": None}, r"weights\.sky is 1, and targets\.sky is None; set it to 0, or give the mask"),
        (only("objects"), {}, {}, r"weights\.objects is 1, and no predicted object mask is given; set it to 0, or pass objects"),
        (LossConfig(), {"depth": jnp.ones((2, 2, 14, 28))}, {}, r"output\.depth has shape .*; for these targets it is \(2, 2, 14, 14\)"),
        (LossConfig(), {"ray": jnp.ones((2, 2, 4, 4, 6))}, {}, r"output\.ray has shape .*; for these targets it is \(2, 2, 8, 8, 6\)"),
        (LossConfig(), {"pose_enc": jnp.ones((2, 1, 9))}, {}, r"output\.pose_enc has shape"),
        (LossConfig(), {}, {"mask": MASK[:1]}, r"targets\.mask has shape \(1, 2, 14, 14\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(config, output, targets, sentence):
    with pytest.raises(ValueError, match=sentence):
        total_loss(dataclasses.replace(perfect(), **output), dataclasses.replace(TARGETS, **targets), config)


def test_an_object_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"objects has shape \(1,\); for these targets it is \(2, 2, 14, 14\)"):
        total_loss(perfect(), TARGETS, only("objects"), objects=jnp.ones(1))


def test_the_network_is_asked_for_what_the_terms_read():
    assert outputs_of(LossWeights()) == ("depth", "ray", "cameras")
    assert outputs_of(LossWeights(depth=0, ray=0, point=0, gradient=0, camera=0, motion=1)) == ("cameras", "ray")
    assert outputs_of(LOSSES["mono"].weights) == ("depth", "sky")
    assert outputs_of(LossWeights(depth=0, ray=0, point=0, gradient=0, camera=1)) == ("cameras",)
    assert outputs_of(LossWeights(depth=0, ray=0, point=0, gradient=0, camera=0, correspondence=1)) == ()


@pytest.mark.parametrize(("term", "units"), [("global_local", "relative"), ("normal", "relative"), ("point", "scene")])
def test_of_views_without_intrinsics_surfaces_and_points_do_not_count(term, units):
    output = noisy(perfect())
    unknown = INTRINSICS.copy()
    unknown[0, 1] = np.nan
    mask = MASK.copy()
    mask[0, 1] = False
    config = only(term, units=units, align_samples=256, least_local_pixels=4)
    found = run(output, config, dataclasses.replace(TARGETS, intrinsics=unknown))[1][term]
    expected = run(output, config, dataclasses.replace(TARGETS, mask=mask))[1][term]
    assert expected > 0
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("term", ["gradient", "normal"])
def test_a_view_to_which_no_scale_fits_does_not_count(term):
    output = noisy(perfect())
    flat = dataclasses.replace(output, depth=output.depth.at[0, 1].set(1.5))
    mask = MASK.copy()
    mask[0, 1] = False
    config = only(term, units="relative", align_samples=256)
    value, logged, _ = run(flat, config)
    expected, without, _ = run(flat, config, dataclasses.replace(TARGETS, mask=mask))
    assert value == pytest.approx(expected, rel=1e-2)  # the scale of a scene is that of its valid points
    assert logged["valid_share"] == pytest.approx(without["valid_share"])


def test_true_normals_are_what_the_prediction_s_are_compared_with():
    normals = np.broadcast_to(np.float32([0.6, 0, -0.8]), (*SHAPE, 3))
    found = quick_jit(lambda *given: total_loss(*given, only("normal"))[0])(perfect(), dataclasses.replace(TARGETS, normals=normals))
    assert float(found) > 0.3


def test_terms_are_asked_with_the_options_of_the_configuration():
    depth, extrinsics, intrinsics = wall()
    depth *= RNG.uniform(1, 1.02, depth.shape).astype(np.float32)
    targets = Targets(depth, depth > 0, extrinsics, intrinsics)

    def random(*shape):
        return jnp.asarray(RNG.standard_normal(shape), jnp.float32)

    looks = {block: (random(1, 2, 9, 3, 4), random(1, 2, 9, 3, 4)) for block in (3, 5)}
    output = NetworkOutput(depth=random(*depth.shape) + 9, features={2: random(1, 2, 2, 4, 6)}, queries_keys=looks)
    terms = ("gradient", "global_local", "correspondence", "attention")
    config = LossConfig(
        LossWeights(**{**dict.fromkeys(TERMS + OURS, 0), **dict.fromkeys(terms, 1)}),
        gradient_scales=1,
        local_levels=(3,),
        align_samples=16,
        least_local_pixels=4,
        correspondence_block=2,
        correspondence_temperature=0.5,
        attention_blocks=(3, 5),
        attention_heads=2,
    )

    @quick_jit
    def both(output):
        truth = normalize_targets(depth, extrinsics, intrinsics, depth > 0)
        maps = output.depth, truth.depth, truth.mask
        return total_loss(output, targets, config)[1], {
            "gradient": gradient_loss(*maps, scales=1),
            "global_local": global_local_loss(*maps, truth.intrinsics, levels=(3,), samples=16, least_pixels=4),
            "correspondence": correspondence_loss(output.features[2], truth, temperature=0.5),
            "attention": sum(attention_loss(*look, truth, heads=2) for look in output.queries_keys.values()) / 2,
        }

    found, expected = both(output)
    assert {name: float(found[name]) for name in terms} == pytest.approx({name: float(expected[name]) for name in terms}, rel=1e-5)
