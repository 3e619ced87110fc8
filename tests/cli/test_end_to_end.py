"""From images to files, with a tiny network."""

import json
import pathlib
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import da3jax
from da3jax.cli import app
from da3jax.outputs.manifest import MANIFEST

pytestmark = pytest.mark.integration


@pytest.fixture
def photos(tmp_path):
    """A folder of two small photographs that differ."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).resize((70, 50)).save(folder / f"{i}.png")
    return folder


def call(*arguments):
    """What the command wrote, after a run in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return [pathlib.Path(line) for line in result.stdout.splitlines()]


def failure(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = [line for line in result.stderr.splitlines() if line.startswith("da3jax: error: ")]
    assert result.stderr.splitlines()[-len(lines) :] == lines
    (line,) = lines
    return line


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def depth_of(written):
    (path,) = [path for path in written if path.suffix == ".npz"]
    with np.load(path) as arrays:
        return arrays["depth"]


def points_and_lines(written):
    """Vertices drawn as points, and as lines, in a GLB."""
    (path,) = [path for path in written if path.suffix == ".glb"]
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    counts = {"points": 0, "lines": 0}
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            kind = {0: "points", 1: "lines", 3: "lines"}[primitive["mode"]]
            counts[kind] += tree["accessors"][primitive["attributes"]["POSITION"]]["count"]
    return counts["points"], counts["lines"]


def test_the_real_command_prints_the_paths_it_wrote_and_times_itself_on_stderr(photos, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("not yours")
    arguments = [
        "auto",
        photos,
        "--model-dir",
        tiny_model_dir,
        "--export-dir",
        out,
        "--export-format",
        "npz-glb-depth_vis",
        "--process-res",
        "56",
    ]
    done = subprocess.run([sys.executable, "-m", "da3jax", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = [pathlib.Path(line) for line in done.stdout.splitlines()]
    assert len(set(written)) == len(written)
    assert set(written) == files(out) - {out / "mine.txt", out / MANIFEST}
    assert {path.suffix for path in written} >= {".npz", ".glb"}
    assert (out / "mine.txt").read_text() == "not yours"
    for step in (f"load {tiny_model_dir}: ", "2 views, compiling included: ", "write npz-glb-depth_vis: "):
        (line,) = [line for line in done.stderr.splitlines() if line.startswith(step)]
        assert float(line.removeprefix(step).removesuffix(" s")) >= 0
    expected = da3jax.DepthAnything3.from_pretrained(tiny_model_dir).inference(sorted(photos.iterdir()), process_res=56)
    assert expected.depth.shape[0] == 2
    np.testing.assert_allclose(depth_of(written), expected.depth, rtol=1e-5)


@pytest.mark.slow
def test_options_of_the_network_reach_it(photos, tiny_model_dir, tmp_path):
    Image.open(photos / "0.png").transpose(Image.Transpose.ROTATE_180).save(photos / "2.png")  # two views have no choice of reference
    shape = {"process_res": 42, "process_res_method": "lower_bound_crop"}
    common = ["images", photos, "--model-dir", tiny_model_dir, "--export-format", "npz", "--dtype", "float32"]
    common += ["--process-res", 42, "--process-res-method", "lower_bound_crop"]
    model = da3jax.DepthAnything3.from_pretrained(tiny_model_dir, dtype="float32")
    depths = []
    for strategy, independent in (("middle", False), ("first", False), ("first", True)):
        out = tmp_path / f"{strategy}-{independent}"
        depth = depth_of(call(*common, "--ref-view-strategy", strategy, *["--independent"] * independent, "--export-dir", out))
        expected = model.inference(sorted(photos.iterdir()), **shape, ref_view_strategy=strategy, independent=independent)
        np.testing.assert_allclose(depth, expected.depth, rtol=1e-5)
        assert not any(np.allclose(depth, other) for other in depths)
        depths.append(depth)


def test_options_of_the_point_cloud_reach_it(photos, tiny_model_dir, tmp_path):
    common = ["image", photos / "0.png", "--model-dir", tiny_model_dir, "--process-res", 42]
    points, lines = points_and_lines(call(*common, "--export-dir", tmp_path / "a", "--num-max-points", 50, "--conf-thresh-percentile", 0))
    assert points == 50
    assert lines > 0
    every, _ = points_and_lines(call(*common, "--export-dir", tmp_path / "b", "--conf-thresh-percentile", 0))
    half, lines = points_and_lines(call(*common, "--export-dir", tmp_path / "c", "--conf-thresh-percentile", 50, "--no-show-cameras"))
    assert (half / every, lines) == (pytest.approx(0.5, abs=0.01), 0)


def test_images_takes_the_endings_it_is_told(photos, tiny_model_dir, tmp_path):
    Image.open(photos / "0.png").save(photos / "2.bmp")
    common = ["images", photos, "--model-dir", tiny_model_dir, "--process-res", 28, "--export-format", "npz"]
    assert depth_of(call(*common, "--export-dir", tmp_path / "a", "--image-extensions", "bmp")).shape[0] == 1
    assert depth_of(call(*common, "--export-dir", tmp_path / "b")).shape[0] == 3


def test_a_converted_folder_and_the_way_back_give_the_same_depth(photos, tiny_model_dir, tmp_path):
    assert call("convert", tiny_model_dir, tmp_path / "released", "--to", "safetensors") == [tmp_path / "released"]
    assert call("convert", tmp_path / "released", tmp_path / "orbax") == [tmp_path / "orbax"]
    assert {path.name for path in files(tmp_path / "released")} == {"config.json", "model.safetensors"}
    common = ["auto", photos / "0.png", "--process-res", 28, "--export-format", "npz", "--model-dir"]
    depths = [
        depth_of(call(*common, model, "--export-dir", tmp_path / "out" / model.name))
        for model in (tmp_path / "released", tmp_path / "orbax")
    ]
    np.testing.assert_array_equal(*depths)


def test_a_failure_is_one_sentence_with_status_1_and_leaves_nothing(photos, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    common = ["--export-dir", out, "--process-res", 28, "--model-dir"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes((photos / "0.png").read_bytes()[:100])
    (tmp_path / "file").touch()
    assert str(tmp_path / "empty") in failure("auto", tmp_path / "empty", *common, tiny_model_dir)
    assert str(tmp_path / "torn.png") in failure("image", tmp_path / "torn.png", *common, tiny_model_dir)
    assert str(tmp_path / "empty") in failure("auto", photos, *common, tmp_path / "empty")
    assert str(tmp_path / "empty") in failure("convert", tmp_path / "empty", out)
    assert str(tmp_path / "file") in failure("auto", photos, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "file/out")
    assert not out.exists() or not files(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_with_status_130_and_leave_nothing(photos, tiny_model_dir, tmp_path, number):
    # A shell that runs the tests in the background hands down an ignored SIGINT: switch it on as a terminal has it.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from da3jax.cli import main; main()"
    arguments = ["auto", photos, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "out"]
    with subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=-1, stderr=-1, text=True) as process:
        for line in process.stderr:
            if line.startswith("load "):
                process.send_signal(number)
                break
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "da3jax: interrupted; nothing half-written was left behind"
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")
