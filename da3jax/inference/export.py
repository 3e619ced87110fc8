"""`forward` as one StableHLO program that runs on CPU, CUDA and TPU, for any number of scenes and views, with jax alone."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from da3jax.config import REF_VIEW_STRATEGIES, Config
from da3jax.inference.plan import check_size
from da3jax.models import compute_dtype, forward, init_params
from da3jax.outputs.atomic import atomic, check_writable, nearest_folder
from da3jax.types import Params

PLATFORMS = ("cpu", "cuda", "tpu")


def export_forward(
    config: Config,
    height: int,
    width: int,
    *,
    known_cameras: bool = False,
    ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
    outputs: Sequence[str] | None = None,
    dtype: str = "float32",
) -> jax.export.Exported:
    """The program `(params, images[, extrinsics, intrinsics]) -> dict` of a network for images of one size.

    Its `params` are flat, `{"backbone/cls_token": …}`, an entry a block and float32 as on disk; images (B, S, H, W, 3), extrinsics
    (B, S, 3, 4) and intrinsics (B, S, 3, 3) are float32, as `da3jax.forward` takes them, for any B and S; the result has `forward`'s fields
    by name. Where B and S are not known beforehand, views go through the network one at a time.

    Args:
        config: the network's configuration.
        height: pixels of the images, a multiple of 14; the position embedding depends on it.
        width: likewise.
        known_cameras: whether the program takes cameras.
        ref_view_strategy: as `da3jax.forward`.
        outputs: as `da3jax.forward`.
        dtype: `float32` or `bfloat16`, on all platforms.

    Raises:
        ValueError: a size, name or combination that the network does not take.
    """
    check_size(height, width)
    compute_dtype(dtype)
    batch, views = jax.export.symbolic_shape("b, s", constraints=["b >= 1", "s >= 1"])
    shapes = {"images": (height, width, 3)} | ({"extrinsics": (3, 4), "intrinsics": (3, 3)} if known_cameras else {})
    arrays = {name: jax.ShapeDtypeStruct((batch, views, *shape), jnp.float32) for name, shape in shapes.items()}
    params = flatten_dict(jax.eval_shape(lambda key: init_params(config, key), jax.random.key(0)), sep="/")

    def program(params: dict[str, jax.Array], *values: jax.Array) -> dict[str, Any]:
        arrays_by_name = dict(zip(arrays, values, strict=True))
        options = {"config": config, "ref_view_strategy": ref_view_strategy, "outputs": outputs, "dtype": dtype}
        output = forward(unflatten_dict(params, sep="/"), **arrays_by_name, **options)
        return {name: value for name, value in vars(output).items() if value is not None}

    return jax.export.export(jax.jit(program), platforms=PLATFORMS)(params, *arrays.values())


def check_exportable(folder: str | pathlib.Path, height: int, width: int) -> tuple[pathlib.Path, pathlib.Path]:
    """The two paths that `write_exported` writes, if it can.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as `write_exported`.
    """
    check_size(height, width)
    try:
        import flatbuffers  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('exported programs need flatbuffers: pip install "da3jax[export]"', name="flatbuffers") from error
    program, params = (pathlib.Path(folder) / name for name in ("forward.stablehlo", "params.npz"))
    for path in (program, params):
        if path.exists():
            raise FileExistsError(f"{path} is there already; name another folder, or move it away")
    check_writable(nearest_folder(folder))
    return program, params


def write_exported(
    folder: str | pathlib.Path, params: Params, config: Config, height: int, width: int, **options: Any
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `forward.stablehlo`, as `jax.export.deserialize` reads it, and `params.npz`, its first argument.

    Args:
        folder: created if need be.
        params: nested, an entry a block.
        config: what they belong to.
        height: as `export_forward`.
        width: likewise.
        **options: likewise.

    Returns:
        The two paths.

    Raises:
        ValueError: as `export_forward`.
        FileExistsError: one of the two is there already.
        ModuleNotFoundError: flatbuffers is not installed.
        OSError: `folder` cannot be written.
    """
    paths = check_exportable(folder, height, width)
    program = export_forward(config, height, width, **options).serialize()
    with atomic(paths[0]) as program_temp, atomic(paths[1]) as params_temp:
        program_temp.write_bytes(program)
        np.savez(params_temp, **flatten_dict(params, sep="/"))
    return paths
