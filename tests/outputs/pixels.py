"""Where points of the plane of `conftest.py` are to be."""

import numpy as np


def check_pixels(vertices, prediction):
    """Asserts that points (N · H · W, 3), in the order of views and pixels, project to the centres of their pixels, at their depth."""
    views, height, width = prediction.depth.shape
    world = np.concatenate([vertices, np.ones((views * height * width, 1))], axis=1).reshape(views, -1, 4)
    rows, columns = np.mgrid[:height, :width]
    for view in range(views):
        projected = world[view] @ (prediction.intrinsics[view] @ prediction.extrinsics[view]).T
        pixels = projected[:, :2] / projected[:, 2:]
        np.testing.assert_allclose(pixels, np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2), atol=1e-3)
        np.testing.assert_allclose(projected[:, 2], prediction.depth[view].ravel(), rtol=1e-5)
