"""What the official method draws and what it says of its fit."""

import jax
import numpy as np

from da3jax.geometry import cameras_from_rays, official_ray_solver
from da3jax.geometry.homography import image_plane
from da3jax.geometry.ray_solver import DEGENERATE, OK

solve = jax.jit(lambda ray: cameras_from_rays(ray, method="official"))


def test_a_try_is_of_eight_different_rays_out_of_the_most_confident_third():
    ranks = np.asarray(official_ray_solver.sample_indices(jax.random.key(0), 10, 12))
    assert ranks.shape == (100, 8)
    assert set(ranks.ravel()) == set(range(36))
    assert all(len(set(ranks_of_try)) == 8 for ranks_of_try in ranks)
    assert set(official_ray_solver.sample_indices(jax.random.key(0), 3, 3).ravel().tolist()) == set(range(8))


def test_many_inliers_are_refitted_by_a_draw_out_of_the_most_confident(monkeypatch):
    monkeypatch.setattr(official_ray_solver, "MAX_REFIT", 10)
    rng = np.random.default_rng(0)
    weights = rng.permutation(np.arange(1, 61)).astype(np.float32)
    inliers = weights % 3 > 0  # forty of them
    drawn = np.stack([official_ray_solver._refitted(jax.random.key(key), inliers, weights) for key in range(16)])
    assert (drawn.sum(axis=1) == 10).all()
    best = np.sort(weights[inliers])[2:]  # 95 %
    assert set(weights[drawn.any(axis=0)]) == set(best)
    few = inliers & (weights > 46)
    np.testing.assert_array_equal(official_ray_solver._refitted(jax.random.key(0), few, weights), few)


def test_residual_and_share_are_of_the_rays_near_the_fit_and_no_camera_is_a_degenerate_one():
    rng = np.random.default_rng(0)
    rays = np.concatenate([image_plane(24, 32), np.zeros((24, 32, 3))], axis=-1)[None]
    noise = 0.03 * rng.standard_normal((24, 32, 2))
    rays[0, ..., :2] += noise
    wrong = rng.random((24, 32)) < 0.25
    rays[0, wrong, 0] += 1
    found = solve(np.float32(rays))
    np.testing.assert_allclose(found.inlier_share[0], 1 - wrong.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.residual[0], np.sqrt(np.mean(np.sum(noise[~wrong] ** 2, axis=-1))), rtol=0.03)
    assert found.result.tolist() == [OK]
    assert solve(np.zeros_like(rays, np.float32)).result.tolist() == [DEGENERATE]
