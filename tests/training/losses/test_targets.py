"""Ground truth as it is given."""

import dataclasses

import numpy as np
import pytest

from da3jax.training.losses import Targets
from da3jax.training.losses.targets import check_targets

SHAPE = (1, 2, 3, 4)
TARGETS = Targets(np.ones(SHAPE, np.float32), np.ones(SHAPE, bool), np.zeros((1, 2, 3, 4), np.float32), np.zeros((1, 2, 3, 3), np.float32))


def test_depth_counts_that_is_known_finite_positive_and_neither_sky_nor_background():
    depth = np.float32([[[[1, 2, np.nan, 0], [np.inf, -1, 3, 4], [5, 6, 7, 8]]]])
    mask, sky, objects = np.ones(depth.shape, bool), np.zeros(depth.shape, np.float32), np.ones(depth.shape, np.float32)
    mask[0, 0, 0, 0] = False
    sky[0, 0, 2] = [0.5, 0.4, np.nan, 1]
    objects[0, 0, 1, 2:], objects[0, 0, 2, 1] = [0.5, np.nan], 0.4
    targets = Targets(depth, mask, np.zeros((1, 1, 3, 4)), np.zeros((1, 1, 3, 3)), sky=sky, objects=objects)
    np.testing.assert_array_equal(targets.valid()[0, 0], [[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"depth": np.ones((2, 3, 4))}, r"targets.depth has shape \(2, 3, 4\); it is \(scenes, views, height, width\), each at least 1"),
        ({"depth": np.ones((1, 0, 3, 4))}, r"targets.depth has shape \(1, 0, 3, 4\)"),
        (
            {"mask": np.ones((1, 2, 3, 5), bool)},
            r"targets.mask has shape \(1, 2, 3, 5\); for depth of shape \(1, 2, 3, 4\) it is \(1, 2, 3, 4\)",
        ),
        ({"mask": np.ones(SHAPE)}, "targets.mask is float64; it is bool, True where depth is known"),
        ({"extrinsics": np.ones((1, 1, 3, 4))}, r"targets.extrinsics has shape .* it is \(1, 2, 3, 4\) or \(1, 2, 4, 4\)"),
        ({"intrinsics": np.ones((1, 2, 3, 4))}, r"targets.intrinsics has shape .* it is \(1, 2, 3, 3\)"),
        ({"normals": np.ones(SHAPE)}, r"targets.normals has shape .* it is \(1, 2, 3, 4, 3\)"),
        ({"sky": np.ones((1, 2, 3))}, r"targets.sky has shape"),
        ({"objects": np.ones((1, 2, 3))}, r"targets.objects has shape"),
    ],
)
def test_targets_that_do_not_fit_together_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_targets(dataclasses.replace(TARGETS, **wrong))


def test_targets_that_fit_are_taken_with_4x4_extrinsics_too():
    check_targets(TARGETS)
    check_targets(dataclasses.replace(TARGETS, extrinsics=np.zeros((1, 2, 4, 4)), sky=np.zeros(SHAPE), normals=np.zeros((*SHAPE, 3))))
