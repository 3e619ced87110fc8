"""Depth, normals and sky are those of the surfaces, from every view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import camera_to_world_from_extrinsics, project, rays_from_cameras, unproject
from da3jax.training.scenes import cast
from da3jax.training.scenes.scene import BACKDROP, BOXES, CEILING, FLOOR, GROUND, SKY, SOLID, SPHERES, WALL, Solids
from da3jax.training.scenes.solids import nearest_solid
from da3jax.training.scenes.terrain import height


def hit(kind, origin, direction, half=(1.0, 1, 1), centre=(0.0, 0, 0), rotation=None):
    """Where a ray enters the only solid that is not far away."""
    number = {"box": 0, "sphere": BOXES, "cylinder": BOXES + SPHERES}[kind]
    count = BOXES + SPHERES + 1
    away = jnp.full((count, 3), -1e4)
    solids = Solids(
        centre=away.at[number].set(jnp.array(centre)),
        half=jnp.ones((count, 3)).at[number].set(jnp.array(half)),
        rotation=jnp.broadcast_to(jnp.eye(3), (count, 3, 3)).at[number].set(jnp.eye(3) if rotation is None else jnp.array(rotation)),
    )
    t, index = nearest_solid(solids, *(tuple(map(jnp.float32, x)) for x in (origin, direction)))
    return float(t), int(index) == number


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "half", "t"),
    [
        ("box", (-5, 0.5, 0.5), (1, 0, 0), (1, 1, 1), 4),
        ("box", (-5, 0.5, 0.5), (2, 0, 0), (1, 1, 1), 2),
        ("box", (-5, 0, 0), (1, 0.25, 0), (1, 2, 1), 4),
        ("box", (-5, 1.5, 0), (1, 0, 0), (1, 1, 1), np.inf),
        ("box", (0, 0, 0), (1, 0, 0), (1, 1, 1), np.inf),  # from inside
        ("sphere", (-5, 0, 0), (1, 0, 0), (1, 1, 1), 4),
        ("sphere", (-5, 0.6, 0), (1, 0, 0), (1, 1, 1), 4.2),
        ("sphere", (-5, 0, 0), (1, 0, 0), (3, 1, 1), 2),
        ("sphere", (-5, 1.1, 0), (1, 0, 0), (1, 1, 1), np.inf),
        ("sphere", (5, 0, 0), (1, 0, 0), (1, 1, 1), np.inf),  # behind
        ("cylinder", (-5, 0.6, 0.9), (1, 0, 0), (1, 1, 1), 4.2),
        ("cylinder", (-5, 0.6, 1.1), (1, 0, 0), (1, 1, 1), np.inf),
        ("cylinder", (0.3, 0.2, 5), (0, 0, -1), (1, 1, 2), 3),  # on its cap
        ("cylinder", (-50, 0, 0), (1, 0, 0), (0.01, 0.01, 1), 49.99),  # a pole
    ],
)
def test_a_ray_enters_a_solid_where_it_should(kind, origin, direction, half, t):
    found, it = hit(kind, origin, direction, half)
    assert found == pytest.approx(t, rel=1e-6)
    assert it == np.isfinite(t)


def test_a_turned_and_moved_solid_is_hit_at_its_own_place():
    quarter = [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert hit("box", (-5, 3, 0), (1, 0, 0), (1, 2, 1), (4, 3, 0), quarter)[0] == pytest.approx(7, rel=1e-6)


def rays_of(views):
    return jax.vmap(lambda e, k: rays_from_cameras(e, k, views.depth.shape[-2:]))(views.extrinsics, views.intrinsics)


def test_points_lie_on_the_surfaces_that_they_are_said_to_lie_on(scenes, views):
    points = np.asarray(unproject(jnp.asarray(views.depth), jnp.asarray(views.intrinsics), jnp.asarray(views.extrinsics)), np.float64)
    s = jax.tree.map(lambda x: np.asarray(x, np.float64), scenes)
    worst = dict.fromkeys(("ground", "wall", "ceiling", "backdrop", "box", "sphere", "cylinder"), 0.0)
    met = dict.fromkeys(worst, 0)

    def note(name, mask, gap, depth):
        if mask.any():
            met[name] += int(mask.sum())
            worst[name] = max(worst[name], float((np.abs(gap) / depth)[mask].max()))

    for i in range(len(points)):
        p, surface, depth = points[i], views.surface[i], np.maximum(views.depth[i], 1e-3)
        terrain = jax.tree.map(lambda x, i=i: x[i], scenes.terrain)
        ground = np.asarray(height(terrain, jnp.asarray(p[..., 0], jnp.float32), jnp.asarray(p[..., 1], jnp.float32)))
        note("ground", (surface == GROUND) | (surface == FLOOR), p[..., 2] - ground, depth)
        for wall in range(4):
            value = p[..., wall // 2] - (1 if wall % 2 else -1) * s.room.half[i, wall // 2]
            note("wall", surface == WALL + wall, value, depth)
        note("ceiling", surface == CEILING, p[..., 2] - s.room.height[i], depth)
        note("backdrop", surface == BACKDROP, np.hypot(p[..., 0], p[..., 1]) - s.backdrop.radius[i], depth)
        number = np.maximum(surface - SOLID, 0)
        half = s.solids.half[i][number]
        own = np.einsum("...ji,...j->...i", s.solids.rotation[i][number], p - s.solids.centre[i][number]) / half
        size = half.min(axis=-1)
        is_solid = surface >= SOLID
        box, sphere = is_solid & (number < BOXES), is_solid & (number >= BOXES) & (number < BOXES + SPHERES)
        note("box", box, (np.abs(own).max(axis=-1) - 1) * size, depth)
        note("sphere", sphere, (np.linalg.norm(own, axis=-1) - 1) * size, depth)
        side = np.maximum(np.hypot(own[..., 0], own[..., 1]), np.abs(own[..., 2])) - 1
        note("cylinder", is_solid & ~box & ~sphere, side * size, depth)
    assert min(met.values()) > 20, met
    assert max(worst.values()) < 1e-4, worst


def test_what_a_view_sees_another_sees_at_that_depth_unless_something_is_in_front(scenes, views):
    extrinsics, intrinsics = jnp.asarray(views.extrinsics), jnp.asarray(views.intrinsics)
    points = unproject(jnp.asarray(views.depth), intrinsics, extrinsics)[:, 0]
    others = extrinsics[:, 1]
    pixel, depth = jax.vmap(project)(points, others, intrinsics[:, 1])
    # The other view's rays through those very places.
    k = intrinsics[:, 1]
    plane = jnp.stack(
        [
            (pixel[..., 0] - k[:, None, None, 0, 2]) / k[:, None, None, 0, 0],
            (pixel[..., 1] - k[:, None, None, 1, 2]) / k[:, None, None, 1, 1],
            jnp.ones_like(depth),
        ],
        axis=-1,
    )
    pose = camera_to_world_from_extrinsics(others)
    direction = jnp.einsum("bij,bhwj->bhwi", pose[..., :3], plane, precision="highest")
    origin = jnp.broadcast_to(pose[:, None, None, :, 3], direction.shape)
    found = jax.jit(jax.vmap(cast))(scenes, origin, direction).t
    inside = ~views.sky[:, 0] & np.asarray(depth > 0.05) & np.asarray((jnp.abs(plane[..., :2]) < 2).all(axis=-1))
    ratio = np.asarray(found / depth)[inside]
    assert inside.sum() > 5000
    assert (ratio > 1 + 1e-4).mean() < 1e-3  # rounding at outlines
    same = np.abs(ratio - 1) < 1e-4
    nearly = np.abs(ratio - 1) < 1e-2
    assert 0.5 < same.mean() < 0.99  # the rest is hidden
    assert same.sum() > 0.995 * nearly.sum()


def test_normals_are_those_of_the_surface_through_the_points(scenes, views):
    # Central differences of the points where neighbours are on one flat or smooth piece.
    points = np.asarray(unproject(jnp.asarray(views.depth), jnp.asarray(views.intrinsics)), np.float64)
    across = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    normal = np.cross(down, across)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    said = views.normals[:, :, 1:-1, 1:-1]
    s, n = views.surface, views.normals
    alike = np.ones(said.shape[:-1], bool)
    for i, j in ((0, 1), (2, 1), (1, 0), (1, 2)):
        part = np.s_[:, :, i : s.shape[2] - 2 + i, j : s.shape[3] - 2 + j]
        alike &= (s[part] == s[:, :, 1:-1, 1:-1]) & ((n[part] * said).sum(axis=-1) > 0.995)
    alike &= s[:, :, 1:-1, 1:-1] != SKY
    cosine = (normal * said).sum(axis=-1)[alike]
    assert len(cosine) > 20_000
    assert np.quantile(cosine, 0.01) > 0.999
    assert np.median(cosine) > 0.99999


def test_normals_are_unit_vectors_towards_the_camera(views):
    directions = np.asarray(unproject(jnp.ones_like(views.depth), jnp.asarray(views.intrinsics)))
    solid = ~views.sky
    np.testing.assert_allclose(np.linalg.norm(views.normals, axis=-1)[solid], 1, atol=1e-4)
    assert ((views.normals * directions).sum(axis=-1)[solid] < 1e-3).mean() > 0.9999
    assert np.all(views.normals[views.sky] == 0)


def test_sky_is_where_a_ray_meets_nothing(scenes, views):
    rays = rays_of(views)
    found = jax.jit(jax.vmap(cast))(scenes, rays[..., 3:], rays[..., :3])
    assert np.array_equal(np.isinf(found.t), views.sky)
    assert np.array_equal(found.surface == SKY, views.sky)
    assert np.all(views.depth[views.sky] == 0)
    assert np.all(views.depth[~views.sky] > 0)
    np.testing.assert_allclose(np.asarray(found.t)[~views.sky], views.depth[~views.sky], rtol=1e-4)  # rounding, at grazing angles
    assert 0.01 < views.sky.mean() < 0.4
