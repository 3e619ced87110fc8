"""Ground truth as a COLMAP model in text: what structure from motion would find if it found everything right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import colmap_from_extrinsics
from da3jax.training.scenes.cameras import Cameras, visible
from da3jax.training.scenes.scene import Scene


def colmap_text(
    scene: Scene, cameras: Cameras, depth: np.ndarray, pictures: np.ndarray, *, points_a_view: int = 400, seed: int = 0
) -> dict[str, str]:
    """The contents of `cameras.txt`, `images.txt` and `points3D.txt`, by name without ending.

    Each view has a camera of its own (PINHOLE) and the image name `0000.png` and so on. Points are those at the centres of random pixels;
    a point's track is all the views that see it, and a point that only one of several views sees is left out.

    Args:
        scene: says what hides a point from a view.
        cameras: of its S views.
        depth: (S, H, W) metres, 0 in the sky.
        pictures: (S, H, W, 3) uint8.
        points_a_view: how many pixels are tried.
        seed: chooses them.
    """
    views, height, width = depth.shape
    points, colours = _points(cameras, depth, pictures, points_a_view, np.random.default_rng(seed))
    if len(points):
        seen = np.asarray(_seen(scene, jnp.asarray(points, jnp.float32), cameras, (height, width)))  # (S, P)
        enough = seen.sum(axis=0) >= min(2, views)
        points, colours, seen = points[enough], colours[enough], seen[:, enough]
    else:
        seen = np.zeros((views, 0), bool)

    extrinsics, intrinsics = (np.asarray(x, np.float64) for x in (cameras.extrinsics, cameras.intrinsics))
    quaternions, _ = (np.asarray(x, np.float64) for x in colmap_from_extrinsics(cameras.extrinsics))
    camera_lines, image_lines, tracks = [], [], [[] for _ in points]
    for view in range(views):
        k, pose = intrinsics[view], extrinsics[view]
        camera_lines.append(f"{view + 1} PINHOLE {width} {height} {_row([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])}")
        place = (points @ pose[:, :3].T + pose[:, 3]) @ k.T
        numbers = np.flatnonzero(seen[view])
        for index, number in enumerate(numbers):
            tracks[number].append(f"{view + 1} {index}")
        image_lines.append(f"{view + 1} {_row([*quaternions[view], *pose[:, 3]])} {view + 1} {view:04d}.png")
        image_lines.append(" ".join(f"{_row(place[n, :2] / place[n, 2])} {n + 1}" for n in numbers))
    point_lines = [
        f"{number + 1} {_row(point)} {' '.join(map(str, colour))} 0 {' '.join(track)}"
        for number, (point, colour, track) in enumerate(zip(points, colours, tracks, strict=True))
    ]
    return {
        "cameras": _text("CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", camera_lines),
        "images": _text("IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n# POINTS2D[] as (X, Y, POINT3D_ID)", image_lines),
        "points3D": _text("POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)", point_lines),
    }


def _points(
    cameras: Cameras, depth: np.ndarray, pictures: np.ndarray, points_a_view: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """World points (P, 3) at random pixels that have a depth, and their colours (P, 3)."""
    points, colours = [], []
    for view, (extrinsics, intrinsics) in enumerate(
        zip(np.asarray(cameras.extrinsics, np.float64), np.asarray(cameras.intrinsics, np.float64), strict=True)
    ):
        v, u = np.nonzero(depth[view] > 0)
        chosen = np.sort(rng.choice(len(u), min(points_a_view, len(u)), replace=False))
        v, u = v[chosen], u[chosen]
        camera = depth[view, v, u, None] * (np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=-1) @ np.linalg.inv(intrinsics).T)
        points.append((camera - extrinsics[:, 3]) @ extrinsics[:, :3])
        colours.append(pictures[view, v, u])
    return np.concatenate(points), np.concatenate(colours)


@jax.jit(static_argnums=3)
def _seen(scene: Scene, points: jax.Array, cameras: Cameras, size: tuple[int, int]) -> jax.Array:
    views = cameras.extrinsics.shape[0]
    return visible(scene, jnp.broadcast_to(points, (views, 1, *points.shape)), cameras, size)[:, 0]


def _row(values: np.ndarray | list[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _text(header: str, lines: list[str]) -> str:
    return "\n".join([f"# {header}", *lines]) + "\n"
