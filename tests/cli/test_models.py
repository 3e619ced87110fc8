"""The table of variants."""

import pathlib
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.weights.released import RELEASES


def test_a_line_of_the_table_is_a_variant_with_parameters_licence_and_abilities():
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["variant", "parameters", "licence", "can", "do"]
    assert len(lines) == len(RELEASES)
    for line, (name, release) in zip(lines, RELEASES.items(), strict=True):
        expected = f"{name} {release.parameters:.2f} M {release.licence} {', '.join(release.abilities)}"
        assert " ".join(line.split()) == expected


def test_small_is_free_and_large_is_not_for_commerce():
    lines = {line.split()[0]: line for line in CliRunner().invoke(app, ["models"]).stdout.splitlines()}
    assert "34.30 M" in lines["depth-anything/DA3-SMALL"]
    assert "Apache-2.0" in lines["depth-anything/DA3-SMALL"]
    assert "CC BY-NC 4.0" in lines["depth-anything/DA3-LARGE"]


@pytest.mark.skipif(sys.platform != "linux", reason="writes to a device that Linux has")
def test_a_full_disk_is_a_sentence():
    with pathlib.Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "da3jax", "models"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "da3jax: error: [Errno 28] No space left on device"
    assert "Traceback" not in done.stderr
