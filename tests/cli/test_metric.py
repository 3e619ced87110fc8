"""Metres from the command line: a metric network, and printed markers."""

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import da3jax
from da3jax import weights
from da3jax.cli import app
from da3jax.schema import to_dict
from da3jax.weights.orbax_store import save
from tests.markers import draw_marker


@pytest.fixture(scope="module")
def metric_dir(released_dir, tmp_path_factory):
    params, config = weights.load(released_dir.parent / "single_view")
    folder = tmp_path_factory.mktemp("models") / "metric"
    save(folder, params, to_dict(dataclasses.replace(config, name="tiny-metric", canonical_focal=300.0)))
    return folder


@pytest.fixture
def photo(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (168, 224, 3), dtype=np.uint8)
    draw_marker(image, [[60, 40], [160, 50], [150, 140], [55, 130]], 7)
    Image.fromarray(image).save(tmp_path / "0.png")
    return tmp_path / "0.png"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def arrays(out):
    with np.load(out / "exports" / "npz" / "results.npz") as archive:
        return dict(archive)


@pytest.mark.integration
def test_a_metric_model_brings_another_to_metres(photo, tiny_model_dir, metric_dir, tmp_path):
    common = [
        "image",
        photo,
        "--model-dir",
        tiny_model_dir,
        "--process-res",
        56,
        "--export-format",
        "npz",
        "--export-dir",
        tmp_path / "out",
    ]
    done = run(*common, "--metric-model", metric_dir)
    assert done.exit_code == 0
    assert "depth is in metres: 1 in the network's units is " in done.stderr
    found = arrays(tmp_path / "out")
    expected = da3jax.DepthAnything3.from_pretrained(tiny_model_dir, metric_model=metric_dir).inference(photo, process_res=56)
    np.testing.assert_allclose(found["depth"], expected.depth, rtol=1e-5)
    assert found["is_metric"]
    assert found["scale_factor"] == expected.scale_factor


@pytest.mark.integration
def test_a_marker_of_known_size_brings_the_scene_to_metres(photo, tiny_model_dir, tmp_path):
    common = ["image", photo, "--model-dir", tiny_model_dir, "--process-res", 224, "--export-format", "npz"]
    plain, scaled, twice = (tmp_path / name for name in ("plain", "scaled", "twice"))
    assert run(*common, "--export-dir", plain).exit_code == 0
    done = run(*common, "--export-dir", scaled, "--aruco-size", 0.1)
    assert done.exit_code == 0, done.stderr
    assert run(*common, "--export-dir", twice, "--aruco-size", 0.2).exit_code == 0
    factor = arrays(scaled)["scale_factor"]
    np.testing.assert_allclose(arrays(scaled)["depth"], factor * arrays(plain)["depth"], rtol=1e-5)
    assert arrays(twice)["scale_factor"] == pytest.approx(2 * factor, rel=1e-5)
    assert not arrays(plain)["is_metric"]
    assert arrays(scaled)["is_metric"]


def test_markers_that_cannot_serve_are_refused_before_anything_is_loaded(photo, tmp_path, monkeypatch):
    common = ["auto", tmp_path, "--model-dir", tmp_path / "no-model", "--aruco-size", 0.1]
    Image.open(photo).save(tmp_path / "1.png")
    done = run(*common, "--independent")
    assert (done.exit_code, "--aruco-size gives a scene its scale" in done.stderr) == (1, True)
    done = run(*common, "--aruco-dictionary", "DICT_4X4_5")
    assert (done.exit_code, "ArUco dictionary 'DICT_4X4_5' is unknown" in done.stderr) == (1, True)
    assert run(*common[:-1], 0).exit_code == 2
    Image.open(photo).resize((14, 14)).save(photo)
    Image.open(photo).save(tmp_path / "1.png")
    done = run(*common)
    assert (done.exit_code, "no ArUco marker of DICT_4X4_50 is in any of the 2 images" in done.stderr) == (1, True)
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = run(*common)
    assert (done.exit_code, 'pip install "da3jax[aruco]"' in done.stderr) == (1, True)
