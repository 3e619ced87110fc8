"""Cameras out of ray maps: exact rays, noise, outliers, gradients, degenerate maps, and the official method beside ours."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import cameras_from_rays, rays_from_cameras, rotation_angle, rotation_from_axis_angle
from da3jax.geometry.homography import image_plane
from da3jax.geometry.ray_refinement import Camera, refined
from da3jax.geometry.ray_solver import DEGENERATE, OK, TOO_FEW_RAYS
from tests.quick import quick_jit

OPTIONS = ("method", "principal_point", "inlier_angle", "max_rays")

solve = jax.jit(cameras_from_rays, static_argnames=OPTIONS)
solve_many = jax.jit(cameras_from_rays, compiler_options={"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False})
"""Compiled as for users, for it runs longer than that takes."""


def solve_in_eights(rays, **options):
    """The same for (n, h, w, 6), n a multiple of eight, by the one program of eight views."""
    found = [solve(eight, **options) for eight in rays.reshape(-1, 8, *rays.shape[1:])]
    return jax.tree.map(lambda *x: np.concatenate(x), *found)


def cameras(seed, many, focal=(0.4, 4.0), off_centre=0.5):
    """Rotations camera-to-world (n, 3, 3), focal lengths and principal points (n, 2) in half sizes, centres (n, 3); float64."""
    rng = np.random.default_rng(seed)
    rotations, _ = np.linalg.qr(rng.standard_normal((many, 3, 3)))
    rotations *= np.sign(np.linalg.det(rotations))[:, None, None]
    focal = np.exp(rng.uniform(*np.log(focal), (many, 2)))
    return rotations, focal, rng.uniform(-off_centre, off_centre, (many, 2)), rng.standard_normal((many, 3))


def ray_maps(truth, height, width, *, noise=0.0, outliers=0.0, lengths=False, seed=0, dtype=np.float32):
    """Their ray maps (n, height, width, 6), by a formula of their own."""
    rng = np.random.default_rng(seed)
    rotations, focal, principal_points, centers = truth
    x, y, one = np.moveaxis(image_plane(height, width), -1, 0)
    in_camera = [(x - principal_points[:, :1, None]) / focal[:, :1, None], (y - principal_points[:, 1:, None]) / focal[:, 1:, None]]
    directions = np.einsum("nij,jnhw->nhwi", rotations, np.stack([*in_camera, np.broadcast_to(one, in_camera[0].shape)]))
    directions += noise * np.linalg.norm(directions, axis=-1, keepdims=True) * rng.standard_normal(directions.shape)
    if lengths:
        directions *= np.exp(rng.uniform(-3, 3, (*directions.shape[:-1], 1)))
    origins = np.broadcast_to(centers[:, None, None], directions.shape).copy()
    wrong = rng.random(directions.shape[:-1]) < outliers
    directions[wrong], origins[wrong] = rng.standard_normal((2, wrong.sum(), 3))
    return np.concatenate([directions, origins], axis=-1).astype(dtype)


def camera_of(solution):
    """In the order of `cameras`."""
    return solution.rotation, solution.focal, solution.principal_point, solution.center


def errors(solution, truth):
    """Largest of each over the two axes: rotation in degrees, focal relative, principal point in half sizes, centre."""
    rotations, focal, principal_points, centers = truth
    chord = np.linalg.norm(np.asarray(solution.rotation, float) - rotations, axis=(-2, -1))
    return (
        np.degrees(2 * np.arcsin(np.minimum(chord / np.sqrt(8), 1))),
        np.abs(solution.focal / focal - 1).max(-1),
        np.abs(solution.principal_point - principal_points).max(-1),
        np.linalg.norm(solution.center - centers, axis=-1),
    )


@pytest.mark.parametrize("lengths", [False, True], ids=["as they come", "each of its own length"])
def test_exact_rays_of_ten_thousand_cameras_give_them_back(lengths):
    for seed in range(5):
        truth = cameras(seed, 2000)
        solution = solve_many(ray_maps(truth, 12, 16, lengths=lengths, seed=seed))
        rotation, focal, principal_point, center = errors(solution, truth)
        assert rotation.max() <= 0.01
        assert focal.max() <= 2e-4
        assert principal_point.max() <= 2e-4
        assert center.max() <= 1e-5
        assert (np.asarray(solution.result) == OK).all()
        assert np.asarray(solution.inlier_share).min() > 0.9999
        assert np.asarray(solution.residual).max() < 1e-4


def test_the_length_of_a_ray_does_not_count():
    truth = cameras(0, 8)
    rays = ray_maps(truth, 24, 32, noise=0.01)
    factors = np.float64(10) ** np.random.default_rng(1).uniform(-30, 30, (*rays.shape[:-1], 1))
    scaled = np.concatenate([rays[..., :3] * factors, rays[..., 3:]], axis=-1).astype(np.float32)
    for one, other in zip(jax.tree.leaves(solve(rays)), jax.tree.leaves(solve(scaled)), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


def test_residual_and_inlier_share_are_of_the_rays_near_the_camera_by_their_confidence():
    rays = ray_maps(cameras(11, 1), 24, 32, noise=0.03, outliers=0.3)
    conf = np.random.default_rng(0).uniform(0.2, 2, rays.shape[:-1]).astype(np.float32)
    solution = solve(rays, conf)
    model, seen = ray_maps([np.asarray(x, float) for x in camera_of(solution)], 24, 32, dtype=float)[..., :3], rays[..., :3]
    model, seen = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (model, seen))
    angles = np.linalg.norm(model - seen, axis=-1)
    near = conf * (angles < 0.05)
    assert 0.2 < near.sum() / conf.sum() < 0.6
    assert float(solution.inlier_share[0]) == pytest.approx(near.sum() / conf.sum(), rel=1e-4)
    assert float(solution.residual[0]) == pytest.approx(np.sqrt(np.sum(near * angles**2) / near.sum()), rel=1e-3)


def test_half_of_the_rays_may_be_wrong():
    truth = cameras(3, 200)
    for outliers, bar in ((0.3, 2.0), (0.5, 3.0)):  # in a narrow view a turn looks much like a shift of the principal point
        solution = solve(ray_maps(truth, 48, 64, noise=0.01, outliers=outliers))
        rotation, focal, *_, center = errors(solution, truth)
        assert np.median(rotation) < 0.15
        assert rotation.max() < bar
        assert focal.max() < 0.02
        assert center.max() < 0.15
        np.testing.assert_allclose(solution.inlier_share, 1 - outliers, atol=0.05)


def facing_cameras(seed, many, off_centre):
    """Like `cameras`, with all rays before the plane z = 0, behind which the official method cannot look."""
    _, focal, principal_points, centers = cameras(seed, many, focal=(0.9, 2.0))
    turns = 0.15 * np.random.default_rng(seed).standard_normal((many, 3))
    principal_points *= off_centre / np.linalg.norm(principal_points, axis=-1, keepdims=True)
    return np.asarray(rotation_from_axis_angle(turns), float), focal, principal_points, centers


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_on_noisy_centred_cameras_it_is_no_worse_than_the_official_method_over_five_seeds(seed, outliers):
    truth = facing_cameras(seed, 32, off_centre=0)
    rays = ray_maps(truth, 32, 40, noise=0.01, outliers=outliers, seed=seed)
    free, centred = (np.median(errors(solve(rays, principal_point=mode), truth)[0]) for mode in ("free", "centred"))
    official = [errors(solve(rays, method="official", key=jax.random.key(key)), truth)[0] for key in range(5)]
    assert centred <= free <= 1.8 * centred
    assert free <= np.median(official)


def test_noise_off_centre_costs_no_more_than_a_free_principal_point_must():
    truth = facing_cameras(6, 64, off_centre=0.2)
    rays = ray_maps(truth, 24, 32, noise=0.01, outliers=0.3)
    solution = solve_in_eights(rays)
    rotation, _, principal_point, _ = errors(solution, truth)
    official = errors(solve(rays, method="official"), truth)[0]
    assert np.median(rotation) < 0.2 < 0.05 * np.median(official)
    # Not drawn to the centre: along the way there, errors are of either sign.
    inwards = np.sum((truth[2] - solution.principal_point) * truth[2], axis=-1) / 0.2
    assert abs(inwards.mean()) < 2 * inwards.std() / 8
    assert principal_point.max() < 0.03


def test_exact_rays_keep_a_principal_point_that_is_nearly_centred():
    for off_centre in (0.0, 1e-4, 1e-3):
        truth = facing_cameras(7, 64, off_centre)
        rotation, _, principal_point, _ = errors(solve_in_eights(ray_maps(truth, 24, 32)), truth)
        assert rotation.max() < 1e-3
        assert principal_point.max() < 2e-5


@pytest.mark.parametrize(("focal", "noise", "bar"), [(50, 0.0, 0.01), (10, 1e-3, 0.1)])
def test_of_a_narrow_view_what_its_rays_do_not_tell_is_at_the_centre(focal, noise, bar):
    """Fields of view of 2.3 and of 11 degrees."""
    truth = cameras(3, 16, focal=(focal, 1.001 * focal), off_centre=0)
    assert np.median(errors(solve_in_eights(ray_maps(truth, 24, 32, noise=noise)), truth)[0]) < bar


def test_a_step_that_is_no_number_is_not_taken():
    camera = Camera(np.eye(3)[None], np.zeros((1, 2)), np.zeros((1, 2)))
    points = image_plane(4, 5).reshape(-1, 3).T.astype(np.float32)
    rays = points, np.ones((1, 3, 20), np.float32), np.zeros((1, 20), np.float32)  # of no weight
    camera = jax.tree.map(np.float32, camera)
    found = refined(camera, rays, steps=1, mode="free", inlier_angle=0.1, ok=np.array([True]))
    jax.tree.map(np.testing.assert_array_equal, found, camera)


def test_off_centre_it_is_right_where_the_official_method_is_wrong():
    truth = (np.eye(3)[None], np.array([[1.7, 2.1]]), np.array([[0.15, -0.1]]), np.zeros((1, 3)))
    rays = ray_maps(truth, 24, 32)
    rotation, focal, principal_point, _ = errors(solve(rays), truth)
    assert rotation[0] < 0.01
    assert focal[0] < 1e-5
    assert principal_point[0] < 1e-5
    official = solve(rays, method="official")
    assert errors(official, truth)[0][0] == pytest.approx(5.7, abs=0.1)
    np.testing.assert_allclose(official.focal[0], [1.715, 2.113], atol=2e-3)
    np.testing.assert_allclose(official.principal_point[0], [-0.051, 0.022], atol=2e-3)


def test_a_principal_point_known_to_be_centred_or_shared_helps():
    rotations, focal, principal_points, centers = cameras(5, 12, focal=(0.7, 2.0), off_centre=0.3)
    shared = (rotations, focal, np.broadcast_to(principal_points[:1], (12, 2)), centers)
    rays = ray_maps(shared, 24, 32, noise=0.03)
    together = solve(rays, principal_point="shared", inlier_angle=0.1)
    alone = solve(rays, inlier_angle=0.1)
    np.testing.assert_allclose(together.principal_point, np.broadcast_to(together.principal_point[:1], (12, 2)), atol=1e-6)
    assert np.median(errors(together, shared)[0]) < 0.6 * np.median(errors(alone, shared)[0])
    centred = (rotations, focal, np.zeros((12, 2)), centers)
    known = solve(ray_maps(centred, 24, 32, noise=0.03), principal_point="centred", inlier_angle=0.1)
    assert (np.asarray(known.principal_point) == 0).all()
    assert np.median(errors(known, centred)[0]) < 0.2


def test_a_principal_point_is_shared_by_the_views_of_a_scene_that_have_a_camera():
    one, other = (ray_maps(cameras(seed, 1, focal=(0.7, 2.0)), 8, 10, noise=0.01)[0] for seed in (5, 6))
    none = np.zeros_like(one)
    share = functools.partial(solve, principal_point="shared")
    found = share(np.stack([[one, none, one], [other, other, other]]))
    again = share(np.stack([[one, one, one], [other, none, other]]))
    np.testing.assert_array_equal(found.result, [[OK, TOO_FEW_RAYS, OK], [OK, OK, OK]])
    for scene, truth in enumerate((cameras(5, 1, focal=(0.7, 2.0)), cameras(6, 1, focal=(0.7, 2.0)))):
        np.testing.assert_allclose(found.principal_point[scene, 0], truth[2][0], atol=0.03)
        for leaf, leaf_again in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(leaf[scene, ::2], leaf_again[scene, ::2], atol=2e-5, rtol=2e-5)
    np.testing.assert_array_equal(found.rotation[0, 1], np.eye(3))
    np.testing.assert_array_equal(found.focal[0, 1], [1, 1])
    np.testing.assert_array_equal(found.principal_point[0, 1], [0, 0])


def test_pixels_and_world_to_camera_are_those_that_made_the_rays():
    truth = cameras(6, 8)
    solution = solve(ray_maps(truth, 24, 32))
    again = rays_from_cameras(solution.extrinsics, solution.intrinsics(240, 320), (240, 320), (24, 32))
    np.testing.assert_allclose(again, ray_maps(truth, 24, 32), atol=2e-4)
    np.testing.assert_allclose(solution.intrinsics(240, 320)[:, 0, 0], truth[1][:, 0] * 160, rtol=1e-4)


def numbers(rays, conf=None, **options):
    """All that has derivatives, as one vector."""
    found = cameras_from_rays(rays, conf, **options)
    return jnp.concatenate([x.ravel() for x in (found.rotation, found.focal, found.principal_point, found.center, found.residual)])


@pytest.mark.parametrize(
    ("mode", "turned", "off_centre"),
    [
        pytest.param("free", False, 0.1, marks=pytest.mark.integration),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("free", True, 0.03), ("free", False, 0.0), ("shared", True, 0.1), ("centred", False, 0.1))
        ),
    ],
)
def test_forward_reverse_and_numerical_derivatives_agree(mode, turned, off_centre):
    with jax.enable_x64(True):
        rotations, focal, principal_points, centers = cameras(7, 2, focal=(0.8, 1.5), off_centre=off_centre)
        truth = (rotations if turned else np.broadcast_to(np.eye(3), (2, 3, 3)), focal, principal_points, centers)
        rays = ray_maps(truth, 6, 7, noise=0.01, dtype=np.float64)
        rays[..., 3:] += 0.1 * np.random.default_rng(2).standard_normal(rays[..., 3:].shape)
        rays = jnp.asarray(rays)
        conf = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, rays.shape[:-1])).at[0, 2, 3].set(0)
        plain = functools.partial(numbers, principal_point=mode, inlier_angle=0.2)
        function = quick_jit(plain)
        forward, reverse = (quick_jit(jac(plain, argnums=(0, 1)))(rays, conf) for jac in (jax.jacfwd, jax.jacrev))
        rng = np.random.default_rng(1)
        for index, argument in enumerate((rays, conf)):
            np.testing.assert_allclose(forward[index], reverse[index], atol=1e-9)
            assert np.isfinite(forward[index]).all()
            for _ in range(3):
                direction = jnp.asarray(rng.standard_normal(argument.shape)) * (argument != 0 if index else 1)
                ends = [function(*((rays + h * direction, conf) if index == 0 else (rays, conf + h * direction))) for h in (1e-5, -1e-5)]
                slope = jnp.tensordot(forward[index], direction, axes=argument.ndim)
                np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, atol=2e-4 * np.abs(slope).max())


@pytest.mark.integration
def test_gradients_of_exact_float32_rays_are_finite():
    rays = jnp.asarray(ray_maps((np.eye(3)[None], np.ones((1, 2)), np.zeros((1, 2)), np.zeros((1, 3))), 8, 8))
    gradient = quick_jit(jax.grad(lambda rays, conf: numbers(rays, conf).sum(), argnums=(0, 1)))
    for conf in (np.ones, np.zeros):
        for_rays, for_conf = gradient(rays, conf(rays.shape[:-1], np.float32))
        assert np.isfinite(for_rays).all()
        assert np.isfinite(for_conf).all()
        assert (np.abs(for_rays).max() > 0) == (conf is np.ones)


def test_no_product_of_a_jitted_solvers_gradient_is_rounded():
    rays = jax.ShapeDtypeStruct((2, 8, 8, 6), np.float32)
    solver = jax.jit(lambda rays: numbers(rays).sum())
    text = jax.jit(jax.grad(solver)).lower(rays).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) > 60
    assert all(line.count("HIGHEST") == 2 for line in products)


def flat_fan():
    rays = ray_maps(cameras(0, 1), 8, 10)[0]
    rays[..., :3] = np.stack([np.linspace(-1, 1, 80), np.zeros(80), np.ones(80)], -1).reshape(8, 10, 3)
    return rays


def spoilt(change):
    rays = ray_maps(cameras(0, 1), 8, 10)[0]
    change(rays)
    return rays


DEGENERATES = {
    "no direction": (spoilt(lambda rays: rays.fill(0)), TOO_FEW_RAYS),
    "no number": (spoilt(lambda rays: rays.fill(np.nan)), TOO_FEW_RAYS),
    "three rays": (spoilt(lambda rays: rays.reshape(-1, 6)[3:].fill(np.inf)), TOO_FEW_RAYS),
    "one direction": (spoilt(lambda rays: rays.__setitem__((..., slice(0, 3)), [0, 0, 1])), DEGENERATE),
    "one plane": (flat_fan(), DEGENERATE),
    "a mirror": (spoilt(lambda rays: rays.__setitem__((..., 0), -rays[..., 0])), DEGENERATE),
}


@pytest.mark.parametrize("name", DEGENERATES)
def test_a_degenerate_map_says_so_and_leaves_its_neighbours_alone(name):
    rays, result = DEGENERATES[name]
    truth = cameras(1, 1)
    solution = solve(np.stack([rays, ray_maps(truth, 8, 10)[0]]))
    assert solution.result.tolist() == [result, OK]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(solution))
    np.testing.assert_array_equal(solution.rotation[0], np.eye(3))
    np.testing.assert_array_equal(solution.focal[0], [1, 1])
    assert errors(jax.tree.map(lambda x: x[1:], solution), truth)[0][0] < 0.01


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1), (2, 2)])
def test_tiny_maps_are_no_exception(size):
    solution = solve(ray_maps(cameras(2, 1), *size))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(solution))
    assert (int(solution.result[0]) == OK) == (size == (2, 2))


def test_rays_may_be_wrong_where_some_of_the_tries_have_three_of_their_four_on_a_line():
    truth = cameras(2, 64)
    assert errors(solve(ray_maps(truth, 5, 5, outliers=0.3)), truth)[0].max() < 1


def test_some_rays_that_are_no_numbers_do_not_count():
    truth = cameras(8, 8)
    rays = ray_maps(truth, 24, 32)
    rays[:, ::3, ::4] = np.nan
    rays[:, 1::3, ::4, :3] = 0
    assert errors(solve(rays), truth)[0].max() < 0.01


def test_rays_whose_origin_or_confidence_is_no_number_do_not_count():
    truth = cameras(8, 1)
    rays, conf = ray_maps(truth, 24, 32), np.ones((1, 24, 32), np.float32)
    rays[:, ::3, ::4, 3:] = np.nan
    conf[:, 1::3, ::4], conf[:, 2::3, ::4] = np.nan, np.inf
    rays[:, 1:, ::4] = 1
    rotation, *_, center = errors(solve(rays, conf), truth)
    assert rotation[0] < 0.01
    assert center[0] < 1e-5


@pytest.mark.integration
def test_any_leading_axes_vmap_and_pmap_are_the_same():
    rays = ray_maps(cameras(9, 8), 24, 32, noise=0.01)
    flat = solve(rays)
    shapes = {
        "scenes by views": solve(rays.reshape(2, 4, 24, 32, 6)),
        "vmap": quick_jit(jax.vmap(cameras_from_rays))(rays),
        "pmap": jax.pmap(cameras_from_rays)(rays),
        "one": jax.tree.map(lambda *x: jnp.stack(x), *[solve(view) for view in rays]),
    }
    for name, found in shapes.items():
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(flat), strict=True):
            np.testing.assert_allclose(one.reshape(other.shape), other, atol=2e-5, rtol=2e-5, err_msg=name)


def test_thinned_maps_give_nearly_the_same_and_no_view_gives_none():
    truth = cameras(14, 3)
    rays = ray_maps(truth, 48, 64, noise=0.005)
    thinned, whole = solve(rays, max_rays=800), solve(rays, max_rays=None)
    assert 0 < np.abs(thinned.focal - whole.focal).max() < 0.02
    assert errors(whole, truth)[0].max() < errors(thinned, truth)[0].max() < 1
    assert solve(rays[:0]).rotation.shape == (0, 3, 3)


@pytest.mark.parametrize("size", [(4, 200), (200, 4), (9, 64)])
def test_long_thin_maps_are_thinned_along_their_length(size):
    truth = cameras(15, 1)
    assert errors(solve(ray_maps(truth, *size), max_rays=24), truth)[0][0] < 0.01
    solution = solve(ray_maps(truth, 1, 300), max_rays=16)  # rays in a plane
    assert solution.result.tolist() == [DEGENERATE]


def test_a_second_call_compiles_nothing(caplog):
    rays = ray_maps(cameras(9, 2), 8, 10)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        for method in ("least_squares", "official"):
            cameras_from_rays(rays, method=method)
            assert "Compiling" in caplog.text
            caplog.clear()
            cameras_from_rays(rays, method=method)
            assert "Compiling" not in caplog.text


@pytest.mark.integration
@pytest.mark.parametrize("size", [1e-36, 1e37])
def test_only_the_ratios_of_confidence_count(size):
    rays = ray_maps(cameras(8, 2), 6, 8)
    conf = np.random.default_rng(0).uniform(0.5, 1, rays.shape[:-1]).astype(np.float32)
    scaled = np.float32(size) * conf
    for one, other in zip(jax.tree.leaves(solve(rays, scaled)), jax.tree.leaves(solve(rays, conf)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.isfinite(quick_jit(jax.grad(lambda conf: numbers(rays, conf).sum()))(scaled)).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64])
def test_rays_of_other_numbers_become_float32(dtype):
    rays = ray_maps(cameras(9, 8), 24, 32).astype(dtype)
    found = cameras_from_rays(rays)
    jax.tree.map(np.testing.assert_array_equal, found, cameras_from_rays(rays.astype(np.float32)))
    assert found.focal.dtype == jnp.float32


def test_the_same_rays_give_the_same_bits():
    rays = ray_maps(cameras(10, 8), 24, 32, noise=0.02, outliers=0.2)
    jax.tree.map(np.testing.assert_array_equal, solve(rays), solve(rays))


def test_confidence_counts():
    truth = cameras(11, 1)
    rays, other = ray_maps(truth, 24, 32), ray_maps(cameras(12, 1), 24, 32)
    rays[:, :, :20] = other[:, :, :20]
    conf = np.ones(rays.shape[:-1], np.float32)
    conf[:, :, :20] = 0.01
    solution = solve(rays, conf)
    assert errors(solution, truth)[0][0] < 0.05
    assert float(solution.inlier_share[0]) > 0.95
    assert float(rotation_angle(solve(rays).rotation[0], solution.rotation[0])) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ray": np.zeros((1, 0, 5, 6))}, r"ray has shape \(1, 0, 5, 6\); it is .*, with at least one ray"),
        ({"ray": np.zeros((4, 5))}, r"ray has shape \(4, 5\); it is \(..., height, width, 6\)"),
        ({"ray_conf": np.zeros((1, 4, 5))}, r"ray_conf has shape \(1, 4, 5\); for this ray map it is \(1, 4, 6\)"),
        ({"principal_point": "center"}, "principal_point 'center' is unknown; it is one of free, shared, centred"),
        ({"method": "ransac"}, "method 'ransac' is unknown; it is one of least_squares, official"),
        ({"method": "official", "principal_point": "shared"}, "the official method knows 'free' alone"),
        ({"key": jax.random.key(0)}, "samples and key are for the official method"),
        ({"ray": np.zeros((4, 5, 6)), "principal_point": "shared"}, "a shared principal_point needs an axis of views"),
        ({"inlier_angle": 0.0}, "inlier_angle is 0.0; it is a positive angle"),
        ({"max_rays": 3}, "max_rays is 3; a camera needs at least 4"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cameras_from_rays(**{"ray": np.zeros((1, 4, 6, 6)), **arguments})


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_the_official_method_is_the_official_one_on_the_same_samples():
    import torch
    from depth_anything_3.utils import ray_utils

    from da3jax.geometry.official_ray_solver import sample_indices

    truth = cameras(13, 6, focal=(0.7, 2.0), off_centre=0)
    rays = ray_maps(truth, 48, 64, noise=0.01, outliers=0.2)
    conf = np.random.default_rng(0).uniform(1, 3, rays.shape[:-1]).astype(np.float32)
    samples = sample_indices(jax.random.key(0), 48, 64)
    with pytest.MonkeyPatch.context() as patch:
        drawn = torch.from_numpy(np.array(samples, np.int64))
        patch.setattr(ray_utils, "get_params_for_ransac", lambda count, device: (100, 8, max(8, int(count * 0.3)), drawn))
        rotation, center, focal, principal_point = ray_utils.camray_to_caminfo(
            torch.from_numpy(rays)[None].clone(), confidence=torch.from_numpy(conf)[None].clone()
        )
    ours = solve(rays, conf, method="official", samples=samples)
    np.testing.assert_allclose(ours.rotation, rotation[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.focal, focal[0].numpy(), rtol=1e-4)
    np.testing.assert_allclose(ours.principal_point, principal_point[0].numpy() - 1, atol=1e-4)
    np.testing.assert_allclose(ours.center, center[0].numpy(), atol=1e-4)
