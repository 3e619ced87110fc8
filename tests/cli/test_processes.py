"""Two processes with two devices each give what one gives, read what their own devices see, and do not outlive each other."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from da3jax import DepthAnything3

pytestmark = pytest.mark.integration

PROGRAM = """
import os
import sys
import da3jax
preparing = sys.modules["da3jax.inputs.preprocess"]
from da3jax.parallel import processes
processes.HEARTBEAT_SECONDS, processes.CONNECT_SECONDS = 5, 60
read = preparing.read_with_size
def noted(source, *others):
    os.write(2, f"reads {source}\\n".encode(errors="backslashreplace"))  # at once, for several threads read
    return read(source, *others)
preparing.read_with_size = noted
from da3jax.cli import main
main()
"""

ENDED = """
import os, signal, sys, time
import numpy as np
from da3jax.cli.failures import failures_in_a_sentence
from da3jax.parallel import initialize, processes
processes.HEARTBEAT_SECONDS, processes.CONNECT_SECONDS = 5, 60
coordinator, number, ends = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with failures_in_a_sentence():
    initialize(coordinator, 2, number)
    processes.gathered(np.array([number]))
    if number == ends:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        processes.gathered(np.array([number]))
"""

LONG = """
import sys, time
from da3jax.parallel import initialize, processes
initialize(sys.argv[1], 2, int(sys.argv[2]))
print(processes.all_or_none(lambda: time.sleep(float(sys.argv[3]) if sys.argv[2] == "0" else 0) or "done"))
"""


EACH_ITS_OWN = "import sys\nsys.argv = [argument.replace('NUMBER', sys.argv[-1]) for argument in sys.argv]\n" + PROGRAM
"""The same with the number of the process in its arguments."""


def start(program, *arguments):
    flags = "--xla_force_host_platform_device_count=2 --xla_cpu_collective_call_terminate_timeout_seconds=600"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags},
    )


def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def two_processes(program, *arguments):
    """Processes 0 and 1 that are given the same; none is left at the end."""
    options = ["--coordinator", address(), "--num-processes", 2, "--process-id"]
    running = [start(program, *arguments, *options, number) for number in (0, 1)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()


def both(program, *arguments):
    """(status, stdout, stderr) of both."""
    with two_processes(program, *arguments) as running:
        return [(process.returncode, *said) for process in running for said in [process.communicate(timeout=400)]]


@pytest.fixture
def photos(tmp_path):
    """Five, one of which is lower than the others."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (5, 5, 7, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).resize((70, 50) if i != 3 else (70, 35)).save(folder / f"{i}.png")
    return folder


def test_a_scene_over_two_processes(photos, tiny_model_dir, tmp_path):
    arguments = ["--model-dir", tiny_model_dir, "--export-format", "npz", "--process-res", 56]
    found = both(PROGRAM, "images", photos, "--export-dir", tmp_path / "out", *arguments)
    assert [status for status, *_ in found] == [0, 0], found
    path = tmp_path / "out" / "exports" / "npz" / "results.npz"
    written = [[line for line in stdout.splitlines() if line.endswith(str(path))] for _, stdout, _ in found]  # among what Gloo says there
    assert written == [[str(path)], []]
    # Eight places for views on four devices; the last view fills up what five leave.
    read = [sorted(line.rpartition("/")[2] for line in stderr.splitlines() if line.startswith("reads ")) for *_, stderr in found]
    assert read == [["0.png", "1.png", "2.png", "3.png"], ["4.png"]]
    for cropped, (*_, stderr) in zip(("3 of 4", "1 of 1"), found, strict=True):
        assert f"{cropped} are cropped about their centre to 28 × 56" in stderr
    model = DepthAnything3.from_pretrained(tiny_model_dir)
    expected = model.inference(sorted(photos.iterdir()), process_res=56)
    with np.load(path) as arrays:
        assert arrays["depth"].shape == (5, 28, 56)
        for name in ("depth", "conf", "extrinsics", "intrinsics", "ray"):
            theirs = getattr(expected, name)
            np.testing.assert_allclose(arrays[name], theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max(), err_msg=name)
        np.testing.assert_array_equal(arrays["image"], expected.processed_images)


@pytest.mark.parametrize(("name", "said"), [(b"4.png", "4.png"), (b"caf\xe9.png", r"caf\udce9.png")], ids=["plain", "no UTF-8"])
def test_a_broken_image_ends_both_in_the_same_words(photos, tiny_model_dir, tmp_path, name, said):
    (photos / "4.png").unlink()
    (photos / os.fsdecode(name)).write_bytes(b"no image")
    found = both(PROGRAM, "images", photos, "--export-dir", tmp_path / "out", "--model-dir", tiny_model_dir)
    assert [status for status, *_ in found] == [1, 1]
    sentence = f"{photos / said} is not an image that Pillow can read"
    assert [stderr.splitlines()[-1] for *_, stderr in found] == [f"da3jax: error: process 1: {sentence}", f"da3jax: error: {sentence}"]


def test_processes_that_see_other_images_are_refused(photos, tiny_model_dir, tmp_path):
    for number, names in enumerate((["0.png", "1.png"], ["2.png", "3.png"])):
        (tmp_path / f"share{number}").mkdir()
        for name in names:
            (photos / name).rename(tmp_path / f"share{number}" / name)
    found = both(EACH_ITS_OWN, "images", tmp_path / "shareNUMBER", "--export-dir", tmp_path / "out", "--model-dir", tiny_model_dir)
    assert [status for status, *_ in found] == [1, 1]
    for *_, stderr in found:
        last = stderr.splitlines()[-1]
        assert last.startswith("da3jax: error: process 0 is given 2 images (SHA-256 of their names ")
        assert "…), 0.png to 1.png, and process 1 2 images (" in last
        assert "…), 2.png to 3.png; all are given the same list in the same order, so all need to see all images" in last
        assert "load" not in stderr


def test_weights_that_one_does_not_find_end_both(photos, tiny_model_dir, tmp_path):
    (tmp_path / "weights0").symlink_to(tiny_model_dir)
    found = both(EACH_ITS_OWN, "images", photos, "--export-dir", tmp_path / "out", "--model-dir", tmp_path / "weightsNUMBER")
    assert [status for status, *_ in found] == [1, 1]
    sentence = f"the folder {tmp_path / 'weights1'} does not exist"
    assert [stderr.splitlines()[-1] for *_, stderr in found] == [f"da3jax: error: process 1: {sentence}", f"da3jax: error: {sentence}"]


@pytest.mark.parametrize("ends", [0, 1])
def test_a_killed_process_ends_the_other_which_says_so(ends):
    coordinator, began = address(), time.monotonic()
    running = [start(ENDED, coordinator, number, ends) for number in (0, 1)]
    try:
        said = running[1 - ends].communicate(timeout=120)[1]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert running[1 - ends].returncode not in (0, None)
    # JAX says it in a thread of its own, before or after the sentence of ours.
    if ends == 1:
        assert "The following tasks are unhealthy (stopped sending heartbeats):\n1\n" in said
    else:
        assert "the leader task was preempted/died/restarted unexpectedly" in said
    assert time.monotonic() - began < 120


def test_one_that_works_for_longer_than_collectives_wait_is_waited_for():
    coordinator = address()
    running = [start(LONG, coordinator, number, 40) for number in (0, 1)]
    try:
        said = [process.communicate(timeout=400) for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said
    assert [out.splitlines()[-1] for out, _ in said] == ["done", "done"]
