"""Released folders (`model.safetensors` beside `config.json`) to parameters, and back."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import pathlib
import shutil
import tempfile
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from da3jax.config import Config
from da3jax.models import init_params
from da3jax.schema import one_of
from da3jax.types import Params
from da3jax.weights.keys import Tensor, released_tensors, shared_norm_keys
from da3jax.weights.official_config import read_config, to_official
from da3jax.weights.placement import Shardings, place
from da3jax.weights.released import CONFIG, WEIGHTS

PARTIAL = ".partial-"

_MAX_NAMED = 10
"""Keys of one kind of fault that an error names."""

STORED_AS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""What parameters can be saved in, and what the file calls it."""
DTYPES = tuple(STORED_AS.values())
"""What becomes float32 without loss."""


def load(folder: pathlib.Path, *, shardings: Shardings = None) -> tuple[Params, Config]:
    """Parameters and configuration of a released folder, tensor by tensor: no more than one is in memory twice.

    Where `shardings` split a leaf, a process reads those parts of its tensor that its own devices hold.

    Args:
        folder: holds `model.safetensors` and `config.json`.
        shardings: where the leaves go, as `da3jax.weights.placement.place` takes it.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: as `check`; then, from the values, every non-finite tensor and every copy of the shared norm that differs is named.
    """
    config, tensors, stored = check(folder)
    path = folder / WEIGHTS
    leaves, not_finite, unequal = {}, [], []
    offsets = data_offsets(path)
    by_key = {tensor.key: leaf_path for leaf_path, tensor in tensors.items()}
    shared = shared_norm_keys(config)
    for key in stored:
        if key in shared:
            if not np.array_equal(read_tensor(path, key), read_tensor(path, shared[key])):
                unequal.append(key)
            continue
        leaf_path = by_key[key]
        tensor, finite = tensors[leaf_path], []

        def read(part: np.ndarray, finite: list = finite) -> np.ndarray:
            finite.append(np.isfinite(part).all())
            return np.array(part, np.float32, order="C")

        stands = tensor.to_ours(map_tensor(path, offsets[key], *stored[key]))
        leaves[leaf_path] = place(stands, "/".join(leaf_path), shardings, read).block_until_ready()
        if not all(finite):
            not_finite.append(key)
        del stands  # pages once read stay in memory as long as the mapping does
    raise_faults(path, config.name, {"not finite (NaN or infinite)": not_finite, "different from level 0, whose norm they share": unequal})
    return traverse_util.unflatten_dict(leaves), config


def check(folder: pathlib.Path) -> tuple[Config, dict[tuple[str, ...], Tensor], dict[str, tuple[tuple[int, ...], str]]]:
    """Reads configuration and header: what the network is, the tensor of each of its leaves, and shape and dtype of each stored key.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is truncated or foreign, or its tensors are not exactly those of the network; every unmapped, missing, mis-shaped
            and mistyped one is named at once.
    """
    config = read_config(folder / CONFIG)
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the weights of {config.name} are expected there")
    tensors = released_tensors(parameter_shapes(config), config)
    stored = stored_tensors(path)
    raise_faults(path, config.name, _faults(stored, tensors, config))
    return config, tensors, stored


def save(params: Params, config: Config, folder: pathlib.Path, *, dtype: str = "float32") -> pathlib.Path:
    """Writes `params` in the released layout into `folder`, which other tools open as they open a download; in float32 bit-exact.

    Both files are written under other names and renamed when they are whole and on the disk, `config.json` last. What else is in the
    folder stays. An exception or Ctrl-C leaves nothing; a killed process leaves a folder `.partial-<random>`, and at most weights without
    their configuration, which do not load.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder already has weights or a configuration.
        ValueError: `params` are not those of `config`, `dtype` is none of `STORED_AS`, or a finite number is infinite in it.
        OSError: the folder cannot be written.
    """
    one_of("dtype", dtype, STORED_AS)
    folder = pathlib.Path(folder)
    for name in (WEIGHTS, CONFIG):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is already there; name an empty folder, nothing is overwritten")
    check_shapes(params, config, "the tree")
    flat, expected = traverse_util.flatten_dict(params), parameter_shapes(config)
    tensors = released_tensors(expected, config)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder, ignore_cleanup_errors=True) as partial:
            weights, description = (pathlib.Path(partial) / name for name in (WEIGHTS, CONFIG))
            with weights.open("wb") as file:
                _write(file, flat, tensors, shared_norm_keys(config), dtype)
            with description.open("w") as file:
                json.dump(to_official(config), file, indent=2)
                _flush(file)
            try:
                weights.replace(folder / WEIGHTS)
                description.replace(folder / CONFIG)
            finally:
                if description.exists() and not weights.exists():  # one moved and the other not
                    (folder / WEIGHTS).unlink()
    except BaseException as error:
        if made:
            with contextlib.suppress(OSError):  # it was never there, or somebody else has put something in
                folder.rmdir()
        if isinstance(error, OSError):
            raise type(error)(f"{folder} cannot be written: {error.strerror or error}") from error
        raise
    return folder


def is_whole(folder: pathlib.Path) -> bool:
    """Whether `save` has written into the folder, to the end."""
    return (folder / CONFIG).exists()


def clear_unfinished(folder: pathlib.Path) -> None:
    """Removes what a killed `save` left in the folder, if there is any, so that it can be called again; nothing of one that ended well.

    Raises:
        OSError: it cannot be removed.
    """
    if is_whole(folder):
        return
    for partial in folder.glob(f"{PARTIAL}*"):
        if (partial / CONFIG).exists() and not (partial / WEIGHTS).exists():  # killed after the weights had been moved
            (folder / WEIGHTS).unlink(missing_ok=True)
        shutil.rmtree(partial)


def check_shapes(params: Params, config: Config, where: str) -> None:
    """Raises a ValueError that names every parameter in which the tree, found in `where`, and the network differ."""
    flat, expected = traverse_util.flatten_dict(params), parameter_shapes(config)
    wrong = sorted("/".join(path) for path in flat.keys() ^ expected.keys())
    wrong += sorted("/".join(path) for path in flat.keys() & expected.keys() if flat[path].shape != expected[path].shape)
    if wrong:
        raise ValueError(
            f"the parameters in {where} are not those of {config.name}: {_named(wrong)} do not fit (stacked layers are unstacked first)"
        )


@functools.lru_cache(maxsize=8)
def parameter_shapes(config: Config) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """Shapes of the parameters by path; tracing a network for them takes a second or two."""
    return traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, jax.random.key(0))))


def _write(
    file: IO[bytes], flat: dict[tuple[str, ...], Any], tensors: dict[tuple[str, ...], Tensor], shared: dict[str, str], dtype: str
) -> None:
    """The safetensors format, tensor by tensor; the package itself wants all of them transposed at once.

    The bytes are those that PyTorch's `save_model` gives, but for the entries of `__metadata__`, which come there in an order of chance.
    """
    ordered = sorted(tensors.items(), key=lambda item: item[1].key)
    keys = {tensor.key for tensor in tensors.values()}
    metadata = {key: first for key, first in sorted(shared.items()) if first in keys}
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    stored = np.dtype(jnp.dtype(dtype)).newbyteorder("<")
    end = 0
    for _, tensor in ordered:
        start, end = end, end + stored.itemsize * math.prod(tensor.shape)
        header[tensor.key] = {"dtype": STORED_AS[dtype], "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for path, tensor in ordered:
        leaf = np.asarray(flat[path])
        if leaf.dtype.kind == "c" or not np.isfinite(leaf).all():
            what = f"complex numbers ({leaf.dtype})" if leaf.dtype.kind == "c" else "numbers that are not finite"
            raise ValueError(f"{tensor.key} has {what}, and no weights with such are loaded; nothing is saved")
        exact = np.ascontiguousarray(tensor.to_official(leaf), np.float32)
        with np.errstate(over="ignore"):
            rounded = exact.astype(stored)
        if not np.isfinite(rounded).all():
            raise ValueError(f"{tensor.key} has numbers up to {np.abs(exact).max():.3g}, which are infinite in {dtype}; save it in float32")
        file.write(rounded.tobytes())
    _flush(file)


def _flush(file: IO) -> None:
    """Has it on the disk, so that a rename cannot get there first."""
    file.flush()
    os.fsync(file.fileno())


def stored_tensors(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype by key, from the header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
            return {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}; it is truncated or no safetensors file, fetch it again") from error


def read_tensor(path: pathlib.Path, key: str) -> np.ndarray:
    """One tensor. The file is mapped anew for each, for pages once read would stay in memory as long as the mapping does."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.get_tensor(key)


def data_offsets(path: pathlib.Path) -> dict[str, int]:
    """Where each tensor's bytes begin in a file whose header is sound."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {key: 8 + length + entry["data_offsets"][0] for key, entry in header.items() if key != "__metadata__"}


def map_tensor(path: pathlib.Path, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """One tensor as it stands in the file, of which nothing is read before it is looked at."""
    stored = np.dtype(jnp.dtype(next(name for name, there in STORED_AS.items() if there == dtype))).newbyteorder("<")
    return np.memmap(path, stored, "r", offset, shape)


def _faults(stored: dict[str, tuple[tuple[int, ...], str]], tensors: dict[Any, Tensor], config: Config) -> dict[str, list[str]]:
    """What keeps the file from being a bijection with the network's parameters, by kind."""
    shared = shared_norm_keys(config)
    expected: dict[str, list[Tensor]] = {}
    for tensor in tensors.values():
        expected.setdefault(tensor.key, []).append(tensor)
    shapes = {key: found[0].shape for key, found in expected.items()}
    shapes |= {key: shapes[first] for key, first in shared.items() if first in shapes}
    both = stored.keys() & shapes.keys()
    return {
        "unknown to the network": [key for key in stored if key not in shapes],
        "missing": [key for key in expected if key not in stored],
        "filling two parameters": [key for key, found in expected.items() if len(found) > 1],
        "of another shape": [f"{key} {stored[key][0]} instead of {shapes[key]}" for key in both if stored[key][0] != shapes[key]],
        f"of another dtype than {', '.join(DTYPES)}": [f"{key} {stored[key][1]}" for key in both if stored[key][1] not in DTYPES],
    }


def raise_faults(path: pathlib.Path, name: str, faults: dict[str, list[str]]) -> None:
    """Raises a ValueError that names every fault of the weights of `name`, by kind, unless there is none."""
    found = [f"{len(keys)} {kind}: {_named(sorted(keys))}" for kind, keys in faults.items() if keys]
    if found:
        raise ValueError(f"{path} does not hold the weights of {name} that its config.json describes; {'; '.join(found)}")


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
    return ", ".join(keys[:_MAX_NAMED]) + more
