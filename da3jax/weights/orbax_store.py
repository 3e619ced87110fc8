"""Converted checkpoints: an Orbax checkpoint beside a manifest that holds the configuration and a SHA-256 of every leaf.

```
DIR/manifest.json   format, version, config, leaves: path -> shape, dtype, sha256; and a sha256 of all that
DIR/params/         Orbax: the nested dict, uncompressed (float32 weights shrink by a twelfth, which is not worth the time and memory)
```
Orbax restores a flipped bit without a word, so `load` compares every leaf with its hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import jax
import numpy as np

from da3jax.types import Params
from da3jax.weights.placement import Shardings, place

MANIFEST = "manifest.json"
PARAMS = "params"
FORMAT = "da3jax checkpoint"
VERSION = 1

_MAX_NAMED = 10
"""Leaves that one error names."""


def is_converted(directory: str | os.PathLike) -> bool:
    """Whether the folder looks like a converted checkpoint, whole or damaged; `load` says which."""
    folder = pathlib.Path(directory)
    parts = [(folder / MANIFEST).is_file(), (folder / PARAMS).is_dir()]
    return all(parts) or (any(parts) and not (folder / "model.safetensors").exists())


def save(directory: str | os.PathLike, params: Params, config: dict[str, Any]) -> None:
    """Writes `params` and `config` as a converted checkpoint; host arrays are written from where they are, without a copy.

    Everything goes into a hidden folder beside `directory`, or in it where it is there and empty (nothing can be renamed over a mount
    point), and is renamed when it is whole and on the disk. An exception or Ctrl-C removes that folder, once what is being written is; a
    killed process leaves it, named `.<name>.partial-<random>`, and nothing that loads.

    Args:
        directory: a new or empty folder; its parents are made.
        params: nested dict of arrays.
        config: what JSON can hold.

    Raises:
        FileExistsError: `directory` is a file, or a folder that is not empty.
        OSError: it cannot be written, or the disk is too small.
        ValueError: `params` holds nothing, or a key with a slash.
    """
    target = pathlib.Path(directory).resolve()
    params = jax.tree.map(np.asarray, params)  # a view where the array is on the host already
    leaves = _by_path(params)
    if not leaves:
        raise ValueError("there are no parameters to save")
    try:
        if target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise FileExistsError(f"{target} is already there and not an empty folder; name another one, nothing is overwritten")
        inside = target.is_dir()
        parent = target if inside else target.parent
        parent.mkdir(parents=True, exist_ok=True)
        size, free = sum(leaf.nbytes for leaf in leaves.values()), shutil.disk_usage(parent).free
        if size + 1e6 > free:
            raise OSError(f"{target} needs {size / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free")
        with _partial(parent, target.name) as partial:
            with _checkpointer() as checkpointer:
                _to_the_end(lambda: checkpointer.save(partial / PARAMS, params))
            described = {name: {"shape": x.shape, "dtype": x.dtype.name, "sha256": _sha256(x)} for name, x in leaves.items()}
            manifest = {"format": FORMAT, "version": VERSION, "config": config, "leaves": described}
            (partial / MANIFEST).write_text(_sealed(manifest))
            _flush(partial)
            if inside:
                for name in (PARAMS, MANIFEST):  # one that has been filled meanwhile is an error
                    (partial / name).replace(target / name)
            else:
                partial.replace(target)
            _flush_folder(parent)
    except OSError as error:
        if error.errno is None:  # one of the sentences above
            raise
        raise type(error)(f"{target} cannot be written: {error.strerror}") from error
    except ValueError as error:  # what the array library underneath makes of a full disk; the reason comes last
        raise OSError(f"{target} cannot be written: {str(error).rsplit(': ', 1)[-1].split(' [')[0]}") from error


def load(directory: str | os.PathLike, *, shardings: Shardings = None) -> tuple[Params, dict[str, Any]]:
    """Parameters and configuration of a converted checkpoint, every leaf compared with its hash before it is placed.

    Leaf by leaf: no more than one is on the host beside what the devices hold. The number of devices when it was saved does not matter.

    Args:
        directory: the folder that `save` wrote.
        shardings: where the leaves go, as `da3jax.weights.placement.place` takes it.

    Raises:
        FileNotFoundError: the folder, its manifest or its parameters are missing.
        ValueError: the manifest or the parameters are damaged or of another version; every damaged leaf is counted, the first are named.
    """
    folder = pathlib.Path(directory).resolve()
    manifest = read_manifest(folder)
    if not (folder / PARAMS).is_dir():
        raise FileNotFoundError(f"{folder} lacks {PARAMS}, the folder with the arrays: convert the checkpoint again")
    described, found, faults, placing = manifest["leaves"], set(), [], []
    device = jax.config.jax_default_device  # of this thread; Orbax may read in another

    def take(path: str, leaf: np.ndarray) -> jax.Array | None:
        found.add(path)
        fault = _fault(leaf, described.get(path))
        if fault:
            faults.append(f"{path} {fault}")
        if faults:  # the rest is only checked
            return None
        placing.append(path)
        with jax.default_device(device):
            placed = place(leaf, path, shardings).block_until_ready()  # until then the host's copy stays
        placing.clear()
        return placed

    try:
        with _checkpointer(take) as checkpointer:
            params = checkpointer.restore(folder / PARAMS)
    except Exception as error:  # of any kind: a damaged file can break any part of the reader
        if placing:  # not the file: the caller's shardings, or no memory
            raise
        raise ValueError(f"{folder / PARAMS} is damaged and cannot be read ({_line(error)}): convert the checkpoint again") from error
    faults += [f"{path} is missing" for path in described if path not in found]
    if faults:
        more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
        named = "; ".join(sorted(faults)[:_MAX_NAMED])
        raise ValueError(f"{folder} is damaged, {len(faults)} of {len(described)} leaves: {named}{more}; convert the checkpoint again")
    return params, manifest["config"]


def _fault(leaf: np.ndarray, expected: dict[str, Any] | None) -> str | None:
    """How a stored leaf differs from the manifest's description."""
    if expected is None:
        return "is not in the manifest"
    if list(leaf.shape) != expected["shape"] or leaf.dtype.name != expected["dtype"]:
        return f"is {leaf.dtype.name} {list(leaf.shape)} instead of {expected['dtype']} {expected['shape']}"
    return None if _sha256(leaf) == expected["sha256"] else "differs from its SHA-256"


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """What a converted folder says of itself: `config`, and `leaves` with their hashes.

    Raises:
        FileNotFoundError: it says nothing.
        ValueError: what it says is damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}: it is no converted checkpoint, or one whose conversion was interrupted")
    try:
        text = path.read_text()
        manifest = json.loads(text)
        version = manifest["version"] if manifest["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ValueError(f"{path} is damaged, or of another program ({_line(error)}): convert the checkpoint again") from error
    if version != VERSION:
        raise ValueError(f"{path} has the format {manifest['format']!r} {version}; this version of da3jax reads {FORMAT!r} {VERSION}")
    sealed = manifest.pop("sha256", None)
    if json.loads(_sealed(manifest))["sha256"] != sealed:
        raise ValueError(f"{path} was changed after it was written: convert the checkpoint again")
    return manifest


def _sealed(manifest: dict[str, Any]) -> str:
    """The manifest as JSON, with a hash of its content: a flipped digit in the configuration is found too."""
    content = json.dumps(manifest, sort_keys=True)
    return json.dumps({**manifest, "sha256": hashlib.sha256(content.encode()).hexdigest()}, indent=1)


def _sha256(leaf: np.ndarray) -> str:
    """Of the values in row-major order, little-endian."""
    leaf = np.ascontiguousarray(leaf, dtype=leaf.dtype.newbyteorder("<"))
    return hashlib.sha256(leaf.reshape(-1).view(np.uint8)).hexdigest()


def _by_path(params: Params) -> dict[str, Any]:
    found = jax.tree_util.tree_leaves_with_path(params)
    if any("/" in str(key) for path, _ in found for key in path):
        raise ValueError("the parameters have a key with a slash")
    return {_name(path): leaf for path, leaf in found}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _checkpointer(take: Callable[[str, np.ndarray], Any] = lambda path, leaf: leaf):
    """Orbax without its copies: it writes host arrays from where they are, and reads one at a time, which `take` replaces."""
    import orbax.checkpoint as ocp

    class OneByOne(ocp.type_handlers.NumpyHandler):
        async def deserialize(self, infos, args=None):
            args = args or [ocp.RestoreArgs()] * len(infos)
            leaves = []
            for info, arg in zip(infos, args, strict=True):
                (leaf,) = await super().deserialize([info], [arg])
                leaves.append(take(_name(info.keypath), leaf))
            return leaves

    registry = ocp.type_handlers.create_type_handler_registry(
        (np.ndarray, OneByOne(deepcopy_host_arrays=False)),
        (jax.Array, ocp.type_handlers.ArrayHandler()),  # there are none; without it Orbax logs a warning
    )
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=registry))


def _to_the_end(work: Callable[[], None]) -> None:
    """Calls `work`; after Ctrl-C returns when it is over, for Orbax would go on writing behind the back of whoever cleans up."""
    future = Future()

    def run():
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    try:
        threading.Thread(target=run).start()
        future.result()
    finally:
        if not future.cancel():  # it has begun
            wait([future])


@contextlib.contextmanager
def _partial(parent: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """A hidden folder in `parent`, gone at the end unless it was renamed."""
    partial = parent / f".{name}.partial-{secrets.token_hex(8)}"
    try:
        partial.mkdir()
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: pathlib.Path) -> None:
    """Has everything in `folder` on the disk, so that a rename cannot get there first."""
    for root, _, names in os.walk(folder):
        for name in names:
            with (pathlib.Path(root) / name).open("rb") as file:
                os.fsync(file.fileno())
        _flush_folder(pathlib.Path(root))


def _flush_folder(folder: pathlib.Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _line(error: BaseException) -> str:
    """The first line of an error's text, short enough for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
