"""Broken models and pictures: one sentence that names the file, status 1, and nothing written."""

import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from da3jax.cli import app

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
WEIGHTS = "model.safetensors"


def run(source, model, out, *options):
    arguments = ["auto", source, "--model-dir", model, "--export-dir", out, "--export-format", "npz-glb-depth_vis", "--process-res", "28"]
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)], catch_exceptions=False)


def refused(result, out):
    """The sentence; whatever was refused, nothing is there."""
    assert (result.exit_code, result.stdout) == (1, "")
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("da3jax: error: ")
    assert result.stderr.count("da3jax: error: ") == 1
    assert "Traceback" not in result.stderr
    assert not [path for path in out.rglob("*") if path.is_file()]
    return sentence


@pytest.fixture
def model(released_dir, tmp_path):
    return shutil.copytree(released_dir, tmp_path / "model")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(folder / name)
    return folder


def rewrite(model, change):
    tensors = load_file(model / WEIGHTS)
    change(tensors)
    save_file(tensors, model / WEIGHTS)


def other_shape(tensors):
    tensors["model.backbone.pretrained.norm.weight"] = np.ones(33, np.float32)


def not_a_number(tensors):
    tensors["model.head.projects.0.weight"][0, 0] = np.nan


MODELS = {
    "no config.json": (lambda model: (model / "config.json").unlink(), "config.json is missing"),
    "truncated weights": (
        lambda model: (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:-1000]),
        "model.safetensors cannot be read: .* truncated",
    ),
    "no weights": (lambda model: (model / WEIGHTS).unlink(), "model.safetensors is missing"),
    "one key missing": (
        lambda model: rewrite(model, lambda tensors: tensors.pop("model.cam_dec.fc_t.bias")),
        "1 missing: model.cam_dec.fc_t.bias",
    ),
    "one key extra": (
        lambda model: rewrite(model, lambda tensors: tensors.update({"model.other": np.zeros(1, np.float32)})),
        "1 unknown to the network: model.other",
    ),
    "one of another shape": (
        lambda model: rewrite(model, other_shape),
        r"1 of another shape: model.backbone.pretrained.norm.weight \(33,\) instead of \(32,\)",
    ),
    "another variant": (
        lambda model: shutil.copy(GOLDEN / "single_view" / "config.json", model / "config.json"),
        "missing: .*unknown|unknown to the network: ",
    ),
    "a weight that is no number": (lambda model: rewrite(model, not_a_number), "1 not finite .*: model.head.projects.0.weight"),
}


@pytest.mark.parametrize("fault", MODELS)
def test_a_broken_model_is_refused(fault, model, photos, tmp_path):
    breaks, message = MODELS[fault]
    breaks(model)
    sentence = refused(run(photos, model, tmp_path / "out"), tmp_path / "out")
    assert str(model) in sentence
    assert re.search(message, sentence), sentence


def animation(path):
    frames = [Image.fromarray(np.full((20, 30), level, np.uint8)) for level in (0, 255)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    path.with_suffix(".gif").rename(path)


PICTURES = {
    "no picture": (lambda path: path.write_text("hello"), "c.png"),
    "a truncated picture": (lambda path: path.write_bytes((path.parent / "a.png").read_bytes()[:60]), "c.png"),
    "an animation": (animation, "c.png.* 2 frames"),
    "a line": (lambda path: Image.fromarray(np.zeros((1, 500), np.uint8)).save(path), "c.png"),
}


@pytest.mark.parametrize("fault", PICTURES)
def test_an_unusable_picture_is_refused(fault, model, photos, tmp_path):
    breaks, message = PICTURES[fault]
    breaks(photos / "c.png")
    sentence = refused(run(photos, model, tmp_path / "out"), tmp_path / "out")
    assert re.search(message, sentence), sentence


def test_a_folder_without_pictures_is_refused(model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refused(run(tmp_path / "empty", model, tmp_path / "out"), tmp_path / "out")


def test_an_export_folder_that_cannot_be_written_is_refused_at_once(model, photos, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = run(photos, model, tmp_path / "file")
    assert result.exit_code == 1
    assert str(tmp_path / "file") in result.stderr
    assert "load" not in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_of_other_origin_in_the_export_folder_is_refused_at_once(model, photos, tmp_path):
    other = tmp_path / "out" / "nerfstudio" / "transforms.json"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    result = run(photos, model, tmp_path / "out", "--export-format", "glb-nerfstudio")
    assert result.exit_code == 1
    assert f"{other} is not one that da3jax has written; move it away" in result.stderr
    assert "load" not in result.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [other]


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "CMYK", "P", "1 x 1"])
def test_pictures_of_other_kinds_work(mode, model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    if mode == "1 x 1":
        image = Image.new("RGB", (1, 1))
    elif mode == "I;16":
        image = Image.fromarray(np.full((28, 28), 30000, np.uint16))
    else:
        image = Image.new(mode, (28, 28))
    image.save(folder / ("a.tif" if mode in ("CMYK", "I;16") else "a.png"))
    result = run(folder, model, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    with np.load(tmp_path / "out" / "exports" / "npz" / "results.npz") as arrays:
        assert arrays["depth"].shape == (1, 28, 28)
        assert np.isfinite(arrays["depth"]).all()
        assert set(arrays) >= {"depth", "conf", "extrinsics", "intrinsics", "image", "ray"}
