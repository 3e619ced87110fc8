"""`da3jax plan`: memory, the most views and FLOPs before anything runs."""

import json

import pytest
from typer.testing import CliRunner

from da3jax.cli import app


def call(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)], catch_exceptions=False)


SIZE = ("--views", 2, "--height", 28, "--width", 42)


@pytest.mark.integration
def test_json_is_one_object(released_dir):
    done = call(released_dir, *SIZE, "--usable-gib", 0.2, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert 300_000_000 < found["peak_bytes_per_device"] < 400_000_000
    assert found["fits"] is (found["peak_bytes_per_device"] <= found["usable_bytes_per_device"]) is False
    assert (found["topology"], found["devices"], found["max_views"]) == ("cpu", 1, 0)
    assert found["flops"] > 1_000_000


@pytest.mark.integration
def test_without_json_it_says_what_is_reserved(released_dir):
    done = call(released_dir, *SIZE, "--no-search")
    assert done.exit_code == 0, done.stderr
    peak, fits, flops = done.stdout.splitlines()
    assert peak.startswith("peak memory a device: 0.")
    assert peak.endswith(" GiB less what is for Python, JAX and its compiler)")
    assert fits == "fits: yes"
    assert flops.startswith("FLOPs: ")
    assert "plan 2 views of 42 × 28 on cpu: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("da3-small", *SIZE, "--topology", "v5e-2x4"), "topology 'v5e-2x4' is unknown; it is one of cpu, h100, "),
        (("da3-smal", *SIZE), "model 'da3-smal' is unknown; it is one of da3-small, "),
        (("da3-small", "--views", 2, "--height", 30, "--width", 42), "height is 30; processed images have multiples of 14"),
    ],
)
def test_a_failure_is_a_sentence(arguments, message):
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"da3jax: error: {message}" in done.stderr


def test_json_of_a_failure_holds_its_sentence():
    done = call("da3-smal", *SIZE, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"].startswith("model 'da3-smal' is unknown; it is one of da3-small, ")
    assert "da3jax: error: model 'da3-smal' is unknown" in done.stderr


def test_a_compiler_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = call("da3-small", *SIZE, "--topology", "v5e:2x4")
    assert (done.exit_code, done.stdout) == (1, "")
    assert 'da3jax: error: planning for v5e:2x4 needs its compiler: pip install "da3jax[plan-tpu]"' in done.stderr
