"""Depth at the size of the photograph: ways to get there, on rendered scenes whose depth is known at that size.

usage: python benchmarks/native.py [--scenes 8] [--repeats 3]

Each scene is a picture of 2016 × 1568, and what a network would say of it is made of its true depth at an eighth of that: `area` is the
mean of inverse depth over each pixel, `blurred` that mean blurred by a Gaussian of 0.7 pixels, which is nearer to what networks say at
edges, `points` the depth at each pixel's centre. Errors are those of depth where there is no sky, in percent: the mean everywhere, the
mean within eight pixels of an edge (of more than 10 %), and the share of those pixels that is off by more than 10 %. Flying is the share
of the pixels near an edge whose depth is more than 5 % from any true depth within six pixels. Time is that of one core, for a view of
4000 × 3000 from 504 × 378, best of the repeats.
"""

import argparse
import os
import platform
import time

import jax
import numpy as np
from PIL import Image

from da3jax.inference.upsampling import METHODS, upsample
from da3jax.training.scenes import sample_views

TIMES = 8
HEIGHT, WIDTH = 196, 252


def grid(have: int, want: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the one of the smaller image whose centre lies before its own, and how far beyond it is."""
    at = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    cells = np.minimum(at.astype(int), have - 2)
    return cells, (at - cells).astype(np.float32)


def bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    (i, t), (j, s) = (grid(have, want) for have, want in zip(x.shape, size, strict=True))
    rows = x[i] + t[:, None] * (x[i + 1] - x[i])
    return rows[:, j] + s * (rows[:, j + 1] - rows[:, j])


def joint_bilateral(inverse: np.ndarray, guide: np.ndarray, picture: np.ndarray, reach: int) -> np.ndarray:
    """Kopf, Cohen, Lischinski and Uyttendaele (2007) on 2 · `reach` by 2 · `reach` neighbours; bilinear weights for 2 × 2."""
    (i, t), (j, s) = (grid(have, want) for have, want in zip(inverse.shape, picture.shape, strict=False))
    picture, guide = picture.astype(np.float32), guide.astype(np.float32)
    total, weights = np.zeros((2, *picture.shape[:2]), np.float32)
    for a in range(1 - reach, reach + 1):
        for b in range(1 - reach, reach + 1):
            place = np.ix_(np.clip(i + a, 0, len(inverse) - 1), np.clip(j + b, 0, inverse.shape[1] - 1))
            if reach == 1:
                weight = np.where(a, t, 1 - t)[:, None] * np.where(b, s, 1 - s)
            else:
                weight = np.exp(-((t - a) ** 2)[:, None] - (s - b) ** 2)
            weight = weight * (np.exp(((picture - guide[place]) ** 2).sum(-1) / -800) + np.float32(1e-9))
            total += weight * inverse[place]
            weights += weight
    return total / weights


def guided(inverse: np.ndarray, guide: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """He and Sun (2015): inverse depth affine in the colours of 5 × 5 pixels, coefficients enlarged."""

    def mean(x: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            pad = [(0, 0)] * x.ndim
            pad[axis] = (3, 2)
            sums = np.cumsum(np.pad(x, pad), axis=axis)
            x = np.take(sums, range(5, sums.shape[axis]), axis) - np.take(sums, range(sums.shape[axis] - 5), axis)
        return x

    count = mean(np.ones(inverse.shape))[..., None]
    colours, inverse = guide.astype(np.float64), inverse[..., None]
    mean_colour, mean_inverse = mean(colours) / count, mean(inverse) / count
    both = mean(colours * inverse) / count - mean_colour * mean_inverse
    spread = mean(colours[..., None] * colours[..., None, :]) / count[..., None] - mean_colour[..., None] * mean_colour[..., None, :]
    slope = np.linalg.solve(spread + 100 * np.eye(3), both[..., None])[..., 0]
    offset = mean(mean_inverse - (slope * mean_colour).sum(-1, keepdims=True)) / count
    slope = mean(slope) / count
    size = picture.shape[:2]
    layers = [bilinear(slope[..., channel].astype(np.float32), size) * picture[..., channel] for channel in range(3)]
    return np.maximum(sum(layers) + bilinear(offset[..., 0].astype(np.float32), size), 1e-4)


def ours(method: str):
    def run(inverse: np.ndarray, sky: np.ndarray, guide: np.ndarray, picture: np.ndarray) -> np.ndarray:
        (height, width), (h, w) = picture.shape[:2], inverse.shape
        return upsample(1 / inverse, None, sky, guide, picture, np.diag([w / width, h / height, 1]), (height, width), method)[0]

    return run


CONTESTANTS = {
    "bilinear in depth": lambda inverse, sky, guide, picture: bilinear(1 / inverse, picture.shape[:2]),
    "bilinear in inverse depth": lambda inverse, sky, guide, picture: 1 / bilinear(inverse, picture.shape[:2]),
    "joint bilateral, 2 × 2": lambda inverse, sky, guide, picture: 1 / joint_bilateral(inverse, guide, picture, 1),
    "joint bilateral, 4 × 4": lambda inverse, sky, guide, picture: 1 / joint_bilateral(inverse, guide, picture, 2),
    "guided filter": lambda inverse, sky, guide, picture: 1 / guided(inverse, guide, picture),
    **{f"`{method}`": ours(method) for method in METHODS},
}


def area(x: np.ndarray) -> np.ndarray:
    h, w = x.shape[0] // TIMES, x.shape[1] // TIMES
    return x.reshape(h, TIMES, w, TIMES, *x.shape[2:]).mean(axis=(1, 3))


def blurred(x: np.ndarray, deviation: float = 0.7) -> np.ndarray:
    weights = np.exp(-(np.arange(-3, 4) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    for axis in (0, 1):
        pad = [(3, 3) if axis == a else (0, 0) for a in (0, 1)]
        around = np.pad(x, pad, mode="edge")
        x = sum(weight * np.take(around, range(k, k + x.shape[axis]), axis) for k, weight in enumerate(weights))
    return x


def extreme(x: np.ndarray, function, reach: int) -> np.ndarray:
    """The largest or smallest within `reach` pixels."""
    for axis in (0, 1):
        x = function.reduce([np.roll(x, k, axis) for k in range(-reach, reach + 1)])
    return x


def errors(depth: np.ndarray, true: np.ndarray, sky: np.ndarray, near: np.ndarray) -> list[float]:
    wrong = np.abs(depth / true - 1)
    at_edge = wrong[near & ~sky]
    rows, columns = np.nonzero(near)
    apart = np.full(len(rows), np.inf, np.float32)
    for down in range(-6, 7, 2):
        for right in range(-6, 7, 2):
            other = true[np.clip(rows + down, 0, len(true) - 1), np.clip(columns + right, 0, true.shape[1] - 1)]
            apart = np.minimum(apart, np.abs(depth[rows, columns] / other - 1))
    return [100 * float(share) for share in (wrong[~sky].mean(), at_edge.mean(), (at_edge > 0.1).mean(), (apart > 0.05).mean())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    draw = jax.jit(lambda key: sample_views(key, 1, HEIGHT * TIMES, WIDTH * TIMES, samples=2))
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(args.scenes):
        views = jax.device_get(draw(jax.random.key(seed)))
        picture, depth, sky = np.rint(255 * views.images[0]).astype(np.uint8), views.depth[0], views.sky[0]
        true = np.where(sky, 1.5 * depth.max(), depth)  # the sky is behind all else
        near = extreme(true, np.maximum, TIMES) > 1.1 * extreme(true, np.minimum, TIMES)
        mean = area(1 / true)
        centre = slice(TIMES // 2, None, TIMES)
        inputs = {"points": 1 / true[centre, centre], "area": mean, "blurred": blurred(mean)}
        guide, small_sky = np.rint(area(picture)).astype(np.uint8), area(sky) >= 0.5
        for kind, inverse in inputs.items():
            for name, run in CONTESTANTS.items():
                result = run(inverse.astype(np.float32), small_sky, guide, picture)
                found.setdefault((kind, name), []).append(errors(result, true, sky, near))
        if seed == 0:
            large = np.asarray(Image.fromarray(picture).resize((4000, 3000), Image.Resampling.BICUBIC))
            guide = np.asarray(Image.fromarray(picture).resize((504, 378), Image.Resampling.BOX))
            inverse = 1 / np.asarray(Image.fromarray(true).resize((504, 378), Image.Resampling.NEAREST))
            in_sky = np.asarray(Image.fromarray(sky).resize((504, 378)))
            seconds = {}
            for name, run in CONTESTANTS.items():
                times = []
                for _ in range(args.repeats):
                    start = time.process_time()
                    run(inverse, in_sky, guide, large)
                    times.append(time.process_time() - start)
                seconds[name] = min(times)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}; {args.scenes} scenes\n")
    for kind in ("blurred", "area", "points"):
        print(f"| {kind} | error, % | near edges, % | near edges, off by 10 % | flying, % | s a view |\n|---|---|---|---|---|---|")
        for name in CONTESTANTS:
            figures = np.mean(found[kind, name], axis=0)
            print(f"| {name} | {figures[0]:.3f} | {' | '.join(f'{x:.1f}' for x in figures[1:])} | {seconds[name]:.2f} |")
        print()


if __name__ == "__main__":
    main()
