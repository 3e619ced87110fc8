"""Cameras from ray maps: robust least squares over all rays of a view, in pure JAX (paper, section 3.1).

A ray map holds for every pixel p of the canonical image plane the direction R K⁻¹ p and the camera's centre. The solver

1. takes, of 128 homographies p → direction through four rays each, the one that most rays agree with. Where the four lie in the image is
   fixed, so the result is a function of the rays and needs no key; least squares alone starts too far off when a third of the rays of a
   narrow view is wrong, and this is right with half of them wrong;
2. fits it to a thinned map, weights falling with the angle between ray and fit (Geman-McClure) while what counts as an outlier shrinks;
   and splits it into rotation, focal lengths and principal point, exactly, wherever the principal point is;
3. refines these seven numbers by Gauss-Newton steps on the chord between unit directions, over all rays;
4. moves the principal point, and the other five with it, the nearer to the image centre the less the rays tell it from there, for noise in
   it is noise in the rotation; one that is clearly off centre, by some of its standard deviations, stays, and so does one of exact rays;
5. takes the geometric median of the origins, rays with wrong directions left out, for the centre.

Only directions count, not their lengths. Derivatives are those of the minimum (implicit function theorem), in forward and reverse mode.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from da3jax.geometry.geometric_median import geometric_median, weighted_mean
from da3jax.geometry.homography import decompose, homographies_of_four, homography, image_plane
from da3jax.geometry.official_ray_solver import official_cameras, sample_indices
from da3jax.geometry.pinhole import intrinsics_from_half_sizes
from da3jax.geometry.ray_refinement import Camera, inner, no_step, refined, settled, squared_chords
from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.safe import floats, safe_divide

OK, TOO_FEW_RAYS, DEGENERATE = 0, 1, 2
"""Values of `Solution.result`. A degenerate map (rays all alike or in one plane, or mirrored) determines no camera."""

METHODS = ("least_squares", "official")
PRINCIPAL_POINTS = ("free", "shared", "centred")

_TRIES, _JURY = 128, 256
_COARSE_RAYS = 4096
_VIEWS = 8
_WIDTHS = (0.2, 0.1)
"""Angles, in radians, within which rays count, from step to step; after them the caller's."""
_COARSE_STEPS, _FINE_STEPS = 4, 1
_COARSE_CENTERS, _FINE_CENTERS = 8, 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Solution:
    """Cameras of ray maps, one for each of the leading axes.

    Where `result` is not 0, least squares gives the identity rotation, focal lengths of 1, a centred principal point and no NaN; the
    official method gives what it comes to.
    """

    rotation: jax.Array
    """(..., 3, 3) camera-to-world."""
    center: jax.Array
    """(..., 3) in the world frame."""
    focal: jax.Array
    """(..., 2) along x and y, in half image sizes."""
    principal_point: jax.Array
    """(..., 2) in half image sizes; 0 is the image centre."""
    residual: jax.Array
    """(...,) root mean square angle, in radians, of the inliers; by the official method their distance in the plane z = 1."""
    inlier_share: jax.Array
    """(...,) share of the confidence on rays within `inlier_angle`."""
    result: jax.Array
    """(...,) int32: 0, `TOO_FEW_RAYS` or `DEGENERATE`."""

    @property
    def extrinsics(self) -> jax.Array:
        """(..., 3, 4) world-to-camera."""
        return invert_rigid(jnp.concatenate([self.rotation, self.center[..., None]], axis=-1))

    def intrinsics(self, height: int, width: int) -> jax.Array:
        """(..., 3, 3) in pixels of an image of that size."""
        return intrinsics_from_half_sizes(self.focal, self.principal_point, height, width)


def cameras_from_rays(
    ray: jax.Array,
    ray_conf: jax.Array | None = None,
    *,
    method: str = "least_squares",
    principal_point: str = "free",
    inlier_angle: float = 0.05,
    max_rays: int | None = 16384,
    samples: jax.Array | None = None,
    key: jax.Array | None = None,
) -> Solution:
    """Cameras of ray maps.

    Args:
        ray: (..., h, w, 6) direction, of any positive length, then origin, in the world frame. Rays that are not finite do not count.
            Of fewer bits than float32 they become that.
        ray_conf: (..., h, w) weights, at least 0; None for all alike.
        method: `least_squares`, as above, or `official` (RANSAC and QL), which is slow and right for centred principal points only.
        principal_point: `free` for each view, and drawn to the image centre as far as noise, or in views narrower than some 5 degrees
            rounding, leaves it undecided; `shared` by the views of a scene (the last leading axis); or `centred`.
        inlier_angle: radians from which on a ray counts for less than a quarter. The official method has a threshold of its own.
        max_rays: rays of a view that are looked at, every so many-th row and column; None for all. A network's map is smooth, with 8 rays
            across a patch, so that neighbours say little more. The official method looks at all.
        samples: for `official`: (100, 8) ranks by confidence of the rays of each try; None to draw them.
        key: for `official`: what is drawn; None for `jax.random.key(0)`.

    Returns:
        One camera for each of the leading axes; degenerate input shows in `Solution.result`.

    Raises:
        ValueError: shapes that do not fit, or an unknown option.
    """
    if ray.ndim < 3 or ray.shape[-1] != 6 or 0 in ray.shape[-3:]:
        raise ValueError(f"ray has shape {ray.shape}; it is (..., height, width, 6), with at least one ray")
    if ray_conf is not None and ray_conf.shape != ray.shape[:-1]:
        raise ValueError(f"ray_conf has shape {ray_conf.shape}; for this ray map it is {ray.shape[:-1]}")
    if principal_point not in PRINCIPAL_POINTS:
        raise ValueError(f"principal_point {principal_point!r} is unknown; it is one of {', '.join(PRINCIPAL_POINTS)}")
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; it is one of {', '.join(METHODS)}")
    if method == "official" and principal_point != "free":
        raise ValueError(f"principal_point is {principal_point!r}; the official method knows 'free' alone")
    if method != "official" and (samples is not None or key is not None):
        raise ValueError(f"samples and key are for the official method; {method} draws nothing")
    if principal_point == "shared" and ray.ndim < 4:
        raise ValueError(f"a shared principal_point needs an axis of views; ray has shape {ray.shape}")
    if not inlier_angle > 0:
        raise ValueError(f"inlier_angle is {inlier_angle}; it is a positive angle in radians")
    if max_rays is not None and max_rays < 4:
        raise ValueError(f"max_rays is {max_rays}; a camera needs at least 4, and is good from some thousand")
    ray = floats(ray)
    conf = jnp.ones_like(ray[..., 0]) if ray_conf is None else ray_conf.astype(ray.dtype)
    with jax.default_matmul_precision("highest"):
        if method == "official":
            key = jax.random.key(0) if key is None else key
            samples = sample_indices(key, *ray.shape[-3:-1]) if samples is None else samples
            return _solve_officially(ray, conf, samples, key)
        return _solve(ray, conf, mode=principal_point, inlier_angle=float(inlier_angle), max_rays=max_rays)


@partial(jax.jit, static_argnames=("mode", "inlier_angle", "max_rays"))
def _solve(ray: jax.Array, conf: jax.Array, mode: str, inlier_angle: float, max_rays: int | None) -> Solution:
    """Views (..., h, w, 6) by least squares; a program by itself, so that a second call outside of `jax.jit` finds that of the first."""
    *leading, height, width, _ = ray.shape
    strides = _strides(height, width, 1 if max_rays is None else math.ceil(math.sqrt(max(1, height * width / max_rays))))
    plane, ray, conf = (_every(strides, x) for x in (image_plane(height, width).astype(ray.dtype), ray, conf[..., None]))
    # Views that share nothing go in groups that stay near the cache; what fills up the last one is degenerate, and cut off.
    total = math.prod(leading)
    group = max(1, leading[-1] if mode == "shared" else min(total, _VIEWS))
    groups = [jnp.pad(x.reshape(total, *x.shape[-3:]), [(0, -total % group), *[(0, 0)] * 3]) for x in (ray, conf)]
    groups = [x.reshape(len(x) // group, group, *x.shape[1:]) for x in groups]
    solution = lax.map(lambda views: _solve_scene(plane, views[0], views[1][..., 0], mode, inlier_angle), groups)
    return jax.tree.map(lambda x: x.reshape(x.shape[0] * group, *x.shape[2:])[:total].reshape(*leading, *x.shape[2:]), solution)


@jax.jit
def _solve_officially(ray: jax.Array, conf: jax.Array, samples: jax.Array, key: jax.Array) -> Solution:
    """Views (..., h, w, 6) by the official method; the residual is over the rays within its threshold."""
    rotation, center, focal, principal_point, residual, share = official_cameras(ray, conf, samples, key)
    finite = jnp.all(jnp.isfinite(rotation), axis=(-2, -1)) & jnp.all(jnp.isfinite(focal), axis=-1)
    return Solution(rotation, center, focal, principal_point, residual, share, jnp.where(finite, OK, DEGENERATE).astype(jnp.int32))


def _solve_scene(plane: np.ndarray, ray: jax.Array, conf: jax.Array, mode: str, inlier_angle: float) -> Solution:
    """Views (S, h, w, 6) of one scene, or of no matter what where they share nothing; points of the image plane (h, w, 3)."""
    height, width = ray.shape[1:3]
    maps = _prepared(ray, conf)
    strides = _strides(height, width, max(1, round((height * width / _COARSE_RAYS) ** 0.5)))
    points, directions, origins, weights = (_listed(x) for x in (plane, *maps))
    coarse_points, coarse_directions, coarse_origins, coarse_weights = (_listed(_every(strides, x)) for x in (plane, *maps))
    weights, coarse_weights = weights[..., 0, :], coarse_weights[..., 0, :]
    fixed, fixed_coarse = lax.stop_gradient(((directions, weights), (coarse_directions, coarse_weights)))

    fours = _spread_fours(*_every(strides, plane).shape[:2])
    start, result = jax.vmap(partial(_start, coarse_points, fours=fours, inlier_angle=inlier_angle))(*fixed_coarse)
    ok = result == OK
    if mode == "centred":
        start = start._replace(principal_point=jnp.zeros_like(start.principal_point))
    if mode == "shared":
        mean = jnp.sum(jnp.where(ok[:, None], start.principal_point, 0), axis=0) / jnp.maximum(ok.sum(), 1)
        start = start._replace(principal_point=jnp.where(ok[:, None], mean[None], 0))
    refine = partial(refined, mode=mode, inlier_angle=inlier_angle, ok=ok)
    camera = refine(start, (coarse_points, *fixed_coarse), steps=_COARSE_STEPS)
    camera = refine(camera, (points, *fixed), steps=_FINE_STEPS)
    camera = jax.vmap(Camera.moved)(camera, no_step(mode, inlier_angle, camera, ok, points, directions, weights))
    if mode == "free":
        camera = settled(camera, (points, directions, weights), inlier_angle, ok)

    tiny = jnp.finfo(ray.dtype).tiny
    chords = jax.vmap(squared_chords, in_axes=(0, None, 0))
    squares, coarse_squares = chords(camera, points, directions), chords(camera, coarse_points, coarse_directions)
    # A ray with a wrong direction is not asked where the camera is.
    trusted = weights / jnp.square(1 + squares / inlier_angle**2)
    coarse_trusted = coarse_weights / jnp.square(1 + coarse_squares / inlier_angle**2)
    center = jax.vmap(weighted_mean)(coarse_origins, coarse_trusted)
    center = jax.vmap(partial(geometric_median, steps=_COARSE_CENTERS))(center, coarse_origins, coarse_trusted)
    center = jax.vmap(partial(geometric_median, steps=_FINE_CENTERS))(center, origins, trusted)

    near = jnp.where(squares < inlier_angle**2, weights, 0)
    mean_square = safe_divide(jnp.sum(near * squares, axis=-1), near.sum(axis=-1))
    exact = mean_square <= tiny  # the root has no derivative there
    return Solution(
        rotation=camera.rotation,
        center=center,
        focal=jnp.exp(camera.log_focal),
        principal_point=camera.principal_point,
        residual=jnp.where(exact, 0, jnp.sqrt(jnp.where(exact, 1, mean_square))),
        inlier_share=near.sum(axis=-1),
        result=result,
    )


def _prepared(ray: jax.Array, conf: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Unit directions, origins, and weights that sum to 1 in a view; rays that are no rays are harmless and have weight 0."""
    size = jnp.max(jnp.abs(ray[..., :3]), axis=-1, keepdims=True)
    valid = jnp.all(jnp.isfinite(ray), axis=-1) & jnp.isfinite(conf) & (size[..., 0] > jnp.finfo(ray.dtype).tiny)
    size = lax.stop_gradient(jnp.where(valid[..., None], size, 1))
    safe = jnp.where(valid[..., None], ray[..., :3] / size, 1)
    weights = jnp.where(valid, jnp.maximum(conf, 0), 0)
    largest = lax.stop_gradient(jnp.max(weights, axis=(-2, -1), keepdims=True))  # it cancels: only against overflow and underflow
    weights = weights / jnp.where(largest > 0, largest, 1)
    total = jnp.sum(weights, axis=(-2, -1), keepdims=True)
    weights = weights / jnp.where(total > 0, total, 1)
    directions = safe / jnp.linalg.norm(safe, axis=-1, keepdims=True)
    return directions, jnp.where(valid[..., None], ray[..., 3:], 0), weights[..., None]


def _strides(height: int, width: int, stride: int) -> tuple[int, int]:
    """Of rows and of columns, `stride` each; where a map is too narrow to keep two of the ones, more of the others."""
    most = max(1, height // 2), max(1, width // 2)
    rows, columns = (min(stride, side) for side in most)
    return min(most[0], -(-(stride**2) // columns)), min(most[1], -(-(stride**2) // rows))


def _every(strides: tuple[int, int], x: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Every so many-th row and column of a map (…, h, w, k)."""
    rows, columns = strides
    return x[..., rows // 2 :: rows, columns // 2 :: columns, :]


def _listed(x: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """A map (…, h, w, k) as (…, k, n)."""
    return x.reshape(*x.shape[:-3], -1, x.shape[-1]).swapaxes(-1, -2)


def _start(
    points: np.ndarray, directions: jax.Array, weights: jax.Array, fours: np.ndarray, inlier_angle: float
) -> tuple[Camera, jax.Array]:
    """One view's camera by homographies under narrowing weights, and the result code."""
    thin = max(1, points.shape[-1] // _JURY)
    tries = homographies_of_four(points[:, fours], directions[:, fours])
    chords, _ = jax.vmap(_chords_of, in_axes=(0, None, None))(tries, points[:, ::thin], directions[:, ::thin])
    votes = (1 / (1 + chords / (2 * inlier_angle) ** 2)) @ weights[::thin]
    best = tries[jnp.argmax(jnp.where(jnp.isfinite(votes), votes, -1))]

    def narrow(carry, width):
        chords, square = _chords_of(carry[0], points, directions)
        return homography(points, directions, weights / jnp.square(1 + chords / width**2) / square), None

    widths = jnp.array([width for width in _WIDTHS if width > inlier_angle] + [inlier_angle], points.dtype)
    best = jnp.where(jnp.all(jnp.isfinite(best)), best, jnp.eye(3, dtype=best.dtype))
    (matrix, certainty), _ = lax.scan(narrow, (best, jnp.ones((), best.dtype)), widths)
    few = jnp.sum(weights > 0) < 4
    eps = jnp.finfo(points.dtype).eps
    degenerate = ~(certainty > 8 * eps) | ~(jnp.linalg.det(matrix) > 8 * eps * jnp.linalg.norm(matrix) ** 3)
    result = jnp.where(few, TOO_FEW_RAYS, jnp.where(degenerate, DEGENERATE, OK))
    rotation, focal, principal_point = decompose(jnp.where(result == OK, matrix, jnp.eye(3, dtype=points.dtype)))
    return Camera(rotation, jnp.log(focal), principal_point), result.astype(jnp.int32)


def _chords_of(matrix: jax.Array, points: np.ndarray, directions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared chords (n,) between directions and where a homography (3, 3) sends the points; the squared lengths it gives them."""
    aim = [inner(row, points) for row in matrix]
    square = jnp.maximum(inner(aim, aim), jnp.finfo(matrix.dtype).tiny)
    return 2 - 2 * inner(directions, aim) / jnp.sqrt(square), square


def _spread_fours(height: int, width: int) -> np.ndarray:
    """Indices (tries, 4) into a map of that size, one in each quarter."""
    rng = np.random.default_rng(0)
    rows, columns = (np.array([[0, (n + 1) // 2], [n // 2, n]]) for n in (height, width))
    picked = [rng.integers(*rows[i], _TRIES) * width + rng.integers(*columns[j], _TRIES) for i in range(2) for j in range(2)]
    return np.stack(picked, axis=-1)
