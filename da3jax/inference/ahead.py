"""The program that a call of `inference` will run, by the shapes of what goes in."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from da3jax.config import Config
from da3jax.inference.plan import check_size, check_views, planned
from da3jax.inference.program import KnownCameras
from da3jax.inference.running import Runner
from da3jax.parallel import view_sharding
from da3jax.schema import one_of
from da3jax.types import Views

OPTIONS = (
    "align_to_input_ext_scale",
    "infer_gs",
    "official_gs",
    "use_ray_pose",
    "ref_view_strategy",
    "independent",
    "outputs",
    "export_feat_layers",
)
"""Those of `inference` that a program is made for."""


def trace(
    runner: Runner, config: Config, views: int, height: int, width: int, *, extrinsics: bool, intrinsics: bool, **options: Any
) -> jax.stages.Traced:
    """What `DepthAnything3.compile` compiles; arguments and errors are its."""
    check_views(views)
    check_size(height, width)
    for name, known in (("extrinsics", extrinsics), ("intrinsics", intrinsics)):
        if not isinstance(known, bool):
            raise ValueError(f"{name} is of type {type(known).__name__}; it says whether they will be given, True or False")
    for name in options:
        one_of("option of compile", name, OPTIONS)
    eyes = np.broadcast_to(np.eye(3, 4), (1, views, 3, 4))
    stand_in = Views(
        np.broadcast_to(np.float32(0), (1, views, height, width, 3)),
        extrinsics=eyes if extrinsics else None,
        intrinsics=eyes[..., :3] if intrinsics else None,
    )
    stand_in, task = planned(config, stand_in, mesh=runner.mesh, **options)
    independent, size = task.independent, runner.size(views, task.independent)
    leading, mesh = (size, 1) if independent else (1, size), runner.mesh_for(independent)
    sharding = None if mesh is None else view_sharding(mesh, leading[0])
    arguments = (stand_in.images, KnownCameras.of(stand_in.extrinsics, stand_in.intrinsics))
    arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*leading, *x.shape[2:]), x.dtype, sharding=sharding), arguments)
    mask = jax.ShapeDtypeStruct(leading, bool, sharding=sharding) if size > views and not independent else None
    # jit finds a program that was traced for the same types.
    return runner.program(task).trace(runner.params_on(mesh), *arguments, mask, task=task, mesh=mesh)
