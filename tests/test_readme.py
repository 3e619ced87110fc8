"""What the README and the pages of its rooms show runs, on tiny networks in the place of those that they name."""

import dataclasses
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from da3jax.cli import app
from tests.user import furnish

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {room: (ROOT / "da3jax" / room / "README.md").read_text() for room in ("geometry", "inputs", "inference", "outputs", "cli")}
"""A page a task."""


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path, released_dir, monkeypatch):
    """A folder of a user's things, and tiny networks where hub ids are folders of those names."""
    furnish(tmp_path)
    hub = tmp_path / "depth-anything"
    for name in ("DA3-SMALL", "DA3-BASE"):
        shutil.copytree(released_dir, hub / name)
    shutil.copytree(released_dir.parent / "single_view", hub / "DA3METRIC-LARGE")
    config = hub / "DA3METRIC-LARGE" / "config.json"
    config.write_text(config.read_text().replace("tiny-single-view", "da3metric-large"))  # the name says that it is metric
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = shlex.split("--count 1 --views 3 --height 56 --width 70")
"""Of scenes: the program of `tests/cli/test_scenes.py`, which compiles for long and is kept for all tests."""


def run(command: str, place: pathlib.Path, *more: str) -> list[str]:
    """What the README's command of this name prints, with more arguments if there are any."""
    line = next(part for block in blocks("bash") for part in block.split("&&") if command in part)
    arguments = shlex.split(line)[1:]
    done = subprocess.run([sys.executable, "-m", "da3jax", *arguments, *more], cwd=place, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.integration
@pytest.mark.parametrize("block", range(len(blocks("python"))))
def test_python_runs(block, place, capsys):
    if "exported/" in blocks("python")[block]:
        assert run("da3jax export", place) == ["exported/forward.stablehlo", "exported/params.npz"]
    if "my-scenes/" in blocks("python")[block]:
        assert "my-scenes/0000/truth.npz" in run("da3jax scenes", place, *SMALL)
    exec(compile(blocks("python")[block], f"README, block {block}", "exec"), {})
    if block == 0:
        assert "(2, 378, 504)" in capsys.readouterr().out
        assert (place / "my-weights" / "model.safetensors").is_file()


@pytest.mark.integration
@pytest.mark.parametrize(("room", "block"), [(room, i) for room, page in PAGES.items() for i in range(len(blocks("python", page)))])
def test_python_of_a_page_runs(room, block, place):
    exec(compile(blocks("python", PAGES[room])[block], f"{room}, block {block}", "exec"), {})


LINES = [
    (room, line) for room, page in PAGES.items() for block in blocks("bash", page) for line in block.splitlines() if line[:7] == "da3jax "
]
LINES += [("", line) for block in blocks("bash") for line in block.splitlines() if line[:12] == "da3jax auto "]


@pytest.mark.integration
@pytest.mark.parametrize(("room", "line"), LINES)
def test_a_line_of_a_page_runs(room, line, place):
    done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr


def test_the_pages_have_every_command_format_and_option():
    from da3jax.cli.export_options import ExportFlags
    from da3jax.cli.options import RunOptions
    from da3jax.outputs import FORMATS

    told = set(re.findall(r"--(?:no-)?([\w-]+)", PAGES["outputs"]))
    assert {field.name.replace("_", "-") for field in dataclasses.fields(ExportFlags)} <= told
    assert all(f"| `{name}` |" in PAGES["outputs"] for name in FORMATS)
    rest = {field.name for field in dataclasses.fields(RunOptions)} - {field.name for field in dataclasses.fields(ExportFlags)}
    table = PAGES["cli"].split("| of commands that run a network |")[1].split("```")[0]
    assert {name.replace("_", "-").removesuffix("-summary") for name in rest} <= set(re.findall(r"--([\w-]+)", table))
    assert all(f"`da3jax {command.name}" in PAGES["cli"] or f"`{command.name}`" in PAGES["cli"] for command in app.registered_commands)


@pytest.mark.integration
@pytest.mark.parametrize(("command", "views"), [("da3jax auto --export-dir", 4), ("da3jax auto photos", 3)])
def test_the_main_command_writes_what_it_says(place, command, views):
    written = run(command, place)
    for name in ("exports/npz/results.npz", "scene.glb", *(f"depth_vis/{i:04d}.jpg" for i in range(views))):
        assert f"result/{name}" in written
        assert (place / "result" / name).stat().st_size > 0


@pytest.mark.integration
def test_the_plan_is_one_object(place):
    (line,) = run("da3jax plan", place)
    found = json.loads(line)
    assert found["fits"]
    assert found["max_views"] >= 3
    assert min(found["peak_bytes_per_device"], found["flops"]) > 0


def test_its_test_command_is_the_one_that_ci_runs():
    script = (ROOT / ".ci" / "run").read_text()
    (command,) = (block for block in blocks("bash") if "pytest" in block)
    for part in command.strip().split("&&"):
        words = [word.removeprefix(".venv/bin/") for word in shlex.split(part)]
        if words[0] in ("ruff", "pytest"):
            assert "\n" + " ".join(words) + "\n" in script


def test_the_table_of_variants_is_that_of_the_releases():
    from da3jax.weights.released import RELEASES

    rows = {row.split("|")[1]: row for row in README.splitlines() if row.startswith("| `depth-anything/")}
    for name, release in RELEASES.items():
        base = name.removesuffix("-1.1")
        row = next((row for cell, row in rows.items() if f"`{name}`" in cell), rows.get(f" `{base}`, `-1.1` "))
        assert row is not None, name
        assert f"{release.parameters:.2f} M" in row
        assert release.licence in row


def test_the_parity_table_has_every_variant():
    from da3jax.config import PRESETS

    section = README.split("## Parity")[1].split("##")[0]
    assert all(f"| {name}" in section for name in PRESETS)


@pytest.mark.parametrize("room", ["", *PAGES])
def test_files_that_a_page_links_to_are_there(room):
    page = ROOT / "da3jax" / room if room else ROOT
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", (page / "README.md").read_text()):
        assert (page / target).exists(), target
