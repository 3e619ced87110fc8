"""Pictures with ground truth of a scene."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.geometry import camera_to_world_from_extrinsics
from da3jax.geometry.pinhole import invert_intrinsics
from da3jax.geometry.safe import matmul
from da3jax.training.scenes.cameras import Cameras, sample_cameras
from da3jax.training.scenes.cast import in_parts, nearest
from da3jax.training.scenes.layout import sample_scene
from da3jax.training.scenes.paths import CameraRanges
from da3jax.training.scenes.scene import SKY, Scene, columns, times
from da3jax.training.scenes.shading import shade


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RenderedViews:
    """What `render` returns; shapes are those of one scene."""

    images: jax.Array
    """(S, H, W, 3) float32 sRGB between 0 and 1."""
    depth: jax.Array
    """(S, H, W) metres along the camera's z axis at the pixel's centre; 0 in the sky."""
    sky: jax.Array
    """(S, H, W) bool."""
    normals: jax.Array
    """(S, H, W, 3) unit vectors in the camera's frame, towards the camera; 0 in the sky."""
    surface: jax.Array
    """(S, H, W) int32: `scene.SKY`, `GROUND`, ..., and from `scene.SOLID` on the objects."""
    extrinsics: jax.Array
    """(S, 3, 4) world-to-camera."""
    intrinsics: jax.Array
    """(S, 3, 3) pixels."""


def render(scene: Scene, cameras: Cameras, height: int, width: int, *, samples: int = 1) -> RenderedViews:
    """Renders the views of one scene; `vmap` it over scenes, `jit` it with `height`, `width` and `samples` static.

    Geometry is that of the pixels' centres, exact to rounding. Colours are the mean over `samples` × `samples` rays a pixel, each of which
    costs as much as the rest; patterns are band-limited in any case, so that one ray leaves only the outlines of things jagged.
    """
    pose = camera_to_world_from_extrinsics(cameras.extrinsics)
    back = matmul(pose[..., :3], invert_intrinsics(cameras.intrinsics))  # (S, 3, 3) from pixels to directions in the world
    footprint = 1 / cameras.intrinsics[:, 0, 0]

    def hit(u: jax.Array, v: jax.Array, back: jax.Array, pose: jax.Array) -> tuple:
        return nearest(scene, columns(pose[:, 3]), times(back, (u, v, jnp.ones_like(u))))

    def look(u: jax.Array, t: jax.Array, surface: jax.Array, v: jax.Array, back: jax.Array, pose: jax.Array, footprint: jax.Array) -> tuple:
        direction = times(back, (u, v, jnp.ones_like(u)))
        colour, normal = shade(scene, columns(pose[:, 3]), direction, t, surface, footprint)
        return colour, times(pose[:, :3].T, normal)

    def view(shift: tuple[float, float], footprint: jax.Array) -> tuple:
        """What the rays through one point of each pixel, from its upper left corner, meet; each (H, S, W)."""
        u, v = jnp.arange(width) + shift[0], jnp.arange(height) + shift[1]
        hit_row, look_row = jax.vmap(hit, (None, None, 0, 0)), jax.vmap(look, (None, 0, 0, None, 0, 0, 0))
        t, surface = in_parts(lambda v: hit_row(u, v, back, pose), v)
        return *in_parts(lambda v, t, surface: look_row(u, t, surface, v, back, pose, footprint), v, t, surface), t, surface

    def picture(rows: tuple) -> jax.Array:
        return jnp.swapaxes(jnp.stack(rows, axis=-1), 0, 1)

    colour, normal, t, surface = view((0.5, 0.5), footprint)
    images = picture(colour)
    if samples > 1:
        shifts = (jnp.stack(jnp.meshgrid(*[jnp.arange(samples)] * 2), axis=-1).reshape(-1, 2) + 0.5) / samples
        images = picture(
            jax.tree.map(
                lambda x: jnp.mean(x, axis=0), jax.lax.map(lambda shift: view((shift[0], shift[1]), footprint / samples)[0], shifts)
            )
        )
    t, surface = jnp.swapaxes(t, 0, 1), jnp.swapaxes(surface, 0, 1)
    sky = surface == SKY
    return RenderedViews(images, jnp.where(sky, 0, t), sky, picture(normal), surface, cameras.extrinsics, cameras.intrinsics)


def sample_views(
    key: jax.Array, views: int, height: int, width: int, *, ranges: CameraRanges | None = None, samples: int = 1
) -> RenderedViews:
    """`views` rendered views of the random scene that belongs to a key; `vmap` it over keys, `jit` it with all else static."""
    scene, cameras = sample_scene_and_cameras(key, views, height, width, ranges=ranges)
    return render(scene, cameras, height, width, samples=samples)


def sample_scene_and_cameras(
    key: jax.Array, views: int, height: int, width: int, *, ranges: CameraRanges | None = None
) -> tuple[Scene, Cameras]:
    """The random scene that belongs to a key, and cameras in it for pictures of this size."""
    scene_key, camera_key = jax.random.split(key)
    scene = sample_scene(scene_key)
    return scene, sample_cameras(camera_key, scene, views, height, width, ranges)
