import math
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training.metrics_log import MetricsLog


def text(folder: pathlib.Path, stream: str = "train") -> str:
    return (folder / f"{stream}.csv").read_text()


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_stream_is_a_table_with_one_header(tmp_path):
    with MetricsLog(tmp_path / "new/run") as log:
        log.write("train", 1, {"loss": 0.5, "rate": 1e-5})
        log.write("validation", 1, {"abs_rel": 0.25})
        log.write("train", 2, {"rate": 2e-5, "loss": 0.125})
    assert text(tmp_path / "new/run") == "step,loss,rate\n1,0.5,1e-05\n2,0.125,2e-05\n"
    assert text(tmp_path / "new/run", "validation") == "step,abs_rel\n1,0.25\n"
    assert sorted(files(tmp_path / "new/run")) == ["train.csv", "validation.csv"]


def test_a_row_is_there_as_soon_as_it_is_written(tmp_path):
    code = f"""
import os, signal
from da3jax.training.metrics_log import MetricsLog
log = MetricsLog({str(tmp_path)!r})
log.write("train", 1, {{"loss": 3}})
log.write("train", 2, {{"loss": 4}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert text(tmp_path) == "step,loss\n1,3.0\n2,4.0\n"


def test_numbers_that_are_not_finite_and_scalars_of_arrays_are_written(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("train", np.int64(1), {"a": math.nan, "b": math.inf, "c": -math.inf, "d": np.float32(0.5), "e": jnp.float32(2)})
    assert text(tmp_path) == "step,a,b,c,d,e\n1,nan,inf,-inf,0.5,2.0\n"


def test_a_metric_that_comes_later_widens_the_header_and_one_that_is_missing_is_empty(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write("train", 1, {"loss": 1})
        log.write("train", 2, {"loss": 2, "a, b": 3})
        log.write("train", 3, {"a, b": 4})
    assert text(tmp_path) == 'step,loss,"a, b"\n1,1.0,\n2,2.0,3.0\n3,,4.0\n'


def test_resuming_drops_what_came_after_and_goes_on(tmp_path):
    with MetricsLog(tmp_path) as log:
        for step in range(8, 13):
            log.write("train", step, {"loss": step})
        log.write("validation", 10, {"abs_rel": 1})
    validation = (tmp_path / "validation.csv").stat().st_ino
    with MetricsLog(tmp_path, resume=10) as log:
        assert text(tmp_path) == "step,loss\n8,8.0\n9,9.0\n10,10.0\n"
        log.write("train", 11, {"loss": 0.5, "rate": 1})
    assert text(tmp_path) == "step,loss,rate\n8,8.0,\n9,9.0,\n10,10.0,\n11,0.5,1.0\n"
    assert text(tmp_path, "validation") == "step,abs_rel\n10,1.0\n"
    assert (tmp_path / "validation.csv").stat().st_ino == validation  # nothing was to be dropped


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ("step,loss\n8,1.0\n9,2.0\n1", "step,loss\n8,1.0\n9,2.0\n"),  # 1 of 12, which is not step 1
        ("step,loss\n8,1.0\n9,2.", "step,loss\n8,1.0\n"),
        ("step,lo", "step\n"),
        ("", ""),
    ],
)
def test_a_line_cut_by_a_kill_is_dropped(tmp_path, left, kept):
    (tmp_path / "train.csv").write_text(left)
    with MetricsLog(tmp_path, resume=10) as log:
        assert text(tmp_path) == kept
        log.write("train", 11, {"loss": 3})
    assert text(tmp_path) == (kept if kept.startswith("step,") else "step,loss\n") + "11,3.0\n"


@pytest.mark.parametrize("change", ["resume", "widen"])
def test_a_rewrite_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch, change):
    log = MetricsLog(tmp_path)
    for step in (1, 2):
        log.write("train", step, {"loss": 1})
    before = files(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    monkeypatch.setattr(pathlib.Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(tmp_path, resume=1) if change == "resume" else log.write("train", 3, {"rate": 1})
    assert files(tmp_path) == before


@pytest.mark.parametrize("mine", ["name,price\nchair,4\n", "step,loss\none,2\n", "step,loss\n1,2,3\n", "step,loss\n\n1,2\n", "\n", "\0\n"])
def test_a_file_that_is_something_else_is_refused_and_kept(tmp_path, mine):
    (tmp_path / "train.csv").write_text("step,loss\n9,2\n")
    (tmp_path / "validation.csv").write_text(mine)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"validation\.csv is not a file of metrics, which has a first column of steps; move it away"):
        MetricsLog(tmp_path, resume=3)
    assert files(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OSError, match=rf"^metrics cannot be written into the folder {folder}: (File exists|Not a directory)$"):
            MetricsLog(folder)
    assert files(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("metrics", [{"loss": 1 / 3}, {"loss": 1 / 3, "rate": 1}])
def test_a_full_disk_keeps_the_rows_there_are_and_is_one_sentence(tmp_path, metrics):
    resource = pytest.importorskip("resource")
    log = MetricsLog(tmp_path)
    log.write("train", 1, {"loss": 1})
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["train.csv"]) + 5, limits[1]))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(OSError, match=rf"^train\.csv cannot be written into the folder {tmp_path}: File too large$"):
            log.write("train", 2, metrics)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    log.write("train", 2, {"loss": 2})
    assert text(tmp_path) == "step,loss\n1,1.0\n2,2.0\n"


def test_a_bad_row_is_refused(tmp_path):
    log = MetricsLog(tmp_path)
    with pytest.raises(ValueError, match=r"stream 'valid' is unknown; it is one of train, validation; did you mean 'validation'\?"):
        log.write("valid", 1, {"loss": 1})
    with pytest.raises(ValueError, match=r'a metric is called "step", which is the name of the first column; give it another name'):
        log.write("train", 1, {"step": 1})
    assert files(tmp_path) == {}


def test_without_tensorboardx_the_extra_is_named_and_nothing_is_changed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r'for TensorBoard needs tensorboardX: pip install "da3jax\[tensorboard\]"'):
        MetricsLog(tmp_path / "run", tensorboard=True)
    assert files(tmp_path) == {}


def events(path: pathlib.Path) -> list:
    """The events of one file: each is its length in 8 bytes, a checksum of 4, the event, and a checksum of 4."""
    from tensorboardX.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:
        end = 12 + int.from_bytes(data[:8], "little")
        found.append(Event.FromString(data[12:end]))
        data = data[end + 4 :]
    return found


def test_tensorboard_gets_the_same_and_purges_on_resuming(tmp_path):
    pytest.importorskip("tensorboardX")
    written = []
    for resume in (0, 10):
        with MetricsLog(tmp_path, resume=resume, tensorboard=True) as log:
            log.write("train", resume + 1, {"loss": 0.5, "rate": math.inf})
            log.write("validation", resume + 2, {"abs_rel": 0.25})
        (new,) = set((tmp_path / "tensorboard").iterdir()) - set(written)
        written.append(new)
        found = events(new)
        scalars = [(event.step, value.tag, value.simple_value) for event in found for value in event.summary.value]
        assert scalars == [
            (resume + 1, "train/loss", 0.5),
            (resume + 1, "train/rate", math.inf),
            (resume + 2, "validation/abs_rel", 0.25),
        ]
        (start,) = [event.step for event in found if event.session_log.status == event.session_log.START]
        assert start == resume + 1
    assert text(tmp_path) == "step,loss,rate\n1,0.5,inf\n11,0.5,inf\n"
