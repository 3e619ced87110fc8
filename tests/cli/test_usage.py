"""What the command line offers, and how it refuses what cannot be meant: status 2 before any model is loaded."""

import dataclasses
import importlib.metadata
import inspect
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.cli.export_options import ExportFlags
from da3jax.cli.options import IMAGE_EXTENSIONS, RunOptions
from da3jax.inputs import list_images
from da3jax.outputs import FORMATS, ExportOptions
from da3jax.weights.safetensors_store import STORED_AS

ONLY_YES = {"no-lower-bound-resize", "no-fast-decode", "no-native-resolution", "no-view", "no-quiet", "no-json-summary"}
"""Options that have no opposite."""


def status_and_error(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.stdout == ""
    return result.exit_code, result.stderr


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(path)
    return path


def test_help_lists_the_commands_that_are_there_and_no_other():
    result = CliRunner().invoke(app, ["--help"])
    commands = re.findall(r"^  (\w+) ", result.stdout.split("Commands:")[1], re.MULTILINE)
    assert (result.exit_code, commands) == (
        0,
        ["auto", "image", "images", "video", "colmap", "compile", "plan", "export", "convert", "models", "scenes", "train", "finetune"],
    )


def test_it_says_its_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"da3jax {importlib.metadata.version('da3jax')}\n"


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("auto", {"image-extensions", "fps", "start", "end", "sparse-subdir", "align-to-input-ext-scale", "no-align-to-input-ext-scale"}),
        ("image", set()),
        ("images", {"image-extensions"}),
        ("video", {"fps", "start", "end"}),
        ("colmap", {"sparse-subdir", "align-to-input-ext-scale", "no-align-to-input-ext-scale"}),
        ("convert", {"to", "dtype", "revision"}),
    ],
)
def test_help_lists_the_official_options_that_are_there_and_no_other(command, own):
    fields = dataclasses.fields(RunOptions)
    shared = {field.name.replace("_", "-") for field in fields} - {"json-summary"} | {"json"}
    shared |= {f"no-{field.name.replace('_', '-')}" for field in fields if isinstance(field.default, bool)} - ONLY_YES
    lines = re.findall(r"^  (--.*?)(?:  |$)", CliRunner().invoke(app, [command, "--help"]).stdout, re.MULTILINE)
    assert {option for line in lines for option in re.findall(r"--([\w-]+)", line)} == own | {"help"} | (
        shared if command != "convert" else set()
    )


def test_images_takes_the_endings_that_the_library_takes():
    assert tuple(IMAGE_EXTENSIONS.split(",")) == inspect.signature(list_images).parameters["extensions"].default


def test_formats_can_be_told_what_the_library_can_be_told_with_its_defaults():
    ours = {field.name: field.default for field in dataclasses.fields(ExportOptions)}
    del ours["images"]
    assert {field.name: field.default for field in dataclasses.fields(ExportFlags)} == ours


def test_defaults_are_the_official_ones_but_for_model_size_folder_device_and_image_extensions():
    official = {"conf_thresh_percentile": 40.0, "num_max_points": 1_000_000, "show_cameras": True, "feat_vis_fps": 15}
    flags = dataclasses.asdict(ExportFlags())
    assert {name: flags[name] for name in official} == official
    options = {name: str(value) for name, value in dataclasses.asdict(RunOptions()).items() if name not in flags}
    assert options == {
        "model_dir": "da3-tiny",
        "metric_model": "None",
        "aruco_size": "None",
        "aruco_dictionary": "DICT_4X4_50",
        "export_dir": "result",
        "export_format": "glb",
        "process_res": "None",
        "max_side": "None",
        "lower_bound_resize": "False",
        "process_res_method": "upper_bound_resize",
        "ref_view_strategy": "saddle_balanced",
        "use_ray_pose": "False",
        "fast_decode": "False",
        "native_resolution": "False",
        "export_feat": "",
        "infer_gs": "False",
        "official_gs": "False",
        "auto_cleanup": "False",
        "independent": "False",
        "revision": "None",
        "device": "None",
        "dtype": "None",
        "devices": "None",
        "view": "False",
        "view_host": "127.0.0.1",
        "view_port": "8080",
        "quiet": "False",
        "json_summary": "False",
        "coordinator": "None",
        "num_processes": "None",
        "process_id": "None",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--process-res-method", "upper_bound_resise"], "did you mean 'upper_bound_resize'?"),
        (["--process-res-method", "x"], "it is one of upper_bound_resize, lower_bound_resize, upper_bound_crop, lower_bound_crop"),
        (["--ref-view-strategy", "midle"], "is one of saddle_balanced, saddle_sim_range, middle, first; did you mean 'middle'?"),
        (["--dtype", "float16"], "value 'float16' is unknown; it is one of float32, bfloat16"),
        (["--process-res", "13"], "13 is out of range; it is between 14 and 65536"),
        (["--process-res", "wide"], "Invalid value for '--process-res'"),
        (["--conf-thresh-percentile", "101"], "conf_thresh_percentile is 101.0; it is between 0 and 100"),
        (["--conf-thresh-percentile", "nan"], "conf_thresh_percentile is nan; it is between 0 and 100"),
        (["--num-max-points", "0"], "num_max_points is 0; it is a whole number, at least 1"),
        (["--thinning", "voxels"], "it is one of voxel, random; did you mean 'voxel'?"),
        (["--export-format", "feat_vis"], "feat_vis shows features: --export-feat says of which blocks, such as 2,3"),
        (["--export-feat", "2"], "--export-feat is of no use with --export-format glb: feat_vis and npz hold what it asks for"),
        (
            ["--infer-gs", "--export-format", "ply-mini_npz"],
            "--infer-gs is of no use with --export-format ply-mini_npz: gs_ply and npz hold what it asks for",
        ),
        (["--aruco-dictionary", "DICT_5X5_50"], "says which markers are looked for, and none are: --aruco-size says how large they are"),
        (["--mesh-voxel-size", "0.1"], "mesh_voxel_size is of mesh_method 'tsdf', and mesh_method is 'grid'; change one of the two"),
        (["--export-format", "npz-glbb"], "did you mean 'glb'?"),
        (["--export-feat", "2;3"], "'2;3' is not a list of blocks; it is numbers from 0 joined by commas, like 2,3"),
        (["--max-side", "500", "--process-res", "504"], "--max-side and --process-res both say how many pixels a side has"),
        (
            ["--max-side", "500", "--process-res-method", "upper_bound_crop"],
            "--max-side says what --process-res-method upper_bound_crop says, too; give one of the two",
        ),
        (
            ["--lower-bound-resize", "--process-res-method", "upper_bound_crop"],
            "--lower-bound-resize says what --process-res-method upper_bound_crop says, too",
        ),
        (["--fps", "0"], "0.0 is out of range; it is a positive number"),
        (["--start", "-1"], "-1.0 is out of range; it is at least 0"),
        (["--device", "gpus"], "value 'gpus' is unknown; it is one of cpu, gpu, cuda, tpu; did you mean 'gpu'?"),
        (["--use-backend"], "No such option: --use-backend"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(photo, arguments, message):
    status, error = status_and_error("auto", photo, "--model-dir", "nowhere", *arguments)
    assert status == 2
    assert message in error


def test_compile_refuses_pictures_of_no_features_as_the_run_does():
    status, error = status_and_error("compile", "--views", "1", "--height", "28", "--width", "28", "--export-format", "feat_vis")
    assert status == 2
    assert "feat_vis shows features: --export-feat says of which blocks" in error


def test_compile_takes_the_device_of_the_run():
    status, error = status_and_error("compile", "--views", "1", "--height", "28", "--width", "28", "--device", "tpu")
    assert status == 1
    assert "--device is tpu, and JAX finds none here; it finds cpu" in error


def test_a_format_whose_extra_is_not_installed_is_refused_with_what_installs_it(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    status, error = status_and_error("image", photo, "--model-dir", "nowhere", "--export-format", "rerun")
    assert status == 2
    assert 'needs the Rerun SDK: pip install "da3jax[rerun]"' in error


def test_an_unknown_format_is_refused_naming_those_that_are_there(photo):
    status, error = status_and_error("image", photo, "--model-dir", "nowhere", "--export-format", "gltf")
    assert status == 2
    assert all(name in error for name in ("gltf", *FORMATS))


@pytest.mark.parametrize("command", ["image", "images", "video", "colmap", "convert"])
def test_a_missing_argument_is_refused(command):
    status, error = status_and_error(command)
    assert status == 2
    assert "Missing argument" in error


@pytest.mark.parametrize("command", ["auto", "image", "images", "video", "colmap"])
def test_an_input_that_is_not_there_is_refused(command):
    status, error = status_and_error(command, "not-there", "--model-dir", "nowhere")
    assert status == 2
    assert "'not-there' does not exist" in error


@pytest.mark.parametrize("name", ["notes.txt", "photo"])
def test_auto_refuses_what_it_cannot_take(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"something")
    status, error = status_and_error("auto", name, "--model-dir", "nowhere")
    assert status == 2
    assert f"{name} is " in error


def test_a_folder_that_may_not_be_looked_into_is_refused(tmp_path, monkeypatch):
    def refuse(path, extensions):
        raise PermissionError(13, "Permission denied", str(path / "images"))

    monkeypatch.setattr("da3jax.inputs.detect.kind", refuse)
    status, error = status_and_error("auto", tmp_path)
    assert status == 2
    assert "Permission denied" in error


@pytest.mark.parametrize("command", ["image", "images"])
def test_image_wants_a_file_and_images_a_folder(photo, command):
    path = photo.parent if command == "image" else photo
    status, error = status_and_error(command, path, "--model-dir", "nowhere")
    assert status == 2
    assert ("is a directory" if command == "image" else "is a file") in error


def test_convert_refuses_an_unknown_target(tmp_path):
    status, error = status_and_error("convert", "source", tmp_path / "out", "--to", "safetensor")
    assert status == 2
    assert "value 'safetensor' is unknown; it is one of orbax, safetensors; did you mean 'safetensors'?" in error
    assert not (tmp_path / "out").exists()


def test_convert_finds_a_folder_that_cannot_be_written_before_it_fetches_anything(tmp_path):
    (tmp_path / "file").touch()
    status, error = status_and_error("convert", "depth-anything/DA3-GIANT", tmp_path / "file" / "out")
    assert status == 1
    assert f"the folder to write to, {tmp_path / 'file'} is a file, or lies below one" in error


def test_auto_takes_an_image_of_another_ending_if_it_is_named(photo, monkeypatch):
    seen = []
    monkeypatch.setattr("da3jax.cli.auto.run", lambda images, *_, **__: seen.extend(images))
    other = photo.rename(photo.with_suffix(".jfif"))
    status, error = status_and_error("auto", other)
    assert status == 2
    assert f"{other} is neither a folder nor an image (png, jpg," in error
    assert status_and_error("auto", other, "--image-extensions", "bmp,.JFIF") == (0, "")
    assert seen == [other]


def test_auto_says_which_options_mean_nothing_for_what_it_found(photo, monkeypatch):
    monkeypatch.setattr("da3jax.cli.auto.run", lambda *_, **__: None)
    given = ("--fps", "5", "--no-align-to-input-ext-scale", "--sparse-subdir", "0")
    _, error = status_and_error("auto", photo, *given)
    assert [line.split(" has no effect")[0] for line in error.splitlines()] == ["--fps", "--sparse-subdir", "--align-to-input-ext-scale"]
    assert f"--fps has no effect on {photo}, which counts as image: it is for video" in error
    assert status_and_error("auto", photo, *given, "--quiet") == (0, "")
    assert status_and_error("auto", photo) == (0, "")


def test_convert_stores_what_the_library_stores():
    usage = CliRunner().invoke(app, ["convert", "--help"]).stdout
    assert f"[{'|'.join(STORED_AS)}]" in usage


def test_python_m_convert_calls_itself_by_what_can_be_typed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convert", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module("convert", run_name="__main__")
    assert "Usage: da3jax convert [OPTIONS] " in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_closest():
    status, error = status_and_error("imagse")
    assert status == 2
    assert "No such command 'imagse'. Did you mean" in error


def test_a_usage_error_of_the_real_command_has_status_2_and_says_nothing_on_stdout(photo):
    done = subprocess.run([sys.executable, "-m", "da3jax", "auto", photo, "--dtype", "float16"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is one of float32, bfloat16" in done.stderr


@pytest.mark.parametrize("option", ["--num-processes", "--process-id"])
def test_a_number_of_processes_goes_with_their_coordinator(photo, option):
    status, error = status_and_error("auto", photo, option, "1")
    assert status == 1
    assert "--num-processes and --process-id go with --coordinator, HOST:PORT of process 0" in error
