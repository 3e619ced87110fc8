"""What goes in and out: plain dataclasses that JAX knows as pytrees.

Shapes, here and everywhere:

| letter | means                                                   |
|--------|---------------------------------------------------------|
| B      | scenes                                                  |
| S      | views of a scene                                        |
| N      | tokens of a view, 1 + H/14 · W/14; in results: views    |
| C      | width of the backbone                                   |
| H, W   | pixels of a processed image, multiples of 14; of the    |
|        | photographs in what `da3jax.to_native` returns          |
| h, w   | pixels of a ray map, 8 · H/14 and 8 · W/14              |

Cameras follow OpenCV: x right, y down, z forward. Extrinsics are world-to-camera, intrinsics are in pixels.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
Params = dict[str, Any]
"""One nested dict of float32 arrays, without an outer `params` key."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NetworkOutput:
    """What `da3jax.forward` returns. What a variant does not have, or `outputs` did not ask for, is None."""

    depth: Array | None = None
    """(B, S, H, W) distance along the camera's z axis, up to one scale a scene."""
    depth_conf: Array | None = None
    """(B, S, H, W) confidence, at least 1."""
    ray: Array | None = None
    """(B, S, h, w, 6) direction R K⁻¹ p, R camera-to-world, not normalised, then origin, both in the reference view's frame."""
    ray_conf: Array | None = None
    """(B, S, h, w) confidence, at least 1."""
    pose_enc: Array | None = None
    """(B, S, 9) camera-to-world translation, quaternion xyzw, field of view (vertical, horizontal) in radians."""
    extrinsics: Array | None = None
    """(B, S, 3, 4) world-to-camera."""
    intrinsics: Array | None = None
    """(B, S, 3, 3) pixels."""
    sky: Array | None = None
    """(B, S, H, W) at least 0; a pixel is sky from 0.3 on."""
    taps: list[Array] | None = None
    """Four times (B, S, N - 1, C or 2C): the patch tokens that the heads read."""
    features: dict[int, Array] | None = None
    """By block: (B, S, H/14, W/14, C), normed patch tokens."""
    queries_keys: dict[int, tuple[Array, Array]] | None = None
    """By cross-view block: queries and keys, each (B, S, N, heads, C / heads), as they are compared."""
    raw_gs: Array | None = None
    """(B, S, H, W, 37) Gaussian parameters in the camera's own terms, before the adapter."""
    raw_gs_conf: Array | None = None
    """(B, S, H, W) opacity before it is mapped to a density, in (0, 1)."""
    metric_depth: Array | None = None
    """(B, S, H, W) output of a nested network's metric half: metres = this · focal length / its `canonical_focal`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Views:
    """Images as `da3jax.forward` takes them, and cameras, which it takes where they are known of all views; made by `da3jax.preprocess`."""

    images: Array
    """(1, S, H, W, 3) float32, ImageNet-normalised."""
    extrinsics: Array | None = None
    """(1, S, 3, 4) world-to-camera, float64 or as given in float32; NaN for a view that was given none."""
    intrinsics: Array | None = None
    """(1, S, 3, 3) pixels of the processed images; NaN for a view that was given none."""
    processed_images: np.ndarray | None = None
    """(S, H, W, 3) uint8, the same images to look at."""
    from_image: np.ndarray | None = None
    """(S, 3, 3) float64, from pixels (x, y, 1) of the upright image at its own size to those of the processed one."""
    image_sizes: np.ndarray | None = None
    """(S, 2) height and width of the upright images at their own size."""


@dataclasses.dataclass(frozen=True)
class LazyImage:
    """A picture that is read when its turn comes: a frame of a video, a photograph that has to be undistorted."""

    name: str
    """What messages and exported files call it: a path, or the name of a file that it would have, like `frame_0001.png`."""
    read: Callable[[], np.ndarray]
    """Gives (H, W, 3) uint8 RGB, upright, at its own size; from any thread, and again if asked again."""
    file: pathlib.Path | None = None
    """The file that it is read from, if there is one, which exports leave as it is."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gaussians:
    """3D Gaussians in the world frame of the prediction, one a pixel of each view."""

    means: Array
    """(N, H, W, 3)"""
    scales: Array
    """(N, H, W, 3) standard deviations along the axes that `rotations` turns. Not positive where the network has put the Gaussian behind
    its own camera: there is none to be seen."""
    rotations: Array
    """(N, H, W, 4) unit quaternions wxyz, from the Gaussian's axes to the world's."""
    harmonics: Array
    """(N, H, W, 3, 9) real spherical harmonics up to degree 2 by colour, as 3D Gaussian splatting orders and evaluates them."""
    opacities: Array
    """(N, H, W) in (0, 1)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
    """What `DepthAnything3.inference` returns, for N views: numpy arrays, or device arrays with `as_numpy=False`.

    Of `da3jax.to_native`, H and W are the photographs' own, and fields that speak of the processed image are of the photograph; rays,
    features and `metric_depth` stay as they were, of the image that `network_from_image` leads to.
    """

    depth: Array
    """(N, H, W) distance along the camera's z axis; of `da3jax.to_native`, 0 where there is none."""
    conf: Array | None = None
    """(N, H, W) confidence of the depth, at least 1; likewise."""
    extrinsics: Array | None = None
    """(N, 3, 4) world-to-camera."""
    intrinsics: Array | None = None
    """(N, 3, 3) pixels of the processed image."""
    ray: Array | None = None
    """(N, h, w, 6) direction, then origin, in the world frame."""
    ray_conf: Array | None = None
    """(N, h, w) confidence of the rays, at least 1."""
    ray_residual: Array | None = None
    """(N,) with `use_ray_pose`: root mean square angle, in radians, between the rays and the camera fitted to them."""
    points: Array | None = None
    """(N, H, W, 3) in the world frame: origin + depth · direction of the rays where there are rays and no camera is known, else by the
    cameras. Of images that are scenes of their own, in the camera's frame."""
    sky: Array | None = None
    """(N, H, W) bool; as in the official result, sky from 0.5 on, while the depth of the far is given to pixels from 0.3 on."""
    processed_images: Array | None = None
    """(N, H, W, 3) uint8, what the network saw."""
    from_image: Array | None = None
    """(N, 3, 3) from pixels (x, y, 1) of the upright image at its own size to those of the processed one."""
    image_sizes: Array | None = None
    """(N, 2) height and width of the upright images at their own size."""
    network_from_image: Array | None = None
    """(N, 3, 3) of `da3jax.to_native`: what `from_image` was, to pixels of the image that the network saw."""
    gaussians: Gaussians | None = None
    """With `infer_gs`: the scene as 3D Gaussians. Of images that are scenes of their own, in the camera's frame."""
    is_metric: bool = dataclasses.field(default=False, metadata={"static": True})
    """Whether depth and translations are in metres."""
    scale_factor: Array | None = None
    """() or, with a scale an image, (N,): what a metric network, a focal length and `to_metres` have multiplied depth and translations by,
    1 where nothing determined it. Without known extrinsics, whose scale is in `alignment`, network's depth · this is depth."""
    scale_residual: Array | None = None
    """() or (N,) metres: root mean square of what the lengths that gave the scale differ by after it."""
    conditioned: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})
    """What the network was conditioned on: nothing, `extrinsics` (with focal lengths of a first pass), or `extrinsics` and `intrinsics`."""
    alignment: Any = None
    """With known extrinsics: the `da3jax.geometry.Alignment` from the network's world (a nested one's in metres) to theirs, and whether its
    rotation and scale are determined. Where the scale is not, depth keeps the network's."""
    aux: dict[str, Array] = dataclasses.field(default_factory=dict)
    """`feat_layer_I` (N, H/14, W/14, C) for each exported block I; `metric_depth` (N, H, W) metres, what a nested network's
    metric half says by itself."""
