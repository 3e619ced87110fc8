"""The project's own configurations are found by name, say how to run them, and take steps."""

import csv
import json
import pathlib
import re
import shlex

import jax
import numpy as np
import pytest
from flax import traverse_util

from da3jax.config import PRESETS, load_config
from da3jax.models import init_params
from da3jax.schema import to_dict
from da3jax.training.config import load_train_config
from da3jax.training.data import FolderConfig
from da3jax.training.loop import train
from da3jax.training.scenes import render, sample_cameras, sample_scene, write_scene
from da3jax.weights import load, save_pretrained

FOLDER = pathlib.Path(__file__).parents[2] / "configs"
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml"))


def test_there_is_one_for_each_network_and_way_of_training():
    kinds = ["train/da3_giant", "train/da3_large", "train/da3_small", "train/da3_tiny", "train/metric", "train/mono", "train/teacher"]
    assert ["finetune/large_pod", "finetune/small_frozen", *kinds] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_begins_with_its_command_its_time_and_what_to_expect(name):
    head = (FOLDER / f"{name}.yaml").read_text().split("model:")[0]
    command = "finetune" if name.startswith("finetune/") else "train"
    assert f"#   da3jax {command} {name}" in head
    assert "# Time: " in head
    assert "# Expect" in head


@pytest.mark.parametrize("text", [FOLDER.parent / "README.md", *(FOLDER / f"{name}.yaml" for name in NAMES)], ids=lambda path: path.stem)
def test_each_command_that_is_shown_is_one(text):
    commands = re.findall(r"^(?:#   )?da3jax (?:train|finetune) (\w+/.*)$", text.read_text(), flags=re.MULTILINE)
    assert commands
    for command in commands:
        name, *overrides = shlex.split(command)
        load_train_config(name, overrides)


def test_each_other_source_that_is_shown_can_be_taken():
    shown = {name: re.findall(r"(?:validation\.)?data\.sources\.0='[^']+'", (FOLDER / f"{name}.yaml").read_text()) for name in NAMES}
    assert {name for name, overrides in shown.items() if overrides} == {"finetune/small_frozen", "train/da3_small", "train/metric"}
    for name, overrides in shown.items():
        load_train_config(name, [word for override in overrides for word in shlex.split(override)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", ["data", "validation.data"])
def test_each_takes_a_folder_in_the_place_of_its_first_source(name, data):
    config = load_train_config(name, [f"{data}.sources.0={{type: folder, path: my-scenes}}"])
    found = config.data if data == "data" else config.validation.data
    assert found.sources[0] == FolderConfig(path="my-scenes")


def test_the_paper_s_schedule_is_what_they_say():
    for size in ("small", "large", "giant"):
        config = load_train_config(f"train/da3_{size}")
        assert (config.steps, config.losses.teacher_from, config.losses.pose_probability) == (200_000, 120_000, 0.2)
        assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (2e-4, 8000)
        assert config.model.backbone == PRESETS[f"da3-{size}"].backbone
        assert config.folder == f"runs/da3_{size}"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with a scene of four views."""
    folder = tmp_path_factory.mktemp("images")
    draw = jax.jit(lambda key: (scene := sample_scene(key), render(scene, sample_cameras(key, scene, 4, 28, 42), 28, 42)))
    write_scene(*draw(jax.random.key(0)), folder / "scene")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_takes_two_steps_with_a_narrow_network_and_small_batches(name, images, tmp_path):
    config = load_train_config(name)
    any_view = config.model.camera is not None
    starts = dict.fromkeys(("alt_start", "qknorm_start", "rope_start"), 2 if any_view else -1)
    model = {"preset": "da3-small" if any_view else "da3mono-large"} | to_dict(config.model)
    model["backbone"] |= {"width": 32, "depth": 4, "num_heads": 2, "taps": [0, 1, 2, 3], "pos_grid": 3} | starts
    model["head"] |= {"features": 8, "channels": [4, 4, 8, 8]}
    model["camera"] = {"encoder_depth": 1, "encoder_heads": 4} if any_view else None
    folders = [f"data.sources.{i}.path={images}" for i, source in enumerate(config.data.sources) if isinstance(source, FolderConfig)]
    weights = {}
    for role in ("start_from", "teacher"):
        if getattr(config, role) and not (role == "start_from" and config.start_from.startswith("facebook/")):
            weights[role] = tmp_path / role
            small = load_config(model)
            save_pretrained(jax.jit(lambda key, small=small: init_params(small, key))(jax.random.key(1)), small, weights[role])
    narrow = {
        "model": model,
        "start_from": None,
        "folder": str(tmp_path / "run"),
        "steps": 2,
        "log_every": 1,
        "data.sizes": [[28, 42]],
        "data.views": [min(config.data.views)],
        "data.batch_tokens": 96,
        "data.workers": 0,
        "mesh": {"data": 2, "fsdp": 4},
        "validation": None,
        **{role: str(folder) for role, folder in weights.items()},
    }
    config = load_train_config(name, [*folders, *(f"{key}={json.dumps(value)}" for key, value in narrow.items())])
    made = train(config)
    params, made_config = load(made)
    assert made_config == config.model
    with (tmp_path / "run" / "train.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    if "start_from" in weights:
        before = traverse_util.flatten_dict(load(weights["start_from"])[0])
        moved = {path[0] for path, leaf in traverse_util.flatten_dict(params).items() if not np.array_equal(leaf, before[path])}
        assert ("backbone" in moved) == (name == "finetune/large_pod")
        assert "head" in moved
