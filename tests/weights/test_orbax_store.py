"""Converted checkpoints: bit-exact, whole or not there, and never damaged in silence."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from da3jax.weights import orbax_store
from da3jax.weights.orbax_store import is_converted, load, save

CONFIG = {"name": "tiny", "taps": [1, 2], "camera": None}

SLOW_SAVE = """
import sys, numpy as np
from da3jax.weights import orbax_store
params = {f"block_{i}": {"kernel": np.full((256, 1024), i, np.float32)} for i in range(40)}
import orbax.checkpoint
print("go", flush=True)
while True:
    orbax_store.save(sys.argv[1], params, {})
    print("saved", flush=True)
    sys.stdin.read(1)
"""


def tree() -> dict:
    rng = np.random.default_rng(0)
    return {
        "backbone": {
            "blocks_0": {"kernel": rng.standard_normal((16, 48), np.float32), "bias": rng.standard_normal(48, np.float32)},
            "scale": np.float32(0.5).reshape(()),
        },
        "head": {"kernel": rng.standard_normal((3, 3, 8, 8), np.float32)[..., ::-1], "odd": np.array([np.nan, -0.0, 1e-45], np.float32)},
    }


@pytest.fixture
def saved(tmp_path):
    save(tmp_path / "small", tree(), CONFIG)
    return tmp_path / "small"


def equal(found, expected) -> bool:
    """Bit by bit."""
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == b.tobytes() and a.shape == b.shape and a.dtype == b.dtype, found, expected)
    return jax.tree.structure(found) == jax.tree.structure(expected) and all(jax.tree.leaves(same))


def data_files(folder) -> list[pathlib.Path]:
    return sorted(path for path in (folder / "params").rglob("*") if path.is_file())


def flip(path: pathlib.Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_what_is_saved_is_loaded_bit_by_bit_with_its_config(saved):
    params, config = load(saved)
    assert equal(params, tree())
    assert config == CONFIG
    assert all(isinstance(leaf, jax.Array) and leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(params))
    assert sorted(path.name for path in saved.parent.iterdir()) == ["small"]  # no partial folder


def test_the_manifest_describes_each_leaf_by_path(saved):
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert set(manifest["leaves"]) == {
        "backbone/blocks_0/kernel", "backbone/blocks_0/bias", "backbone/scale", "head/kernel", "head/odd"
    }  # fmt: skip
    bias = manifest["leaves"]["backbone/blocks_0/bias"]
    assert (bias["shape"], bias["dtype"]) == ([48], "float32")
    assert bias["sha256"] == hashlib.sha256(tree()["backbone"]["blocks_0"]["bias"].astype("<f4").tobytes()).hexdigest()


def test_device_arrays_sharded_or_not_are_saved_like_host_arrays(tmp_path, saved):
    rows = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x"))
    params = jax.tree.map(jax.device_put, tree())
    params["backbone"]["blocks_0"]["kernel"] = jax.device_put(params["backbone"]["blocks_0"]["kernel"], rows)
    save(tmp_path / "sharded", params, CONFIG)
    assert (tmp_path / "sharded" / "manifest.json").read_text() == (saved / "manifest.json").read_text()
    assert equal(load(tmp_path / "sharded")[0], tree())


def test_leaves_go_where_the_shardings_say(saved):
    mesh = Mesh(np.array(jax.devices()), ("x",))
    rows, everywhere = NamedSharding(mesh, PartitionSpec("x")), NamedSharding(mesh, PartitionSpec())
    third = SingleDeviceSharding(jax.devices()[3])
    a_tree = jax.tree.map(lambda leaf: rows if leaf.ndim and leaf.shape[0] % 8 == 0 else everywhere, tree())
    for shardings, kernel, scale in (
        (third, third, third),
        (everywhere, everywhere, everywhere),
        (a_tree, rows, everywhere),
        (lambda path, shape: rows if path == "backbone/blocks_0/kernel" and shape == (16, 48) else third, rows, third),
    ):
        params, _ = load(saved, shardings=shardings)
        assert equal(params, tree())
        assert params["backbone"]["blocks_0"]["kernel"].sharding.is_equivalent_to(kernel, 2)
        assert params["backbone"]["scale"].sharding.is_equivalent_to(scale, 0)
    with jax.default_device(jax.devices()[5]):
        assert jax.tree.leaves(load(saved)[0])[0].devices() == {jax.devices()[5]}


def test_shardings_that_do_not_fit_are_the_callers_fault_and_not_called_damage(saved):
    rows = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x"))
    with pytest.raises(ValueError, match="partitioned 8 times, but the dimension size is 3"):
        load(saved, shardings=lambda path, shape: rows if shape else None)


def test_the_number_of_devices_at_save_time_does_not_matter(saved):
    script = "import sys, jax; from da3jax.weights.orbax_store import load; print(jax.device_count(), *load(sys.argv[1])[0]['head']['odd'])"
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    done = subprocess.run([sys.executable, "-c", script, str(saved)], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split()[:3] == ["1", "nan", "-0.0"]


def test_a_name_with_spaces_and_accents_and_new_parents_is_fine(tmp_path):
    folder = tmp_path / "new" / "Été #1 100%"
    save(folder, tree(), CONFIG)
    assert equal(load(folder)[0], tree())


def test_an_empty_folder_is_filled_and_anything_else_is_left_alone(tmp_path):
    empty, full, file = tmp_path / "empty", tmp_path / "full", tmp_path / "file"
    empty.mkdir()
    save(empty, tree(), CONFIG)
    assert equal(load(empty)[0], tree())
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for target in (full, file, empty):
        with pytest.raises(FileExistsError, match=rf"{target} is already there and not an empty folder; name another one"):
            save(target, tree(), CONFIG)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


def test_a_parent_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/inside cannot be written: (File exists|Not a directory)$"):
        save(tmp_path / "file" / "inside", tree(), CONFIG)
    with pytest.raises(OSError, match=r"/proc/da3jax/small cannot be written: "):
        save("/proc/da3jax/small", tree(), CONFIG)


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(tmp_path):
    huge = {"kernel": np.broadcast_to(np.float32(0), (10**7, 10**8))}
    with pytest.raises(OSError, match=r"small needs 4,000,000,000 MB, and its disk has [\d,]+ MB free"):
        save(tmp_path / "small", huge, CONFIG)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_disk_that_fills_up_is_one_sentence_and_cleaned_up(tmp_path):
    script = """
import resource, signal, sys, numpy as np
from da3jax.weights.orbax_store import save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    save(sys.argv[1], {"kernel": np.zeros((1024, 1024), np.float32)}, {})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "small")], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'small'} cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1])
def test_a_killed_save_leaves_nothing_that_loads(tmp_path, delay):
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_SAVE, str(tmp_path / "small")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
    if (tmp_path / "small").exists():  # it was faster than the signal: then it is whole
        assert len(load(tmp_path / "small")[0]) == 40
    else:
        assert all(path.name.startswith(".small.partial-") for path in tmp_path.iterdir())
        with pytest.raises(FileNotFoundError, match=r"has no manifest\.json"):
            load(tmp_path / "small")
    save(tmp_path / "again", tree(), CONFIG)  # and is in nobody's way


@pytest.mark.integration
@pytest.mark.parametrize("delay", [0.01, 0.03, 0.06, 0.1])
def test_an_interrupted_save_leaves_nothing_at_all(tmp_path, delay):
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_SAVE, str(tmp_path / "small")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(b"", timeout=60)
    assert b"KeyboardInterrupt" in error or b"saved" in out
    if b"saved" not in out:
        assert list(tmp_path.iterdir()) in ([], [tmp_path / "small"])
    if (tmp_path / "small").exists():
        assert len(load(tmp_path / "small")[0]) == 40


def test_a_config_that_json_cannot_hold_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save(tmp_path / "small", tree(), {"name": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("params", "sentence"), [({}, "no parameters to save"), ({"a/b": np.zeros(1, np.float32)}, "a key with a slash")])
def test_parameters_that_cannot_be_told_apart_are_refused(tmp_path, params, sentence):
    with pytest.raises(ValueError, match=sentence):
        save(tmp_path / "small", params, CONFIG)


def test_a_flipped_bit_in_a_tensor_names_the_leaf(saved):
    kernel = tree()["backbone"]["blocks_0"]["kernel"].tobytes()
    (path,) = [path for path in data_files(saved) if kernel in path.read_bytes()]
    flip(path, path.read_bytes().index(kernel) + 100)
    with pytest.raises(ValueError, match=r"small is damaged, 1 of 5 leaves: backbone/blocks_0/kernel differs from its SHA-256; convert"):
        load(saved)


def test_no_flipped_bit_in_any_file_passes_unnoticed(saved):
    """A file that is not read may differ; then the parameters are still right."""
    large = {path: leaf.tobytes() for path, leaf in jax.tree.leaves_with_path(tree()) if leaf.nbytes > 100}
    sentences, caught = [], set()
    for path in data_files(saved):
        whole = path.read_bytes()
        inside = {whole.index(leaf) + 50: name for name, leaf in large.items() if leaf in whole}  # some are copies that nobody reads
        for position in {0, len(whole) // 3, len(whole) // 2, len(whole) - 1, *inside}:
            flip(path, position)
            try:
                assert equal(load(saved)[0], tree()), (path, position)
            except ValueError as error:
                sentences.append(str(error))
                caught.add(inside.get(position))
            path.write_bytes(whole)
    assert caught >= set(large)
    assert all("is damaged" in sentence and "\n" not in sentence for sentence in sentences)


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_no_truncated_or_missing_file_passes_unnoticed(saved, keep):
    sentences = []
    for path in data_files(saved):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep)])
        try:
            assert equal(load(saved)[0], tree()), path
        except ValueError as error:
            sentences.append(str(error))
        path.write_bytes(whole)
    assert len(sentences) >= 2
    assert all("is damaged" in sentence and "\n" not in sentence for sentence in sentences)


def rewrite(folder, change):
    """The manifest after `change`, sealed anew: as if it belonged to other arrays."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    path.write_text(orbax_store._sealed(manifest))


def test_missing_extra_and_misshapen_leaves_are_all_named(saved):
    def change(manifest):
        leaves = manifest["leaves"]
        leaves["head/new"] = leaves["head/odd"]
        leaves["head/kernel"]["shape"] = [72, 8]
        leaves["head/odd"]["dtype"] = "float64"
        del leaves["backbone/scale"]

    rewrite(saved, change)
    with pytest.raises(ValueError, match="convert the checkpoint again") as caught:
        load(saved)
    for fault in (
        "backbone/scale is not in the manifest",
        "head/kernel is float32 [3, 3, 8, 8] instead of float32 [72, 8]",
        "head/odd is float32 [3] instead of float64 [3]",
        "head/new is missing",
    ):
        assert fault in str(caught.value)


def test_only_the_first_ten_damaged_leaves_are_named(tmp_path):
    save(tmp_path / "many", {f"leaf_{i}": np.zeros(i + 1, np.float32) for i in range(14)}, CONFIG)
    rewrite(tmp_path / "many", lambda manifest: [leaf.update(sha256="0") for leaf in manifest["leaves"].values()])
    with pytest.raises(ValueError, match=r"14 of 14 leaves: leaf_0 differs .*; and 4 more; convert") as caught:
        load(tmp_path / "many")
    assert str(caught.value).count("differs") == 10


@pytest.mark.parametrize(
    ("damage", "kind", "sentence"),
    [
        (lambda path: path.unlink(), FileNotFoundError, r"small has no manifest.json: it is no converted checkpoint"),
        (lambda path: path.write_text(""), ValueError, r"manifest.json is damaged, or of another program \(Expecting value"),
        (lambda path: path.write_text(path.read_text()[:-40]), ValueError, r"manifest.json is damaged, or of another program"),
        (lambda path: path.write_bytes(b"\xff\xfe"), ValueError, r"manifest.json is damaged, or of another program"),
        (lambda path: path.write_text("[]"), ValueError, r"manifest.json is damaged, or of another program"),
        (lambda path: path.write_text('{"other": 1}'), ValueError, r"manifest.json is damaged, or of another program"),
        (
            lambda path: rewrite(path.parent, lambda m: m.update(version=2)),
            ValueError,
            r"has the format 'da3jax checkpoint' 2; this version",
        ),
        (
            lambda path: rewrite(path.parent, lambda m: m.update(format="x")),
            ValueError,
            r"has the format 'x' .*; this version of da3jax reads",
        ),
        (lambda path: path.write_text(path.read_text().replace("tiny", "tinx")), ValueError, r"was changed after it was written"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_one_sentence(saved, damage, kind, sentence):
    damage(saved / "manifest.json")
    with pytest.raises(kind, match=sentence):
        load(saved)
    assert is_converted(saved)  # and `load` says what is wrong with it


def test_a_folder_without_arrays_is_one_sentence(saved):
    (saved / "params").rename(saved.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"small lacks params, the folder with the arrays"):
        load(saved)


def test_is_converted_knows_its_own(saved, tmp_path):
    assert is_converted(saved)
    assert not is_converted(tmp_path)
    assert not is_converted(tmp_path / "nothing")


def test_a_released_folder_with_another_programs_manifest_is_no_converted_one(tmp_path):
    for name in ("manifest.json", "model.safetensors", "config.json"):
        (tmp_path / name).write_text("{}")
    assert not is_converted(tmp_path)
    (tmp_path / "params").mkdir()
    assert is_converted(tmp_path)


def test_an_empty_folder_stays_the_same_folder_as_a_mount_point_must(tmp_path):
    (tmp_path / "mounted").mkdir()
    before = (tmp_path / "mounted").stat().st_ino
    save(tmp_path / "mounted", tree(), CONFIG)
    assert (tmp_path / "mounted").stat().st_ino == before
    assert sorted(path.name for path in (tmp_path / "mounted").iterdir()) == ["manifest.json", "params"]
    assert [path.name for path in tmp_path.iterdir()] == ["mounted"]
    assert equal(load(tmp_path / "mounted")[0], tree())


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process as Linux gives it")
@pytest.mark.parametrize("what", ["save", "load"])
def test_no_second_copy_of_the_parameters_is_held(tmp_path, what):
    """Peak memory of a fresh process beside 192 MB of parameters: the library's own buffers, not another 192 MB."""
    script = """
import sys, jax, numpy as np, orbax.checkpoint
from da3jax.weights import orbax_store
def megabytes(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
jax.devices()
params = {f"leaf_{i}": np.full((1024, 1024), i, np.float32) for i in range(48)}
orbax_store.save(sys.argv[2] + "/warm", {"a": np.ones(3, np.float32)}, {})
orbax_store.load(sys.argv[2] + "/warm")
if sys.argv[1] == "load":
    del params
    before = 192 + megabytes("VmRSS")
    params = orbax_store.load(sys.argv[2] + "/small")
else:
    before = megabytes("VmHWM")
    orbax_store.save(sys.argv[2] + "/small", params, {})
print(megabytes("VmHWM") - before)
"""
    if what == "load":
        save(tmp_path / "small", {f"leaf_{i}": np.full((1024, 1024), i, np.float32) for i in range(48)}, CONFIG)
    done = subprocess.run([sys.executable, "-c", script, what, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.6 * 192
