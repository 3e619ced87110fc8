"""A slanted plane, whose depth is known at every pixel of any camera, and cameras that see it."""

import numpy as np

VIEWS, HEIGHT, WIDTH = 5, 60, 90
NORMAL, DISTANCE = np.array([0.3, -0.2, 1.0]), 4.0
"""The plane normal · x = distance, in metres."""


def plane_depth(extrinsics, intrinsics, height, width):
    """(S, H, W) exact depth of the plane, at any size of the picture."""
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
    depth = []
    for pose, k in zip(np.float64(extrinsics), np.float64(intrinsics), strict=True):
        rotation, centre = pose[:, :3], -pose[:, :3].T @ pose[:, 3]
        direction = pixels @ np.linalg.inv(k).T @ rotation
        depth.append((DISTANCE - NORMAL @ centre) / (direction @ NORMAL))
    return np.stack(depth)


def plane_cameras():
    extrinsics, intrinsics = [], []
    for view in range(VIEWS):
        a, b = 0.06 * view - 0.1, 0.05 * view
        about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
        extrinsics.append(np.concatenate([about_z @ about_y, [[0.1 * view], [-0.05 * view], [0.2]]], axis=1))
        intrinsics.append([[70.0 + view, 0, 44.0], [0, 72.0 - view, 31.5], [0, 0, 1]])
    return np.array(extrinsics), np.array(intrinsics)
