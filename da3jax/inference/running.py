"""The views of one call through the program: all as one scene, or each as a scene of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from da3jax.inference.buckets import bucket
from da3jax.inference.own_views import OwnImages, read_own
from da3jax.inference.placing import fetch, own_rows, placed, put_views
from da3jax.inference.program import KnownCameras, Result, Task
from da3jax.inputs import several
from da3jax.parallel import fsdp_shardings, scenes_mesh
from da3jax.types import Params, Views

IMAGES_AT_A_TIME = 8
"""Images that go through the network together when each is its own scene."""


@dataclass(frozen=True)
class Runner:
    """What runs the images of a call, on one device or on a mesh."""

    params: Params
    """On the devices of the mesh."""
    program: Callable[[Task], Callable[..., Result]]
    """What runs a task."""
    mesh: Mesh | None
    bucket_views: bool
    """As `DepthAnything3.bucket_views`."""

    def size(self, count: int, independent: bool) -> int:
        """How many views, or scenes where they are independent, the program for `count` images takes."""
        size = bucket(count) if self.bucket_views else count
        parts = 1 if self.mesh is None else self.mesh.size
        size = min(size, IMAGES_AT_A_TIME * parts) if independent else size
        return -(-size // parts) * parts

    def mesh_for(self, independent: bool) -> Mesh | None:
        """The devices, which share views, or scenes where each is one image."""
        return scenes_mesh(self.mesh) if self.mesh is not None and independent else self.mesh

    def params_on(self, mesh: Mesh | None) -> Params:
        """The parameters, for a mesh of the same devices, perhaps in another order; each has what it had."""
        return self.params if mesh is self.mesh else placed(self.params, fsdp_shardings(self.params, mesh))

    def _rows(self, count: int, independent: bool) -> list[np.ndarray]:
        """Which of so many views go through the network together, (scenes, views) each time; what a size lacks is the last one again."""
        size = self.size(count, independent)
        starts = range(0, count, size) if independent else [0]
        rows = [np.minimum(np.arange(start, start + size), count - 1) for start in starts]
        return [some[:, None] if independent else some[None] for some in rows]

    def read_own(self, image: Any, *, independent: bool, **options: Any) -> Views:
        """As `preprocess`, but that this process reads those images alone that its devices see."""
        images = several(image)
        mesh = self.mesh_for(independent)
        own = {row for rows in self._rows(len(images), independent) for row in own_rows(rows, mesh)}
        return read_own(images, sorted(own), **options)

    def _call(
        self, images: np.ndarray | OwnImages, known: KnownCameras, rows: np.ndarray, task: Task, mask: np.ndarray | None = None
    ) -> Result:
        """The program on those views of (1, N, …) that `rows` (scenes, views) names; `mask` says which of them are views."""
        mesh = self.mesh_for(task.independent)

        def pick(place: tuple[slice, ...]) -> tuple:
            some = rows[place]
            pixels = images.views(some) if isinstance(images, OwnImages) else images[0][some]
            return pixels, jax.tree.map(lambda x: x[0][some], known), None if mask is None else mask[place]

        if mesh is not None:
            arguments = put_views(pick, rows.shape, mesh)
        else:  # without a copy where they are all
            arguments = (images, known, None) if rows.shape == images.shape[:2] else pick(np.s_[:, :])
        return self.program(task)(self.params_on(mesh), *arguments, task=task, mesh=mesh)

    def run_jointly(self, images: np.ndarray | OwnImages, known: KnownCameras, task: Task, as_numpy: bool) -> Result:
        """All views of (1, S, H, W, 3) as one scene, filled up to a size that is compiled for."""
        count = images.shape[1]
        (rows,) = self._rows(count, independent=False)
        size = rows.shape[1]
        mask = (np.arange(size) < count)[None] if size > count else None
        result = self._call(images, known, rows, task, mask)
        if not as_numpy:
            return result.first(count)
        leaves, structure = jax.tree.flatten(fetch(result, self.mesh).first(count))
        del result
        for i, leaf in enumerate(leaves):  # views of JAX's memory may not be written to; one at a time, so that they are not there twice
            leaves[i] = leaf if leaf.flags.writeable else leaf.copy()
            del leaf
        return jax.tree.unflatten(structure, leaves)

    def run_independent(self, images: np.ndarray | OwnImages, known: KnownCameras, task: Task, as_numpy: bool) -> Result:
        """Each view of (1, S, H, W, 3) as a scene of one view; groups of one size, so that one program serves all."""
        count = images.shape[1]
        results, left = [], count
        for rows in self._rows(count, independent=True):
            out = self._call(images, known, rows, task)
            out = fetch(out, self.mesh_for(independent=True)) if as_numpy else out
            results.append(jax.tree.map(itemgetter(slice(left)), out))
            left -= len(rows)
        return jax.tree.map(lambda *leaves: (np if as_numpy else jnp).concatenate(leaves), *results)
