"""What the commands say: paths, one JSON object, or nothing; and what `--auto-cleanup` removes."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.outputs.manifest import MANIFEST


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((30, 40, 3), 99, np.uint8)).save(path)
    return path


def image(photo, model, out, *options):
    arguments = ["image", photo, "--model-dir", model, "--export-dir", out, "--process-res", 28, *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def left(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_json_is_one_object_of_what_went_in_and_came_out(photo, tiny_model_dir, tmp_path):
    done = image(photo, tiny_model_dir, tmp_path / "out", "--json", "--export-format", "mini_npz-depth_vis")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {name: summary[name] for name in ("model", "views", "height", "width", "is_metric", "conditioned")} == {
        "model": str(tiny_model_dir),
        "views": 1,
        "height": 28,
        "width": 28,
        "is_metric": False,
        "conditioned": [],
    }
    assert summary["files"] == [str(tmp_path / "out" / name) for name in ("exports/mini_npz/results.npz", "depth_vis/0000.jpg")]
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert f"load {tiny_model_dir}" in summary["seconds"]


def test_json_of_a_failure_holds_its_sentence(tiny_model_dir, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = image(tmp_path / "broken.png", tiny_model_dir, tmp_path / "out", "--json")
    assert done.exit_code == 1
    assert "broken.png is not an image" in json.loads(done.stdout)["error"]
    assert "da3jax: error: " in done.stderr


def test_quiet_says_nothing(photo, tiny_model_dir, tmp_path):
    done = image(photo, tiny_model_dir, tmp_path / "out", "--quiet", "--export-format", "mini_npz")
    assert (done.exit_code, done.output) == (0, "")
    assert left(tmp_path / "out") == {"exports/mini_npz/results.npz", MANIFEST}


def test_quiet_says_what_went_wrong(tiny_model_dir, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = image(tmp_path / "broken.png", tiny_model_dir, tmp_path / "out", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


def test_cleanup_removes_what_an_earlier_run_wrote_and_nothing_else(photo, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    (out / "depth_vis").mkdir(parents=True)
    (out / "depth_vis" / "mine.jpg").write_text("mine")
    image(photo, tiny_model_dir, out, "--export-format", "mini_npz-depth_vis")
    assert left(out) == {"exports/mini_npz/results.npz", "depth_vis/0000.jpg", "depth_vis/mine.jpg", MANIFEST}
    image(photo, tiny_model_dir, out, "--export-format", "glb")  # without the option nothing goes
    done = image(photo, tiny_model_dir, out, "--export-format", "glb", "--auto-cleanup")
    assert "2 files of earlier runs removed" in done.stderr
    assert left(out) == {"scene.glb", "depth_vis/mine.jpg", MANIFEST}


def test_a_run_that_fails_removes_nothing(photo, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    image(photo, tiny_model_dir, out, "--export-format", "mini_npz")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert image(tmp_path / "broken.png", tiny_model_dir, out, "--auto-cleanup").exit_code == 1
    assert left(out) == {"exports/mini_npz/results.npz", MANIFEST}


def test_what_a_run_wrote_before_it_failed_is_removed_by_the_next(photo, tiny_model_dir, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("da3jax.outputs.ply.kept_pixels", lambda prediction, _: np.zeros(prediction.depth.shape, bool))
        done = image(photo, tiny_model_dir, out, "--export-format", "npz-ply")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "points.ply would be empty" in done.stderr
    assert left(out) == {"exports/npz/results.npz", MANIFEST}
    done = image(photo, tiny_model_dir, out, "--export-format", "mini_npz", "--auto-cleanup")
    assert "1 file of earlier runs removed" in done.stderr
    assert left(out) == {"exports/mini_npz/results.npz", MANIFEST}
    assert list(json.loads((out / MANIFEST).read_text())["files"]) == ["exports/mini_npz/results.npz"]


def test_a_path_that_is_no_text_is_printed_as_its_bytes(photo, tiny_model_dir, tmp_path):
    out = tmp_path / os.fsdecode(b"r\xe9sult")
    path = out / "exports" / "mini_npz" / "results.npz"
    done = image(photo, tiny_model_dir, out, "--export-format", "mini_npz")
    assert (done.exit_code, done.stdout_bytes) == (0, os.fsencode(path) + b"\n"), done.stderr
    done = image(photo, tiny_model_dir, out, "--export-format", "mini_npz", "--json")
    assert json.loads(done.stdout)["files"] == [str(path)]


def test_cleanup_is_refused_where_it_might_remove_what_is_read(photo, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    image(photo, tiny_model_dir, out, "--export-format", "depth_vis")
    read = out / "depth_vis" / "0000.jpg"
    done = image(read, tiny_model_dir, out, "--export-format", "glb", "--auto-cleanup")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{read} is read, and lies in {out}, which --auto-cleanup is to clean" in done.stderr
    assert "load" not in done.stderr
    assert left(out) == {"depth_vis/0000.jpg", MANIFEST}
