"""One door to all forms that weights come in: hub id, released folder, converted folder."""

from __future__ import annotations

import contextlib
import pathlib

import jax

from da3jax.config import Config, load_config
from da3jax.schema import one_of, to_dict
from da3jax.types import Params
from da3jax.weights import hub, orbax_store, safetensors_store
from da3jax.weights.official_config import read_config as official_config
from da3jax.weights.placement import Shardings
from da3jax.weights.released import CONFIG


def load(
    source: str | pathlib.Path, *, revision: str | None = None, shardings: Shardings = None, progress: bool = False
) -> tuple[Params, Config]:
    """Parameters (float32, an entry a block) and configuration.

    Args:
        source: a hub id (`depth-anything/DA3-SMALL`), a folder as released, a converted folder, or `da3-tiny`, which this package has.
        revision: commit or branch for a hub id; by default the pinned one.
        shardings: where the leaves go: None, one `Sharding`, a tree of them, or a function of path and shape.
        progress: whether a download shows its progress bars.

    Raises:
        ValueError: unknown or broken weights, each fault named.
        OSError: what is named is not there or cannot be fetched.
    """
    folder = hub.resolve(source, revision=revision, progress=progress)
    if orbax_store.is_converted(folder):
        params, fields = orbax_store.load(folder, shardings=shardings)
        try:
            config = load_config(fields)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        safetensors_store.check_shapes(params, config, str(folder))
        return params, config
    return safetensors_store.load(folder, shardings=shardings)


def read_config(folder: str | pathlib.Path) -> Config:
    """The configuration in a folder that `load` takes, of whose weights nothing is read.

    Raises:
        ValueError: it describes no network that this package builds.
        OSError: it is not there.
    """
    folder = pathlib.Path(folder)
    if orbax_store.is_converted(folder):
        return load_config(orbax_store.read_manifest(folder)["config"])
    return official_config(folder / CONFIG)


def save_pretrained(params: Params, config: Config, folder: str | pathlib.Path, *, dtype: str = "float32") -> pathlib.Path:
    """Writes the released layout, `model.safetensors` and `config.json`, into a folder that has neither.

    PyTorch's Depth Anything 3 opens the networks that it has a name for, which are the presets but da3-tiny, as they are.
    In `float16` or `bfloat16` it takes half the space, and what is loaded from it is float32 again, rounded.

    Raises:
        FileExistsError: the folder already has weights, converted ones among them, or a configuration.
        ValueError: `params` are not those of `config`, one entry a block, or too large for `dtype`; or there is no such dtype.
        OSError: the folder cannot be written.
    """
    if orbax_store.is_converted(folder):  # `load` would go on reading those
        raise FileExistsError(f"{folder} has converted weights already; name an empty folder, nothing is overwritten")
    return safetensors_store.save(params, config, pathlib.Path(folder), dtype=dtype)


def convert(
    source: str | pathlib.Path,
    out_dir: str | pathlib.Path,
    *,
    to: str = "orbax",
    dtype: str = "float32",
    revision: str | None = None,
    progress: bool = False,
) -> pathlib.Path:
    """Rewrites weights of any form as an Orbax checkpoint (`to="orbax"`) or in the released layout (`to="safetensors"`).

    Args:
        source: as `load`.
        out_dir: a new or empty folder.
        to: `orbax` or `safetensors`.
        dtype: what safetensors are stored in, as `save_pretrained`; Orbax stores float32.
        revision: as `load`.
        progress: as `load`.

    Returns:
        The folder written. An interrupted conversion leaves nothing that loads.

    Raises:
        ValueError: as `load` and `save_pretrained`, or an unknown `to`, or a dtype that Orbax is not to store.
        FileExistsError: `out_dir` is a file, or not empty.
        OSError: as `load`, or `out_dir` cannot be written.
    """
    one_of("to", to, ("orbax", "safetensors"))
    if to == "orbax" and dtype != "float32":
        raise ValueError(f"dtype is {dtype!r} with to 'orbax', which stores float32; half precision goes with to 'safetensors'")
    out_dir = pathlib.Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise FileExistsError(f"{out_dir} is already there and not an empty folder; name another one, nothing is overwritten")
    with _on_the_host():
        params, config = load(source, revision=revision, progress=progress)
    if to == "safetensors":
        return save_pretrained(params, config, out_dir, dtype=dtype)
    orbax_store.save(out_dir, params, to_dict(config))
    return out_dir


def _on_the_host() -> contextlib.AbstractContextManager:
    """Keeps what is only read and written off the accelerator, where JAX has a CPU beside it."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS names the accelerator alone
        return contextlib.nullcontext()
