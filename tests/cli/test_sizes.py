"""`--max-side` and `--lower-bound-resize`: what size the network sees."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.cli.options import RunOptions


def run(photo, model, out, *options):
    arguments = ["image", photo, "--model-dir", model, "--export-dir", out, "--export-format", "mini_npz", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def wide(tmp_path, height, width):
    path = tmp_path / "wide.png"
    Image.fromarray(np.full((height, width, 3), 99, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "resolution"),
    [
        ({}, (None, "upper_bound_resize", None)),
        ({"max_side": 500}, (500, "upper_bound_resize", None)),
        ({"lower_bound_resize": True}, (None, "lower_bound_resize", None)),
        ({"lower_bound_resize": True, "process_res": 280}, (280, "lower_bound_resize", None)),
        ({"lower_bound_resize": True, "max_side": 500}, (500, "lower_bound_resize", 1000)),
    ],
)
def test_options_say_how_large_images_become(options, resolution):
    assert tuple(RunOptions(**options).resolution.values()) == resolution


def test_together_the_short_side_aims_at_n(tiny_model_dir, tmp_path):
    done = run(wide(tmp_path, 60, 100), tiny_model_dir, tmp_path / "out", "--max-side", "28", "--lower-bound-resize")
    assert done.exit_code == 0, done.stderr
    with np.load(tmp_path / "out/exports/mini_npz/results.npz") as arrays:
        assert arrays["depth"].shape == (1, 28, 42)


def test_a_long_side_over_twice_n_is_refused_with_the_size_it_would_have(tiny_model_dir, tmp_path):
    done = run(wide(tmp_path, 40, 100), tiny_model_dir, tmp_path / "out", "--max-side", "28", "--lower-bound-resize")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "wide.png would be 28 × 70 (H × W) by lower_bound_resize at process_res 28; its longer side is to be at most 56" in done.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
