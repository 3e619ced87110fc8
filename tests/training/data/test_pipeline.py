"""One order of batches, whoever loads them and wherever one goes on."""

import dataclasses
import logging
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from da3jax.training.data import AugmentConfig, Batch, Batches, DataConfig, FolderConfig, PlannedBatch, ProceduralConfig
from da3jax.training.losses.targets import check_targets

MULTIPLE = 4


@pytest.fixture(scope="module")
def config(forms):
    augment = AugmentConfig(flip=0.5, quarter_turn=0.3)
    sources = (ProceduralConfig(), FolderConfig(str(forms), weight=2))
    return DataConfig(sources, views=(2, 3), sizes=((28, 42), (42, 28)), batch_tokens=150, augment=augment)


def take(config, count, start=0, **options):
    with Batches(config, seed=3, multiple_of=MULTIPLE, **options) as batches:
        batches.set_state({"next": start})
        return [next(batches) for _ in range(count)]


@pytest.fixture(scope="module")
def taken(config):
    return take(config, 12)


def check_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert (one.index, one.source, one.skipped) == (other.index, other.source, other.skipped)
        assert type(one.batch) is type(other.batch)
        if isinstance(one.batch, Batch):
            jax.tree.map(np.testing.assert_array_equal, one.batch, other.batch)
        else:
            assert vars(one.batch) | {"seeds": one.batch.seeds.tolist()} == vars(other.batch) | {"seeds": other.batch.seeds.tolist()}


def test_batches_are_of_one_source_one_size_and_one_number_of_views(config, taken):
    assert {type(loaded.batch) for loaded in taken} == {Batch, PlannedBatch}
    for loaded in taken:
        if isinstance(loaded.batch, PlannedBatch):
            scenes, views, size = len(loaded.batch.seeds), loaded.batch.views, (loaded.batch.height, loaded.batch.width)
            assert loaded.batch.config is config.sources[0]
            assert loaded.batch.seeds.dtype == np.uint32
        else:
            scenes, views, *size, _ = loaded.batch.images.shape
            targets = loaded.batch.targets
            check_targets(targets)
            assert loaded.batch.images.dtype == np.uint8
            assert all(x.dtype == np.float32 for x in (targets.depth, targets.extrinsics, targets.intrinsics, targets.sky))
            assert all(type(x) is np.ndarray for x in jax.tree.leaves(loaded.batch))
            assert targets.normals is None
            np.testing.assert_allclose(targets.extrinsics[:, 0], np.broadcast_to(np.eye(3, 4), (scenes, 3, 4)), atol=1e-7)
        assert scenes % MULTIPLE == 0
        assert scenes * views * 6 <= 150
        assert tuple(size) in config.sizes


@pytest.mark.integration
def test_two_worker_processes_give_the_same_batches_and_go_on_from_a_state(config, taken):
    with Batches(dataclasses.replace(config, workers=2), seed=3, multiple_of=MULTIPLE) as batches:
        check_same(taken[:5], [next(batches) for _ in range(5)])
        state = batches.get_state()
        check_same(taken[5:7], [next(batches) for _ in range(2)])
        batches.set_state(state)
        check_same(taken[5:8], [next(batches) for _ in range(3)])
    assert state == {"next": 5}
    check_same(taken[5:], take(config, 7, start=5))


@pytest.mark.integration
def test_a_worker_process_that_is_killed_is_an_error_that_says_what_takes_less_memory(config):
    with Batches(dataclasses.replace(config, workers=1), seed=3, multiple_of=MULTIPLE) as batches:
        next(batches)
        for worker in multiprocessing.active_children():
            worker.kill()
        with pytest.raises(OSError, match=r"a process that loads data has ended \(.*\); fewer of them, data.workers, take less memory"):
            [next(batches) for _ in range(20)]  # some are there already


def test_the_parts_of_two_processes_make_up_the_batches_of_one(config, taken):
    first, second = (take(config, 6, process_index=index, process_count=2) for index in (0, 1))

    def joined(one, other):
        if isinstance(one, PlannedBatch):
            return dataclasses.replace(one, seeds=np.concatenate([one.seeds, other.seeds]))
        return jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)

    together = [dataclasses.replace(a, batch=joined(a.batch, b.batch)) for a, b in zip(first, second, strict=True)]
    check_same(taken[:6], together)


def test_a_seed_of_its_own_gives_other_batches(config, taken):
    with Batches(config, seed=4, multiple_of=MULTIPLE) as batches:
        others = [next(batches) for _ in range(12)]
    assert [loaded.source for loaded in others] != [loaded.source for loaded in taken]
    seeds = {tuple(seed) for loaded in taken + others if isinstance(loaded.batch, PlannedBatch) for seed in loaded.batch.seeds.tolist()}
    assert len(seeds) == sum(len(loaded.batch.seeds) for loaded in taken + others if isinstance(loaded.batch, PlannedBatch))


def test_skipped_samples_are_named_with_their_batch(copy_of, forms):
    scene = copy_of("npy")
    (scene / "cameras.npz").write_text("nothing")
    (scene.parent / "two").symlink_to(forms / "truth")
    config = DataConfig((FolderConfig(str(scene.parent)),), views=(1,), sizes=((28, 28),), batch_tokens=16)
    (loaded,) = take(config, 1)
    assert len(loaded.batch.images) == 4
    assert len(loaded.skipped) >= 2  # half of an epoch of two
    assert all(re.match(r"the scene .*one is left out: cameras.npz cannot be read", sentence) for sentence in loaded.skipped)


def test_a_folder_in_which_all_is_broken_is_an_error_of_the_main_process(copy_of):
    scene = copy_of("npy")
    (scene / "cameras.npz").write_text("nothing")
    config = DataConfig((FolderConfig(str(scene.parent)),), views=(1,), sizes=((28, 28),), batch_tokens=16, workers=1)
    with Batches(config, seed=0) as batches, pytest.raises(ValueError, match="32 samples in a row are broken; the last one: the scene"):
        next(batches)


def test_an_empty_folder_is_refused_when_it_is_opened(tmp_path):
    with pytest.raises(ValueError, match="has no scenes: none of its folders has a folder named images"):
        Batches(DataConfig((FolderConfig(str(tmp_path)),)), seed=0)


def test_a_source_of_weight_0_is_not_looked_at():
    config = DataConfig((ProceduralConfig(), FolderConfig("nowhere", weight=0, labelled=False)))
    assert config.labelled
    with Batches(config, seed=0):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1; it is a whole number from 0 on"),
        ({"multiple_of": 0}, "multiple_of is 0; it is a positive multiple of the number of processes, 1"),
        ({"multiple_of": 3, "process_count": 2}, "multiple_of is 3; it is a positive multiple of the number of processes, 2"),
        ({"process_index": 1}, "process_index is 1; it is from 0 to 0"),
    ],
)
def test_a_wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Batches(DataConfig(), **{"seed": 0, **options})


@pytest.mark.parametrize("state", [None, {}, {"next": -1}, {"next": "5"}, {"next": True}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match=r"is no state of a data pipeline; that is \{'next': NUMBER\}, as get_state gives it"):
        Batches(DataConfig(), seed=0).set_state(state)


def test_batches_beyond_the_budget_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        Batches(DataConfig(), seed=0)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        Batches(DataConfig(), seed=0, multiple_of=8)
    assert (
        "batch_tokens is 46656, and batches go beyond it where views are many and large: 8 scenes of 18 views of 896 × 504" in caplog.text
    )


def test_loading_touches_no_accelerator(forms):
    code = f"""
from da3jax.training.data import *
from jax._src import xla_bridge
config = DataConfig((ProceduralConfig(), FolderConfig({str(forms)!r})), views=(2,), sizes=((28, 28),), batch_tokens=8)
with Batches(config, seed=0) as batches:
    print({{type(next(batches).batch).__name__ for _ in range(8)}} == {{"Batch", "PlannedBatch"}}, list(xla_bridge._backends))
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "True []\n"


SCRIPT = """
import multiprocessing, sys, time
from da3jax.training.data import *
if __name__ == "__main__":
    batches = Batches(DataConfig(workers=1), seed=0)
    next(batches)
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


@pytest.mark.integration
def test_workers_end_with_a_killed_process_and_leave_interrupts_to_it(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGINT)
        time.sleep(0.2)
        assert is_alive(workers[0])
        process.kill()
    deadline = time.monotonic() + 10
    while is_alive(workers[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
