"""One door to all forms of weights, and `python -m convert` between them."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest

from da3jax.config import load_config
from da3jax.schema import to_dict
from da3jax.weights import convert, load, orbax_store, save_pretrained
from tests.weights.trees import equal

ROOT = pathlib.Path(__file__).parents[2]


def tensors_in(folder) -> bytes:
    data = (folder / "model.safetensors").read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_a_converted_folder_gives_what_the_released_one_gives(released_dir, tiny_model_dir):
    params, config = load(released_dir)
    converted, converted_config = load(str(tiny_model_dir))
    assert equal(converted, params)
    assert converted_config == config
    assert float(params["backbone"]["cls_token"][0, 0, 0]) != 0


@pytest.mark.parametrize("name", ["anyview", "single_view"])
def test_there_and_back_is_bit_exact(tmp_path, released_dir, name):
    source = released_dir.parent / name
    assert convert(source, tmp_path / "jax") == tmp_path / "jax"
    assert convert(tmp_path / "jax", str(tmp_path / "back"), to="safetensors") == tmp_path / "back"
    assert tensors_in(tmp_path / "back") == tensors_in(source)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads((source / "config.json").read_text())
    assert equal(load(tmp_path / "back")[0], load(source)[0])


def test_both_forms_are_placed_by_shardings(released_dir, tiny_model_dir):
    second = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    for folder in (released_dir, tiny_model_dir):
        params, _ = load(folder, shardings=lambda path, shape: second if path.endswith("cls_token") else None)
        assert params["backbone"]["cls_token"].devices() == {jax.devices()[1]}
        assert params["backbone"]["pos_embed"].devices() == {jax.devices()[0]}


def test_what_was_trained_is_saved_and_loaded_again(tmp_path, released_dir):
    params, config = load(released_dir)
    params = jax.tree.map(lambda leaf: 0.5 * leaf, params)
    assert save_pretrained(params, config, str(tmp_path / "mine")) == tmp_path / "mine"
    assert equal(load(tmp_path / "mine")[0], params)


def test_weights_are_not_saved_beside_converted_ones_which_would_be_loaded_instead(tmp_path, released_dir):
    folder = convert(released_dir, tmp_path / "converted")
    with pytest.raises(FileExistsError, match=rf"^{folder} has converted weights already; name an empty folder, nothing is overwritten$"):
        save_pretrained(*load(released_dir), folder)
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize("to", ["orbax", "safetensors"])
def test_an_empty_folder_is_filled_and_any_other_left_alone(tmp_path, released_dir, to):
    (tmp_path / "empty").mkdir()
    convert(released_dir, tmp_path / "empty", to=to)
    assert equal(load(tmp_path / "empty")[0], load(released_dir)[0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    for taken in (tmp_path / "full", tmp_path / "full" / "notes", released_dir):
        with pytest.raises(FileExistsError, match=f"^{taken} is already there and not an empty folder; name another one, nothing is overw"):
            convert(released_dir, taken, to=to)
    assert [path.read_text() for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_an_unknown_form_is_refused_with_the_closest(tmp_path, released_dir):
    with pytest.raises(ValueError, match=r"to 'safetensor' is unknown; it is one of orbax, safetensors; did you mean 'safetensors'\?"):
        convert(released_dir, tmp_path / "out", to="safetensor")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_goes_with_safetensors(tmp_path, released_dir):
    half = convert(released_dir, tmp_path / "half", to="safetensors", dtype="float16")
    assert (half / "model.safetensors").stat().st_size < 0.6 * (released_dir / "model.safetensors").stat().st_size
    with pytest.raises(
        ValueError, match="dtype is 'float16' with to 'orbax', which stores float32; half precision goes with to 'safetensors'"
    ):
        convert(released_dir, tmp_path / "other", dtype="float16")
    assert not (tmp_path / "other").exists()


def test_a_broken_source_leaves_no_folder(tmp_path, released_dir):
    shutil.copytree(released_dir, tmp_path / "broken")
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="it is truncated or no safetensors file"):
        convert(tmp_path / "broken", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "convert", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.integration
def test_the_command_converts_there_and_back(tmp_path, released_dir):
    done = run(released_dir, tmp_path / "jax")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'jax'}\n"), done.stderr
    assert equal(load(tmp_path / "jax")[0], load(released_dir)[0])
    done = run(tmp_path / "jax", tmp_path / "back", "--to", "safetensors")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'back'}\n"), done.stderr
    assert tensors_in(tmp_path / "back") == tensors_in(released_dir)


def test_the_command_says_what_is_wrong_in_a_sentence(tmp_path, released_dir):
    done = run(released_dir, released_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"da3jax: error: {released_dir} is already there and not an empty folder; name another one, nothing is overwritten\n"
    )
    done = run(released_dir, tmp_path / "out", "--to", "safetensor")
    assert done.returncode == 2
    assert "safetensors" in done.stderr
    assert list(tmp_path.iterdir()) == []


INTERRUPT_EVERYWHERE = """
import _thread, pathlib, shutil, sys, threading
from da3jax import weights

source, to, work, step = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
weights.convert(source, work / "warm", to=to)  # what is imported on the way is imported
left = None

def hook(event, arguments):
    # Each time a file or folder beside or below `out` is opened, made, renamed or removed.
    global left
    if left is None or not event.startswith(("open", "os.", "shutil.")) or not any(str(out.parent) in str(a) for a in arguments):
        return
    left -= 1
    if left < 0:
        left = None
        shutil.copytree(out.parent, snapshot)  # what a process that is killed now leaves behind
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        _thread.interrupt_main()

sys.addaudithook(hook)
for moment in range(0, 1000, step):
    out, snapshot = work / f"interrupted-{moment}" / "out", work / f"killed-{moment}"
    out.parent.mkdir()
    left = moment
    try:
        weights.convert(source, out, to=to)
    except KeyboardInterrupt:
        continue
    if left is not None:
        break
print(moment)
"""


@pytest.mark.integration
@pytest.mark.parametrize(("to", "step"), [("orbax", 4), ("safetensors", 1)])
def test_interrupted_or_killed_at_any_moment_it_leaves_nothing_that_loads_but_the_whole(tmp_path, released_dir, to, step):
    source = released_dir.parent / "single_view"
    command = [sys.executable, "-c", INTERRUPT_EVERYWHERE, str(source), to, str(tmp_path), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    moments = range(0, int(done.stdout), step)
    assert len(moments) >= 8
    expected, _ = load(source)
    for moment in moments:
        interrupted, killed = (tmp_path / f"{kind}-{moment}" for kind in ("interrupted", "killed"))
        if not whole_or_refused(interrupted / "out", expected):
            assert list(interrupted.iterdir()) == []
        for described in (*killed.rglob("config.json"), *killed.rglob("manifest.json"), killed / "out" / "config.json"):
            whole_or_refused(described.parent, expected)
        assert whole_or_refused(killed / "out", expected) <= whole_or_refused(interrupted / "out", expected)


def whole_or_refused(folder, expected) -> bool:
    """Whether `folder` loads; then it holds what it should."""
    try:
        params, _ = load(folder)
    except (OSError, ValueError):
        return False
    assert equal(params, expected)
    return True


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="sends the signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_after_a_signal_all_that_loads_is_whole(tmp_path, released_dir, number):
    script = """
import sys
from da3jax import weights
for i in range(10**6):
    weights.convert(sys.argv[1], f"{sys.argv[2]}/{i}", to=("orbax", "safetensors")[i % 2])
    if i == 1:
        print("go", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, released_dir, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdout.readline()
        time.sleep(0.4)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == -number, said
    expected, _ = load(released_dir)
    finished = [folder.name for folder in sorted(tmp_path.iterdir()) if whole_or_refused(folder, expected)]
    assert {"0", "1"} <= set(finished)
    if number == signal.SIGINT:
        assert finished == sorted(path.name for path in tmp_path.iterdir())


def test_a_converted_folder_of_another_network_is_refused(released_dir, tmp_path):
    params, _ = load(released_dir)
    orbax_store.save(tmp_path / "mixed", params, to_dict(load_config("da3-small")))
    with pytest.raises(ValueError, match=r"the parameters in .*mixed are not those of da3-small: backbone/blocks_1"):
        load(tmp_path / "mixed")


def test_a_revision_goes_with_a_hub_id(released_dir):
    with pytest.raises(ValueError, match="is a folder, which has no revision 'main'"):
        load(released_dir, revision="main")
