"""The dtype policy: float32 throughout, or bfloat16 products of a float32 backbone."""

import functools
import re

import jax
import numpy as np
import pytest

from da3jax.models import Network, compute_dtype, forward
from da3jax.models.layers import Mlp
from tests.models.tiny import ANYVIEW, compiled, images_of, params_of


@pytest.fixture(scope="module")
def params():
    return params_of(ANYVIEW)


def products(platform, dtype, params, **options):
    """Lines of the lowered program that multiply matrices or convolve."""
    run = jax.jit(functools.partial(forward, config=ANYVIEW, dtype=dtype, **options))
    text = run.trace(params, images_of(1, 3)).lower(lowering_platforms=(platform,)).as_text()
    return [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|dot|convolution)\b", line)]


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_float32_means_highest_precision_in_every_product(platform, params):
    lines = products(platform, "float32", params, outputs=ANYVIEW.outputs)
    assert len(lines) > 60
    assert not [line for line in lines if line.count("HIGHEST") != 2]
    assert not [line for line in lines if "bf16" in line]


def test_bfloat16_products_have_bfloat16_operands_and_float32_results(params):
    lines = products("tpu", "bfloat16", params, outputs=("taps",))
    operands = [re.search(r": \((.*)\) -> (.*)", line).groups() for line in lines]
    rounded = [pair for pair in operands if pair[0].count("xbf16") == 2]
    assert all(result.endswith("xf32>") for _, result in rounded)
    # The patch embedding, and of each block four layers and two products of its attention; the rest are the position embedding's and the
    # reference view's.
    assert len(rounded) == 1 + 4 * (4 + 2)
    assert all("xbf16" not in pair[0] for pair in operands if pair not in rounded)


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "HIGHEST"), ("bfloat16", "DEFAULT")])
def test_products_of_a_gradient_are_as_precise_as_those_they_are_of(dtype, precision):
    layers = Mlp(16, 8, np.dtype(dtype))
    x = np.ones((1, 1, 4, 8), np.float32)
    params = layers.init(jax.random.key(0), x)
    with jax.default_matmul_precision("highest"):
        text = jax.jit(jax.grad(lambda params, x: layers.apply(params, x).sum(), argnums=(0, 1))).lower(params, x).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(lines) == 5  # one forward: the second layer's sum is known without its product
    assert all(line.count(precision) == 2 for line in lines)


def test_heads_and_cameras_stay_float32_beside_a_bfloat16_backbone(params):
    backbone, everything = (products("tpu", "bfloat16", params, outputs=outputs) for outputs in (("taps",), ANYVIEW.outputs))
    assert sum("bf16" in line for line in backbone) == sum("bf16" in line for line in everything)
    assert len(everything) > len(backbone) + 30


def test_bfloat16_gives_float32_near_the_exact_result(params):
    exact, rounded = (compiled(ANYVIEW, **options)(params, images_of(1, 3)) for options in ({}, {"dtype": "bfloat16"}))
    for name, found in vars(rounded).items():
        if found is not None:
            expected = getattr(exact, name)
            assert found.dtype == np.float32
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            assert 1e-5 < error < 0.03, (name, error)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_images_of_half_precision_are_taken_by_every_part(params, dtype):
    images = jax.ShapeDtypeStruct((1, 2, 28, 42, 3), dtype)
    found = jax.eval_shape(functools.partial(forward, config=ANYVIEW, outputs=ANYVIEW.outputs), params, images)
    assert {leaf.dtype for leaf in (found.depth, found.ray, found.pose_enc, found.raw_gs)} == {np.dtype(np.float32)}


def test_the_residual_stream_is_float32(params):
    def blocks(params, images):
        return Network(ANYVIEW, dtype="bfloat16").apply(
            {"params": params},
            images,
            outputs=("taps",),
            capture_intermediates=lambda module, _: (module.name or "").startswith("blocks_"),
        )[1]

    captured = jax.eval_shape(blocks, params, images_of(1, 3))["intermediates"]["backbone"]
    streams = [block["__call__"][0][0] for block in captured.values()]
    assert [(stream.shape, stream.dtype) for stream in streams] == [((1, 3, 7, 16), np.float32)] * 4


def test_no_dtype_is_float32_on_a_cpu(params):
    assert compute_dtype(None) == "float32"
    assert products("cpu", None, params) == products("cpu", "float32", params)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match=r"dtype 'bf16' is unknown; it is one of float32, bfloat16"):
        compute_dtype("bf16")
