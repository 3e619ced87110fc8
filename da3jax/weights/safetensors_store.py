"""Released folders (`model.safetensors` beside `config.json`) to parameters, and back."""

from __future__ import annotations

import json
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from da3jax.config import Config
from da3jax.models import init_params
from da3jax.types import Params
from da3jax.weights.keys import Tensor, released_tensors, shared_norm_keys
from da3jax.weights.official_config import read_config, to_official
from da3jax.weights.placement import Shardings, place

logger = logging.getLogger(__name__)

WEIGHTS, CONFIG = "model.safetensors", "config.json"

_MAX_NAMED = 10
"""Keys of one kind of fault that an error names."""


def load(folder: pathlib.Path, *, shardings: Shardings = None) -> tuple[Params, Config]:
    """Parameters and configuration of a released folder, tensor by tensor: no more than one is in memory twice.

    Args:
        folder: holds `model.safetensors` and `config.json`.
        shardings: where the leaves go, as `da3jax.weights.placement.place` takes it.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is truncated or foreign, or its tensors are not exactly those of the network: every unmapped, missing, doubly
            stored, mis-shaped, mistyped and non-finite tensor is named at once.
    """
    config = read_config(folder / CONFIG)
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the weights of {config.name} are expected there")
    shapes = traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, jax.random.key(0))))
    tensors = released_tensors(shapes, config)
    stored = _stored(path)
    faults = _faults(stored, tensors, config)
    _raise(path, config, faults)

    leaves, not_finite, unequal = {}, [], []
    by_key = {tensor.key: leaf_path for leaf_path, tensor in tensors.items()}
    shared = shared_norm_keys(config)
    for key, array in _stream(path, [key for key in stored if key in by_key or key in shared]):
        if key in shared:
            first = tensors[by_key[shared[key]]]
            if not np.array_equal(array, _read(path, first.key)):
                unequal.append(key)
            continue
        if not np.isfinite(array).all():
            not_finite.append(key)
        leaf_path = by_key[key]
        ours = np.ascontiguousarray(tensors[leaf_path].to_ours(array.astype(np.float32, copy=False)))
        leaves[leaf_path] = place(ours, "/".join(leaf_path), shardings)
    _raise(path, config, {"not finite (NaN or infinite)": not_finite, "different from level 0, whose norm they share": unequal})
    return traverse_util.unflatten_dict(leaves), config


def save(params: Params, config: Config, folder: pathlib.Path) -> pathlib.Path:
    """Writes `params` in the released layout into `folder`, which other tools open as they open a download; bit-exact.

    Both files are written under other names and renamed when they are whole, `config.json` last.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder already has weights or a configuration.
        ValueError: `params` are not those of `config`.
        OSError: the folder cannot be written.
    """
    from safetensors.numpy import save_file

    folder = pathlib.Path(folder)
    for name in (WEIGHTS, CONFIG):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is already there; name an empty folder, nothing is overwritten")
    flat = traverse_util.flatten_dict(params)
    expected = traverse_util.flatten_dict(jax.eval_shape(lambda: init_params(config, jax.random.key(0))))
    wrong = sorted("/".join(path) for path in flat.keys() ^ expected.keys())
    wrong += ["/".join(path) for path in flat.keys() & expected.keys() if flat[path].shape != expected[path].shape]
    if wrong:
        raise ValueError(f"the parameters are not those of {config.name}: {_named(wrong)} do not fit (stacked layers are unstacked first)")
    arrays = {}
    for path, tensor in released_tensors(expected, config).items():
        arrays[tensor.key] = np.ascontiguousarray(tensor.to_official(np.asarray(flat[path], np.float32)))
    shared = {key: first for key, first in shared_norm_keys(config).items() if first in arrays}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    except OSError as error:
        raise OSError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        save_file(arrays, partial / WEIGHTS, metadata=shared)
        (partial / CONFIG).write_text(json.dumps(to_official(config), indent=2))
        for name in (WEIGHTS, CONFIG):
            (partial / name).replace(folder / name)
    except OSError as error:
        raise OSError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _stored(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype by key, from the header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
            return {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}; it is truncated or no safetensors file, fetch it again") from error


def _stream(path: pathlib.Path, keys: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    for key in keys:
        yield key, _read(path, key)


def _read(path: pathlib.Path, key: str) -> np.ndarray:
    """One tensor. The file is mapped anew for each, for pages once read would stay in memory as long as the mapping does."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.get_tensor(key)


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
        "of another dtype than F32 or F16": [f"{key} {stored[key][1]}" for key in both if stored[key][1] not in ("F32", "F16")],
    }


def _raise(path: pathlib.Path, config: Config, faults: dict[str, list[str]]) -> None:
    found = [f"{len(keys)} {kind}: {_named(sorted(keys))}" for kind, keys in faults.items() if keys]
    if found:
        raise ValueError(f"{path} does not hold the weights of {config.name} that its config.json describes; {'; '.join(found)}")


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
    return ", ".join(keys[:_MAX_NAMED]) + more
