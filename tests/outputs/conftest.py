"""A slanted plane seen by two cameras, whose every pixel is known."""

import dataclasses

import numpy as np
import pytest

from da3jax.types import Gaussians, Prediction

NORMAL, OFFSET = np.array([0.1, -0.2, 1.0]), 5.0
HEIGHT, WIDTH = 20, 30


def make_scene() -> tuple[Prediction, np.ndarray]:
    """The prediction, and the world points (2, H, W, 3) where the rays through its pixels' centres meet the plane."""
    intrinsics = np.array([[[25.0, 0, 11], [0, 27, 13], [0, 0, 1]], [[30.0, 0, 18], [0, 29, 7], [0, 0, 1]]])
    angle = 0.3
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.1), -np.sin(0.1)], [0, np.sin(0.1), np.cos(0.1)]])
    rotations = np.stack([tilt, turn])
    centres = np.array([[0.5, -0.2, 0.3], [-1.0, 0.1, 0.6]])

    points, depth = np.zeros((2, HEIGHT, WIDTH, 3)), np.zeros((2, HEIGHT, WIDTH))
    for view in range(2):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                x = (column + 0.5 - intrinsics[view, 0, 2]) / intrinsics[view, 0, 0]
                y = (row + 0.5 - intrinsics[view, 1, 2]) / intrinsics[view, 1, 1]
                direction = rotations[view].T @ np.array([x, y, 1.0])
                along = (OFFSET - NORMAL @ centres[view]) / (NORMAL @ direction)
                points[view, row, column] = centres[view] + along * direction
                depth[view, row, column] = along
    translations = -np.einsum("nij,nj->ni", rotations, centres)
    rng = np.random.default_rng(0)
    prediction = Prediction(
        depth=depth.astype(np.float32),
        extrinsics=np.concatenate([rotations, translations[..., None]], axis=-1).astype(np.float32),
        intrinsics=intrinsics.astype(np.float32),
        processed_images=rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8),
    )
    return prediction, points


@pytest.fixture
def scene() -> tuple[Prediction, np.ndarray]:
    return make_scene()


@pytest.fixture
def prediction(scene) -> Prediction:
    return scene[0]


@pytest.fixture
def with_gaussians(scene) -> Prediction:
    """The same with a Gaussian at each pixel's point, all else of it random."""
    prediction, points = scene
    rng = np.random.default_rng(1)
    shape = prediction.depth.shape
    rotations = rng.standard_normal((*shape, 4)).astype(np.float32)
    gaussians = Gaussians(
        means=points.astype(np.float32),
        scales=rng.uniform(1e-3, 1e-1, (*shape, 3)).astype(np.float32),
        rotations=rotations / np.linalg.norm(rotations, axis=-1, keepdims=True),
        harmonics=rng.standard_normal((*shape, 3, 9)).astype(np.float32),
        opacities=rng.uniform(0.1, 0.9, shape).astype(np.float32),
    )
    return dataclasses.replace(prediction, gaussians=gaussians)
