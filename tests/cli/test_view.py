"""`--view`: a page in the browser until Ctrl-C; `--native-resolution` and `--device`."""

import json
import signal
import subprocess
import sys
import urllib.request

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.cli.processes import join_processes
from tests.user import HEIGHT, WIDTH, furnish


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    furnish(tmp_path)


def arguments(model, *options):
    return ["image", "a.jpg", "--model-dir", str(model), "--process-res", "28", "--export-format", "mini_npz", *options]


@pytest.mark.integration
def test_a_page_is_served_until_ctrl_c(here, tiny_model_dir):
    pytest.importorskip("viser")
    command = [sys.executable, "-m", "da3jax", *arguments(tiny_model_dir, "--view", "--view-port", "18080")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(line for line in process.stderr if "shows it" in line).split()[0]
            with urllib.request.urlopen(address) as page:
                assert b"<html" in page.read()
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, error) == (0, "")
    assert out == "result/exports/mini_npz/results.npz\n"


def test_without_viser_the_command_says_what_to_install_before_it_runs(here, tiny_model_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    done = CliRunner().invoke(app, arguments(tiny_model_dir, "--view"), catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (1, "")
    assert 'pip install "da3jax[view]"' in done.stderr
    assert "load" not in done.stderr


def test_a_page_that_cannot_be_shown_leaves_one_object_of_what_was_written(here, tiny_model_dir, monkeypatch):
    def view(*_, host, **options):
        raise OSError(f"{host} has gone")

    monkeypatch.setattr("da3jax.outputs.viewer.import_viser", lambda: None)
    monkeypatch.setattr("da3jax.outputs.view", view)
    done = CliRunner().invoke(app, arguments(tiny_model_dir, "--json", "--view"), catch_exceptions=False)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["files"] == ["result/exports/mini_npz/results.npz"]
    assert "da3jax: error: 127.0.0.1 has gone" in done.stderr


def test_an_address_of_another_machine_is_refused_before_the_network_runs(here, tiny_model_dir, monkeypatch):
    monkeypatch.setattr("da3jax.outputs.viewer.import_viser", lambda: None)
    options = ["--json", "--view", "--view-host", "203.0.113.1"]
    done = CliRunner().invoke(app, arguments(tiny_model_dir, *options), catch_exceptions=False)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"].startswith("nothing can listen at 203.0.113.1 here (")
    assert "load" not in done.stderr


def test_results_come_at_the_photographs_own_size(here, tiny_model_dir):
    done = CliRunner().invoke(app, arguments(tiny_model_dir, "--native-resolution"), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    with np.load("result/exports/mini_npz/results.npz") as arrays:
        assert arrays["depth"].shape == (1, HEIGHT, WIDTH)
        np.testing.assert_allclose(arrays["from_image"][0], np.eye(3))


def test_a_device_that_is_there_is_used_and_another_is_refused(here, tiny_model_dir):
    assert CliRunner().invoke(app, arguments(tiny_model_dir, "--device", "cpu"), catch_exceptions=False).exit_code == 0
    done = CliRunner().invoke(app, arguments(tiny_model_dir, "--device", "tpu"), catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--device is tpu, and JAX finds none here; it finds cpu" in done.stderr


def test_the_device_is_chosen_after_the_processes_have_met_and_before_jax_says_which_is_the_default(monkeypatch):
    order = []
    monkeypatch.setattr("da3jax.parallel.initialize", lambda *_: order.append("meet"))
    monkeypatch.setattr(jax, "devices", lambda platform: order.append(f"look for {platform}"))
    monkeypatch.setattr(jax.config, "update", lambda name, value: order.append(f"{name} {value}"))
    monkeypatch.setattr(jax, "process_index", lambda: order.append("default") or 1)
    assert not join_processes("10.0.0.1:1234", 2, 1, "cuda")
    assert order == ["meet", "look for gpu", "jax_platform_name gpu", "default"]
