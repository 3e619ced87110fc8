"""Cameras from rays: our solver, the official one, and the official one with a thin SVD, on the same ray maps in one process.

usage: python benchmarks/solver.py [--repeats 7] [--large]

Accuracy: cameras with 1 % noise and 30 % outliers, centred and off centre, five seeds of the official RANSAC. Speed: ray maps of 216 × 288,
as an image of 504 × 378 gives them. `--large` adds one map of 12 megapixels for ours. Needs the parity extra (CONTRIBUTING.md).
"""

import argparse
import functools
import os
import platform
import statistics
import time

import jax
import numpy as np
import torch
from depth_anything_3.utils import ray_utils

from da3jax.geometry import cameras_from_rays
from da3jax.geometry.homography import image_plane

HEIGHT, WIDTH = 216, 288


def cameras(many: int, off_centre: float, seed: int = 0):
    """Rotations camera-to-world (n, 3, 3), focal lengths and principal points (n, 2) in half sizes."""
    rng = np.random.default_rng(seed)
    # Directions stay before the plane z = 0, behind which the official solver cannot look.
    rotations = np.linalg.qr(np.eye(3) + 0.15 * rng.standard_normal((many, 3, 3)))[0]
    rotations = rotations * np.sign(np.diagonal(rotations, axis1=-2, axis2=-1))[:, None, :]
    return rotations, rng.uniform(0.9, 2.0, (many, 2)), rng.uniform(-off_centre, off_centre, (many, 2))


def ray_maps(truth, height: int, width: int, noise: float = 0.01, outliers: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotations, focal, principal_points = truth
    plane = image_plane(height, width)
    xy = (plane[None, ..., :2] - principal_points[:, None, None]) / focal[:, None, None]
    directions = np.einsum("nij,nhwj->nhwi", rotations, np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1))
    directions += noise * np.linalg.norm(directions, axis=-1, keepdims=True) * rng.standard_normal(directions.shape)
    wrong = rng.random(directions.shape[:-1]) < outliers
    directions[wrong] = rng.standard_normal((wrong.sum(), 3))
    return np.concatenate([directions, np.zeros_like(directions)], axis=-1).astype(np.float32)


def official(rays: np.ndarray, seed: int = 0):
    """Rotation, focal lengths and principal points of the official solver."""
    torch.manual_seed(seed)
    maps = torch.from_numpy(rays)[None].clone()
    rotation, _, focal, principal_point = ray_utils.camray_to_caminfo(maps, confidence=torch.ones(maps.shape[:-1]))
    return rotation[0].numpy(), focal[0].numpy(), principal_point[0].numpy() - 1


def degrees(rotations: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.degrees(2 * np.arcsin(np.minimum(np.linalg.norm(rotations - truth, axis=(-2, -1)) / np.sqrt(8), 1)))


def accuracy() -> None:
    print("\n| cameras | solver | rotation, median (°) | rotation, largest (°) | focal, median (%) |\n|---|---|---|---|---|")
    for name, off_centre in (("centred", 0.0), ("up to 0.3 off centre", 0.3)):
        truth = cameras(16, off_centre)
        rays = ray_maps(truth, 64, 80)
        rows = {"ours": [jax.device_get(cameras_from_rays(rays))], "official, 5 seeds": [official(rays, seed) for seed in range(5)]}
        if not off_centre:
            rows["ours, principal point centred"] = [jax.device_get(cameras_from_rays(rays, principal_point="centred"))]
        for solver, results in rows.items():
            found = [(result.rotation, result.focal) if solver.startswith("ours") else result[:2] for result in results]
            turn = np.concatenate([degrees(rotation, truth[0]) for rotation, _ in found])
            zoom = np.concatenate([np.abs(focal / truth[1] - 1).max(-1) for _, focal in found])
            print(f"| {name} | {solver} | {np.median(turn):.3f} | {turn.max():.3f} | {100 * np.median(zoom):.3f} |")


def timed(function, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def speed(repeats: int, large: bool) -> None:
    rays = ray_maps(cameras(8, 0.0), HEIGHT, WIDTH, outliers=0.1)
    solve = jax.jit(cameras_from_rays)
    batches = {views: jax.device_put(np.resize(rays, (views, *rays.shape[1:]))) for views in (8, 287)}
    for batch in batches.values():
        jax.block_until_ready(solve(batch))
    full = torch.linalg.svd
    thin = functools.partial(full, full_matrices=False)
    figures: dict[str, list[float]] = {"ours, 8 views": [], "official": [], "official with a thin SVD": [], "ours, 287 views": []}
    for repeat in range(repeats):  # in turn, for the machine's speed drifts
        figures["ours, 8 views"] += [t / 8 for t in timed(lambda: jax.block_until_ready(solve(batches[8])), 1)]
        if repeat < 3:  # seconds a view, and gigabytes
            figures["official"] += timed(lambda: official(rays[:1]), 1)
        torch.linalg.svd = thin
        figures["official with a thin SVD"] += [t / 8 for t in timed(lambda: official(rays), 1)]
        torch.linalg.svd = full
        figures["ours, 287 views"] += [t / 287 for t in timed(lambda: jax.block_until_ready(solve(batches[287])), 1)]
    ours = statistics.median(figures["ours, 8 views"])
    print(f"\n| {HEIGHT} × {WIDTH} | ms a view, median | least | most | ours is faster by |\n|---|---|---|---|---|")
    for name, times in figures.items():
        middle = statistics.median(times)
        print(f"| {name} | {1e3 * middle:.2f} | {1e3 * min(times):.2f} | {1e3 * max(times):.2f} | {middle / ours:.1f} × |")
    if large:
        big = jax.device_put(ray_maps(cameras(1, 0.0), 3000, 4000))
        jax.block_until_ready(solve(big))
        times = timed(lambda: jax.block_until_ready(solve(big)), repeats)
        print(
            f"| ours, one map of 3000 × 4000 | {1e3 * statistics.median(times):.0f} | {1e3 * min(times):.0f} | {1e3 * max(times):.0f} | |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, torch {torch.__version__}")
    accuracy()
    speed(args.repeats, args.large)


if __name__ == "__main__":
    main()
