"""A real stereo pair with ground truth, from scikit-image (Middlebury 2014): units and conventions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import align_scale_shift, project, unproject

data = pytest.importorskip("skimage.data")

FOCAL, CX, CY, OFFSET, BASELINE = 994.978, 311.193, 254.877, 31.086, 0.193001  # pixels and metres


@pytest.fixture(scope="module")
def pair():
    """Left and right image (500, 741, 3) in 0 to 1, and the left one's disparity (500, 741) in pixels, not finite where unknown."""
    left, right, disparity = data.stereo_motorcycle()
    return left / np.float32(255), right / np.float32(255), np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)


def depth_of(disparity):
    return FOCAL * BASELINE / (disparity + OFFSET)


def intrinsics(cx):
    """Middlebury's first pixel has its centre at (0, 0), ours at (0.5, 0.5)."""
    return np.float32([[FOCAL, 0, cx + 0.5], [0, FOCAL, CY + 0.5], [0, 0, 1]])


def photometric_error(pair, baseline):
    """Mean absolute difference between the left image and the right one where a camera `baseline` metres to the right sees its points."""
    left, right, disparity = pair
    known = np.isfinite(disparity)
    points = unproject(jnp.where(known, depth_of(disparity), 1), intrinsics(CX))
    moved = np.float32([[1, 0, 0, -baseline], [0, 1, 0, 0], [0, 0, 1, 0]])
    pixels, _ = project(points, moved, intrinsics(CX + OFFSET))
    column, row = np.moveaxis(np.asarray(pixels) - 0.5, -1, 0)
    inside = known & (column >= 0) & (column <= right.shape[1] - 1)
    seen = [jax.scipy.ndimage.map_coordinates(right[..., c], [row, column], order=1) for c in range(3)]
    return np.abs(np.stack(seen, axis=-1) - left)[inside].mean()


def test_points_of_the_left_image_land_on_themselves_in_the_right_one(pair):
    right = photometric_error(pair, BASELINE)
    assert right < 0.05
    for wrong in (0.9 * BASELINE, 1.1 * BASELINE, 0, -BASELINE):
        assert photometric_error(pair, wrong) > 2 * right


@pytest.mark.parametrize("kind", ["disparity", "depth"])
def test_scale_and_shift_are_found_among_40_percent_outliers(pair, kind):
    disparity = pair[2]
    known = np.isfinite(disparity)
    assert known.mean() == pytest.approx(0.93, abs=0.01)
    true = disparity if kind == "disparity" else np.float32(depth_of(disparity))
    rng = np.random.default_rng(0)
    outlier = rng.random(true.shape) < 0.4
    reference = np.where(outlier, rng.uniform(np.nanmin(true), 2 * np.nanmax(true), true.shape), true).astype(np.float32)
    found = jax.jit(align_scale_shift)((true + 3) / 2.5, reference, known, jax.random.key(0))
    assert float(found.scale) == pytest.approx(2.5, rel=1e-3)
    assert float(found.shift) == pytest.approx(-3, abs=1e-3 * float(np.nanmax(true)))
    assert float(found.inlier_share) == pytest.approx(0.6, abs=0.02)
