"""`da3jax compile`: what the other commands will run is there already."""

import logging

import jax
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from da3jax import DepthAnything3
from da3jax.cli import app
from tests.user import HEIGHT, VIEWS, WIDTH, furnish


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def was_there(caplog, *arguments):
    """Whether a command finds its program in the cache."""
    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level(logging.DEBUG, "jax"):
        run = call(*arguments)
    assert run.exit_code == 0, run.stderr
    return any(record.getMessage().startswith("Persistent compilation cache hit for 'jit_run'") for record in caplog.records)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A compilation cache of its own, as far as the configuration goes: JAX has opened that of the tests. All is kept, however quick."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (None, 0), strict=True):
        jax.config.update(name, value)
    monkeypatch.setenv("DA3JAX_COMPILATION_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)


def test_it_compiles_what_images_runs_and_prints_the_folder(tiny_model_dir, folder, tmp_path, caplog):
    size = ("--views", 2, "--height", 42, "--width", 56, "--model-dir", tiny_model_dir)
    done = call("compile", *size)
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n"), done.stderr
    assert "compile 2 views of 56 × 42: " in done.stderr
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        Image.fromarray(np.full((42, 56, 3), 60 * i, np.uint8)).save(photos / f"{i}.png")
    options = ("--process-res", 56, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "out")
    assert was_there(caplog, "images", photos, *options)


@pytest.mark.integration
def test_with_known_cameras_it_compiles_what_colmap_runs(tiny_model_dir, folder, tmp_path, caplog):
    furnish(tmp_path)
    size = ("--views", VIEWS, "--height", HEIGHT, "--width", WIDTH, "--model-dir", tiny_model_dir)
    done = call("compile", *size, "--known-cameras")
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n"), done.stderr
    options = ("--process-res", WIDTH, "--model-dir", tiny_model_dir, "--export-dir", tmp_path / "out")
    assert was_there(caplog, "colmap", tmp_path / "model", *options)


@pytest.mark.parametrize(
    ("model", "options", "known"),
    [
        ("anyview", [], (False, False)),
        ("anyview", ["--known-cameras"], (True, True)),
        ("anyview", ["--known-cameras", "--independent"], (False, True)),
        ("single_view", ["--known-cameras"], (False, True)),
    ],
)
def test_cameras_count_as_known_as_far_as_the_network_takes_them(released_dir, folder, monkeypatch, model, options, known):
    found = []
    monkeypatch.setattr(DepthAnything3, "compile", lambda self, *size, **said: found.append((said["extrinsics"], said["intrinsics"])))
    done = call("compile", "--views", 2, "--height", 42, "--width", 56, "--model-dir", released_dir.parent / model, *options)
    assert (done.exit_code, found) == (0, [known]), done.stderr


def test_a_size_of_no_processed_image_is_a_sentence(tiny_model_dir):
    done = call("compile", "--views", 1, "--height", 50, "--width", 56, "--model-dir", tiny_model_dir)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "da3jax: error: height is 50; processed images have multiples of 14, for example 56" in done.stderr


def test_without_a_cache_there_is_nothing_to_fill(tiny_model_dir, folder, monkeypatch):
    monkeypatch.setenv("DA3JAX_COMPILATION_CACHE", "off")
    done = call("compile", "--views", 1, "--height", 42, "--width", 56, "--model-dir", tiny_model_dir)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no compilation cache to fill: DA3JAX_COMPILATION_CACHE is off, or its folder cannot be written" in done.stderr


def test_views_and_the_model_are_checked_before_anything_is_loaded():
    done = call("compile", "--views", 0, "--height", 42, "--width", 56)
    assert (done.exit_code, done.stdout) == (2, "")
