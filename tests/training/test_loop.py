"""Runs from their configuration to weights, and back to where they were stopped."""

import csv
import dataclasses
import errno
import json
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file

from da3jax import weights
from da3jax.schema import to_dict
from da3jax.training import loop
from da3jax.training.loop import _prepare, train
from da3jax.training.one_run import alone_in
from da3jax.training.state import TrainState
from tests.cli.test_processes import two_processes
from tests.models.test_outputs import NESTED
from tests.models.tiny import ANYVIEW, SINGLE_VIEW, params_of
from tests.training.tiny import DATA, run
from tests.training.tiny import params_of as params_of_run

ROOT = pathlib.Path(__file__).parents[2]


def rows(folder, stream="train"):
    with (folder / f"{stream}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photographs(scenes, write_scenes, tmp_path_factory):
    """Three scenes on disk."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, scenes(3, views=4))
    return folder


def data_of(photographs, workers=0):
    return DATA | {"sources": [{"type": "folder", "path": str(photographs)}], "workers": workers}


@pytest.fixture(scope="module")
def straight(photographs, tmp_path_factory):
    """A run of six steps without interruption."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(run(folder, steps=6, data=data_of(photographs), validation={"data": data_of(photographs), "batches": 1, "every": 3}))
    return folder


@pytest.mark.integration
def test_a_run_leaves_weights_and_what_it_measured(straight):
    params, config = weights.load(straight / "weights-6")
    assert config == run(straight).model
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    found = rows(straight)
    assert [int(row["step"]) for row in found] == [1, 2, 3, 4, 5, 6]
    assert {"total", "depth", "ray", "camera", "gradient_norm", "learning_rate"} <= set(found[0])
    np.testing.assert_allclose([float(row["learning_rate"]) for row in found[:3]], [5e-4, 7.5e-4, 1e-3], rtol=1e-6)
    looked = rows(straight, "validation")
    assert [int(row["step"]) for row in looked] == [3, 6]
    assert 0 < float(looked[-1]["abs_rel"]) < 10
    assert {"loss", "delta1", "auc_3", "auc_30"} <= set(looked[0])


def begin(folder, config):
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(to_dict(config)))
    command = [sys.executable, "-m", "da3jax", "train", str(path)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process):
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise TimeoutError


@pytest.mark.integration
def test_a_killed_run_goes_on_bit_for_bit(photographs, straight, tmp_path):
    fields = {"steps": 6, "data": data_of(photographs, workers=2), "checkpoint_every": 2}
    folder = tmp_path / "run"
    process = begin(folder, run(folder, **fields))
    wait_for(lambda: (folder / "checkpoints" / "2").is_dir(), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    train(run(folder, **fields))
    expected, found = (load_file(path / "weights-6" / "model.safetensors") for path in (straight, folder))
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for row, other in zip(rows(folder), rows(straight), strict=True):
        assert row["total"] == other["total"]


@pytest.mark.slow
def test_a_hundred_steps_a_kill_and_a_hundred_more_are_two_hundred(photographs, tmp_path):
    def fields(workers):
        return {"steps": 200, "data": data_of(photographs, workers), "checkpoint_every": 100, "log_every": 1}

    begun, two_workers = begin(tmp_path / "straight", run(tmp_path / "straight", **fields(0))), tmp_path / "two"
    said = begun.communicate()[1]
    assert begun.returncode == 0, said
    for workers, folder in ((0, tmp_path / "none"), (2, two_workers)):
        process = begin(folder, run(folder, **fields(workers)))
        wait_for(lambda folder=folder: (folder / "checkpoints" / "100").is_dir(), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = begin(folder, run(folder, **fields(workers)))
        said = process.communicate()[1]
        assert process.returncode == 0, said
        expected, found = (load_file(path / "weights-200" / "model.safetensors") for path in (tmp_path / "straight", folder))
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        assert [row["total"] for row in rows(folder)] == [row["total"] for row in rows(tmp_path / "straight")]


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(photographs, tmp_path):
    folder = tmp_path / "run"
    process = begin(folder, run(folder, steps=100_000, data=data_of(photographs)))
    wait_for(lambda: (folder / "train.csv").exists() and len(rows(folder)) >= 2, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    step = int(said.split("interrupted after step ")[1].split(",")[0])
    assert "which is saved; the same command goes on from there" in said
    assert (folder / "checkpoints" / str(step)).is_dir()


IN_PROCESSES = """
from da3jax.parallel import processes
processes.HEARTBEAT_SECONDS, processes.CONNECT_SECONDS = 30, 120
from da3jax.cli import main
main()
"""


@pytest.mark.integration
def test_two_processes_learn_what_one_does_and_a_signal_to_one_stops_both(straight, photographs, tmp_path):
    folder = tmp_path / "run"
    config = run(folder, steps=100_000, data=data_of(photographs))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_dict(config)))
    with two_processes(IN_PROCESSES, "train", tmp_path / "run.yaml") as running:
        wait_for(lambda: (folder / "train.csv").exists() and len(rows(folder)) >= 3, running[0])
        running[1].send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [130, 130], said
    steps = {int(text.split("interrupted after step ")[1].split(",")[0]) for text in said}
    assert steps == {int(rows(folder)[-1]["step"])}
    assert (folder / "checkpoints" / str(*steps)).is_dir()
    losses, expected = ([float(row["total"]) for row in rows(path)[:3]] for path in (folder, straight))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)

    last = max(steps) + 2
    with two_processes(IN_PROCESSES, "train", tmp_path / "run.yaml", f"steps={last}") as running:
        said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    written = [[line for line in stdout.splitlines() if line == f"{folder}/weights-{last}"] for stdout, _ in said]
    assert [len(lines) for lines in written] == [1, 0]  # the first says it; Gloo says other things there
    assert weights.load(folder / f"weights-{last}")[1] == config.model


@pytest.mark.integration
def test_a_loss_that_is_not_finite_stops_and_leaves_the_batch_and_the_state(straight, photographs, tmp_path):
    params, model = weights.load(straight / "weights-6")
    large = jax.tree.map(lambda leaf: 1e30 * leaf, params)
    start = weights.save_pretrained(large, model, tmp_path / "start")
    config = run(tmp_path / "run", steps=6, data=data_of(photographs), start_from=str(start))  # the program of `straight`
    with pytest.raises(
        FloatingPointError, match=r"step \d+ is not finite \(.*\); its batch is in .*not-finite-\d+.npz, the state before it is saved"
    ):
        train(config)
    first = dict(np.load(tmp_path / "run" / "not-finite-0.npz"))
    assert first["images"].shape == (8, 2, 28, 42, 3)
    assert first["targets_depth"].shape == (8, 2, 28, 42)
    assert any(path.name.isdigit() for path in (tmp_path / "run" / "checkpoints").iterdir())

    with pytest.raises(FloatingPointError, match="step 1 is not finite"):  # the next batch is no better, and it is passed over as well
        train(config)
    second = np.load(tmp_path / "run" / "not-finite-0.npz")
    assert [first["next_batch"], second["next_batch"]] == [1, 2]
    assert (second["images"] != first["images"]).any()
    (tmp_path / "run" / "not-finite-0.npz").unlink()
    with pytest.raises(FloatingPointError):
        train(config)
    np.testing.assert_array_equal(np.load(tmp_path / "run" / "not-finite-0.npz")["images"], first["images"])


@pytest.mark.slow
def test_blocks_in_a_loop_of_the_program_are_taught_the_same(straight, photographs, tmp_path):
    train(run(tmp_path / "run", steps=2, data=data_of(photographs), stack_layers=True))
    found, expected = ([float(row["total"]) for row in rows(folder)][:2] for folder in (tmp_path / "run", straight))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert weights.load(tmp_path / "run" / "weights-2")[1] == run(straight).model


def test_a_nested_teacher_is_refused(photographs, tmp_path):
    nested = tmp_path / "nested"
    weights.save_pretrained({"anyview": params_of(ANYVIEW), "metric": params_of(SINGLE_VIEW)}, NESTED, nested)
    with pytest.raises(ValueError, match=r"teacher .*nested is the nested network nested; a teacher is one network with depth"):
        train(run(tmp_path / "run", data=data_of(photographs), teacher=str(nested), losses={"teacher_from": 0}))
    with pytest.raises(ValueError, match=r"holds the nested network nested; training starts from one network, so name one of its halves"):
        train(run(tmp_path / "run", data=data_of(photographs), start_from=str(nested)))


def test_a_teacher_that_is_missing_is_missed(photographs, tmp_path, caplog):
    with pytest.raises(OSError, match="nowhere"):
        train(run(tmp_path / "run", data=data_of(photographs), losses={"teacher_from": 3}, start_from=str(tmp_path / "nowhere")))
    assert "no teacher is named: depth stays ground truth from step 3 (losses.teacher_from) on, too" in caplog.text


def test_a_teacher_whose_time_does_not_come_is_not_asked(photographs, tmp_path, caplog):
    with pytest.raises(OSError, match="nowhere"):
        train(run(tmp_path / "run", data=data_of(photographs), teacher="of-nobody", start_from=str(tmp_path / "nowhere")))
    assert "teacher of-nobody is not asked: it teaches from step 120000 on (losses.teacher_from), and steps is 4" in caplog.text


def test_a_teacher_without_sky_cannot_label_sky(photographs, tmp_path):
    weights.save_pretrained(params_of(ANYVIEW), ANYVIEW, tmp_path / "teacher")
    data = DATA | {"sources": [{"type": "folder", "path": str(photographs), "labelled": False}], "views": [1]}
    fields = {"model": to_dict(SINGLE_VIEW), "losses": {"preset": "mono", "teacher_from": 0}, "teacher": str(tmp_path / "teacher")}
    with pytest.raises(
        ValueError, match=r"teacher .*teacher \(.*\) says nothing of sky, which .* learn from it; losses.weights.sky is 0, or"
    ):
        train(run(tmp_path / "run", data=data, **fields))


@pytest.mark.integration
def test_a_finished_run_is_left_as_it_is(straight, photographs, caplog):
    before = (straight / "train.csv").read_text()
    with caplog.at_level(logging.INFO, "da3jax"):
        assert train(run(straight, steps=6, data=data_of(photographs))) == straight / "weights-6"
    assert "all 6 steps are taken already" in caplog.text
    assert (straight / "train.csv").read_text() == before


@pytest.mark.slow
def test_a_broken_image_is_skipped_and_named_once(photographs, tmp_path, caplog):
    shutil.copytree(photographs, tmp_path / "scenes")
    (tmp_path / "scenes" / "1" / "images" / "0002.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, "da3jax"):
        train(run(tmp_path / "run", steps=6, data=data_of(tmp_path / "scenes")))
    said = [message for message in caplog.messages if message.startswith("skipped: ")]
    assert len(said) == len(set(said)) > 0
    assert all("0002.png" in sentence for sentence in said)


@pytest.mark.integration
def test_a_run_that_was_killed_at_its_weights_writes_them(straight, photographs, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    weights_folder = tmp_path / "run" / "weights-6"
    for name in ("abc", "def"):  # killed while it wrote weights, and again after it had moved them
        (weights_folder / f".partial-{name}").mkdir()
    (weights_folder / ".partial-abc" / "model.safetensors").write_bytes(b"half")
    (weights_folder / "config.json").rename(weights_folder / ".partial-def" / "config.json")
    (weights_folder / "notes.txt").write_text("of the user")
    assert train(run(tmp_path / "run", steps=6, data=data_of(photographs))) == weights_folder
    assert sorted(path.name for path in weights_folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]
    expected, found = (load_file(folder / "weights-6" / "model.safetensors") for folder in (straight, tmp_path / "run"))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.integration
def test_a_signal_during_a_step_stops_the_run_after_it(straight, photographs, tmp_path, monkeypatch):
    class Last:
        """Whether the step was finite, which is known when it ends."""

        def __bool__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return True

    def prepare(*arguments):
        state, step, validate = _prepare(*arguments)

        def interrupted(state, batch):
            state, found = step(state, batch)
            return state, found | {"finite": Last()}

        return state, interrupted, validate

    monkeypatch.setattr(loop, "_prepare", prepare)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 1, which is saved; the same command goes on from there"):
        train(run(tmp_path / "run", steps=6, data=data_of(photographs)))
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()


def test_views_over_devices_of_several_processes_are_refused(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"mesh.view is 8 and leaves 1 groups of devices that take scenes, for 2 processes; a scene's devices are of one"
    ):
        train(run(tmp_path / "run", data=data_of(photographs), mesh={"data": 1, "view": 8}))


@pytest.mark.integration
def test_fewer_steps_than_were_taken_are_refused(straight, photographs, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    with pytest.raises(ValueError, match=r"the run in .*run has taken 6 steps, and steps is 5; it is at least 6"):
        train(run(tmp_path / "run", steps=5, data=data_of(photographs)))


@pytest.mark.integration
def test_what_was_validated_is_saved_so_that_the_best_can_stay(straight):
    steps = {int(path.name) for path in (straight / "checkpoints").iterdir() if path.name.isdigit()}
    assert steps == {3, 6}  # validated every three steps, and saved every hundred


def test_two_runs_in_one_folder_are_refused(photographs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with alone_in(folder), pytest.raises(BlockingIOError, match=r"another process trains in .*run; wait for it, or name another folder"):
        train(run(folder, data=data_of(photographs)))
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == []
    with alone_in(folder):  # it is free again
        pass


@pytest.mark.integration
def test_another_network_in_the_same_folder_is_refused(straight, photographs, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    model = json.loads(json.dumps(to_dict(run(straight).model)))
    model["head"]["features"] = 16
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"is of another configuration: .* there, .* here; name another folder"):
        train(run(tmp_path / "run", steps=8, data=data_of(photographs), model=model))
    assert (tmp_path / "run" / "config.yaml").read_text() == before


@pytest.mark.integration
def test_fine_tuning_starts_from_weights_and_leaves_the_backbone(straight, photographs, tmp_path):
    losses = {"weights": {"ray": 0, "point": 0}, "pose_probability": 0.0}
    fields = {"steps": 2, "data": data_of(photographs), "start_from": str(straight / "weights-6"), "losses": losses}
    train(run(tmp_path / "run", optimizer={"freeze": ["^backbone/"], "warmup_steps": 0}, **fields))
    before, after = (weights.load(folder)[0] for folder in (straight / "weights-6", tmp_path / "run" / "weights-2"))
    jax.tree.map(np.testing.assert_array_equal, after["backbone"], before["backbone"])
    assert np.abs(np.asarray(after["head"]["neck"]["kernel"]) - np.asarray(before["head"]["neck"]["kernel"])).max() > 1e-4


@pytest.fixture
def counting(monkeypatch):
    """Steps that do nothing but count; what happens at one, and how is validated, can be set."""
    set_by = {"validate": None, "at_step": lambda step: None, "found": {"finite": True}}

    def prepare(config, mesh, checkpoints, batches, progress):
        state = jax.device_put(TrainState(jnp.int32(0), params_of_run(config.model), ()), NamedSharding(mesh, PartitionSpec()))
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
        if (found := checkpoints.restore(like)) is not None:
            _, state, data_state = found
            batches.set_state(data_state)

        def step(state, batch):
            set_by["state"] = state
            set_by["at_step"](int(state.step))
            return dataclasses.replace(state, step=state.step + 1), dict(set_by["found"])

        return state, step, set_by["validate"]

    monkeypatch.setattr(loop, "_prepare", prepare)
    return set_by


def saved_steps(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def test_what_was_learned_is_saved_when_the_data_fail(counting, photographs, tmp_path):
    shutil.copytree(photographs, tmp_path / "scenes")
    counting["at_step"] = lambda step: shutil.rmtree(tmp_path / "scenes", ignore_errors=True) if step == 2 else None
    config = run(tmp_path / "run", steps=50, data=data_of(tmp_path / "scenes"))
    with pytest.raises(ValueError, match="32 samples in a row are broken"):
        train(config)
    (reached,) = saved_steps(tmp_path / "run")
    assert reached >= 3


def test_when_the_first_batch_fails_nothing_is_saved_that_others_would_go_on_from(counting, photographs, tmp_path):
    with pytest.raises(ValueError, match="none of 3 scenes has 5 images"):
        train(run(tmp_path / "run", data=data_of(photographs) | {"views": [5]}))
    assert saved_steps(tmp_path / "run") == []


def test_what_was_learned_is_saved_when_validation_fails(counting, photographs, tmp_path):
    def validate(params):
        raise ValueError("validation.data: too dark")

    counting["validate"] = validate
    fields = {"data": data_of(photographs), "validation": {"data": data_of(photographs), "every": 2}}
    with pytest.raises(ValueError, match="too dark"):
        train(run(tmp_path / "run", **fields))
    assert saved_steps(tmp_path / "run") == [2]


def test_a_failure_of_the_very_step_saves_nothing_and_is_what_is_raised(counting, photographs, tmp_path):
    def fail(step):
        if step == 1:
            counting["state"].step.delete()  # as a step that was given it does
            raise RuntimeError("out of luck")

    counting["at_step"] = fail
    with pytest.raises(RuntimeError, match="out of luck"):
        train(run(tmp_path / "run", data=data_of(photographs)))
    assert saved_steps(tmp_path / "run") == []


def test_a_finished_folder_of_another_configuration_is_refused(counting, photographs, tmp_path, caplog):
    folder = tmp_path / "run"
    made = train(run(folder, data=data_of(photographs)))
    assert train(run(folder, data=data_of(photographs), log_every=2, keep_last=5)) == made  # the weights are the same
    with pytest.raises(
        ValueError, match=r"weights-4 is there already, and the run in .* last had another configuration \(seed: 0 → 1\); name"
    ):
        train(run(folder, data=data_of(photographs), seed=1))
    train(run(folder, data=data_of(photographs), steps=6))
    assert caplog.messages == [f"the run in {folder} had another configuration: steps: 4 → 6"]
    assert train(run(folder, data=data_of(photographs))) == made


def test_a_configuration_that_no_run_wrote_is_not_overwritten(counting, photographs, tmp_path):
    (tmp_path / "config.yaml").write_text("defaults: [mine]\n")
    with pytest.raises(ValueError, match=r"config.yaml is there, and no run has written it; a run keeps its configuration there, so name"):
        train(run(tmp_path, data=data_of(photographs)))
    assert (tmp_path / "config.yaml").read_text() == "defaults: [mine]\n"
    (tmp_path / "checkpoints").mkdir()  # of another program
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"config.yaml is there, and no run has written it"):
        train(run(tmp_path, data=data_of(photographs)))


@pytest.mark.parametrize("name", ["train.csv", "validation.csv"])
def test_metrics_that_no_run_wrote_are_not_shortened(counting, photographs, tmp_path, name):
    (tmp_path / name).write_text("step,loss\n1,0.5\n300,0.1\n")
    with pytest.raises(ValueError, match=rf"{name} is there, and no run has written it; a run keeps what it measures there, so name"):
        train(run(tmp_path, data=data_of(photographs)))
    assert (tmp_path / name).read_text() == "step,loss\n1,0.5\n300,0.1\n"


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(counting, photographs, tmp_path):
    config = run(tmp_path, data=data_of(photographs))
    loop._remember(config, tmp_path)
    (tmp_path / "train.csv").write_text("step,total\n1,0.5\n2,0.4\n")
    train(config)
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]


def test_checkpoints_that_are_a_file_end_a_run_before_its_first_step(counting, photographs, tmp_path):
    (tmp_path / "checkpoints").touch()
    counting["at_step"] = lambda step: pytest.fail("a step was taken")
    with pytest.raises(OSError, match=r"the folder of checkpoints .* cannot be made: File exists"):
        train(run(tmp_path, data=data_of(photographs)))


@pytest.mark.parametrize("during", ["step", "validation"])
def test_an_interruption_is_saved_before_anything_that_takes_time(counting, photographs, tmp_path, during):
    happened = []

    def at_step(step):
        happened.append(f"step {step}")
        if (step, during) == (1, "step"):
            os.kill(os.getpid(), signal.SIGTERM)

    def validate(params):
        happened.append("validation")
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    counting.update(at_step=at_step, validate=validate)
    fields = {"data": data_of(photographs), "validation": {"data": data_of(photographs), "every": 2}}
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 2, which is saved"):
        train(run(tmp_path, **fields))
    assert happened == ["step 0", "step 1"] + ["validation"] * (during == "validation")
    assert saved_steps(tmp_path) == [2]


def test_a_step_that_is_not_finite_is_said_on_a_full_disk_too(counting, photographs, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    counting["found"] = {"finite": False, "total": np.float32(np.nan)}
    monkeypatch.setattr("da3jax.training.not_finite.np.savez", full)
    with pytest.raises(FloatingPointError, match=r"step 1 is not finite \(total\); the state .* its batch is not, .* No space left"):
        train(run(tmp_path, data=data_of(photographs)))
    assert not list(tmp_path.glob("not-finite*"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello"])
def test_a_batch_that_was_kept_and_is_damaged_is_named(counting, photographs, tmp_path, content):
    (tmp_path / "not-finite-0.npz").write_bytes(content)
    with pytest.raises(OSError, match=r"not-finite-0.npz cannot be read \(.*\); remove it, and the batch that was kept in it comes again"):
        train(run(tmp_path, data=data_of(photographs)))


def test_a_configuration_of_another_version_is_named_and_the_run_goes_on(counting, photographs, tmp_path, caplog):
    folder = tmp_path / "run"
    train(run(folder, steps=2, data=data_of(photographs)))
    path = folder / "config.yaml"
    path.write_text(path.read_text() + "of_old: 1\n")
    train(run(folder, data=data_of(photographs)))
    assert f"{path} is not compared with the configuration of now: configuration key 'of_old' is unknown" in caplog.text
    assert "of_old" not in path.read_text()


def test_a_run_shorter_than_its_warm_up_is_warned_of(photographs, tmp_path, caplog):
    with pytest.raises(OSError, match="nowhere"):
        train(run(tmp_path / "run", data=data_of(photographs), optimizer={"warmup_steps": 4}, start_from=str(tmp_path / "nowhere")))
    assert "the learning rate does not reach 0.0002: it grows for 4 steps (optimizer.warmup_steps), and steps is 4" in caplog.text


def test_finetune_without_weights_says_what_is_missing(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(to_dict(run(tmp_path / "run"))))
    done = subprocess.run(
        [sys.executable, "-m", "da3jax", "finetune", str(tmp_path / "c.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=300,
    )
    assert done.returncode == 1
    assert "c.yaml has no start_from, the weights to fine-tune; add start_from=depth-anything/DA3-SMALL" in done.stderr
