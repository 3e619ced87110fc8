"""A scene that is filled up with masked views is as the scene alone, whatever it is filled with."""

import functools

import jax
import numpy as np
import pytest

from da3jax.config import REF_VIEW_STRATEGIES
from da3jax.geometry import rotation_from_axis_angle
from da3jax.models import forward, stack_layers
from da3jax.models.metric import fit_metric_scale
from tests.models.tiny import ANYVIEW, HEIGHT, SINGLE_VIEW, WIDTH, compiled, images_of, params_of
from tests.quick import quick_jit

VIEWS = 4
COUNTS = (1, 2, 3)
MASK = np.arange(VIEWS)[None] < np.array(COUNTS)[:, None]
CAMERAS = {
    "extrinsics": np.concatenate(
        [
            rotation_from_axis_angle(np.random.default_rng(1).standard_normal((len(COUNTS), VIEWS, 3), dtype=np.float32)),
            np.random.default_rng(2).standard_normal((len(COUNTS), VIEWS, 3, 1), dtype=np.float32),
        ],
        axis=-1,
    ),
    "intrinsics": np.tile(np.float32([[40, 0, WIDTH / 2], [0, 44, HEIGHT / 2], [0, 0, 1]]), (len(COUNTS), VIEWS, 1, 1)),
}


def scenes(seed=0):
    """Three scenes of 1, 2 and 3 views; what fills them up is loud, so that it is heard wherever it is let in."""
    images = images_of(len(COUNTS), VIEWS, seed=seed)
    return np.where(MASK[..., None, None, None], images, 50 * images + 20)


def assert_alone(found, alone, counts=COUNTS):
    """`found` of all scenes against `alone(i, count)`, scene by scene; and nothing but numbers in the masked views."""
    for count in counts:
        i = COUNTS.index(count)
        expected, mine = (jax.tree.leaves(x) for x in (alone(i, count), jax.tree.map(lambda x: x[i : i + 1, :count], found)))  # noqa: B023
        for x, y in zip(mine, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * np.abs(y).max())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("config", "posed", "stacked"),
    [(ANYVIEW, False, False), (ANYVIEW, True, False), (ANYVIEW, False, True), (SINGLE_VIEW, False, False)],
    ids=["anyview", "known cameras", "scanned", "single view"],
)
def test_real_views_are_as_without_the_masked_ones(config, posed, stacked):
    params = stack_layers(params_of(config), config) if stacked else params_of(config)
    outputs = ("depth", "sky") if config is SINGLE_VIEW else ("cameras",) if posed or stacked else ("depth", "cameras")
    run, images = compiled(config, outputs=outputs), scenes()
    cameras = CAMERAS if posed else {}

    def alone(i, count):
        return run(params, images[i : i + 1, :count], **{name: x[i : i + 1, :count] for name, x in cameras.items()})

    every_count = config is ANYVIEW and not stacked and not posed  # each is a program more
    assert_alone(run(params, images, view_mask=MASK, **cameras), alone, COUNTS if every_count else (3,))


@pytest.mark.parametrize("strategy", REF_VIEW_STRATEGIES)
def test_the_cameras_are_seen_from_the_reference_view_that_is_chosen_without_them(strategy):
    run, images = compiled(ANYVIEW, outputs=("cameras",), ref_view_strategy=strategy), scenes(seed=3)
    params = params_of(ANYVIEW)
    assert_alone(run(params, images, view_mask=MASK), lambda i, count: run(params, images[i : i + 1, :count]), (3,))


def test_without_a_mask_masked_views_would_be_heard():
    run, images, params = compiled(ANYVIEW, outputs=("cameras",)), scenes(), params_of(ANYVIEW)
    heard, alone = run(params, images), run(params, images[2:, :3])
    assert np.abs(heard.pose_enc[2:, :3] - alone.pose_enc).max() > 0.01


def test_a_scale_is_fitted_to_real_views():
    rng = np.random.default_rng(0)
    depth, conf, metres, sky = (rng.uniform(0.1, 1, (3, VIEWS, 6, 7)).astype(np.float32) for _ in range(4))
    fit = quick_jit(fit_metric_scale)
    found = fit(depth, conf, metres, sky, MASK)
    for i, count in enumerate(COUNTS):
        alone = quick_jit(fit_metric_scale)(*(x[i : i + 1, :count] for x in (depth, conf, metres, sky)))
        np.testing.assert_allclose(found.scale[i], alone.scale[0], rtol=1e-5)
        np.testing.assert_allclose(found.residual[i], alone.residual[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK[:1], r"view_mask is bool of shape \(1, 4\); for these images it is bool of \(3, 4\)"),
        (MASK.astype(np.float32), r"view_mask is float32 of shape \(3, 4\); for these images it is bool of \(3, 4\)"),
    ],
)
def test_a_mask_of_another_shape_or_type_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(forward, config=ANYVIEW), params_of(ANYVIEW), scenes(), view_mask=mask)
