"""What training asks of the network beside inference: recomputation, conditioning of some scenes, gradients of every weight that counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.models import build_network, forward
from tests.models.tiny import ANYVIEW, images_of, params_of
from tests.quick import quick_jit

OUTPUTS = ("depth", "ray", "cameras")


@pytest.fixture(scope="module")
def params():
    return params_of(ANYVIEW)


def loss(params, images, remat):
    output = build_network(ANYVIEW, dtype="float32", remat=remat).apply({"params": params}, images, outputs=OUTPUTS)
    return jnp.mean(output.depth) + jnp.mean(output.ray**2) + jnp.mean(output.pose_enc**2)


@pytest.mark.slow
@pytest.mark.usefixtures("well_compiled")
def test_recomputed_values_give_the_same_gradient_in_less_memory(params):
    images = images_of(1, 4)
    compiled = {}
    for remat in (False, True):
        compiled[remat] = jax.jit(jax.grad(functools.partial(loss, remat=remat))).lower(params, images).compile()
    kept, recomputed = (compiled[remat](params, images) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), recomputed, kept)
    assert np.abs(kept["head"]["fusion_1"]["unit_2"]["conv_1"]["kernel"]).max() > 1e-6
    temporary = {remat: program.memory_analysis().temp_size_in_bytes for remat, program in compiled.items()}
    assert temporary[True] < 0.8 * temporary[False]


def test_scenes_that_are_not_conditioned_are_as_without_cameras_and_the_others_as_with(params):
    images = images_of(2, 3)
    extrinsics = np.tile(np.eye(4, dtype=np.float32), (2, 3, 1, 1))
    extrinsics[..., :3, 3] = np.random.default_rng(1).standard_normal((2, 3, 3))
    intrinsics = np.tile(np.float32([[40, 0, 21], [0, 40, 14], [0, 0, 1]]), (2, 3, 1, 1))
    run = quick_jit(functools.partial(forward, config=ANYVIEW, outputs=("depth", "cameras"), ref_view_strategy="first"))
    free, given = run(params, images), run(params, images, extrinsics=extrinsics, intrinsics=intrinsics)
    assert np.abs(free.depth - given.depth).max() > 1e-3
    some = run(params, images, extrinsics=extrinsics, intrinsics=intrinsics, conditioned=np.array([True, False]))
    for name in ("depth", "pose_enc"):
        found, with_cameras, without = (getattr(output, name) for output in (some, given, free))
        np.testing.assert_allclose(found[0], with_cameras[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[1], without[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conditioned": np.ones(1, bool)}, r"conditioned is given without extrinsics; for these images it is bool of \(1,\)"),
        (
            {"conditioned": np.ones(2, bool), "extrinsics": np.zeros((1, 2, 3, 4)), "intrinsics": np.zeros((1, 2, 3, 3))},
            r"conditioned is given bool of shape \(2,\); for these images it is bool of \(1,\)",
        ),
    ],
)
def test_a_choice_of_scenes_that_does_not_fit_is_refused(params, fields, message):
    with pytest.raises(ValueError, match=message):
        forward(params, images_of(1, 2), config=ANYVIEW, **fields)
