"""The table of variants."""

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
