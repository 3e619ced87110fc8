"""What the README shows runs, on tiny networks in the place of those it names."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path, released_dir, monkeypatch):
    """A folder with photographs, and tiny networks where the README's hub ids are folders of those names."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "photos/1.png", "photos/2.png"):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / name)
    hub = tmp_path / "depth-anything"
    for name in ("DA3-SMALL", "DA3-BASE"):
        shutil.copytree(released_dir, hub / name)
    shutil.copytree(released_dir.parent / "single_view", hub / "DA3METRIC-LARGE")
    config = hub / "DA3METRIC-LARGE" / "config.json"
    config.write_text(config.read_text().replace("tiny-single-view", "da3metric-large"))  # the name says that it is metric
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, place: pathlib.Path) -> list[str]:
    """What the README's command of this name prints."""
    line = next(part for block in blocks("bash") for part in block.split("&&") if command in part)
    arguments = shlex.split(line)[1:]
    done = subprocess.run([sys.executable, "-m", "da3jax", *arguments], cwd=place, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("block", range(len(blocks("python"))))
def test_python_runs(block, place, capsys):
    if "exported/" in blocks("python")[block]:
        assert run("da3jax export", place) == ["exported/forward.stablehlo", "exported/params.npz"]
    exec(compile(blocks("python")[block], f"README, block {block}", "exec"), {})
    if block == 0:
        assert "(2, 378, 504)" in capsys.readouterr().out
        assert (place / "my-weights" / "model.safetensors").is_file()


@pytest.mark.parametrize(("command", "views"), [("da3jax auto --export-dir", 4), ("da3jax auto photos", 2)])
def test_the_main_command_writes_what_it_says(place, command, views):
    written = run(command, place)
    for name in ("exports/npz/results.npz", "scene.glb", *(f"depth_vis/{i:04d}.jpg" for i in range(views))):
        assert f"result/{name}" in written
        assert (place / "result" / name).stat().st_size > 0


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


def test_files_it_links_to_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
