"""What inference would take of devices, on tiny networks; of devices that are not here where their compiler is installed."""

import functools
import importlib.util

import jax
import pytest

from da3jax import weights
from da3jax.config import PRESETS, to_dict
from da3jax.inference.model import DepthAnything3
from da3jax.planner import find_topology, plan
from da3jax.planner.memory import peak_bytes
from da3jax.planner.planning import config_of
from tests.models.tiny import ANYVIEW, params_of

SIZE = (28, 42)
OUTPUTS = ("depth", "cameras")
tiny = functools.partial(plan, ANYVIEW, height=SIZE[0], width=SIZE[1], outputs=OUTPUTS)


@pytest.fixture(scope="module")
def three():
    return tiny(3, search=False)


@pytest.mark.integration
def test_it_plans_the_program_that_inference_runs(three):
    model = DepthAnything3(params_of(ANYVIEW), ANYVIEW)
    program = model.trace(3, *SIZE, outputs=OUTPUTS).lower()
    options = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
    assert three.peak_bytes_per_device == peak_bytes(program, model.params, options) + find_topology("cpu").target.process_bytes
    assert (three.fits, three.devices, three.max_views) == (True, 1, None)


@pytest.mark.integration
def test_the_largest_number_of_views_fits_and_the_next_does_not(three):
    five = tiny(5, bucket_views=False, search=False)
    for room, most in ((five.peak_bytes_per_device, 5), (five.peak_bytes_per_device - 1, 4)):
        found = tiny(3, bucket_views=False, usable_bytes=room)
        assert (found.peak_bytes_per_device, found.max_views, found.fits) == (three.peak_bytes_per_device, most, True)
    nothing = tiny(3, usable_bytes=1000)
    assert (nothing.max_views, nothing.fits) == (0, False)


@pytest.mark.integration
def test_what_fits_is_no_more_than_the_largest_that_does():
    eleven = tiny(11, bucket_views=False, search=False)
    found = tiny(11, bucket_views=False, usable_bytes=eleven.peak_bytes_per_device)  # beyond eight, multiples of eight alone are tried
    assert (found.fits, found.max_views) == (True, 11)


@pytest.mark.integration
def test_views_that_fill_up_count():
    five, six = (tiny(views, search=False) for views in (5, 6))
    assert five.flops == six.flops
    assert five.peak_bytes_per_device >= six.peak_bytes_per_device  # the mask


def test_a_model_by_any_name(released_dir, tiny_model_dir, tmp_path):
    (tmp_path / "own.yaml").write_text("preset: da3-small\nbackbone: {depth: 14, taps: [5, 7, 11, 13]}\n")
    assert config_of("da3-giant") is config_of("depth-anything/da3-giant-1.1") is PRESETS["da3-giant"]
    assert config_of(tmp_path / "own.yaml").backbone.depth == 14
    assert to_dict(config_of(released_dir)) == to_dict(config_of(str(tiny_model_dir))) == to_dict(weights.load(released_dir)[1])


def test_what_is_unknown_or_impossible_is_refused():
    with pytest.raises(ValueError, match=r"model 'da3-gaint' is unknown; it is one of da3-small, .*; did you mean 'da3-giant'\?"):
        plan("da3-gaint", 2, 28, 42)
    with pytest.raises(ValueError, match=r"topology 'h200' is unknown; .*did you mean 'h100'"):
        plan("da3-small", 2, 28, 42, "h200")
    with pytest.raises(ValueError, match="height is 30; processed images have multiples of 14, for example 28"):
        plan("da3-small", 2, 30, 42)
    for views in (0, 2.5, "3"):
        with pytest.raises(ValueError, match=f"views is {views!r}; it is a whole number, at least 1"):
            plan("da3-small", views, 28, 42)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra plan-tpu")
def test_chips_share_the_views_of_a_scene():
    one, four = (tiny(8, topology=topology, search=False) for topology in ("v5e:1x1", "v5e:2x2"))
    assert (one.devices, four.devices) == (1, 4)
    assert one.flops == four.flops
    assert four.peak_bytes_per_device < one.peak_bytes_per_device


@pytest.mark.skipif(importlib.util.find_spec("jax_cuda12_plugin") is None, reason="needs the extra plan-gpu")
def test_a_gpu_takes_bfloat16_by_default():
    half, full = (tiny(8, topology="h100", dtype=dtype, search=False) for dtype in (None, "float32"))
    assert half.peak_bytes_per_device != full.peak_bytes_per_device
    assert half.fits
    assert jax.default_backend() == "cpu"
