"""Every kind of input through the commands that take it, as a user would call them."""

import pathlib
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
from plyfile import PlyData
from typer.testing import CliRunner

from da3jax.cli import app
from tests.user import HEIGHT, INTRINSICS, VIEWS, WIDTH, centres, furnish, pictures


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which a user stands."""
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)
    return tmp_path


def call(*arguments, **options):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, **options)
    assert done.exit_code == 0, done.stderr
    return [pathlib.Path(line) for line in done.stdout.splitlines()]


def arrays(out):
    with np.load(pathlib.Path(out) / "exports/npz/results.npz") as found:
        return dict(found)


def real(line):
    """The very line, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", *line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.integration
def test_the_line_for_photographs(here):
    assert real(["da3jax", *["auto", "./photos", "--export-format", "glb", "--export-dir", "./result"]]) == {"result/scene.glb"}
    assert pathlib.Path("result/scene.glb").read_bytes()[:4] == b"glTF"


@pytest.mark.integration
def test_the_line_for_a_video(here):
    line = "video ./walk.mp4 --fps 12 --export-format glb-feat_vis --feat-vis-fps 12 --export-feat 2,3 --export-dir ./out"
    written = real(["da3jax", *line.split()])
    assert "out/scene.glb" in written
    for layer in (2, 3):
        (path,) = [path for path in written if path.endswith(".mp4") and f"layer_{layer}" in path]
        with av.open(path) as container:
            assert container.streams.video[0].average_rate == 12
            assert len(list(container.decode(video=0))) == VIEWS


@pytest.mark.parametrize("command", ["auto", "images"])
def test_a_folder_of_images(here, tiny_model_dir, command):
    shutil.copy("photos/0.png", "photos/other.PNG")
    shutil.copy("photos/0.png", "photos/other.jpg")
    options = ("--model-dir", tiny_model_dir, "--export-format", "npz", "--image-extensions", "png", "--process-res", 56)
    call(command, "photos", *options)
    assert arrays("result")["depth"].shape == (VIEWS + 1, HEIGHT, WIDTH)


@pytest.mark.parametrize("command", ["auto", "image"])
def test_an_image(here, tiny_model_dir, command):
    call(command, "photos/1.png", "--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56)
    np.testing.assert_allclose(arrays("result")["image"][0].astype(int), pictures()[1], atol=1)


@pytest.mark.parametrize("command", ["auto", "video"])
def test_a_video(here, tiny_model_dir, command):
    options = ("--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56)
    call(command, "walk.mp4", *options, "--fps", 12, "--start", 1 / 12, "--end", 0.2)
    images = arrays("result")["image"].astype(int)
    assert len(images) == 2
    assert np.abs(images - pictures()[1:]).mean() < 15  # what the codec costs; other frames differ by 60


@pytest.mark.parametrize(
    "arguments", ["colmap model", "colmap model --sparse-subdir 0", "auto model", "auto nerf", "auto nerf/transforms.json"]
)
def test_known_cameras_condition_the_network_and_are_those_of_the_result(here, tiny_model_dir, arguments):
    call(*arguments.split(), "--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56)
    found = arrays("result")
    assert found["conditioned"] == "extrinsics,intrinsics"
    np.testing.assert_allclose(found["extrinsics"][:, :, 3], -centres(), atol=1e-6)
    fx, fy, cx, cy = INTRINSICS
    np.testing.assert_allclose(found["intrinsics"], np.tile([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], (VIEWS, 1, 1)), rtol=1e-6)


@pytest.mark.integration
def test_known_cameras_may_keep_to_the_networks_scale(here, tiny_model_dir):
    options = ("--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56)
    call("colmap", "model", *options, "--export-dir", "a")
    call("colmap", "model", *options, "--no-align-to-input-ext-scale", "--export-dir", "b")
    assert not np.allclose(arrays("a")["depth"], arrays("b")["depth"], rtol=1e-2)


def test_independent_images_of_a_model_keep_its_intrinsics_only(here, tiny_model_dir):
    call("colmap", "model", "--independent", "--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56)
    found = arrays("result")
    assert "extrinsics" not in found
    assert found["intrinsics"][0, 0, 0] == pytest.approx(INTRINSICS[0])


def test_independent_images_make_no_model(here, tiny_model_dir):
    line = ["images", "photos", "--independent", "--model-dir", str(tiny_model_dir), "--export-format", "colmap"]
    done = CliRunner().invoke(app, line, catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "export format 'colmap' needs the cameras of all views in one world" in done.stderr
    assert "compiling" not in done.stderr


@pytest.mark.parametrize("options", ["", "--official-gs --infer-gs"])
def test_gaussians_of_photographs(here, released_dir, options):
    line = ["images", "photos", "--model-dir", released_dir, "--export-format", "gs_ply", "--process-res", 56, *options.split()]
    assert call(*line) == [pathlib.Path("result/gs_ply/0000.ply")]
    vertices = PlyData.read("result/gs_ply/0000.ply")["vertex"]
    assert len(vertices) > 0
    assert np.isfinite(np.stack([vertices[name] for name in ("x", "y", "z", "opacity", "scale_0", "rot_0")])).all()
