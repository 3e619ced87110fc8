"""Writing the released layout: bit-exact, over nothing that is there, and whole or not at all."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load_file

from da3jax.models import stack_layers
from da3jax.weights.safetensors_store import clear_unfinished, load, save

QKV, NORM = "model.backbone.pretrained.blocks.3.attn.qkv.weight", "model.head.scratch.output_conv2_aux.0.2.weight"


def header_of(data: bytes) -> tuple[dict, bytes]:
    """The header as a dict in the order of the file, and what follows it."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def test_what_is_saved_is_byte_for_byte_what_pytorch_had_written(tmp_path, single_view_dir):
    save(*load(single_view_dir), tmp_path / "out")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (single_view_dir / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


def test_only_the_entries_of_the_metadata_may_come_in_another_order(tmp_path, released_dir, loaded):
    """PyTorch's `save_model` lists the six shared norms in the order of a hash map, another in each process; ours are sorted."""
    save(*loaded, tmp_path)
    ours, theirs = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path, released_dir))
    (our_header, our_data), (their_header, their_data) = header_of(ours), header_of(theirs)
    assert list(our_header["__metadata__"]) == sorted(their_header["__metadata__"])
    assert our_header == their_header
    assert list(our_header) == list(their_header)
    assert our_data == their_data
    assert ours[:8] == theirs[:8]
    assert (tmp_path / "config.json").read_text() == (released_dir / "config.json").read_text()


def test_sharded_and_half_precision_parameters_are_saved_as_float32(tmp_path, loaded, original):
    params, config = loaded
    rows = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x"))
    kernel = jax.device_put(params["backbone"]["blocks_3"]["attn"]["qkv"]["kernel"], rows)
    other = traverse_util.flatten_dict(params)
    other["backbone", "blocks_3", "attn", "qkv", "kernel"] = kernel
    other["head", "ray_norm", "scale"] = other["head", "ray_norm", "scale"].astype("bfloat16")
    save(traverse_util.unflatten_dict(other), config, tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(written[QKV], original[QKV])
    np.testing.assert_array_equal(written[NORM], original[NORM].astype(ml_dtypes.bfloat16).astype(np.float32), strict=True)


@pytest.mark.parametrize(("dtype", "exact"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_half_precision_takes_half_the_space_and_is_loaded_rounded(tmp_path, loaded, dtype, exact):
    params, config = loaded
    sizes = [(save(params, config, tmp_path / kind, dtype=kind) / "model.safetensors").stat().st_size for kind in ("float32", dtype)]
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.1)
    found, found_config = load(tmp_path / dtype)
    assert found_config == config
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(exact).astype(np.float32), params)
    jax.tree.map(lambda leaf, expected: np.testing.assert_array_equal(leaf, expected, strict=True), found, rounded)


def test_what_half_precision_cannot_hold_is_refused(tmp_path, loaded):
    params, config = loaded
    large = {**params, "backbone": {**params["backbone"], "pos_embed": params["backbone"]["pos_embed"] + 1e5}}
    with pytest.raises(ValueError, match=r"pos_embed has numbers up to 1e\+05, which are infinite in float16; save it in float32"):
        save(large, config, tmp_path / "out", dtype="float16")
    with pytest.raises(ValueError, match="dtype 'int8' is unknown; it is one of float32, float16, bfloat16"):
        save(params, config, tmp_path / "out", dtype="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("wrong", "what"), [(np.nan, "numbers that are not finite"), (1j, r"complex numbers \(complex64\)")])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, loaded, wrong, what):
    params, config = loaded
    spoilt = {**params, "backbone": {**params["backbone"], "pos_embed": params["backbone"]["pos_embed"] + np.complex64(wrong)}}
    if wrong is np.nan:
        spoilt["backbone"]["pos_embed"] = spoilt["backbone"]["pos_embed"].real
    with pytest.raises(ValueError, match=f"pos_embed has {what}, and no weights with such are loaded; nothing is saved"):
        save(spoilt, config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_nothing_is_overwritten(tmp_path, loaded, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{name} is already there; name an empty folder, nothing is overwritten"):
        save(*loaded, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_parameters_of_another_form_are_refused_by_name(tmp_path, loaded):
    params, config = loaded
    with pytest.raises(
        ValueError, match=r"not those of tiny-anyview: backbone/blocks_0/.* more do not fit \(stacked layers are unstacked first"
    ):
        save(stack_layers(params, config), config, tmp_path / "out")
    with pytest.raises(ValueError, match=r"not those of tiny-anyview: backbone/pos_embed do not fit"):
        save({**params, "backbone": {**params["backbone"], "pos_embed": np.zeros((1, 5, 32))}}, config, tmp_path / "out")
    with pytest.raises(ValueError, match=r"not those of tiny-anyview: head/extra do not fit"):
        save({**params, "head": {**params["head"], "extra": np.zeros(1)}}, config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, loaded):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=rf"^{folder} cannot be written: (File exists|Not a directory)$"):
            save(*loaded, folder)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing keeps this user from writing")
def test_a_folder_without_permission_is_one_sentence(tmp_path, loaded):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=rf"^{tmp_path} cannot be written: Permission denied$"):
        save(*loaded, tmp_path)


class Breaking:
    """A parameter that does something while it is written."""

    def __init__(self, leaf, act):
        self.leaf, self.shape, self.act = leaf, leaf.shape, act

    def __array__(self, dtype=None, copy=None):
        self.act()
        return np.asarray(self.leaf)


def breaking(params, act):
    """`params` whose second to last leaf in the file does `act`."""
    norm = params["head"]["fusion_4"]["unit_2"]["conv_2"]
    other = traverse_util.flatten_dict(params)
    other["head", "fusion_4", "unit_2", "conv_2", "kernel"] = Breaking(norm["kernel"], act)
    return traverse_util.unflatten_dict(other)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), RuntimeError("lost a device")])
@pytest.mark.parametrize("folder", ["new", "mine"])
def test_a_save_that_breaks_off_leaves_what_was_there(tmp_path, loaded, error, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    seen = []

    def fail():
        seen.extend((tmp_path / folder).glob(".partial-*/model.safetensors"))
        raise error

    params, config = loaded
    with pytest.raises(
        type(error), match="mine cannot be written: No space left" if folder == "mine" and isinstance(error, OSError) else None
    ):
        save(breaking(params, fail), config, tmp_path / folder)
    assert len(seen) == 1
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine", "mine/README.md"]


def test_weights_go_again_when_the_configuration_cannot_follow(tmp_path, loaded):
    """Somebody puts a folder of that name there meanwhile."""
    params, config = loaded
    with pytest.raises(OSError, match="cannot be written: Is a directory"):
        save(breaking(params, (tmp_path / "config.json").mkdir), config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def run(script: str, *arguments, check: bool = True) -> subprocess.CompletedProcess:
    """A fresh process in the root of the project."""
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=check, cwd=root)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file as POSIX does")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, released_dir):
    script = """
import pathlib, resource, sys
from da3jax.weights import safetensors_store
params, config = safetensors_store.load(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    safetensors_store.save(params, config, pathlib.Path(sys.argv[2]))
except OSError as error:
    print(error)
"""
    done = run(script, released_dir, tmp_path / "out")
    assert done.stdout == f"{tmp_path / 'out'} cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_killed_save_leaves_nothing_that_loads(tmp_path, released_dir):
    script = """
import os, pathlib, signal, sys
from tests.weights.test_safetensors_saving import breaking
from da3jax.weights.safetensors_store import load, save
params, config = load(pathlib.Path(sys.argv[1]))
save(breaking(params, lambda: os.kill(os.getpid(), signal.SIGKILL)), config, pathlib.Path(sys.argv[2]))
"""
    assert run(script, released_dir, tmp_path, check=False).returncode == -signal.SIGKILL
    (partial,) = tmp_path.iterdir()
    assert (partial / "model.safetensors").is_file()
    for folder in (tmp_path, partial):
        with pytest.raises(FileNotFoundError, match=r"config.json is missing"):
            load(folder)
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moved", [True, False])
def test_weights_are_what_a_killed_save_left_only_if_their_configuration_waits(tmp_path, moved):
    (tmp_path / "model.safetensors").touch()
    (partial := tmp_path / ".partial-1").mkdir()
    (partial / "config.json").touch()
    if not moved:
        (partial / "model.safetensors").touch()
    clear_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"] * (not moved)
