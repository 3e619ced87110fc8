"""Procedural scenes: an endless supply of views with exact depth, cameras, normals and sky.

    key = jax.random.key(0)
    scene = sample_scene(key)
    cameras = sample_cameras(key, scene, views=4, height=252, width=252)
    views = render(scene, cameras, 252, 252)

All are pure functions of one scene, deterministic by key, to be mapped over scenes with `vmap`; `sample_views` is the three in one,
`sample_scene_and_cameras` the first two.
`write_scene` makes files of it. XLA takes many minutes to compile the drawing for a GPU: there it belongs into
`jax.default_device(host_device())`, and rendering need not.
"""

from da3jax.training.scenes.cameras import Cameras, sample_cameras
from da3jax.training.scenes.cast import Hits, cast
from da3jax.training.scenes.files import write_scene
from da3jax.training.scenes.host import host_device
from da3jax.training.scenes.layout import sample_scene
from da3jax.training.scenes.paths import PATHS, CameraRanges
from da3jax.training.scenes.render import RenderedViews, render, sample_scene_and_cameras, sample_views
from da3jax.training.scenes.scene import Scene

__all__ = [
    "PATHS",
    "CameraRanges",
    "Cameras",
    "Hits",
    "RenderedViews",
    "Scene",
    "cast",
    "host_device",
    "render",
    "sample_cameras",
    "sample_scene",
    "sample_scene_and_cameras",
    "sample_views",
    "write_scene",
]
