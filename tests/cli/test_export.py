"""`da3jax export` as a user runs it."""

import pathlib

import pytest
from typer.testing import CliRunner

from da3jax.cli import app


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_it_writes_a_program_and_the_weights_and_prints_their_paths(tiny_model_dir, tmp_path):
    folder = tmp_path / "exported"
    done = call("export", "--height", 42, "--width", 56, "--model-dir", tiny_model_dir, "--export-dir", folder)
    assert done.exit_code == 0, done.stderr
    written = [pathlib.Path(line) for line in done.stdout.splitlines()]
    assert written == [folder / "forward.stablehlo", folder / "params.npz"]
    assert sorted(folder.iterdir()) == written
    again = call("export", "--height", 42, "--width", 56, "--model-dir", tiny_model_dir, "--export-dir", folder)
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"da3jax: error: {folder / 'forward.stablehlo'} is there already" in again.stderr


def test_a_folder_that_cannot_be_written_is_found_before_the_network_is_loaded(tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("da3jax.cli.export.load", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    done = call("export", "--height", 42, "--width", 56, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "file")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"da3jax: error: the export folder {tmp_path / 'file'} is a file, or lies below one" in done.stderr


def test_a_size_of_no_processed_image_is_a_sentence(tiny_model_dir, tmp_path):
    done = call("export", "--height", 50, "--width", 56, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "exported")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "da3jax: error: height is 50; processed images have multiples of 14, for example 56" in done.stderr
